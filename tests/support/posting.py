"""Shared by the tests of programs that post to Alertmanager's API as docs/prometheus.md shows."""

from __future__ import annotations

import re
from pathlib import Path

from serving import TOKEN, measured
from waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "prometheus.md"


def documented(start: str, changes: dict[str, str]) -> str:
    """Return the block of the page that begins like this, with what the test has instead."""
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"```\w+\n({re.escape(start)}.*?)```", page, re.DOTALL)
    assert found, start
    text = found[1]
    for shown, here in changes.items():
        assert shown in text
        text = text.replace(shown, here)
    return text


def rules() -> str:
    """Return the documented rules, whose alert fires after a second."""
    return documented("# rules.yml\n", {"for: 1m": "for: 1s"})


def wait_for_repeats(url: str, count: int = 3) -> None:
    """Wait until more alerts were posted again."""
    before = _repeats(url)
    wait_until(lambda: _repeats(url) >= before + count, "repeats")


def _repeats(url: str) -> float:
    found = measured(url, Authorization=f"Bearer {TOKEN}")
    return found.get(("alerthost_repeated_total", "/api/v2/alerts"), 0.0)
