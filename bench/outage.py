"""An outage in which all services page at once: seconds until the last page is sent.

Each service is a lane of its own with one critical alert. The alerts are accepted before. The
baseline is the time that the answers alone take.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, main
from instant import Plugin, engine_on
from measuring import accept, alert, seconds
from server import running

from alerthost.store.database import Database

ANSWER = 0.05
"""Seconds after which the slower provider answers."""

GOAL = 10.0
"""Seconds."""


def outage(database: Database, services: int, after: float, workers: int) -> float:
    plugin = Plugin(after=after)
    engine = engine_on(database, plugin, workers)

    def page() -> None:
        engine.start()
        plugin.send.wait_count(services)

    with database:
        accept(engine, (alert(number, scope=f"service {number}") for number in range(services)))
        taken = seconds(page)
        engine.stop()
    return taken


def on_store(name: str, urls: Iterator[str], folder: str, services: int) -> Iterator[Figure]:
    title = f"seconds until {services:,} services are paged, {name}"
    at_once = outage(Database(next(urls), Path(folder)), services, 0.0, 8)
    yield Figure(f"{title}, 8 workers, instant answers", at_once, at_most=GOAL)
    for workers in (8, 64):
        taken = outage(Database(next(urls), Path(folder)), services, ANSWER, workers)
        least = services * ANSWER / workers
        yield Figure(f"{title}, {workers} workers, answers after 50 ms", taken, least)


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    services = 50 if quick else 10_000
    with tempfile.TemporaryDirectory() as folder, running(folder) as server:
        files = (f"sqlite:///{number}.db" for number in range(3))
        yield from on_store("SQLite", files, folder, services)
        databases = (server.new_database() for _ in range(3))
        yield from on_store("PostgreSQL", databases, folder, services)


if __name__ == "__main__":
    main(measure)
