"""Pytest fixtures; opt in by ``pytest_plugins = ["pagerduty_plugin.testing.fixtures"]``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pagerduty_plugin.testing.fake import FakePagerDuty


@pytest.fixture
def fake_pagerduty() -> Iterator[FakePagerDuty]:
    """Return a fresh fake PagerDuty on a free loopback port, stopped after the test."""
    with FakePagerDuty() as fake:
        yield fake
