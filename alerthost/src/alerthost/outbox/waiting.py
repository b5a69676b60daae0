"""Waits for the results of an engine's work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from alerthost.outbox.admin import Admin
from alerthost.outbox.admin_rows import SubmissionStatus
from alerthost.outbox.dispatcher import Dispatcher
from alerthost.outbox.workers import Signal
from hostspec.forking import of_its_process

POLL: Final = 0.5
"""Seconds between two checks for changes by other processes."""

LOOK_AGAIN: Final = 0.05
"""Seconds after which `wait_idle` looks again."""


@of_its_process
class Waiting:
    """The part of an engine that waits."""

    def __init__(self, admin: Admin, dispatcher: Dispatcher, changes: Signal) -> None:
        self.admin = admin
        self._dispatcher = dispatcher
        self._changes = changes

    def wait(self, submission_ids: Sequence[str], timeout: float) -> tuple[SubmissionStatus, ...]:
        """Wait until submissions are settled.

        Returns:
            the status of each, in their order; after ``timeout`` seconds, some are not settled.
        """
        deadline = time.monotonic() + timeout
        while True:
            seen = self._changes.count
            statuses = self.admin.statuses(submission_ids)
            left = deadline - time.monotonic()
            if left <= 0 or all(status.settled for status in statuses):
                return statuses
            self._changes.wait(seen, min(left, POLL))

    def wait_change(self, seen: int, timeout: float) -> int:
        """Wait until this engine changes something that `admin` shows.

        Changes by other processes are not noticed.

        Args:
            seen: the number that the last call returned, which differs after each change; 0 for
                the first one.
            timeout: seconds.
        """
        return self._changes.wait(seen, timeout)

    def wait_idle(self, timeout: float) -> bool:
        """Wait until the rest is due later, or needs the operator; return whether in time."""
        deadline = time.monotonic() + timeout
        seen = self._changes.count
        while self._dispatcher.is_busy():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            seen = self._changes.wait(seen, min(left, LOOK_AGAIN))
        return True
