"""Clients and ``alerthost run`` killed at random instants: every durable alert arrives once."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Process
from size import KILLS
from spooling import PROBLEMS
from waiting import wait_until
from workspace import CHECKOUT, PLATFORM, Workspace

from alerthost_client import Client
from pagerduty_plugin.testing import FakePagerDuty

PROGRAM = Path(__file__).parents[1] / "support" / "spooling.py"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "pd_platform").write_text(f"{PLATFORM}\n", encoding="utf-8")
    with FakePagerDuty(rate_limit=0) as fake:
        fake.add_service("checkout", CHECKOUT)
        fake.add_service("platform", PLATFORM)
        workspace = Workspace(tmp_path, fake)
        workspace.configure_http()
        yield workspace


class Clients:
    """Processes that hand alerts over, each until it is killed."""

    def __init__(self, url: str, spool: Path) -> None:
        self._url = url
        self._spool = spool
        self._started = 0
        self.handed_over: list[str] = []

    def run(self, alerts: int) -> Iterator[None]:
        """Start a process; yield after each alert; kill it after some."""
        self._started += 1
        command = [sys.executable, str(PROGRAM), self._url, str(self._spool), f"p{self._started}"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin
            assert process.stdout
            for _ in range(alerts):
                self.handed_over.append(process.stdout.readline().strip())
                process.stdin.write("\n")
                process.stdin.flush()
                yield
            process.send_signal(signal.SIGKILL)
            self.handed_over += process.stdout.read().split("\n")[:-1]


def submissions(workspace: Workspace) -> list[tuple[str, str]]:
    """Return the key and the summary of each submission, in order."""
    with contextlib.closing(sqlite3.connect(workspace.folder / "alerthost.db")) as connection:
        bodies = [json.loads(row[0]) for row in connection.execute("SELECT body FROM submissions")]
    return [(body["key"], body["summary"]) for body in bodies]


@pytest.mark.sized
def test_durable_alerts_survive_every_kill_and_arrive_once(workspace: Workspace) -> None:
    chance = random.Random(KILLS)
    spool = workspace.folder / "spool"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Process(workspace))
        url = server.listens()
        configuration = workspace.folder / "alerthost.toml"
        text = configuration.read_text(encoding="utf-8")
        configuration.write_text(text.replace("127.0.0.1:0", url.removeprefix("http://")))
        clients = Clients(url, spool)
        for _ in range(KILLS):
            running = [clients.run(chance.randint(1, 40)) for _ in range(3)]
            while running:
                process = chance.choice(running)
                if next(process, running) is running:
                    running.remove(process)
                if chance.random() < 0.02:
                    server.signal(signal.SIGKILL)
                    server.end()
                    server = stack.enter_context(Process(workspace))
        server.wait_for("listening on")
        with Client(url, spool=spool) as client:
            assert client.fire("last", wait=60)
        wait_until(lambda: not list(spool.glob("*-*")))

    arrived = submissions(workspace)
    summaries = [summary for _, summary in arrived]
    assert len(summaries) == len(set(summaries))
    assert set(clients.handed_over) <= set(summaries)
    by_problem: dict[str, list[int]] = {}
    for key, summary in arrived[:-1]:
        by_problem.setdefault(key, []).append(int(summary.split()[1]))
    for numbers in by_problem.values():
        assert numbers == list(range(numbers[0] % PROBLEMS, numbers[-1] + 1, PROBLEMS))
