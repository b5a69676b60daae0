"""Urgent alerts during a flood."""

from __future__ import annotations

import json

import pytest
from serving import post, run
from workspace import Workspace


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
        for flood in (["a"] * 5000, ["a"] * 5000):
            assert post(host, _flood(*flood)).status == 202
        mild = json.loads(_flood(*[f"{number}" for number in range(4999)]))
        urgent = json.loads(_flood("disk"))[0] | {"summary": "Full", "severity": "critical"}
        assert post(host, json.dumps([*mild, urgent])).status == 202
        workspace.fake.wait_for(
            lambda fake: any(b"Full" in each.body for each in fake.requests), 60
        )
    bodies = workspace.bodies()
    full = next(n for n, body in enumerate(bodies) if body["payload"]["summary"] == "Full")
    assert len({body["dedup_key"] for body in bodies[:full]}) < 100
