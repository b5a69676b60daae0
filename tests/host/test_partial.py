"""JSON lines that are accepted one by one (``/alerts?partial=true``)."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Mapping
from typing import Any

import pytest
from serving import Reply, Start, ask, measured
from workspace import Workspace

from alerthost_client import Client

LINES = {"Content-Type": "application/x-ndjson"}
WARNING = {"severity": "warning", "labels": {"team": "data"}}
CRITICAL = {"severity": "critical", "labels": {"team": "data"}}


def post_lines(url: str, *alerts: object, path: str = "/alerts?partial=true", **more: str) -> Reply:
    body = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in alerts)
    return ask(url, "POST", path, body, {**LINES, **more})


def alert(key: str, **fields: Any) -> Mapping[str, Any]:
    return {"key": key, **WARNING, **fields}


def count_submissions(workspace: Workspace) -> int:
    with contextlib.closing(sqlite3.connect(workspace.folder / "alerthost.db")) as database:
        return int(database.execute("SELECT count(*) FROM submissions").fetchone()[0])


def test_faulty_lines_cost_no_other_one(
    start: Start, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    url = start().url
    reply = post_lines(
        url,
        alert("a", **CRITICAL),
        "",
        '{"key": ',
        alert("b", status="on"),
        alert("c", **CRITICAL),
        "[]",
    )
    assert (reply.status, "retry-after" in reply.headers) == (202, False)
    assert reply.json["accepted"] == 2
    assert [each["line"] for each in reply.json["faulty"]] == [3, 4, 6]
    assert "not a JSON object" in reply.json["faulty"][0]["reason"]
    assert '"on" is unknown' in reply.json["faulty"][1]["reason"]
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 4, 60)
    assert {each.dedup_key for each in workspace.fake.incidents} == {"a", "c"}
    assert "skipped 3 faulty alerts of 5 posted to /alerts from 127.0.0.1: line 3: " in caplog.text
    assert measured(url)["alerthost_faulty_alerts_total", "/alerts"] == 3


def test_what_does_not_fit_costs_no_other_one(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    url = start(http="backlog = 8", works=False).url
    assert post_lines(url, alert("a"), alert("b"), alert("c")).json == {"accepted": 3}
    reply = post_lines(url, alert("d"), alert("e", **CRITICAL), alert("f"))
    reason = reply.json["retry"]["reason"]
    assert reply.json == {"accepted": 1, "retry": {"lines": [1, 3], "reason": reason}}
    assert reason.startswith("backlog full for the default scope ")
    assert (reply.status, reply.headers["retry-after"]) == (202, "10")
    text = "refused 2 alerts of 3 posted to /alerts from 127.0.0.1, until they are posted again: "
    assert text + reason in caplog.text
    assert measured(url)["alerthost_refused_alerts_total", "/alerts"] == 2


def test_an_urgent_state_brings_along_the_earlier_ones(start: Start) -> None:
    url = start(http="backlog = 16", works=False).url
    assert post_lines(url, *map(alert, "abcdef")).json == {"accepted": 6}
    reply = post_lines(url, alert("g"), alert("h"), alert("h", **CRITICAL))
    assert (reply.json["accepted"], reply.json["retry"]["lines"]) == (2, [1])


def test_a_line_is_accepted_once_under_its_key_and_number(
    start: Start, workspace: Workspace
) -> None:
    url = start().url
    first, second, key = alert("a"), alert("b"), {"Idempotency-Key": "7"}
    assert post_lines(url, first, second, **key).json == {"accepted": 2}
    assert post_lines(url, "", second, **key).json == {"accepted": 1}
    assert count_submissions(workspace) == 2
    assert post_lines(url, second, **key).json == {"accepted": 1}  # the first line is another one
    assert post_lines(url, second).json == {"accepted": 1}
    assert count_submissions(workspace) == 4


@pytest.mark.parametrize(
    ("path", "kind", "status", "error"),
    [
        ("/alerts?partial=yes", LINES, 400, "partial: yes is unknown; use partial=true"),
        (
            "/alerts?partial=true",
            {"Content-Type": "application/json"},
            415,
            "missing or unsupported Content-Type; use application/jsonl",
        ),
    ],
)
def test_partial_needs_json_lines(
    start: Start, path: str, kind: dict[str, str], status: int, error: str
) -> None:
    reply = ask(start().url, "POST", path, '{"key": "a"}', kind)
    assert (reply.status, reply.json["error"][: len(error)]) == (status, error)


def test_the_number_of_lines_is_limited(start: Start) -> None:
    reply = post_lines(start(http="most_alerts = 2").url, alert("a"), alert("b"), alert("c"))
    assert reply.status == 413
    assert "http.most_alerts" in reply.json["error"]


def test_a_critical_alert_of_a_client_does_not_wait_for_a_flood(start: Start) -> None:
    url = start(http="backlog = 8", works=False).url
    with Client(url, flush_within=0) as client:
        for number in range(30):
            client.fire(f"flood-{number}", **WARNING)
        assert client.fire("page", **CRITICAL, wait=60)
        assert client.stats.pending
