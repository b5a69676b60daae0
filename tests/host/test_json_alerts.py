"""Alerts in files: JSON lines, lists, and JSON over several lines."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from alerthost.ingest import json_alerts

NOON = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)

ONE, TWO = {"key": "a", "labels": {"x": "{"}}, {"key": "b"}


def read(text: str) -> list[tuple[str, str]]:
    """Return the location and the key of each alert, or its fault in place of the key."""
    found = json_alerts.parse_lines("", text.encode().splitlines(keepends=True))
    return [
        (each.location, each.alert.key if each.alert else str(each.faults[0])[:20])
        for each in found
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps(ONE) + "\n\n" + json.dumps(TWO), [("line 1", "a"), ("line 3", "b")]),
        (json.dumps([ONE, TWO]), [("line 1, alert 1", "a"), ("line 1, alert 2", "b")]),
        (json.dumps([ONE, TWO], indent=2), [("line 1, alert 1", "a"), ("line 1, alert 2", "b")]),
        (json.dumps(ONE, indent=1) + "\n" + json.dumps(TWO), [("line 1", "a"), ("line 7", "b")]),
        ('[{"key": "a"},\n{"key": "b"}]', [("line 1, alert 1", "a"), ("line 1, alert 2", "b")]),
        ("[]", [("line 1", "an empty list; expec")]),
        ('[1, {"key": "b"}]', [("line 1, alert 1", "not a JSON object"), ("line 1, alert 2", "b")]),
        ('{"key": "a",\n{"key": "b"}', [("line 1", "not a JSON object: E"), ("line 2", "b")]),
        ('{"key": "a"\n{"key": "b"}', [("line 1", "not a JSON object: E"), ("line 2", "b")]),
        ('{"key": "a\n{"key": "b"}', [("line 1", "not a JSON object: U"), ("line 2", "b")]),
        ('[{"key": "a"}\n', [("line 1", "not a JSON object: E")]),
        ('[\n{"key": "a"},\n', [("line 1", "not a JSON object: E")]),
        ("}\n" + json.dumps(TWO), [("line 1", "not a JSON object: E"), ("line 2", "b")]),
    ],
)
def test_alerts_are_parsed(text: str, found: list[tuple[str, str]]) -> None:
    assert read(text) == found


@pytest.mark.parametrize(
    ("expires_at", "read", "repairs"),
    [
        ("2026-11-30T12:05:00Z", NOON + dt.timedelta(minutes=5), []),
        (None, None, []),
        ("", None, []),
        (
            "2026-11-30T12:00:00Z",
            NOON,
            ["expires_at: is in the past; the alert expires in a minute"],
        ),
        (
            "0001-01-01T00:00:00Z",
            None,
            ['expires_at: "0001-01-01T00:00:00Z" is a time that was never set; taken as missing'],
        ),
        (
            "soon",
            None,
            ['expires_at: "soon" is not an ISO 8601 time; kept in the details'],
        ),
    ],
)
def test_the_expiry_is_read_beside_the_alert(
    expires_at: str | None, read: dt.datetime | None, repairs: list[str]
) -> None:
    text = json.dumps({"key": "a", "summary": "A", "severity": "error", "expires_at": expires_at})
    for body in (text, f"[{text}]", f"{text}\n{text}"):
        parsed = json_alerts.parse_body(body.encode())[0].as_of(NOON)
        assert parsed.expires_at == read
        assert parsed.alert is not None
        assert [f"{each.field}: {each.reason}" for each in parsed.alert.repairs] == repairs
        kept = {"expires_at": "soon"} if expires_at == "soon" else {}
        assert parsed.alert.details == kept


def test_an_invalid_alert_with_an_expiry_is_reported() -> None:
    [parsed] = json_alerts.parse_body(b'{"expires_at": "2026-11-30T12:05:00Z"}')
    assert parsed.as_of(NOON).alert is None
    assert [each.path for each in parsed.faults] == ["key"]
