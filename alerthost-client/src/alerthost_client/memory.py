"""The queue in memory: bounded, and lost with its process."""

from __future__ import annotations

import operator
import os
import threading
from collections import deque

from alerthost_client.alert import DroppedError
from alerthost_client.batch import LARGEST, Batch, Outcome, Progress, Record

MOST_BYTES = 32 * 1024 * 1024
"""Bytes of all queued alerts."""


class MemoryQueue:
    """A queue of alerts, for one poster.

    Args:
        most: the limit of queued alerts; beyond it new ones are dropped.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Empty the queue in a forked child; the parent posts the alerts."""
        self._lock = threading.RLock()
        self._waiting: deque[Record] = deque()
        self._batches: dict[str, Batch] = {}
        self._made = 0
        self._name = os.urandom(8).hex()
        self._count = 0
        self._size = 0

    def __len__(self) -> int:
        """Return the number of alerts that are queued or being posted."""
        return self._count

    def append(self, line: bytes) -> Outcome:
        """Queue an alert.

        Raises:
            DroppedError: the queue is full.
        """
        record = Record(line)
        with self._lock:
            if self._count >= self._most or self._size + len(line) > MOST_BYTES:
                message = f"dropped: the queue is full ({self._count} alerts); use a spool"
                raise DroppedError(message)
            self._waiting.append(record)
            self._count += 1
            self._size += len(line)
        return lambda: record.outcome

    def take(self, after: str) -> Batch | None:
        """Return the first batch whose key is after another one; None without one."""
        with self._lock:
            for key, batch in self._batches.items():
                if key > after:
                    return batch
            if not self._waiting:
                return None
            lines = [self._waiting.popleft()]
            size = len(lines[0].line)
            while self._waiting and size + len(self._waiting[0].line) <= LARGEST:
                size += len(self._waiting[0].line)
                lines.append(self._waiting.popleft())
            for number, record in enumerate(lines, start=1):
                record.number = number
            self._made += 1
            key = f"{self._made:012d}-{self._name}"
            self._batches[key] = Batch(key, lines)
            return self._batches[key]

    def settle(self, batch: Batch, progress: Progress) -> None:
        """Forget the accepted and the rejected alerts of a batch."""
        with self._lock:
            for record in progress.accepted:
                self._forget(record, "")
            for record, reason in progress.rejected:
                self._forget(record, reason)
            if progress.refused:
                refused = sorted(progress.refused, key=operator.attrgetter("number"))
                self._batches[batch.key] = Batch(batch.key, refused)
            else:
                del self._batches[batch.key]

    def _forget(self, record: Record, outcome: str) -> None:
        record.outcome = outcome
        self._count -= 1
        self._size -= len(record.line)
