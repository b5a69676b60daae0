"""Latency of alerts for one service beside a flood of alerts for another, on both stores.

Latency is from `accept` to the attempt. The flooded service is throttled, as a provider's rate
limit does; each alert of the flood has its own key.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from instant import Plugin, Send, engine_on
from measuring import table
from server import running

from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from hostspec import Alert

RATE: Final = 140
"""Alerts of the flood per second."""

BEFORE: Final = 400
"""Alerts of the flood that are pending when measuring starts."""

ROUNDS: Final = 24
PAUSE: Final = 0.5
PATIENCE: Final = 30.0
"""Seconds."""


@contextmanager
def flooding(engine: Engine) -> Iterator[None]:
    """Accept alerts for the flooded service at the rate, beside the caller."""
    engine.accept_many([_flood(f"before {number}") for number in range(BEFORE)])
    over = threading.Event()

    def flood() -> None:
        began = time.perf_counter()
        number = 0
        while not over.is_set():
            engine.accept(_flood(f"{number}"))
            number += 1
            over.wait(max(0.0, began + number / RATE - time.perf_counter()))

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _flood(key: str) -> Alert:
    return Alert(f"flood {key}", severity="error", labels={"service": "flooded"})


def latencies(engine: Engine, send: Send, name: str) -> dict[str, float]:
    """Return the median seconds until an alert of each severity is sent."""
    taken: dict[str, list[float]] = {"critical": [], "error": []}
    for number in range(ROUNDS):
        for severity, seconds in taken.items():
            key = f"{name} {severity} {number}"
            begun = time.perf_counter()
            engine.accept(Alert(key, severity=severity, labels={"service": "calm"}))
            seconds.append(send.wait(key, PATIENCE) - begun)
            time.sleep(PAUSE / 2)
    return {severity: statistics.median(seconds) for severity, seconds in taken.items()}


def measure(database: Database) -> tuple[dict[str, float], dict[str, float]]:
    """Return the latencies of an idle engine, and those beside a flood."""
    plugin = Plugin(lambda alert: alert.labels["service"], throttled="flooded", retry_after=5.0)
    engine = engine_on(database, plugin)
    engine.start()
    try:
        idle = latencies(engine, plugin.send, "idle")
        with flooding(engine):
            return idle, latencies(engine, plugin.send, "flood")
    finally:
        engine.stop(5)


def main() -> None:
    rows = []

    def add(store: str, idle: dict[str, float], beside: dict[str, float]) -> None:
        rows.extend(
            (
                f"{store}, {severity}",
                f"{1000 * idle[severity]:.0f}",
                f"{1000 * beside[severity]:.0f}",
                f"{beside[severity] / idle[severity]:.1f}",
            )
            for severity in idle
        )

    with (
        tempfile.TemporaryDirectory() as folder,
        Database("sqlite:///alerthost.db", Path(folder)) as database,
    ):
        add("SQLite", *measure(database))
    with (
        tempfile.TemporaryDirectory() as folder,
        running(folder) as server,
        Database(server.new_database(), Path(folder)) as database,
    ):
        add("PostgreSQL", *measure(database))
    title = f"Latency beside {RATE} alerts per second for another service (medians of {ROUNDS})"
    table(title, ("", "idle, ms", "beside the flood, ms", "ratio"), rows)


if __name__ == "__main__":
    main()
