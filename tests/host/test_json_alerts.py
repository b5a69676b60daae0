"""Alerts in files: JSON lines, lists, and JSON over several lines."""

from __future__ import annotations

import json

import pytest

from alerthost.ingest import json_alerts

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
