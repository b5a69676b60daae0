"""Counts the lines of Python that a piece of work runs: unlike time, it is the same anywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(work: Callable[[], object]) -> int:
    """Return how many lines run until `work` is done."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def is_linear(work: Callable[[int], object], size: int) -> bool:
    """Check that twice the size takes no more than about twice the steps."""
    work(size)  # imports and caches
    return steps(lambda: work(2 * size)) <= 2.7 * steps(lambda: work(size)) + 100
