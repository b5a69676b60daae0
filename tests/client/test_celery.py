"""Tasks of real Celery workers: their alerts, whatever ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from programs import Program
from restarted import Restarted
from scripted import Scripted
from waiting import wait_until

TASKS = """\
import os, time
from celery import Celery
from celery.worker import state
from alerthost_client import Client
from alerthost_client.integrations.celery import TaskAlerts

app = Celery(broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "sent", "polling_interval": 0.02,
}
state.revoked.add("revoked")
client = Client(os.environ["URL"], spool=os.environ["SPOOL"] or None, source="worker-1")

TaskAlerts(client, **eval(os.environ.get("OPTIONS", "{}"))).connect()

@app.task
def pay(order, fails=False):
    if fails:
        raise ValueError(f"order {order}: no card")

@app.task(alert={"severity": "critical", "labels": {"team": "shop"}, "scope": "eu"})
def ship(fails):
    if fails:
        raise OSError("no truck")

@app.task(alert=None)
def tidy(fails):
    if fails:
        raise ValueError

@app.task
def die():
    os.kill(os.getpid(), 9)

@app.task(time_limit=0.2)
def hang():
    time.sleep(600)

@app.task(bind=True, max_retries=3)
def fetch(self, failures):
    if self.request.retries < failures:
        raise self.retry(exc=OSError("no network"), countdown=0)
"""

Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path, server: Scripted) -> Iterator[Start]:
    """Return a function that starts a worker."""
    (tmp_path / "tasks.py").write_text(TASKS, encoding="utf-8")
    for folder in ("queue", "sent", "control"):
        (tmp_path / folder).mkdir()
    with ExitStack() as stack:

        def start(pool: str = "prefork", **env: str) -> Program:
            command = ["celery", "-A", "tasks", "worker", "-P", pool, "-c", "2", "-l", "INFO"]
            command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
            env = {**os.environ, "URL": server.url, "SPOOL": str(tmp_path / "spool"), **env}
            program = Program([sys.executable, "-m", *command], tmp_path, env)
            return stack.enter_context(program)

        yield start


@pytest.fixture
def send(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that queues a task."""
    app = Celery(broker="filesystem://", set_as_current=False)
    app.conf.broker_transport_options = {
        "data_folder_in": str(tmp_path / "queue"),
        "data_folder_out": str(tmp_path / "sent"),
        "control_folder": str(tmp_path / "control"),
    }

    def send(name: str, options: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        app.send_task(f"tasks.{name}", kwargs=kwargs, **(options or {}))
        for path in (tmp_path / "sent").iterdir():  # a worker may read a file that is being written
            path.rename(tmp_path / "queue" / path.name)

    return send


def alerts(server: Scripted) -> list[dict[str, Any]]:
    return server.alerts


def outcomes(server: Scripted) -> list[tuple[str, str]]:
    return [(each["key"], each.get("status", "firing")) for each in alerts(server)]


def stop(worker: Program) -> None:
    worker.signal(signal.SIGTERM)
    assert worker.end() == 0


def test_a_task_fires_and_its_next_success_resolves(
    start: Start, send: Callable[..., Any], server: Scripted
) -> None:
    worker = start()
    send("pay", order=7, fails=True)
    server.wait_for(lambda seen: seen.accepted)
    for number in range(20):
        send("pay", order=number)
    wait_until(lambda: worker.log.count("succeeded in") == 20)
    stop(worker)
    assert outcomes(server) == [("celery/tasks.pay", "firing"), ("celery/tasks.pay", "resolved")]
    alert = alerts(server)[0]
    assert alert["summary"] == "Task tasks.pay failed: ValueError: order 7: no card"
    assert (alert["severity"], alert["source"]) == ("error", "worker-1")
    assert alert["labels"] == {"task": "tasks.pay"}
    assert alert["details"]["traceback"].startswith("Traceback")
    assert len(alert["details"]["id"]) == 36


def test_whatever_ends_a_task_fires(
    start: Start, send: Callable[..., Any], server: Scripted
) -> None:
    """Also the end of its process, which its parent reports."""
    worker = start()
    send("die")
    send("hang")
    server.wait_for(lambda seen: len(set(seen.accepted)) == 2)
    stop(worker)
    summaries = {alert["key"]: alert.get("summary") for alert in reversed(alerts(server))}
    assert "WorkerLostError" in summaries.pop("celery/tasks.die")
    assert "TimeLimitExceeded" in summaries.pop("celery/tasks.hang")
    assert not summaries


def test_a_task_has_fields_of_its_own_or_is_left_out(
    start: Start, send: Callable[..., Any], server: Scripted
) -> None:
    worker = start("threads")
    send("ship", fails=True)
    send("tidy", fails=True)
    send("tidy", fails=False)
    server.wait_for(lambda seen: seen.accepted)
    wait_until(lambda: "raised unexpected: ValueError" in worker.log)
    wait_until(lambda: "succeeded in" in worker.log)
    stop(worker)
    (ship,) = alerts(server)
    assert (ship["key"], ship["scope"]) == ("celery/tasks.ship", "eu")
    assert ship["severity"] == "critical"
    assert ship["labels"] == {"task": "tasks.ship", "team": "shop"}


def test_options_choose_the_key_and_the_retry(
    start: Start, send: Callable[..., Any], server: Scripted
) -> None:
    key = 'lambda task, args, kwargs: f"{task.name} {[*kwargs.values()][0]}"'
    worker = start("threads", OPTIONS=f"dict(key={key})")
    for order in (1, 2, 3):
        send("pay", order=order, fails=order < 3)
    server.wait_for(lambda seen: len(seen.accepted) == 2)
    send("pay", order=2)
    server.wait_for(lambda seen: len(seen.accepted) == 3)
    stop(worker)
    assert sorted(outcomes(server)[:2]) == [("tasks.pay 1", "firing"), ("tasks.pay 2", "firing")]
    assert outcomes(server)[2:] == [("tasks.pay 2", "resolved")]


def test_retries_fire_from_a_given_one_on(tmp_path: Path, start: Start, server: Scripted) -> None:
    program = "import tasks; tasks.fetch.apply(kwargs={'failures': 3})"
    env = {**os.environ, "URL": server.url, "SPOOL": "", "OPTIONS": "dict(retries=2)"}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, check=True)
    *retries, success = alerts(server)
    assert [each["summary"] for each in retries] == [
        "Task tasks.fetch is retried (retry 2)",
        "Task tasks.fetch is retried (retry 3)",
    ]
    assert {each["severity"] for each in retries} == {"warning"}
    assert success["status"] == "resolved"


def test_an_expired_task_fires_and_a_revoked_one_does_not(
    start: Start, send: Callable[..., Any], server: Scripted
) -> None:
    send("pay", {"expires": -1}, order=1)
    send("pay", {"task_id": "revoked"}, order=2)
    worker = start("threads")
    server.wait_for(lambda seen: seen.accepted)
    worker.wait_for("Discarding revoked task: tasks.pay[revoked]")
    stop(worker)
    (alert,) = alerts(server)
    assert alert["summary"] == "Task tasks.pay did not run: it has expired"
    assert alert["severity"] == "warning"


def test_each_process_without_a_spool_has_its_own_memory(
    start: Start, send: Callable[..., Any], server: Scripted
) -> None:
    worker = start("threads", SPOOL="")
    for number in range(5):
        send("pay", order=number)
    wait_until(lambda: worker.log.count("succeeded in") == 5)
    send("pay", order=7, fails=True)
    server.wait_for(lambda seen: len(seen.accepted) == 2)
    for number in range(5):
        send("pay", order=number)
    wait_until(lambda: worker.log.count("succeeded in") == 10)
    stop(worker)
    assert [status for _, status in outcomes(server)] == ["resolved", "firing", "resolved"]


@pytest.mark.proof
def test_nothing_is_lost_while_workers_and_alerthost_are_killed(
    start: Start, send: Callable[..., Any], alerthost: Restarted
) -> None:
    worker = start(URL=alerthost.url)
    send("pay", order=7, fails=True)
    alerthost.wait_for(firing={"celery/tasks.pay"})
    alerthost.kill()
    send("ship", fails=True)
    worker.wait_for("no truck")
    send("pay", order=8)
    worker.wait_for("succeeded in")
    os.killpg(worker.popen.pid, signal.SIGKILL)
    worker.end()
    worker = start(URL=alerthost.url)
    send("die")
    worker.wait_for("WorkerLostError")
    alerthost.start()
    alerthost.wait_for(firing={"eu/celery/tasks.ship", "celery/tasks.die"})
    send("ship", fails=False)
    alerthost.wait_for(firing={"celery/tasks.die"})
    stop(worker)
    assert alerthost.statuses("celery/tasks.pay") == ["firing", "resolved"]
