"""Backpressure: decide whether a request fits into the backlog."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from hostspec.alert import Alert
from hostspec.delivery.desk import Desk

COUNT_AGAIN: Final = 1.0
"""Seconds after which the backlog is counted again in the store."""


class Backpressure:
    """Decide whether the alerts of a request fit into the backlog.

    The store is counted at most once a second; accepted alerts are added in between.

    Args:
        desk: counts the pending submissions and the queued deliveries.
        most: the size of the backlog.
        clock: monotonic seconds.
    """

    def __init__(self, desk: Desk, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._desk = desk
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._counted_at: float | None = None
        self._count = 0

    def admit(self, alerts: Sequence[Alert]) -> str | None:
        """Reserve room for the alerts of one request, or return the reason to refuse them.

        Raises:
            StoreError: the backlog cannot be counted.
        """
        with self._lock:
            now = self._clock()
            if self._counted_at is None or now - self._counted_at >= COUNT_AGAIN:
                backlog = self._desk.backlog()
                self._count = backlog.unplanned + backlog.waiting
                self._counted_at = now
            if self._count + len(alerts) > self._most:
                return f"the backlog is full ({self._count} of {self._most})"
            self._count += len(alerts)
            return None
