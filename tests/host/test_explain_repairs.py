"""``alerthost explain`` shows every repair of an alert."""

from __future__ import annotations

import json
from typing import Any

from workspace import Workspace

LABELS = {"labels": {"team": "data"}}


def _deep(levels: int) -> Any:
    return {"in": _deep(levels - 1)} if levels else "bottom"


ALERTS: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"key": "db-3/disk", "summary": "   ", "severity": "Fatal", "source": " "},
        [
            "summary: missing or blank; replaced by the key",
            "source: missing or blank, PagerDuty needs one; 'unknown' is used instead",
        ],
    ),
    (
        {
            "key": "db-4/disk",
            "summary": "Disk full \U0001f9ef " * 90,
            "source": None,
            "severity": "",
        },
        [
            "severity: missing; taken as error",
            "summary: 1080 characters, PagerDuty takes 1024; cut",
            "source: missing or blank, PagerDuty needs one; 'unknown' is used instead",
        ],
    ),
    (
        {"key": "k" * 300},
        ["key: 300 characters, PagerDuty takes 255; its end became a hash"],
    ),
    (
        {
            "key": "web/links",
            "links": [{"href": " "}, {"href": "https://runbooks.example/web", "text": " "}, "h"],
            "images": [{"src": "http://graphs.example/a.png", "alt": "Latency"}, {"src": ""}],
        },
        [
            'links[0]: has no href; dropped: {"href": " "}',
            "links[2]: text where an object belongs; taken as its href",
            'images[1]: has no src; dropped: {"src": ""}',
            "images[0]: PagerDuty takes images over https only; became a link",
        ],
    ),
    (
        {"key": "web/times", "started_at": "2026-11-23 04:05:06", "updated_at": "yesterday"},
        [
            "started_at: has no time zone; taken as UTC",
            'updated_at: "yesterday" is not an ISO 8601 time; kept in the details',
        ],
    ),
    (
        {
            "key": "web/details",
            "details": "free text",
            "status": " ",
            "runbook": "https://r.example",
        },
        [
            "details: text where an object belongs; kept under 'details'",
            "runbook: not a field of an alert; moved into its details",
            "status: blank; taken as firing",
        ],
    ),
    (
        {
            "key": "web/numbers",
            "details": {
                "ratio": float("nan"),
                "most": float("-inf"),
                "half": "\ud83d",
                "deep": _deep(150),
            },
        },
        [
            "details.ratio: NaN is no JSON number and became text",
            "details.most: -Infinity is no JSON number and became text",
            "details.half: NUL and lone surrogates were replaced",
            "details.deep.in.in.",
        ],
    ),
    (
        {"key": "web/labels", "labels": {"team": "data", "port": 80, "up": True, "none": None}},
        [
            "labels.port: a number became text",
            "labels.up: true or false became text",
            "labels.none: null became text",
        ],
    ),
    (
        {"key": "web/large", "details": {"log": "x" * 511_990, "host": "web-1"}},
        ["details.log: 511,992 bytes; cut to "],
    ),
]


def _given() -> str:
    usual = {"severity": "critical", "source": "web-1", "summary": "Down", **LABELS}
    return "".join(f"{json.dumps(usual | alert)}\n" for alert, _ in ALERTS)


def test_every_repair_is_shown(workspace: Workspace) -> None:
    run = workspace.alerthost("explain", given=_given())

    assert (run.returncode, run.stderr) == (0, "")
    parts = run.stdout.split("\n\n")[: len(ALERTS)]
    for part, (_, repairs) in zip(parts, ALERTS, strict=True):
        for repair in repairs:
            assert f"\n  repaired {repair}" in part
        assert part.count("  trigger to acme/") == 2


def test_a_long_text_is_shortened(workspace: Workspace) -> None:
    run = workspace.alerthost("explain", given=_given())

    assert max(len(line) for line in run.stdout.splitlines()) < 1700
    assert '"log": "' + "x" * 1500 + "… (" in run.stdout
    assert "more characters; see --json" in run.stdout


def test_pagerduty_accepts_repaired_alerts(workspace: Workspace) -> None:
    run = workspace.alerthost("send", given=_given())

    assert run.returncode == 0
    assert len(workspace.fake.incidents) == 2 * len(ALERTS)
