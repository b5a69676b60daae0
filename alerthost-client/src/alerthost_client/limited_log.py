"""A log with a rate limit, for lines whose number depends on the caller or the network."""

from __future__ import annotations

import logging
import threading
import time

LOG_AGAIN = 60.0
"""Seconds in which one cause logs one line."""

_log = logging.getLogger("alerthost_client")


class LimitedLog:
    """Logs one line a minute for each cause; further ones are counted."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forget all lines, in a forked child."""
        self._lock = threading.RLock()
        self._lines: dict[str, tuple[float, int]] = {}

    def write(self, level: int, cause: str, text: str, error: Exception | None = None) -> None:
        """Log a text with the traceback of an error, or count it.

        Args:
            level: of `logging`.
            cause: one of a few words.
            text: of the line.
            error: None for no traceback.
        """
        now = time.monotonic()
        with self._lock:
            at, more = self._lines.get(cause, (0.0, -1))
            if more >= 0 and now - at < LOG_AGAIN:
                self._lines[cause] = (at, more + 1)
                return
            self._lines[cause] = (now, 0)
        if more > 0:
            text = f"{text} ({more} more like this were not logged)"
        _log.log(level, "%s", text, exc_info=error)  # no lock: a handler may call this again

    def end(self, cause: str) -> None:
        """Log the next line of a cause at once."""
        with self._lock:
            self._lines.pop(cause, None)

    def flush(self) -> None:
        """Log how many lines were not logged."""
        with self._lock:
            counts = {cause: more for cause, (_, more) in self._lines.items() if more > 0}
            self._lines.clear()
        for cause, more in counts.items():
            _log.warning("%d more lines about %s were not logged", more, cause)
