"""The delivery engine: accepting against bare sqlite3, leasing, and from accept to send.

Everything is durable (write-ahead log, synchronous FULL). Contenders take turns.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import resource
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
from instant import Plugin, Send, engine_on
from measuring import alert, medians, table

from alerthost.outbox import leasing
from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from hostspec import Delivery, IncidentRef, Operation
from hostspec.values import to_json

ROUNDS = 15
SLICE = 200
GOALS = {"one caller": 0.3, "16 callers": 0.5, "groups of 100": 0.1}
QUEUED = (1_000, 100_000, 1_000_000)
SAMPLES = 300


def engine_in(folder: str) -> tuple[Engine, Send]:
    """Build an engine on a database in a folder; return it with its action."""
    plugin = Plugin()
    return engine_on(Database("sqlite:///alerthost.db", Path(folder)), plugin), plugin.send


def bare_in(folder: str) -> Callable[[Sequence[tuple[Any, ...]]], None]:
    """Make the same inserts with sqlite3 alone, under a lock."""
    lock = threading.Lock()
    connection = sqlite3.connect(
        Path(folder, "alerthost.db"), isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")

    def insert(rows: Sequence[tuple[Any, ...]]) -> None:
        with lock:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO submissions (submission_id, scope, key, body, accepted_at)"
                " VALUES (?, ?, ?, ?, ?)",
                rows,
            )
            connection.execute("COMMIT")

    return insert


def accepting() -> None:
    alerts = [alert(number) for number in range(SLICE)]
    bodies = [json.dumps(to_json(each)) for each in alerts]
    numbers = itertools.count()

    def rows(which: Sequence[int]) -> list[tuple[Any, ...]]:
        return [(f"bare {next(numbers)}", "", "key", bodies[n], time.time()) for n in which]

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        engine, _ = engine_in(one)
        other, _ = engine_in(two)
        engine.database.migrate()
        other.database.migrate()
        bare = bare_in(two)
        many = ThreadPoolExecutor(16)
        groups = [range(start, start + 100) for start in range(0, SLICE, 100)]
        taken = medians(
            {
                "one caller": lambda: [engine.accept(each) for each in alerts],
                "one caller, bare": lambda: [bare(rows([n])) for n in range(SLICE)],
                "16 callers": lambda: list(many.map(engine.accept, alerts)),
                "16 callers, bare": lambda: list(many.map(lambda n: bare(rows([n])), range(SLICE))),
                "groups of 100": lambda: [
                    engine.accept_many([alerts[n] for n in group]) for group in groups
                ],
                "groups of 100, bare": lambda: [bare(rows(group)) for group in groups],
            },
            ROUNDS,
        )
        many.shutdown()
    shown = []
    for name, goal in GOALS.items():
        mine, theirs = SLICE / taken[name], SLICE / taken[f"{name}, bare"]
        ratio = mine / theirs
        met = "yes" if ratio >= goal else "NO"
        shown.append((name, f"{mine:,.0f}", f"{theirs:,.0f}", f"{ratio:.2f}", f"{goal}", met))
    table("Accepting, durable", ("", "engine/s", "sqlite3/s", "ratio", "goal", "met"), shown)


def delivering() -> None:
    shown = []
    for name in ("drain", "workers"):
        with tempfile.TemporaryDirectory() as folder:
            engine, send = engine_in(folder)
            engine.accept_many([alert(number) for number in range(1000)])
            start = time.perf_counter()
            if name == "drain":
                engine.drain()
            else:
                with engine:
                    assert send.wait_count(1000, 120)
            shown.append((name, f"{1000 / (time.perf_counter() - start):,.0f}"))
            engine.database.close()
    table(
        "Planning, sending and completing 1,000 at an instant provider", ("", "per second"), shown
    )


def latency(engine: Engine, send: Send) -> list[float]:
    """Return the milliseconds from accept to send of critical alerts, one after another."""
    taken = []
    for number in range(SAMPLES):
        key = f"urgent {number}"
        urgent = attrs.evolve(alert(number), key=key, scope="healthy")
        start = time.perf_counter()
        engine.accept(urgent)
        seconds = send.wait(key, 30) - start
        assert seconds < 30
        taken.append(seconds * 1000)
    return sorted(taken)


def fill(database: Database, count: int, destination: str) -> None:
    """Insert many incidents of one destination with a queued trigger each, as planning does."""
    ref = IncidentRef("instant.send", "account", destination, "")
    first = Delivery(Operation.TRIGGER, ref, alert(0).identity, alert(0).severity)
    body = json.dumps(to_json(first))
    now = time.time()
    with database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO lanes (installation, destination, due) VALUES ('account', ?, ?)",
            (destination, now),
        )
        lane = connection.exec_driver_sql("SELECT max(id) FROM lanes").scalar_one()
        connection.exec_driver_sql(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?)"
            " INSERT INTO incidents (lane_id, action, installation, destination, correlation_key,"
            " active, state, severity, rules, follow_ups, may_be_open, trigger_delivered,"
            " unconfirmed,"
            " orphaned, opened_at, changed_at, version, digest)"
            " SELECT ?, 'instant.send', 'account', ?,"
            " 'w' || n, 1, 'resolved', 'error', '[]', '[]', 0, 0, 0, 0, ?, ?, 0,"
            " ? || n FROM n",
            (count, lane, destination, now, now, destination),
        )
        connection.exec_driver_sql(
            "INSERT INTO deliveries (uid, incident_id, lane_id, submission_id, operation, severity,"
            " body, state, position, is_head, urgency, due, accepted_at, late_reported)"
            " SELECT 'u' || id, id, lane_id, 's' || id, 'trigger', 'error', ?, 'queued', 1, 1,"
            " ?, ?, ?, 0 FROM incidents WHERE lane_id = ?",
            (body, now, now, now, lane),
        )


def queued() -> None:
    shown = []
    measured = {}
    for name, count in (("idle", 0), ("100,000 queued in another lane", 100_000)):
        with tempfile.TemporaryDirectory() as folder:
            engine, send = engine_in(folder)
            engine.database.migrate()
            if count:
                fill(engine.database, count, "throttled")
            with engine:
                latency(engine, send)
                taken = latency(engine, send)
            engine.database.close()
        measured[name] = taken[int(len(taken) * 0.99)]
        shown.append((name, f"{statistics.median(taken):.1f}", f"{measured[name]:.1f}"))
    table("From accept to send (ms)", ("", "median", "p99"), shown)
    idle, busy = measured.values()
    print(f"\n  p99 with a backlog is {busy / idle:.2f} x idle (goal: under 3)")


def leases(folder: str) -> tuple[list[float], float]:
    """Send some, and lease others; return the milliseconds of each lease, and the peak of MB."""
    engine, _ = engine_in(folder)
    engine.drain(SAMPLES)
    taken = []
    for _ in range(SAMPLES):
        with engine.database.begin() as connection:
            start = time.perf_counter()
            lease = leasing.Leasing(connection, "bench", time.time(), together=SAMPLES + 1).lease()
            taken.append((time.perf_counter() - start) * 1000)
        assert lease
    engine.database.close()
    return taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def backlog() -> None:
    shown = []
    for count in QUEUED:
        with tempfile.TemporaryDirectory() as folder:
            engine, _ = engine_in(folder)
            engine.database.migrate()
            fill(engine.database, count, "healthy")
            engine.database.close()
            # in a process of its own, whose memory was not used to fill the database
            alone = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=alone) as process:
                taken, peak = process.submit(leases, folder).result()
        row = (f"{statistics.median(taken):.2f}", f"{max(taken):.2f}", f"{peak:.0f}")
        shown.append((f"{count:,}", *row))
    columns = ("queued", "median", "longest", "memory (MB)")
    table(
        "Leasing, by the number of queued deliveries (ms), and the memory of the process",
        columns,
        shown,
    )


def main() -> None:
    accepting()
    delivering()
    queued()
    backlog()


if __name__ == "__main__":
    main()
