"""From accept to the call that sends a critical alert: idle, beside backlogs, across processes.

With a commit in the environment variable OLD, its source is measured in turn with this one.
"""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from figures import Figure, main
from instant import THROTTLED, Plugin, engine_on
from measuring import accept, alert, percentile
from processes import print_line, process, read_line, write_line
from queueing import queue
from server import Server, running

import alerthost
from alerthost.store.database import Database

ROOT = Path(__file__).parents[1]
SOURCES = ("src", "hostspec/src", "alerthost/src")

PAUSE = 0.005
"""Seconds for which an idle engine has nothing to do before the next alert."""


def measure_slices(root: str, store: str, folder: str, backlog: str, size: str) -> None:
    """For each number in a line of input, send so many alerts; print the milliseconds of each.

    None are printed if the others are not unplanned any more.

    Args:
        root: of the source that is measured.
        store: the URL of an empty database.
        folder: of its file.
        backlog: of another service, which is throttled: "queued", "unplanned" or "none".
        size: of the backlog.
    """
    assert Path(alerthost.__file__).is_relative_to(root)
    plugin = Plugin()
    with Database(store, Path(folder)) as database:
        database.migrate()
        engine = engine_on(database, plugin)
        if backlog == "queued":
            queue(database, int(size), THROTTLED)
        if backlog == "unplanned":
            accept(engine, (alert(n, severity="info", scope=THROTTLED) for n in range(int(size))))
        with engine:
            print_line("ready")
            for turn, line in enumerate(sys.stdin):
                taken = []
                for number in range(int(line)):
                    if backlog != "unplanned":
                        assert engine.wait_idle(60)
                        time.sleep(PAUSE)
                    key = f"{turn} {number}"
                    start = time.perf_counter()
                    engine.accept(alert(0, key=key, scope="healthy"))
                    taken.append((plugin.send.wait(key) - start) * 1000)
                is_over = backlog == "unplanned" and not engine.admin.backlog().pending
                print_line(json.dumps([] if is_over else taken))


def print_sent(store: str) -> None:
    """Deliver until input ends; print the key of each alert that is sent."""
    with Database(store, Path()) as database, engine_on(database, Plugin(note=print_line)):
        print_line("ready")
        sys.stdin.read()


def extract(commit: str, folder: str) -> Path:
    """Extract the source of a commit into a folder."""
    archive = subprocess.run(
        ["git", "archive", commit, *SOURCES], cwd=ROOT, check=True, capture_output=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return Path(folder)


def in_turn(
    sources: Sequence[Path], stores: Sequence[str], turns: Sequence[int], backlog: str, size: int
) -> list[list[float]]:
    """Return the milliseconds of the alerts of each source; it sends so many in each turn.

    One turn before is not counted.
    """
    taken: list[list[float]] = [[] for _ in sources]
    with ExitStack() as stack:
        ran = []
        for source, store in zip(sources, stores, strict=True):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = {"PYTHONPATH": os.pathsep.join(str(source / each) for each in SOURCES)}
            arguments = (source, store, folder, backlog, size)
            ran.append(stack.enter_context(process(measure_slices, *arguments, environment=path)))
        for turn, count in enumerate((turns[0], *turns)):
            for popen, of_source in zip(ran, taken, strict=True):
                write_line(popen, count)
                found = json.loads(read_line(popen))
                of_source.extend(found if turn else [])
    return taken


def compared(
    name: str,
    taken: Sequence[float],
    baseline: Sequence[float] | None = None,
    most: tuple[float | None, float | None] = (None, None),
) -> Iterator[Figure]:
    """Return the median and the 99th percentile, with the goals of their ratios."""
    for title, part, at_most in zip(("median", "p99"), (0.5, 0.99), most, strict=True):
        yield Figure(
            f"accept to send (ms), {name}, {title}",
            percentile(taken, part),
            None if baseline is None else percentile(baseline, part),
            at_most=at_most,
        )


def across(server: Server, count: int) -> Iterator[Figure]:
    store = server.new_database()
    chance = random.Random(20261123)
    taken = []
    with Database(store, Path()) as database, process(print_sent, store) as worker:
        front = engine_on(database)
        for number in range(count):
            time.sleep(chance.uniform(0.05, 0.1))  # not in step with the poller
            start = time.perf_counter()
            front.accept(alert(number))
            read_line(worker)
            taken.append((time.perf_counter() - start) * 1000)
    yield from compared("PostgreSQL, from one process to another", taken)


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    turns, size = ([2], 5_000) if quick else ([25] * 20, 100_000)
    old = os.environ.get("OLD")
    with tempfile.TemporaryDirectory() as extracted, tempfile.TemporaryDirectory() as folder:
        sources = [ROOT, extract(old, extracted)] if old else [ROOT]
        against, goals = (f", against {old}", (1.2, 1.2)) if old else ("", (None, None))
        file = "sqlite:///alerthost.db"
        idle, *before = in_turn(sources, [file for _ in sources], turns, "none", 0)
        yield from compared(f"SQLite, idle{against}", idle, *before, most=goals)
        for backlog, most in (("queued", 2.0), ("unplanned", 5.0)):
            (beside,) = in_turn([ROOT], [file], turns, backlog, size)
            name = f"SQLite, {len(beside):,} beside {size:,} {backlog}, against idle"
            yield from compared(name, beside, idle, (None, most))
        with running(folder) as server:
            stores = [server.new_database() for _ in sources]
            idle, *before = in_turn(sources, stores, turns, "none", 0)
            yield from compared(f"PostgreSQL, idle{against}", idle, *before, most=goals)
            yield from across(server, 20 if quick else 200)


if __name__ == "__main__":
    main(measure, measure_slices, print_sent)
