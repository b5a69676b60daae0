"""Batches: the alerts of one request, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

LARGEST = 128 * 1024
"""Bytes at which a batch is full; alerthost takes 32 MiB, and parses less than 256 KiB at once."""

Outcome = Callable[[], Optional[str]]
"""Returns None while an alert is pending, "" once it is accepted, else why it was rejected."""


class Record:
    """An alert to be posted.

    Attributes:
        line: its JSON, with a newline.
        at: the byte of its file at which it begins; 0 in memory.
        outcome: see `Outcome`.
    """

    __slots__ = ("at", "line", "outcome")

    def __init__(self, line: bytes, at: int = 0) -> None:
        self.line = line
        self.at = at
        self.outcome: str | None = None


class Rejection(NamedTuple):
    """An alert that is not posted again, and why."""

    record: Record
    reason: str


class Batch(NamedTuple):
    """Alerts that are posted together.

    Attributes:
        key: the Idempotency-Key; the same key always has the same records.
        records: in order.
        cut: parts of a file that are no alerts.
    """

    key: str
    records: Sequence[Record]
    cut: Sequence[Rejection] = ()
