"""Deliveries to a provider that answers at once, against a bare queue; their CPU and statements.

Alerts are accepted before; each delivery is planned, leased, sent and completed. All writes are
durable. Contenders take turns, each in a new file.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bare import BareQueue
from figures import Figure, main
from instant import Plugin, engine_on
from measuring import Usage, accept, alert, seconds, using
from server import Server, running

from alerthost.store.database import Database
from hostspec import Alert
from hostspec.values import to_json

WAYS = ("drain", "workers")
KINDS = {"new incidents": "firing", "follow-ups": "resolved"}


def alerts(count: int, lanes: int, status: str = "firing") -> list[Alert]:
    return [
        alert(number, scope=f"service {number % lanes}", status=status) for number in range(count)
    ]


def delivered(  # noqa: PLR0913 -- what differs between the measurements
    database: Database,
    way: str,
    count: int,
    lanes: int,
    *,
    limited: bool = False,
    server_cpu: Callable[[], float] = lambda: 0.0,
) -> Iterator[Usage]:
    """Deliver triggers, then their resolves; yield what each kind uses."""
    plugin = Plugin(limited=limited)
    engine = engine_on(database, plugin)
    with database:
        for number, status in enumerate(KINDS.values(), 1):
            accept(engine, alerts(count, lanes, status))
            with using(database, server_cpu) as usage:
                if way == "drain":
                    assert engine.drain() == count
                else:
                    engine.start()
                    plugin.send.wait_count(number * count)
                    assert engine.wait_idle(60)
            engine.stop()
            yield usage


def bare(count: int) -> float:
    """Return the seconds in which the bare queue delivers."""
    with tempfile.TemporaryDirectory() as folder:
        queue = BareQueue(folder)
        for each in alerts(count, 1):
            queue.accept(to_json(each))
        taken = seconds(lambda: queue.drain(len))
        queue.close()
    return taken


def on_sqlite(count: int, rounds: int) -> Iterator[Figure]:
    contender = []
    used: dict[tuple[str, str], list[Usage]] = defaultdict(list)
    for _ in range(rounds):
        contender.append(bare(count))
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                database = Database("sqlite:///alerthost.db", Path(folder))
                for kind, usage in zip(KINDS, delivered(database, way, count, 1), strict=True):
                    used[way, kind].append(usage)
    baseline = count / statistics.median(contender)
    for (way, kind), each in used.items():
        rate = count / statistics.median(usage.seconds for usage in each)
        name = f"deliveries/s, SQLite, {way}, {kind}"
        yield Figure(f"{name}, against a bare queue", rate, baseline, at_least=0.8)
        yield Figure(name, rate, at_least=2000)
    for (way, kind), each in used.items():
        cpu = statistics.median(usage.cpu for usage in each) / count * 1000
        yield Figure(f"CPU of a delivery (ms), SQLite, {way}, {kind}", cpu, at_most=0.8)


def counted(name: str, used: Iterable[Usage], count: int) -> Iterator[Figure]:
    every = list(used)
    statements = sum(usage.statements for usage in every) / count / len(every)
    commits = sum(usage.commits for usage in every) / count / len(every)
    yield Figure(f"statements of a delivery, {name}", statements, at_most=6)
    yield Figure(f"commits of a delivery, {name}", commits, at_most=0.1)


def counting(count: int) -> Iterator[Figure]:
    for way, lanes, limited in (
        ("drain", 1, False),
        ("drain", count, False),
        ("workers", count, False),
        ("drain", count, True),
    ):
        with tempfile.TemporaryDirectory() as folder:
            database = Database("sqlite:///alerthost.db", Path(folder))
            used = delivered(database, way, count, lanes, limited=limited)
            limits = ", with rate limits" if limited else ""
            yield from counted(f"SQLite, {way}, lanes: {lanes:,}{limits}", used, count)


def on_postgresql(server: Server, count: int) -> Iterator[Figure]:
    for way in WAYS:
        database = Database(server.new_database(), Path())
        used = list(delivered(database, way, count, count, server_cpu=server.cpu))
        name = f"PostgreSQL, {way}, lanes: {count:,}"
        yield from counted(name, used, count)
        own = sum(usage.cpu for usage in used) / count / len(used) * 1000
        of_server = sum(usage.of_server for usage in used) / count / len(used) * 1000
        yield Figure(f"CPU of a delivery (ms), {name}, own", own)
        yield Figure(f"CPU of a delivery (ms), {name}", own + of_server, at_most=2.5)


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    count, rounds = (20, 1) if quick else (1000, 5)
    yield from on_sqlite(count, rounds)
    yield from counting(count)
    with tempfile.TemporaryDirectory() as folder, running(folder) as server:
        yield from on_postgresql(server, count)


if __name__ == "__main__":
    main(measure)
