"""Shared by the measurements: alerts, a responder, rounds in turn, and what a block uses."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import attrs
from sqlalchemy import event

from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from hostspec import Alert

KEY = "0123456789abcdef0123456789abcdef"
"""An integration key."""

GROUP = 100
"""Alerts that are accepted at once where accepting is not measured."""


T = TypeVar("T")


def alert(number: int, **changes: Any) -> Alert:
    """Make an alert of everyday size."""
    return attrs.evolve(
        Alert(
            f"db-{number}/disk",
            f"Disk full on db-{number}: 98 % of 512 GB used",
            severity="critical",
            source=f"db-{number}",
            component="postgres",
            group="storage",
            class_="disk",
            started_at="2026-11-23T03:14:00Z",
            labels={"team": "data", "region": "eu-central-1", "environment": "production"},
            details={"used": 0.98, "free_bytes": 10_995_116_277, "mount": "/var/lib/postgresql"},
            url="https://host.example/alerts/1",
            links=[{"href": "https://wiki.example/disk", "text": "Runbook"}],
        ),
        **changes,
    )


def accept(engine: Engine, alerts: Iterable[Alert]) -> None:
    """Accept alerts in groups."""
    coming = iter(alerts)
    while group := list(itertools.islice(coming, GROUP)):
        engine.accept_many(group)


@contextlib.contextmanager
def responder(certificate: str | None = None, after: float = 0.0) -> Iterator[str]:
    """Run a responder on loopback that answers after some seconds; yield its base URL."""
    program = Path(__file__).with_name("responder.py")
    command = [sys.executable, str(program), str(after), *([certificate] if certificate else [])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        port = int(process.stdout.readline())
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        process.stdin.close()


def alone(work: Callable[..., T], *arguments: object) -> T:
    """Call a function in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(work, *arguments).result()


def seconds(run: Callable[[], object]) -> float:
    """Measure one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def medians(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run contenders in turn, several times; return the median seconds of each.

    What else the machine does then meets all of them alike. One round before is not counted.
    """
    runs: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for name, run in contenders.items():
            taken = seconds(run)
            if number:
                runs[name].append(taken)
    return {name: statistics.median(taken) for name, taken in runs.items()}


def percentile(taken: Sequence[float], part: float) -> float:
    """Return the number that a part of some numbers does not exceed."""
    return sorted(taken)[min(len(taken) - 1, int(len(taken) * part))]


def peak_memory() -> float:
    """Return the most MB that this process has used."""
    status = Path("/proc/self/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak) / 1024


@attrs.define
class Usage:
    """What a block used.

    Attributes:
        seconds: that passed.
        cpu: seconds of CPU of this process.
        of_server: seconds of CPU of the database's server.
        statements: sent to the database; one for all rows of an ``executemany``.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    of_server: float = 0.0
    statements: int = 0
    commits: int = 0


@contextlib.contextmanager
def using(database: Database, server_cpu: Callable[[], float] = lambda: 0.0) -> Iterator[Usage]:
    """Yield what the block uses; it is known when the block ends.

    Args:
        database: whose statements are counted.
        server_cpu: returns the seconds of CPU that the database's server has used.
    """
    usage = Usage()

    def count_statement(*_: object) -> None:
        usage.statements += 1

    def count_commit(*_: object) -> None:
        usage.commits += 1

    event.listen(database.engine, "before_cursor_execute", count_statement)
    event.listen(database.engine, "commit", count_commit)
    of_server = server_cpu()
    start, cpu = time.perf_counter(), time.process_time()
    try:
        yield usage
    finally:
        usage.seconds, usage.cpu = time.perf_counter() - start, time.process_time() - cpu
        usage.of_server = server_cpu() - of_server
        event.remove(database.engine, "before_cursor_execute", count_statement)
        event.remove(database.engine, "commit", count_commit)
