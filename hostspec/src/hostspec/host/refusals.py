"""Refused requests: why they are refused, and what the log says of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from hostspec.text import shorten

_log = logging.getLogger("hostspec")

LOG_AGAIN: Final = 60.0
"""Seconds in which one client and cause have one line in the log."""

MOST_CALLERS: Final = 200
"""Clients and causes that have a line of their own at a time."""

LONGEST_TEXT: Final = 200
"""Characters of a text from a client that are shown."""

COME_AGAIN: Final = 10
"""Seconds after which a client that was turned away may post again (Retry-After)."""


class Refusal(Exception):  # noqa: N818 -- an answer, not a mistake of ours
    """A request that is refused.

    Args:
        status: of the answer.
        cause: one word for the metric; there are about 20.
        reason: a sentence for the sender and the log.
        again: the same request may be accepted later.
        faults: mistakes in the body, each with its place.
        headers: of the answer.
        error: the log has this text too, as an ERROR; for what the operator has to change.
    """

    def __init__(  # noqa: PLR0913 -- one for each thing that answer and log say
        self,
        status: int,
        cause: str,
        reason: str,
        *,
        again: bool = False,
        faults: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        error: str = "",
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.cause = cause
        self.reason = reason
        self.again = again
        self.faults = faults
        self.headers = dict(headers or {})
        self.error = error
        if again:
            self.headers["Retry-After"] = str(COME_AGAIN)

    def __str__(self) -> str:
        """Return the reason, with the first fault."""
        if not self.faults:
            return self.reason
        return f"{self.reason}: {first_of(self.faults)}"


def first_of(faults: Sequence[Mapping[str, str]]) -> str:
    """Return the first fault as text, and the number of the others."""
    place = ": ".join(filter(None, faults[0].values()))
    others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{shortened(place)}{others}"


def shortened(text: str) -> str:
    """Return a text with a bounded length."""
    return shorten(text, LONGEST_TEXT)


@attrs.define
class _Line:
    level: int
    text: str
    at: float
    left_out: int = 0


class RefusalLog:
    """Log what clients cause: one line a minute for each client and cause.

    The lines that are left out are counted, and their number is logged when the minute is over.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines: OrderedDict[tuple[str, str], _Line] = OrderedDict()
        self._lock = threading.Lock()

    def write(
        self,
        client: str,
        cause: str,
        text: str,
        level: int = logging.WARNING,
        *,
        error: Exception | None = None,
    ) -> None:
        """Log a text, or count it where the client and cause have a line already."""
        self.flush()
        with self._lock:
            key = (client, cause)
            if key not in self._lines and len(self._lines) >= MOST_CALLERS:
                key = ("", cause)
            if line := self._lines.get(key):
                line.left_out += 1
                return
            self._lines[key] = _Line(level, text, self._clock())
        _log.log(level, "%s", text, exc_info=error)  # outside the lock: a handler may do anything

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
            _log.log(line.level, "%d more like this were not logged: %s", line.left_out, line.text)
