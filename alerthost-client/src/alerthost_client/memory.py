"""The queue in memory: bounded, and lost with its process."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence

from alerthost_client.alert import DroppedError
from alerthost_client.batch import LARGEST, Batch, Outcome, Record, Rejection

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
        self._posting: Batch | None = None
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

    def take(self) -> Batch | None:
        """Return the batch to post: the same one until it is settled."""
        with self._lock:
            if self._posting is None and self._waiting:
                records = [self._waiting.popleft()]
                size = len(records[0].line)
                while self._waiting and size + len(self._waiting[0].line) <= LARGEST:
                    size += len(self._waiting[0].line)
                    records.append(self._waiting.popleft())
                self._posting = Batch(os.urandom(16).hex(), records)
            return self._posting

    def settle(self, batch: Batch, rejections: Sequence[Rejection]) -> None:
        """Forget a batch whose alerts are all accepted or rejected."""
        reasons = {id(each.record): each.reason for each in rejections}
        with self._lock:
            for record in batch.records:
                record.outcome = reasons.get(id(record), "")
            self._posting = None
            self._count -= len(batch.records)
            self._size -= sum(len(record.line) for record in batch.records)
