"""Urgent alerts during a flood."""

from __future__ import annotations

import json
import time

import pytest
from serving import measured, post, run
from workspace import Workspace

PENDING = ("alerthost_backlog", "statements")


def _flood(*keys: str) -> str:
    mild = {"summary": "Slow", "severity": "error", "source": "x", "labels": {"team": "data"}}
    return json.dumps([{**mild, "key": key} for key in keys])


@pytest.mark.proof
def test_a_critical_alert_is_sent_before_a_flood_is_planned(workspace: Workspace, url: str) -> None:
    workspace.configure_http()
    file = workspace.folder / "alerthost.toml"
    file.write_text(
        f'{file.read_text(encoding="utf-8")}\n[store]\nurl = "{url}"\n', encoding="utf-8"
    )
    with run(workspace) as (_, host):
        for flood in (["a"] * 5000, ["a"] * 5000, [f"{number}" for number in range(5000)]):
            assert post(host, _flood(*flood)).status == 202
        urgent = json.loads(_flood("disk"))[0] | {"summary": "Full", "severity": "critical"}
        assert post(host, urgent).status == 202
        deadline = time.monotonic() + 60
        while not any(body["payload"]["summary"] == "Full" for body in workspace.bodies()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert measured(host)[PENDING] > 0
