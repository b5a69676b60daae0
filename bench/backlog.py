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
from measuring import alone, peak_memory, using
from queueing import queue

from alerthost.store.database import Database

ROUNDS = 5


def fill(folder: str, count: int) -> None:
    with Database("sqlite:///alerthost.db", Path(folder)) as database:
        queue(database, count, "service")


def send(folder: str, few: int) -> tuple[float, float, float]:
    """Send a few in each round; return the milliseconds of one, those of CPU, and the most MB."""
    with Database("sqlite:///alerthost.db", Path(folder)) as database:
        engine = engine_on(database)
        rounds = []
        for _ in range(ROUNDS + 1):
            with using(database) as usage:
                assert engine.drain(few) == few
            rounds.append(usage)
    del rounds[0]  # it reads what the others find in memory
    taken = statistics.median(each.seconds for each in rounds) / few * 1000
    cpu = statistics.median(each.cpu for each in rounds) / few * 1000
    return taken, cpu, peak_memory()


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    counts, few = ((200, 400), 10) if quick else ((1_000, 100_000, 1_000_000), 100)
    found = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            alone(fill, folder, count)
            found[count] = alone(send, folder, few)
    names = ("time of a delivery (ms)", "CPU of a delivery (ms)", "memory of the process (MB)")
    for number, (name, most) in enumerate(zip(names, (1.25, 1.25, 1.1), strict=True)):
        for count in counts:
            title = f"{name}, SQLite, queued: {count:,}"
            yield Figure(title, found[count][number], found[counts[0]][number], at_most=most)


if __name__ == "__main__":
    main(measure)
