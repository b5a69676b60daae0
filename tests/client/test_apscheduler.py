"""Jobs of APScheduler in a real process: their alerts, and a kill of the scheduler."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from programs import Program
from restarted import Restarted
from scripted import Scripted
from waiting import wait_until

JOBS = """\
import os, time
from pathlib import Path

def check():
    if Path("broken").exists():
        raise ValueError("broken")

def tidy():
    if Path("broken").exists():
        raise ValueError

def die():
    os.kill(os.getpid(), 9)

def hang():
    time.sleep(600)
"""

SCHEDULER = """\
import logging, os, sys, threading
from datetime import datetime, timedelta, timezone
from alerthost_client import Client
from alerthost_client.integrations.apscheduler import JobAlerts
from apscheduler import events
from apscheduler.schedulers.background import BackgroundScheduler
import jobs

YESTERDAY = datetime.now(timezone.utc) - timedelta(days=1)
OPTIONS = {
    "die": {"executor": "processes"},
    "hang": {"trigger": "interval", "seconds": 0.05},
    "late": {"trigger": "date", "misfire_grace_time": 1, "run_date": YESTERDAY},
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("apscheduler.executors.other").error("no job")
    scheduler = BackgroundScheduler(
        executors={"processes": {"type": "processpool", "max_workers": 1}},
        job_defaults={"misfire_grace_time": None},
    )
    client = Client(os.environ["URL"], spool="spool")
    fields = {"check": {"severity": "critical", "labels": {"team": "data"}}, "tidy": None}
    JobAlerts(client, fields=fields).connect(scheduler)
    checked = threading.Event()
    ended = events.EVENT_JOB_EXECUTED | events.EVENT_JOB_ERROR
    scheduler.add_listener(lambda event: event.job_id != "check" or checked.set(), ended)
    scheduler.start()
    for name in sys.argv[1:]:
        scheduler.add_job(getattr(jobs, name, jobs.check), id=name, **OPTIONS[name])
    while not os.path.exists("end"):  # one after the other
        checked.clear()
        scheduler.add_job(jobs.tidy, id="tidy", replace_existing=True)
        scheduler.add_job(jobs.check, id="check")
        checked.wait()
    scheduler.shutdown(wait=False)
    client.close()
    os._exit(0)  # a job hangs
"""

Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path, server: Scripted) -> Iterator[Start]:
    """Return a function that starts a scheduler with some jobs."""
    (tmp_path / "jobs.py").write_text(JOBS, encoding="utf-8")
    (tmp_path / "scheduler.py").write_text(SCHEDULER, encoding="utf-8")
    with ExitStack() as stack:

        def start(*jobs: str, **env: str) -> Program:
            command = [sys.executable, "scheduler.py", *jobs]
            env = {**os.environ, "URL": server.url, **env}
            return stack.enter_context(Program(command, tmp_path, env))

        yield start


def alerts(server: Scripted) -> list[dict[str, Any]]:
    return server.alerts


def statuses(server: Scripted) -> list[str]:
    """Return the statuses in order, without repeats."""
    return [
        status for status, _ in groupby(each.get("status", "firing") for each in alerts(server))
    ]


def test_a_job_fires_and_its_next_success_resolves(
    start: Start, server: Scripted, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    scheduler = start()
    server.wait_for(lambda seen: seen.accepted)
    scheduler.wait_for('Job "tidy')
    scheduler.wait_for("raised an exception")
    (tmp_path / "broken").unlink()
    wait_until(lambda: scheduler.log.count("executed successfully") > 5)
    (tmp_path / "end").touch()
    assert scheduler.end() == 0
    assert set(server.accepted) == {"apscheduler/check"}
    assert statuses(server) == ["firing", "resolved"]
    alert = alerts(server)[0]
    assert alert["summary"] == "Job check failed: ValueError: broken"
    assert alert["severity"] == "critical"
    assert alert["labels"] == {"job": "check", "team": "data"}
    assert 'raise ValueError("broken")' in alert["details"]["traceback"]


def test_a_job_that_does_not_run_or_is_killed_fires(
    start: Start, server: Scripted, tmp_path: Path
) -> None:
    scheduler = start("die", "hang", "late")
    keys = {f"apscheduler/{name}" for name in ("die", "hang", "late")}
    server.wait_for(lambda seen: keys <= set(seen.accepted))
    (tmp_path / "end").touch()
    assert scheduler.end() == 0
    summaries = {alert["key"]: alert["summary"] for alert in alerts(server)}
    assert "BrokenProcessPool" in summaries["apscheduler/die"]
    assert summaries["apscheduler/hang"].endswith(": earlier runs have not ended")
    assert summaries["apscheduler/late"].endswith(": it was too late")


@pytest.mark.proof
def test_nothing_is_lost_while_the_scheduler_and_alerthost_are_killed(
    start: Start, alerthost: Restarted, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    scheduler = start(URL=alerthost.url)
    alerthost.wait_for(firing={"apscheduler/check"})
    alerthost.kill()
    scheduler.wait_for("ValueError: broken")
    os.killpg(scheduler.popen.pid, signal.SIGKILL)
    scheduler.end()
    (tmp_path / "broken").unlink()
    scheduler = start("die", URL=alerthost.url)
    scheduler.wait_for("executed successfully")
    alerthost.start()
    alerthost.wait_for(firing={"apscheduler/die"})
    found = alerthost.statuses("apscheduler/check")
    assert [status for status, _ in groupby(found)] == ["firing", "resolved"]
