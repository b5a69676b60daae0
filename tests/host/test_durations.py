"""Durations of the configuration file."""

from __future__ import annotations

import pytest
from workspace import Workspace

from alerthost.config.durations import in_words, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds", "words"),
    [
        ("90s", 90, "1m30s"),
        ("5m", 300, "5m"),
        ("1h30m", 5400, "1h30m"),
        (" 2d ", 172_800, "2d"),
        ("1d1s", 86_401, "1d1s"),
        ("0s", 0, "0s"),
    ],
)
def test_a_duration_is_read_and_written(text: str, seconds: float, words: str) -> None:
    assert parse_duration(text) == seconds
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('"5"', "is not a duration; use for example 90s, 5m or 1h30m"),
        ('"5min"', "is not a duration; use for example 90s, 5m or 1h30m"),
        ('"30m1h"', "is not a duration; use for example 90s, 5m or 1h30m"),
        ('"59s"', "is too short; the least is 1m"),
        ('"366d"', "is too long; the most is 365d"),
        ("300", "must be text, not the number 300"),
    ],
)
def test_a_faulty_duration_of_a_rule_is_reported(
    workspace: Workspace, value: str, reason: str
) -> None:
    workspace.configure(('name = "Pages"\n', f'name = "Pages"\nexpire_after = {value}\n'))
    run = workspace.alerthost("check")
    assert run.returncode == 2
    assert run.stderr == f"alerthost.toml, line 16: rule 'Pages': expire_after: {reason}\n"


def test_an_empty_duration_of_a_rule_is_none(workspace: Workspace) -> None:
    workspace.configure(('name = "Pages"\n', 'name = "Pages"\nexpire_after = ""\nfor = ""\n'))
    assert workspace.alerthost("check").returncode == 0
