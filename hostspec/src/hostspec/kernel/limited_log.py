"""Rate-limits log lines that outside input causes."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import attrs

LOG_AGAIN: Final = 60.0
"""Seconds in which one source and cause have one line in the log."""

MOST_SOURCES: Final = 200
"""Sources and causes that have a line of their own at a time."""


@attrs.define
class _Line:
    level: int
    text: str
    at: float
    left_out: int = 0


class LimitedLog:
    """Log one line a minute for each source and cause.

    The lines that are left out are counted, and their number is logged when the minute is over.

    Args:
        logger: takes the lines.
        clock: returns monotonic seconds.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = logger
        self._clock = clock
        self._lines: OrderedDict[tuple[str, str], _Line] = OrderedDict()
        self._lock = threading.Lock()

    def write(
        self,
        source: str,
        cause: str,
        text: str,
        level: int = logging.WARNING,
        *,
        error: Exception | None = None,
    ) -> None:
        """Log a text, or count it where the source and cause have a line already."""
        self.flush()
        with self._lock:
            key = (source, cause)
            if key not in self._lines and len(self._lines) >= MOST_SOURCES:
                key = ("", cause)
            if line := self._lines.get(key):
                line.left_out += 1
                return
            self._lines[key] = _Line(level, text, self._clock())
        self._log.log(
            level, "%s", text, exc_info=error
        )  # outside the lock: a handler may do anything

    def flush(self, *, everything: bool = False) -> None:
        """Log how many lines were left out in the minutes that are over, or in all."""
        over = []
        with self._lock:
            now = self._clock()
            while self._lines:
                line = next(iter(self._lines.values()))
                if not everything and now - line.at < LOG_AGAIN:
                    break
                self._lines.popitem(last=False)
                if line.left_out:
                    over.append(line)
        for line in over:
            self._log.log(
                line.level, "%d more like this were not logged: %s", line.left_out, line.text
            )
