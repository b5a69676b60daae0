"""Web applications and ``alerthost run`` are killed; each failed request is accepted once."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from pathlib import Path

import pytest
from serving import Process
from size import KILLS
from waiting import wait_until
from webserving import SERVERS, Served
from workspace import CHECKOUT, PLATFORM, Workspace

from pagerduty_plugin.testing import FakePagerDuty


def orders(folder: Path) -> list[int]:
    """Return the numbers of the orders whose alerts were accepted, in order."""
    with contextlib.closing(sqlite3.connect(folder / "alerthost.db")) as connection:
        bodies = [json.loads(row[0]) for row in connection.execute("SELECT body FROM submissions")]
    return [int(body["summary"].rpartition("order ")[2]) for body in bodies]


@pytest.mark.proof
@pytest.mark.parametrize("name", SERVERS)
def test_killed_applications_lose_no_alert(name: str, tmp_path: Path) -> None:
    """The network is away while alerthost is down."""
    (tmp_path / "pd_platform").write_text(f"{PLATFORM}\n", encoding="utf-8")
    with contextlib.ExitStack() as stack:
        fake = stack.enter_context(FakePagerDuty(rate_limit=0))
        fake.add_service("checkout", CHECKOUT)
        fake.add_service("platform", PLATFORM)
        workspace = Workspace(tmp_path, fake)
        workspace.configure_http(http='[spool]\npath = "spool"')
        server = stack.enter_context(Process(workspace))
        url = server.listens()
        file = tmp_path / "alerthost.toml"
        file.write_text(file.read_text().replace("127.0.0.1:0", url.removeprefix("http://")))
        variables = {"ALERTHOST_URL": url, "ALERTHOST_SPOOL": tmp_path / "spool", "WINDOW": 0}
        number = 0
        for _ in range(max(1, KILLS // 10)):
            for is_up in (True, False):
                served = stack.enter_context(Served(SERVERS[name], **variables))
                for _ in range(5):
                    number += 1
                    assert served.get(f"/orders/{number}/").status == 500
                if is_up:
                    server.signal(signal.SIGKILL)
                    server.end()
                served.__exit__()
            server = stack.enter_context(Process(workspace))
            server.wait_for("listening on")
        wait_until(lambda: len(orders(tmp_path)) == number, "that all alerts are accepted")
        assert orders(tmp_path) == list(range(1, number + 1))
