"""Batches: the alerts of one request, in order."""

from __future__ import annotations

import json
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
        number: of its line in the batch, from 1.
        at: the byte of its file at which it begins; 0 in memory.
        outcome: see `Outcome`.
    """

    __slots__ = ("at", "line", "number", "outcome")

    def __init__(self, line: bytes, number: int = 0, at: int = 0) -> None:
        self.line = line
        self.number = number
        self.at = at
        self.outcome: str | None = None

    def read(self) -> State:
        """Read what decides whether the alert has to wait for an earlier state."""
        alert = json.loads(self.line)
        identity = str(alert.get("scope") or ""), str(alert.get("key"))
        status = str(alert.get("status", "firing"))
        return State(identity, status, str(alert.get("severity")) == "critical")


Identity = tuple[str, str]
"""The scope and the key of an alert."""


class State(NamedTuple):
    """A state of an alert.

    Attributes:
        identity: of the alert.
        status: firing, acknowledged or resolved.
        is_critical: whether its severity is critical.
    """

    identity: Identity
    status: str
    is_critical: bool

    def supersedes(self, earlier: str) -> bool:
        """Check that an earlier status of the alert matters no more once this state is known."""
        if self.status == "resolved":
            return True
        return self.is_critical and self.status == earlier == "firing"


class Rejection(NamedTuple):
    """An alert that is not posted again, and why."""

    record: Record
    reason: str


class Progress:
    """What became of the alerts of a batch.

    Attributes:
        accepted: by alerthost.
        rejected: are not posted again.
        refused: are to be posted again later; the others need not wait for them.
        pause: seconds until then.
    """

    def __init__(self) -> None:
        self.accepted: list[Record] = []
        self.rejected: list[Rejection] = []
        self.refused: list[Record] = []
        self.pause = 0.0

    @property
    def moved(self) -> bool:
        """Whether any alert was accepted or rejected."""
        return bool(self.accepted or self.rejected)


class Batch(NamedTuple):
    """Alerts that are posted together.

    Attributes:
        key: the Idempotency-Key. An alert is accepted once under the key and the number of its
            line. The keys of a queue are in its order.
        records: in order.
        cut: parts of a file that are no alerts.
    """

    key: str
    records: Sequence[Record]
    cut: Sequence[Rejection] = ()


def body_of(records: Sequence[Record]) -> bytes:
    """Build a body in which each alert has the line of its number; the others are blank."""
    lines = [b"\n"] * records[-1].number
    for record in records:
        lines[record.number - 1] = record.line
    return b"".join(lines)
