"""Sending with 1,000, 100,000 and 1,000,000 deliveries queued in one lane: time and memory.

Each number has a process of its own, whose memory was not used to fill the database. The baseline
is that with the fewest queued.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, main
from instant import engine_on
from measuring import alone, peak_memory, seconds
from queueing import queue

from alerthost.store.database import Database

ROUNDS = 5


def fill(folder: str, count: int) -> None:
    with Database("sqlite:///alerthost.db", Path(folder)) as database:
        queue(database, count, "service")


def send(folder: str, few: int) -> tuple[float, float]:
    """Send a few in each round; return the milliseconds of one, and the most MB in use."""
    with Database("sqlite:///alerthost.db", Path(folder)) as database:
        engine = engine_on(database)

        def drain() -> None:
            assert engine.drain(few) == few

        taken = [seconds(drain) / few * 1000 for _ in range(ROUNDS + 1)]
    # the first round reads what the others find in memory
    return statistics.median(taken[1:]), peak_memory()


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    counts, few = ((200, 400), 10) if quick else ((1_000, 100_000, 1_000_000), 100)
    times, memories = {}, {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            alone(fill, folder, count)
            times[count], memories[count] = alone(send, folder, few)
    for name, numbers, most in (
        ("time of a delivery (ms)", times, 1.25),
        ("memory of the process (MB)", memories, 1.1),
    ):
        for count, number in numbers.items():
            title = f"{name}, SQLite, queued: {count:,}"
            yield Figure(title, number, numbers[counts[0]], at_most=most)


if __name__ == "__main__":
    main(measure)
