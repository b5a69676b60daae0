"""``alerthost demo`` needs no account."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from browsing import Browser
from waiting import wait_until
from workspace import Workspace


def test_the_demo_shows_incidents_and_repairs_and_ends(workspace: Workspace) -> None:
    run = workspace.alerthost("demo")

    assert (run.returncode, run.stderr) == (0, "")
    incidents = run.stdout[run.stdout.index("Incidents at PagerDuty") :]
    rows = [row.split() for row in incidents.splitlines() if row.startswith("#")]
    services = {row[1] for row in rows}
    states = {row[3] for row in rows}
    assert len(services) > 1
    assert states == {"triggered", "acknowledged", "resolved"}
    assert max(int(row[4]) for row in rows) >= 5, "a storm on one problem"
    repairs = run.stdout[run.stdout.index("Repairs") :]
    assert re.search(r"summary +\d+ characters, PagerDuty takes 1024; cut", repairs)
    assert re.search(r'severity +"kinda bad" is unknown; taken as error', repairs)
    assert "With a real account" in run.stdout


def test_the_provider_of_the_demo_may_be_named(workspace: Workspace) -> None:
    assert workspace.alerthost("demo", "pagerduty").returncode == 0


def test_the_console_is_served_with_new_alerts_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "alerthost", "demo", "--serve", "--every", "0.01"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        address = re.search(r"The console is at (http://\S+)/ until Ctrl-C", line)
        assert address, line
        browser = Browser(address[1])
        wait_until(lambda: len(browser.open("/console/incidents").rows()) > 1, "incidents open")
        wait_until(lambda: browser.open("/console/incidents?state=ended").rows(), "some resolve")
        wait_until(lambda: "failing" in browser.open("/console/").text, "a service fails")
        assert list(tmp_path.iterdir())
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_provider_without_a_demo_is_an_error(workspace: Workspace) -> None:
    run = workspace.alerthost("demo", "webhook")

    assert run.returncode == 2
    assert "'webhook' is unknown; known are pagerduty" in run.stderr
