"""The memory that ``alerthost`` needs."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Process, post, run
from waiting import wait_until
from workspace import CHECKOUT, PLATFORM, Workspace, line

from pagerduty_plugin.testing import FakePagerDuty

GIB = 1 << 30
MANY = 120

WIDE = "\U0001f525"
"""A character of four bytes, in UTF-8 and in memory."""


def _alert(number: int) -> dict[str, Any]:
    """Return an alert of 4 MB; each sixtieth has the maximum size and number of values."""
    key = f"large-{number}"
    alert = {"key": key, "summary": key, "severity": "error", "labels": {"team": "data"}}
    if number % 60:
        return {**alert, "details": dict.fromkeys("ab", WIDE * 490000)}
    return {
        **alert,
        "labels": {"team": "data", **{f"{each}": WIDE * 65_000 for each in range(30)}},
        "details": {"values": [[]] * 190_000, **dict.fromkeys("abcd", WIDE * 500000)},
        "links": [{"href": f"https://example.org/{each}/{'é' * 60_000}"} for each in range(30)],
    }


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Workspace]:
    """Configure one rule and one service, without a rate limit of the fake PagerDuty."""
    with FakePagerDuty(services={"checkout": CHECKOUT}, rate_limit=0) as fake:
        workspace = Workspace(tmp_path, fake)
        (tmp_path / "pd_platform").write_text(PLATFORM, encoding="utf-8")
        workspace.configure_http(
            ('["checkout", "platform"]', '["checkout"]'),
            ("\n[installations.settings]", "\n[installations.settings]\nrate_limit = 10000"),
        )
        yield workspace


def _limit(process: Process) -> None:
    resource.prlimit(process.popen.pid, resource.RLIMIT_DATA, (GIB, GIB))


@pytest.mark.proof
def test_one_gibibyte_is_enough(large: Workspace) -> None:
    """A critical alert behind many large ones is sent first; then the others are."""
    with run(large, "--no-workers") as (host, url):
        _limit(host)
        for number in range(MANY):
            body = json.dumps(_alert(number), ensure_ascii=False)
            assert post(url, body).status == 202
        assert post(url, line("disk", summary="Full")).status == 202
    with run(large) as (host, _):
        _limit(host)
        for count in range(1, MANY + 2):
            wait_until(lambda: len(large.fake.requests) >= count, f"{count} events")  # noqa: B023
        assert "Memory" not in host.log
    first, *others = (body["payload"]["summary"] for body in large.bodies())
    assert first == "Full"
    assert sorted(others) == sorted(f"large-{number}" for number in range(MANY))
