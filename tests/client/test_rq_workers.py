"""Jobs of real RQ workers on a real Redis: their alerts, whatever ends them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redises
from programs import Program
from restarted import Restarted
from scripted import Scripted

pytestmark = pytest.mark.proof

JOBS = """\
import os, time
from rq import Retry

def pay(order, fails=False):
    if fails:
        raise ValueError(f"order {order}: no card")

def die():
    os.kill(os.getpid(), 9)

def hang():
    print("hangs in", os.getpid(), flush=True)
    time.sleep(600)

def ask():
    return Retry(max=1)
"""

ALERTS = """\
import os
from alerthost_client import Client
from alerthost_client.integrations.rq import AlertMixin
from rq import SimpleWorker, Worker

class AlertWorker(AlertMixin, Worker):
    alert_client = Client(os.environ["URL"], spool=os.environ["SPOOL"] or None)

class SimpleAlertWorker(AlertMixin, SimpleWorker):
    alert_client = AlertWorker.alert_client
"""

Start = Callable[..., Program]
Queue = Any


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    with redises.running(tmp_path) as url:
        yield url


@pytest.fixture
def queue(redis: str) -> Iterator[Queue]:
    rq = pytest.importorskip("rq")
    from redis import Redis

    with Redis.from_url(redis) as connection:
        yield rq.Queue(connection=connection)


@pytest.fixture
def start(tmp_path: Path, redis: str, server: Scripted) -> Iterator[Start]:
    """Return a function that starts a worker."""
    (tmp_path / "jobs.py").write_text(JOBS, encoding="utf-8")
    (tmp_path / "alerts.py").write_text(ALERTS, encoding="utf-8")
    with ExitStack() as stack:

        def start(worker: str = "AlertWorker", *options: str, **env: str) -> Program:
            program = [str(Path(sys.executable).parent / "rq"), "worker", "--url", redis]
            command = [*program, "--worker-class", f"alerts.{worker}", "--path", ".", *options]
            env = {**os.environ, "URL": server.url, "SPOOL": str(tmp_path / "spool"), **env}
            return stack.enter_context(Program(command, tmp_path, env))

        yield start


def outcomes(server: Scripted) -> list[tuple[str, str]]:
    alerts = server.alerts
    return [(each["key"], each.get("status", "firing")) for each in alerts]


def end(worker: Program) -> None:
    assert worker.end() == 0, worker.log


@pytest.mark.parametrize("worker", ["AlertWorker", "SimpleAlertWorker"])
@pytest.mark.parametrize("spool", ["spool", ""])
def test_a_job_fires_and_its_next_success_resolves(
    start: Start, queue: Queue, server: Scripted, worker: str, spool: str
) -> None:
    queue.enqueue("jobs.pay", 7, fails=True)
    for order in range(20):
        queue.enqueue("jobs.pay", order)
    end(start(worker, "--burst", SPOOL=spool))
    server.wait_for(lambda seen: len(seen.accepted) == 2)
    assert outcomes(server) == [("rq/jobs.pay", "firing"), ("rq/jobs.pay", "resolved")]


def test_whatever_ends_a_job_fires(start: Start, queue: Queue, server: Scripted) -> None:
    from rq import Retry

    queue.enqueue("jobs.die")
    queue.enqueue("jobs.hang", job_timeout=1)
    queue.enqueue("jobs.missing")
    queue.enqueue("jobs.ask")
    queue.enqueue("jobs.pay", 1, fails=True, retry=Retry(max=1), meta={"alert": {"key": "pay/1"}})
    end(start("AlertWorker", "--burst"))
    keys = {"rq/jobs.die", "rq/jobs.hang", "rq/jobs.missing", "rq/jobs.ask", "pay/1"}
    server.wait_for(lambda seen: set(seen.accepted) == keys)
    assert len(server.accepted) == len(keys)


def let_the_jobs_in_progress_expire(queue: Queue) -> None:
    """Let the next worker handle the jobs of killed ones, as it does when their time is over."""
    for entry in queue.connection.zrange("rq:wip:default", 0, -1):
        queue.connection.zadd("rq:wip:default", {entry: 1})


def test_the_job_of_a_killed_worker_fires_in_another(
    start: Start, queue: Queue, server: Scripted
) -> None:
    queue.enqueue("jobs.hang")
    worker = start()
    horse = int(worker.wait_for("hangs in ").rpartition(" ")[2])
    worker.signal(signal.SIGKILL)
    os.kill(horse, signal.SIGKILL)  # it is in a process group of its own
    worker.end()
    let_the_jobs_in_progress_expire(queue)
    end(start("AlertWorker", "--burst"))
    server.wait_for(lambda seen: seen.accepted == ["rq/jobs.hang"])


def test_nothing_is_lost_while_workers_and_alerthost_are_killed(
    start: Start, queue: Queue, alerthost: Restarted
) -> None:
    queue.enqueue("jobs.pay", 7, fails=True)
    worker = start(URL=alerthost.url)
    alerthost.wait_for(firing={"rq/jobs.pay"})
    alerthost.kill()
    queue.enqueue("jobs.pay", 8)
    worker.wait_for("Job OK")
    queue.enqueue("jobs.die")
    worker.wait_for("terminated unexpectedly")
    os.killpg(worker.popen.pid, signal.SIGKILL)  # before it fires, or after
    worker.end()
    let_the_jobs_in_progress_expire(queue)
    queue.enqueue("jobs.missing")
    end(start("AlertWorker", "--burst", URL=alerthost.url))
    worker = start(URL=alerthost.url)
    alerthost.start()
    alerthost.wait_for(firing={"rq/jobs.die", "rq/jobs.missing"})
    assert alerthost.statuses("rq/jobs.pay") == ["firing", "resolved"]
