"""A log with a rate limit, for lines whose number depends on input from outside."""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

import attrs

from hostspec.errors import log_message
from hostspec.forking import Locked

LOG_AGAIN: Final = 60.0
"""Seconds in which one source, cause and kind log one line."""

MOST_SOURCES: Final = 200
"""The maximum number of lines that are limited separately at a time."""

MOST_KINDS: Final = 10
"""The maximum number of kinds of one source and cause that are limited separately."""


@attrs.define
class _Line:
    level: int
    text: str
    at: float
    mixed: bool
    left_out: int = 0

    def summary(self) -> str:
        like = "of this and other kinds" if self.mixed else "like this"
        return f"{self.left_out} more {like} were not logged: {self.text}"


class LimitedLog(Locked):
    """Logs one line a minute for each source, cause and kind.

    Further lines are counted, and their number is logged when the minute is over.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._log = logger
        self._clock = clock
        self._lines: OrderedDict[tuple[str, str, str], _Line] = OrderedDict()
        self._kinds: Counter[tuple[str, str]] = Counter()

    def write(  # noqa: PLR0913 -- three keys of the limit, and the line
        self,
        source: str,
        cause: str,
        text: str,
        level: int = logging.WARNING,
        *,
        kind: str = "",
        error: Exception | None = None,
    ) -> None:
        """Log a text, or count it if the source, cause and kind have a line already.

        The source is the origin of the input, such as a plugin or a client. The cause is one of a
        few reasons for the line. The kind is a finer distinction; it may come from the input, as
        only a few are limited separately. The traceback of an error is logged, too.
        """
        self.flush()
        with self._lock:
            key = (source, cause, kind)
            if key not in self._lines:
                if len(self._lines) >= MOST_SOURCES:
                    key = ("", cause, "")
                elif self._kinds[source, cause] >= MOST_KINDS:
                    key = (source, cause, "")
            if line := self._lines.get(key):
                line.left_out += 1
                return
            self._lines[key] = _Line(level, text, self._clock(), mixed=key[2] != kind)
            self._kinds[key[:2]] += 1
        # outside the lock: a log handler may call this again
        log_message(self._log, level, "%s", text, error=error)

    def flush(self, *, everything: bool = False) -> None:
        """Log how many lines were left out in past minutes, or in all."""
        if not self._lines:
            return
        over = []
        with self._lock:
            now = self._clock()
            while self._lines:
                line = next(iter(self._lines.values()))
                if not everything and now - line.at < LOG_AGAIN:
                    break
                (source, cause, _), _ = self._lines.popitem(last=False)
                self._kinds[source, cause] -= 1
                if not self._kinds[source, cause]:
                    del self._kinds[source, cause]
                if line.left_out:
                    over.append(line)
        for line in over:
            log_message(self._log, line.level, "%s", line.summary())
