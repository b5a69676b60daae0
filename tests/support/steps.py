"""Counts the lines of Python that a function runs, which unlike time does not vary."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(work: Callable[[], object]) -> int:
    """Return the number of lines that run until `work` returns."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    gc.collect()  # finalizers of earlier tests' objects would be counted
    gc.disable()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


def is_linear(work: Callable[[int], object], size: int) -> bool:
    """Check that twice the size takes no more than about twice the steps."""
    work(size)  # imports and caches
    return steps(lambda: work(2 * size)) <= 2.2 * steps(lambda: work(size)) + 100
