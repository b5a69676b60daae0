"""A real Alerta on PostgreSQL, with the documented configuration: its alerts, and kills."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg
import pytest
from programs import Program, free_port
from restarted import Restarted
from venvs import ROOT, programs_of
from waiting import wait_until

pytestmark = pytest.mark.proof

PAGE = (ROOT / "docs/integrations/alerta.md").read_text(encoding="utf-8")
[CONFIGURATION] = re.findall(r"```python\n(# alertad.conf\n.*?)```", PAGE, re.DOTALL)


class Alerta:
    """Runs Alerta on a database."""

    def __init__(self, folder: Path, database: str, url: str, stack: ExitStack) -> None:
        self._alertad = str(programs_of("alerta") / "alertad")
        self._folder = folder
        self._stack = stack
        self._port = free_port()
        build = ["hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run([sys.executable, "-m", *build], cwd=ROOT / "alerthost-client", check=True)
        (wheel,) = folder.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(folder / "site")
        (folder / "alertad.conf").write_text(CONFIGURATION, encoding="utf-8")
        self._env = {
            **{name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")},
            "PYTHONPATH": str(folder / "site"),
            "ALERTA_SVR_CONF_FILE": str(folder / "alertad.conf"),
            "DATABASE_URL": database,
            "SECRET_KEY": "of the tests",
            "ALERTHOST_URL": url,
            "ALERTHOST_SPOOL": str(folder / "spool"),
        }
        self.start()

    def start(self) -> None:
        command = [self._alertad, "run", "--host", "127.0.0.1", "--port", str(self._port)]
        self._program = self._stack.enter_context(Program(command, self._folder, self._env))
        wait_until(self._answers, "an answer of Alerta")

    def _answers(self) -> bool:
        assert self._program.popen.poll() is None, self._program.log
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0

    def kill(self) -> None:
        self._program.signal(signal.SIGKILL)
        self._program.end()

    def send(self, method: str, path: str, **content: Any) -> Any:
        """Send a request to its API."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def act(self, alert: str, action: str) -> None:
        """Do what an operator does."""
        self.send("PUT", f"/alert/{alert}/action", action=action, text="by the operator")

    def post(self, event: str, severity: str = "critical") -> str:
        """Post an alert; return its id."""
        scope = {"environment": "Production", "service": ["Web"], "resource": "web-1"}
        return self.send("POST", "/alert", event=event, severity=severity, **scope)["id"]


def statuses(alerthost: Restarted, alert: str) -> list[str]:
    """Return the statuses that were handed over, without repeats."""
    return [status for status, _ in groupby(alerthost.statuses(f"alerta/{alert}"))]


def test_nothing_is_lost_while_alerta_and_alerthost_are_killed(
    tmp_path: Path, alerthost: Restarted, postgresql: str
) -> None:
    folder = tmp_path / "alerta"
    folder.mkdir()
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("CREATE DATABASE alerta")
    with ExitStack() as stack:
        database = postgresql.replace("/postgres?", "/alerta?")
        alerta = Alerta(folder, database, alerthost.url, stack)
        errors, disk = alerta.post("HttpError"), alerta.post("DiskFull")
        alerthost.wait_for(firing={f"alerta/{errors}", f"alerta/{disk}"})
        alerthost.kill()
        alerta.act(disk, "ack")
        alerta.post("HttpError", "normal")
        load = alerta.post("Load")
        alerta.kill()
        alerta.start()
        alerta.act(load, "close")
        memory = alerta.post("Memory")
        alerthost.start()
        alerthost.wait_for(firing={f"alerta/{disk}", f"alerta/{memory}"})

        # opened again: by the operator, by another alert, by the end of a blackout
        alerta.act(load, "open")
        alerta.post("HttpError", "major")
        everything = {f"alerta/{each}" for each in (disk, memory, load, errors)}
        alerthost.wait_for(firing=everything)
        blackout = alerta.send("POST", "/blackout", environment="Production")["id"]
        for event in ("DiskFull", "Memory", "Load", "HttpError"):
            alerta.post(event, "major" if event == "HttpError" else "critical")
        swap = alerta.post("Swap")
        alerthost.wait_for(firing=set())
        alerta.send("DELETE", f"/blackout/{blackout}")
        alerta.post("Swap")
        alerta.post("Memory")
        alerthost.wait_for(firing={f"alerta/{swap}", f"alerta/{memory}"})
        alerta.send("DELETE", f"/alert/{memory}")
        alerthost.wait_for(firing={f"alerta/{swap}"})
    assert statuses(alerthost, errors) == ["firing", "resolved"] * 2
    assert statuses(alerthost, disk) == ["firing", "acknowledged", "resolved"]
    assert statuses(alerthost, load) == ["firing", "resolved"] * 2
    assert alerthost.statuses(f"alerta/{swap}") == ["firing"]
