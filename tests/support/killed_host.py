"""A host that accepts numbered statements as fast as it can, until it is killed.

Run it with the database's folder, the fake's URL, the number to begin with, and how many.
It prints the number of each statement once it is accepted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hostspec import Alert
from hostspec.delivery.engine import Engine
from hostspec.kernel import Rule, load
from hostspec.store.database import Database

KEY = "0123456789abcdef0123456789abcdef"
NEW_KEY = "fedcba9876543210fedcba9876543210"
PROBLEMS = 7


def alert_of(number: int) -> Alert:
    """Make a statement: each problem fires, fires again, and resolves, in turn."""
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


def main() -> None:
    folder, url, first, count = sys.argv[1:]
    with engine_of(Path(folder), url) as engine:
        for number in range(int(first), int(first) + int(count)):
            engine.accept(alert_of(number), statement_id=str(number))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
