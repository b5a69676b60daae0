"""Waits for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

LONGEST = 60.0
"""Seconds after which a test fails."""


def wait_until(
    true: Callable[[], object], what: str = "the condition", seconds: float = LONGEST
) -> None:
    """Wait until a condition is true; fail the test after some seconds."""
    ends = time.monotonic() + seconds
    pause = 0.001
    while not true():
        if time.monotonic() > ends:
            pytest.fail(f"{what} was not true within {seconds:.0f} s")
        time.sleep(pause)
        pause = min(1.2 * pause, 0.02)  # asking costs time that the other process needs
