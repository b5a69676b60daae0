"""Hosts that accept some numbered submissions and deliver them, one after the other, each killed.

Run it with the database's folder and URL, and the fake's URL. For each number on its input a new
process accepts submissions from that number on. It prints its process id, and the number of each
submission once it is accepted; after its end, "gone" is printed. It is forked from a process that
has only imported the modules, for importing takes longer than its whole life.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from hostspec import Alert
from hostspec.plugins import Rule, load

KEY = "0123456789abcdef0123456789abcdef"
NEW_KEY = "fedcba9876543210fedcba9876543210"
PROBLEMS = 7
MOST = 5
"""Submissions that each process accepts."""

LEASE = 0.6
"""Seconds. On a server the death of a process is noticed late: part of the lease passes before its
deliveries are reclaimed."""


def alert_of(number: int) -> Alert:
    """Return an alert: each problem fires, fires again, and resolves, in turn."""
    status = ("firing", "firing", "resolved")[number // PROBLEMS % 3]
    return Alert(f"problem {number % PROBLEMS}", str(number), status=status)


def engine_of(  # noqa: PLR0913 -- each is one way of a process
    folder: Path,
    url: str,
    store: str = "sqlite:///alerthost.db",
    make: type[Engine] = Engine,
    *,
    keys: Sequence[str] = (KEY,),
    limited: bool = False,
    **options: Any,
) -> Engine:
    """Make the engine of one process; the service has these keys, the newest first."""
    plugins = load(["pagerduty"])
    services = [{"name": "checkout", "integration_key": list(keys)}]
    acme = plugins.installation("pagerduty", "acme", {"base_url": url, "services": services})
    use = plugins.rule_action("pagerduty.trigger", acme, {"services": ["checkout"]})
    if not limited:  # a budget would take minutes
        use.action.limits = lambda *_: ()  # type: ignore[method-assign]
    return make(Database(store, folder), plugins, [Rule("Pages", [use])], **options)


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def host(folder: Path, url: str, store: str, first: int) -> None:
    say(os.getpid())
    with engine_of(folder, url, store, lease=LEASE, workers=4) as engine:
        for number in range(first, first + MOST):
            engine.accept(alert_of(number), submission_id=str(number))
            say(number)
        sys.stdin.read()


def main() -> None:
    folder, store, url = sys.argv[1:]
    logging.getLogger("hostspec").setLevel(logging.ERROR)  # each takes over from the one before
    engine_of(Path(folder), url, store)
    importlib.import_module("requests.adapters")
    gc.freeze()
    for first in sys.stdin:
        child = os.fork()
        if not child:
            host(Path(folder), url, store, int(first))
            return
        os.waitpid(child, 0)
        say("gone")


if __name__ == "__main__":
    main()
