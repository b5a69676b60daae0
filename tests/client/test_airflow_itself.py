"""DAGs of a real Airflow, with its scheduler and API server: their alerts, and kills."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from programs import Program, free_port
from restarted import Restarted
from venvs import ROOT, programs_of
from waiting import wait_until

import alerthost_client
from alerthost_client import Client

pytestmark = pytest.mark.proof

LONG = 200.0
"""Seconds: Airflow needs more than half a minute to start, and some seconds for a run."""

PAGE = (ROOT / "docs/integrations/airflow.md").read_text(encoding="utf-8")
PLUGIN, NOTIFIED = re.findall(r"```python\n(# \w+.py\n.*?)```", PAGE, re.DOTALL)

DAGS = """\
import os
from pathlib import Path
from airflow.sdk import dag, task

@dag(schedule=None)
def shop():
    @task
    def pay():
        if Path(os.environ["BROKEN"]).exists():
            raise ValueError("no card")
    pay()

@dag(schedule=None)
def killed():
    @task
    def die():
        os.kill(os.getpid(), 9)
    die()

shop()
killed()
"""


class Airflow:
    """A folder with DAGs, and the environment of the programs of Airflow."""

    def __init__(self, folder: Path, url: str) -> None:
        self.programs = programs_of("airflow")
        self.folder = folder
        self.spool = folder / "spool"
        self.broken = folder / "broken"
        port = free_port()
        self._api = f"http://127.0.0.1:{port}"
        self._env = {
            **{name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")},
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(alerthost_client.__file__).parents[1]),
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self._api}/execution/",
            "AIRFLOW__API__BASE_URL": self._api,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": "0",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": "0",
            "ALERTHOST_URL": url,
            "ALERTHOST_SPOOL": str(self.spool),
            "BROKEN": str(self.broken),
        }
        for name, text in (
            ("plugins/alerts.py", PLUGIN),
            ("dags/dags.py", DAGS),
            ("dags/orders.py", NOTIFIED),
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")

    def start(self) -> Program:
        return Program([str(self.programs / "airflow"), "standalone"], self.folder, self._env)

    def run(self, dag: str) -> None:
        """Start a run of a DAG, once Airflow answers and has read its file."""

        def is_started() -> bool:
            try:
                token = self._ask("/auth/token")["access_token"]
                self._ask(f"/api/v2/dags/{dag}/dagRuns", token, logical_date=None)
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
                return False
            except urllib.error.URLError:
                return False
            return True

        wait_until(is_started, f"the DAG {dag}", LONG)

    def _ask(self, path: str, token: str = "", **content: Any) -> Any:
        """Send a request to its API: the commands take seconds to start."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        body = json.dumps(content).encode() if content else None
        request = urllib.request.Request(f"{self._api}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=LONG) as answer:
            return json.load(answer)

    def has_spooled(self, key: str, status: str) -> bool:
        """Return whether an alert is on disk, while alerthost is down."""
        for path in self.spool.glob("*-*"):
            with contextlib.suppress(FileNotFoundError, ValueError):  # it is renamed, or written
                for line in path.read_text(encoding="utf-8").splitlines():
                    alert = json.loads(line)
                    if alert["key"] == key and alert.get("status", "firing") == status:
                        return True
        return False


def test_nothing_is_lost_while_airflow_and_alerthost_are_killed(
    tmp_path: Path, alerthost: Restarted
) -> None:
    airflow = Airflow(tmp_path / "airflow", alerthost.url)
    airflow.broken.touch()
    with airflow.start() as program:
        airflow.run("shop")
        airflow.run("orders")
        expected = {"airflow/shop", "airflow/orders", "task/ship"}
        alerthost.wait_for(firing=expected, seconds=LONG)
        alerthost.kill()
        airflow.run("killed")
        wait_until(lambda: airflow.has_spooled("airflow/killed", "firing"), "an alert", LONG)
        airflow.broken.unlink()
        airflow.run("shop")
        wait_until(lambda: airflow.has_spooled("airflow/shop", "resolved"), "a resolve", LONG)
        os.killpg(program.popen.pid, signal.SIGKILL)
    alerthost.start()
    with Client(alerthost.url, spool=airflow.spool):  # as the next process of Airflow has
        expected = {"airflow/killed", "airflow/orders", "task/ship"}
        alerthost.wait_for(firing=expected, seconds=LONG)
    statuses = alerthost.statuses("airflow/shop")
    assert (statuses[0], statuses[-1]) == ("firing", "resolved")
    assert statuses.count("resolved") == 1
