"""Tasks of Celery and jobs of RQ with an integration, against the same workers without.

Each worker has a process of its own: Celery's pool is ``solo`` and its broker in memory; RQ forks
for each job, and is left out where no ``redis-server`` is. All tasks succeed, or all fail; then
each fires an alert, with a spool. alerthost is silent, which is worse than no server.
"""

from __future__ import annotations

import itertools
import logging
import os
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rq
from celery import Celery
from celery.worker import state
from figures import Figure, main
from measuring import alone
from redis import Redis

from alerthost_client import Client
from alerthost_client.integrations.celery import TaskAlerts
from alerthost_client.integrations.rq import AlertMixin

TASKS = {"Celery": 1000, "RQ": 100}
ROUNDS = 3
MOST_ADDED = 0.005
"""Seconds."""

KINDS = ("fail", "succeed")
"""In the order of the numbers with which the work ends so."""


def work(number: int) -> int:
    return 1 // number


def cpu() -> float:
    """Return the seconds of CPU of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def in_celery(client: Client | None, kind: str, tasks: int) -> tuple[float, float]:
    app = Celery("shop", broker="memory://")
    app.conf.worker_prefetch_multiplier = 0
    starts = []

    @app.task(name="pay")
    def pay(number: int) -> None:
        starts.append((time.perf_counter(), cpu()))
        if len(starts) > tasks:
            state.should_stop = os.EX_OK
        work(number)

    if client:
        TaskAlerts(client).connect()
    for _ in range(tasks + 1):
        pay.delay(KINDS.index(kind))
    state.should_stop = None
    options = ("quiet", "without_gossip", "without_mingle", "without_heartbeat")
    app.Worker(pool="solo", **dict.fromkeys(options, True)).start()
    seconds = [after[0] - before[0] for before, after in itertools.pairwise(starts)]
    return statistics.median(seconds), (starts[-1][1] - starts[0][1]) / tasks


def in_rq(client: Client | None, kind: str, tasks: int, redis: str) -> tuple[float, float]:
    seconds = []

    class Worker(rq.Worker):
        def execute_job(self, job: Any, queue: Any) -> None:
            start = time.perf_counter()
            super().execute_job(job, queue)
            seconds.append(time.perf_counter() - start)

    class AlertWorker(AlertMixin, Worker):
        alert_client = client

    with Redis(unix_socket_path=redis) as connection:
        connection.flushdb()
        queue = rq.Queue(connection=connection)
        for _ in range(tasks):
            queue.enqueue("tasks.work", KINDS.index(kind))
        worker = (AlertWorker if client else Worker)([queue], connection=connection)
        start = cpu()
        worker.work(burst=True)
        return statistics.median(seconds), (cpu() - start) / tasks


WORKERS: dict[str, Callable[..., tuple[float, float]]] = {"Celery": in_celery, "RQ": in_rq}


def measured(
    name: str, kind: str, tasks: int, url: str, spool: str | None, *more: str
) -> tuple[float, float]:
    """Return the median seconds of a task, and its seconds of CPU; without a spool, no alerts."""
    logging.disable()
    client = Client(url, spool=spool, flush_within=0) if spool else None
    return WORKERS[name](client, kind, tasks, *more)


def figures(name: str, tasks: int, rounds: int, folder: Path, *more: str) -> Iterator[Figure]:
    with socket.create_server(("", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for kind in KINDS:
            without, together = [], []
            for number in range(rounds):
                spool = str(folder / f"{name}-{kind}-{number}")
                without.append(alone(measured, name, kind, tasks, url, None, *more))
                together.append(alone(measured, name, kind, tasks, url, spool, *more))
            for place, unit in enumerate(("seconds", "seconds of CPU")):
                before, after = (
                    statistics.median(each[place] for each in found)
                    for found in (without, together)
                )
                text = f"{unit} of a task, {name}, {kind}"
                yield Figure(f"{text}: with alerts, without", after, before)
                yield Figure(f"{text}: added", after - before, at_most=MOST_ADDED)


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    rounds = 1 if quick else ROUNDS
    with tempfile.TemporaryDirectory(dir=".") as folder:
        here = Path(folder)
        yield from figures("Celery", 5 if quick else TASKS["Celery"], rounds, here)
        if shutil.which("redis-server"):
            address = str(here.resolve() / "redis")
            command = ["redis-server", "--port", "0", "--unixsocket", address, "--save", ""]
            with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
                while not Path(address).exists() and process.poll() is None:
                    time.sleep(0.01)
                try:
                    yield from figures("RQ", 5 if quick else TASKS["RQ"], rounds, here, address)
                finally:
                    process.terminate()


if __name__ == "__main__":
    main(measure)
