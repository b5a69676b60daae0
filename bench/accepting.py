"""Accepting on both stores, against bare inserts of the same rows; all are durable."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
from figures import Figure, main
from instant import engine_on
from measuring import GROUP, alert, medians
from server import running

from alerthost.store.database import Database
from hostspec.values import to_json

CALLERS = 16
SQLITE_GOALS = {"one caller": 0.48, "16 callers": 0.97, "groups of 100": 0.35}
POSTGRESQL_GOALS = {"one caller": 0.40, "16 callers": 0.72}

COLUMNS = "submission_id, scope, key, body, accepted_at"
"""The columns without which an alert could not be planned."""

Insert = Callable[[Sequence[Sequence[Any]]], None]
"""Inserts rows in one transaction."""

numbers = itertools.count()


@contextlib.contextmanager
def sqlite_inserts(path: Path) -> Iterator[Insert]:
    """Insert with sqlite3 alone, under a lock, as SQLite has one writer."""
    lock = threading.Lock()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    statement = f"INSERT INTO submissions ({COLUMNS}) VALUES (?, ?, ?, ?, ?)"

    def insert(rows: Sequence[Sequence[Any]]) -> None:
        with lock:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(statement, rows)
            connection.execute("COMMIT")

    with contextlib.closing(connection):
        yield insert


@contextlib.contextmanager
def postgresql_inserts(url: str) -> Iterator[Insert]:
    """Insert with psycopg alone, on a connection of each thread."""
    local = threading.local()
    statement = f"INSERT INTO submissions ({COLUMNS}) VALUES (%s, %s, %s, %s, %s)"
    with contextlib.ExitStack() as opened:

        def insert(rows: Sequence[Sequence[Any]]) -> None:
            if not hasattr(local, "connection"):
                local.connection = opened.enter_context(psycopg.connect(url))
            local.connection.execute(statement, rows[0])
            local.connection.commit()

        yield insert


def rates(database: Database, insert: Insert, count: int, rounds: int) -> dict[str, float]:
    """Return the accepts per second of each way, and those of bare inserts."""
    engine = engine_on(database)
    alerts = [alert(number) for number in range(count)]
    bodies = [json.dumps(to_json(each)) for each in alerts]

    def rows(first: int, most: int) -> list[tuple[Any, ...]]:
        return [
            (f"bare {next(numbers)}", "", "key", body, time.time())
            for body in bodies[first : first + most]
        ]

    with ThreadPoolExecutor(CALLERS) as many:
        ways: dict[str, Callable[[], object]] = {
            "one caller": lambda: [engine.accept(each) for each in alerts],
            "one caller, bare": lambda: [insert(rows(n, 1)) for n in range(count)],
            "16 callers": lambda: list(many.map(engine.accept, alerts)),
            "16 callers, bare": lambda: list(many.map(lambda n: insert(rows(n, 1)), range(count))),
        }
        if database.file:
            groups = range(0, count, GROUP)
            ways["groups of 100"] = lambda: [
                engine.accept_many(alerts[n : n + GROUP]) for n in groups
            ]
            ways["groups of 100, bare"] = lambda: [insert(rows(n, GROUP)) for n in groups]
        taken = medians(ways, rounds)
    return {name: count / seconds for name, seconds in taken.items()}


def compared(
    database: Database,
    bare: Database,
    inserts: AbstractContextManager[Insert],
    goals: dict[str, float],
    *,
    quick: bool,
) -> Iterator[Figure]:
    count, rounds = (100, 1) if quick else (200, 15)
    with database, bare:
        database.migrate()
        bare.migrate()
        with inserts as insert:
            rate = rates(database, insert, count, rounds)
    store = "SQLite" if database.file else "PostgreSQL"
    for name, goal in goals.items():
        title = f"accepted/s, {store}, {name}, against bare inserts"
        yield Figure(title, rate[name], rate[f"{name}, bare"], at_least=goal)


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    with tempfile.TemporaryDirectory() as folder:
        one, other = (Database(f"sqlite:///{n}.db", Path(folder)) for n in ("engine", "bare"))
        inserts = sqlite_inserts(Path(folder, "bare.db"))
        yield from compared(one, other, inserts, SQLITE_GOALS, quick=quick)
    with tempfile.TemporaryDirectory() as folder, running(folder) as server:
        url = server.new_database()
        one, other = Database(server.new_database(), Path()), Database(url, Path())
        yield from compared(one, other, postgresql_inserts(url), POSTGRESQL_GOALS, quick=quick)


if __name__ == "__main__":
    main(measure)
