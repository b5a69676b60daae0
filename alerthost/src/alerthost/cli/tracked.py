"""A tracked submission with the state of its deliveries, and the tally of all of them."""

from __future__ import annotations

import enum
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from alerthost.cli.output import counted, plural
from alerthost.config.states import BLOCKED
from alerthost.outbox.retry_policy import DeliveryState
from hostspec.normalisation import Repair

if TYPE_CHECKING:
    from alerthost.outbox.admin_rows import DeliveryRow, SubmissionStatus

UNTRIED: Final = 5.0
"""Seconds for the first attempt of a blocked delivery: its configuration may be fixed by now."""

QUEUED: Final = DeliveryState.QUEUED

GOOD: Final = (DeliveryState.DELIVERED, DeliveryState.COALESCED, DeliveryState.DISCARDED)
"""States of deliveries that need no attention."""


class Count(enum.StrEnum):
    """The counts of a tally beside deliveries, in the words of the summary."""

    EARLIER = "left by earlier runs"
    FAULTY = "faulty line"
    UNACCEPTED = "not accepted"
    IMPOSSIBLE = "not possible"
    FAILURE = "planning failure"
    UNPLANNED = "still to be planned"
    UNMATCHED = "unmatched"
    UNKNOWN = "unknown resolve"
    IDLE = "with nothing to send"
    SUPPRESSED = "suppressed"
    REPAIR = "repair"


_NOUNS: Final = (Count.FAULTY, Count.FAILURE, Count.UNKNOWN, Count.REPAIR)
_BAD: Final = (
    Count.FAULTY,
    Count.UNACCEPTED,
    Count.IMPOSSIBLE,
    Count.FAILURE,
    Count.UNPLANNED,
    Count.UNKNOWN,
)


@attrs.define
class Tally:
    """Counts of submissions, and of their deliveries by state."""

    submissions: int = 0
    counts: Counter[Count] = attrs.field(factory=Counter)
    deliveries: Counter[str] = attrs.field(factory=Counter)

    @property
    def all_well(self) -> bool:
        """Whether every line was an alert, and every delivery was delivered or not needed."""
        undelivered = self.deliveries.total() - sum(self.deliveries[word] for word in GOOD)
        return not (undelivered or any(self.counts[each] for each in _BAD))

    def summary(self, noun: str = "alert") -> str:
        """Return all counts in one line; `noun` names the submissions."""
        states = dict.fromkeys((*GOOD, QUEUED, BLOCKED, *sorted(self.deliveries)))
        by_state = [f"{count:,} {each}" for each in states if (count := self.deliveries[each])]
        deliveries = counted(self.deliveries.total(), "delivery")
        return ", ".join(
            (
                counted(self.submissions, noun),
                f"{deliveries} ({', '.join(by_state)})" if by_state else deliveries,
                *(
                    f"{count:,} {plural(each, count) if each in _NOUNS else each}"
                    for each in Count
                    if (count := self.counts[each])
                ),
            )
        )


@attrs.define(eq=False)
class Tracked:
    """A tracked submission.

    Attributes:
        place: where its alert was read, or what the operator asked for.
        errors: why it is not accepted.
        remark: why nothing is sent, if that is no error.
        accepted_at: on the monotonic clock.
        before: its deliveries when this run began, by id, if an earlier run accepted it.
        known_at: when there was something to show first, on the monotonic clock.
        shown: the state that each delivery was shown with, by id; None before it is shown.
    """

    place: str
    key: str = ""
    alert_status: str = ""
    repairs: tuple[Repair, ...] = ()
    errors: tuple[str, ...] = ()
    remark: str = ""
    submission_id: str | None = None
    accepted_at: float = attrs.field(factory=time.monotonic)
    before: Mapping[int, DeliveryRow] = attrs.field(factory=dict)
    status: SubmissionStatus | None = None
    known_at: float | None = None
    shown: dict[int, str] | None = None

    def accept(self, submission_id: str) -> None:
        """Record that the store accepted it."""
        self.submission_id, self.accepted_at = submission_id, time.monotonic()

    @property
    def rows(self) -> Sequence[DeliveryRow]:
        """Its deliveries, without those that an earlier run finished."""
        over = {number for number, row in self.before.items() if row.finished_at is not None}
        return [row for row in self._all_rows if row.id not in over]

    @property
    def is_idle(self) -> bool:
        """Whether it has no deliveries, as known before it was planned."""
        return bool(self.errors or self.remark)

    @property
    def is_planned(self) -> bool:
        """Whether all its deliveries are known."""
        return self.status is not None and self.status.note is not None

    @property
    def is_known(self) -> bool:
        """Whether there is something to show of each of its deliveries."""
        return self.is_idle or (self.is_planned and all(map(self.is_tried, self.rows)))

    @property
    def is_partly_known(self) -> bool:
        """Whether there is something to show."""
        return self.is_known or any(map(self.is_tried, self._all_rows))

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it without the operator."""
        return self.is_idle or (self.is_planned and all(map(self.is_settled, self.rows)))

    def is_settled(self, row: DeliveryRow) -> bool:
        """Check whether nothing more happens to a delivery without the operator."""
        if not row.blocked:
            return row.finished_at is not None
        # a lane that was blocked before is retried when an engine starts
        tried = self._attempts(row) > 0 or time.monotonic() - self.accepted_at > UNTRIED
        return tried and not row.sending

    def is_tried(self, row: DeliveryRow) -> bool:
        """Check whether there is an outcome of a delivery to show."""
        if self.is_settled(row):
            return True
        was_tried = row.id not in self.before or self._attempts(row) > 0
        return was_tried and row.outcome is not None and not row.sending

    def state_of(self, row: DeliveryRow) -> str:
        """Return the state of a delivery; the outcome of the last attempt if it is queued."""
        if row.finished_at is not None:
            return str(row.state)
        if row.outcome is not None:
            return str(row.outcome)
        return BLOCKED if row.blocked else QUEUED

    @property
    def _all_rows(self) -> Sequence[DeliveryRow]:
        return self.status.entries if self.status else ()

    def _attempts(self, row: DeliveryRow) -> int:
        """Count the attempts since this run began."""
        before = self.before.get(row.id)
        return row.attempts - (before.attempts if before else 0)
