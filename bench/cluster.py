"""Processes on one PostgreSQL, against procrastinate: each message is answered after 50 ms.

PagerDuty's plugin posts to the responder. The processes, the server and the responder share this
machine's cores.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from figures import Figure, main
from measuring import accept, alert, responder
from processes import Role, finish, print_line, process, write_line
from server import Server, running

from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from hostspec import Alert, hookimpl
from hostspec.plugins import Rule, load
from hostspec.values import to_json

LANES = 1_000
ANSWER = 0.05
"""Seconds after which PagerDuty's stand-in answers."""

THREADS = 64
"""Of each process."""


class Routing:
    """Routes an alert to the service in its labels."""

    @hookimpl
    def pagerduty_services(self, alert: Alert) -> Sequence[str]:
        return [alert.labels["service"]]


def alerts(count: int) -> list[Alert]:
    """Make alerts for all lanes in turn."""
    return [alert(number, labels={"service": f"s{number % LANES}"}) for number in range(count)]


def pager_on(store: str, url: str) -> Engine:
    """Build an engine that sends to a responder through the plugin, one lane for each service."""
    plugins = load(["pagerduty"], own={"routing": Routing()})
    services = [{"name": f"s{n}", "integration_key": f"{n:032}"} for n in range(LANES)]
    acme = plugins.installation("pagerduty", "acme", {"base_url": url, "services": services})
    use = plugins.rule_action("pagerduty.trigger", acme, {"services": ["s0"]})
    return Engine(Database(store, Path()), plugins, [Rule("Pages", [use])], workers=THREADS)


def deliver(store: str, url: str) -> None:
    """Deliver from a line of input to its end; print the seconds of CPU."""
    pager = pager_on(store, url)
    pager.database.migrate()
    print_line("ready")
    sys.stdin.readline()
    before = time.process_time()
    with pager:
        sys.stdin.read()
        print_line(time.process_time() - before)


def procrastinate(store: str, url: str) -> None:
    """Make the same posts with procrastinate, until none is left; print the seconds of CPU."""
    import procrastinating  # noqa: PLC0415 -- it may not be installed

    work = procrastinating.worker_on(store, url, THREADS)
    print_line("ready")
    sys.stdin.readline()
    before = time.process_time()
    work()
    print_line(time.process_time() - before)


def posted(url: str) -> int:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return int(answer.read())


def sent(role: Role, store: str, url: str, processes: int, count: int) -> tuple[float, float]:
    """Have processes send all queued messages; return the seconds, and those of their CPU."""
    target = posted(url) + count
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(process(role, store, url)) for _ in range(processes)]
        start = time.perf_counter()
        for each in workers:
            write_line(each, "go")
        while posted(url) < target:
            time.sleep(0.05)
        taken = time.perf_counter() - start
        return taken, sum(float(finish(each)) for each in workers)


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    count = 20 if quick else 4_000
    with (
        responder(after=ANSWER) as url,
        tempfile.TemporaryDirectory() as folder,
        running(folder) as server,
    ):
        for processes in (1, 2):
            store = server.new_database()
            engine = pager_on(store, url)
            with engine.database:
                accept(engine, alerts(count))
            before = server.cpu()
            taken, own = sent(deliver, store, url, processes, count)
            of_server = server.cpu() - before
            title = f"PostgreSQL, {processes} x {THREADS} threads, answers after 50 ms"
            baseline = contender(server, url, processes, count)
            yield Figure(
                f"deliveries/s, {title}, against procrastinate",
                count / taken,
                baseline,
                at_least=5 if baseline else None,
            )
            yield Figure(f"CPU of a delivery (ms), {title}, own", own / count * 1000)
            both = own + of_server
            yield Figure(f"CPU of a delivery (ms), {title}", both / count * 1000, at_most=2.5)


def contender(server: Server, url: str, processes: int, count: int) -> float | None:
    """Return the posts per second of procrastinate; None if it is not installed."""
    if importlib.util.find_spec("procrastinate") is None:
        print("procrastinate is not installed, so that nothing is compared with it")
        return None
    import procrastinating  # noqa: PLC0415 -- it may not be installed

    store = server.new_database()
    events = ((f"{each.labels['service']} {each.key}", to_json(each)) for each in alerts(count))
    procrastinating.defer(store, events)
    taken, _ = sent(procrastinate, store, url, processes, count)
    return count / taken


if __name__ == "__main__":
    main(measure, deliver, procrastinate)
