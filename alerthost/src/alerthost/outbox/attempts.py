"""The attempts to send a delivery, which are kept with it as a log: the first and the last ones."""

from __future__ import annotations

import json
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox.incident_store import StoredIncident
from alerthost.outbox.serialisation import dump
from hostspec.delivery import Handle, Outcome, OutcomeKind
from hostspec.text import shorten

FIRST, LAST = 5, 15
"""Attempts that are kept of a delivery, at most: retries never end, and must not fill the disk."""

LONGEST_REASON: Final = 500
"""Characters of a reason that are kept."""


@attrs.frozen
class PastAttempt:
    """An attempt that has ended; times are in seconds of the epoch.

    Attributes:
        number: from 1.
        seconds: that it took; None if it is not known.
        reason: in the provider's words where it sent any; shortened.
        accepted_at: when its delivery counted as accepted then.
        coalesced: number of deliveries that had been coalesced into it.
        handle: of its incident then; None before it was opened.
    """

    number: int
    started_at: float
    seconds: float | None
    outcome: OutcomeKind
    reason: str
    accepted_at: float
    coalesced: int
    handle: Handle | None


def add(log: str, attempt: PastAttempt) -> str:
    """Return a log with one more attempt, as stored; it replaces an entry of the same number."""
    known = [each for each in read(log) if each.number != attempt.number]
    every = sorted([*known, attempt], key=lambda each: each.number)
    return dump([*map(_entry, (*every[:FIRST], *every[FIRST:][-LAST:]))])


def add_leased(row: sa.Row[Any], outcome: Outcome, incident: StoredIncident) -> str:
    """Return the log of a leased delivery's row with its attempt, of unknown duration."""
    attempt = PastAttempt(
        number=row.attempts,
        started_at=row.tried_at,
        seconds=None,
        outcome=outcome.kind,
        reason=outcome.reason,
        accepted_at=row.accepted_at,
        coalesced=row.coalesced,
        handle=incident.incident.handle,
    )
    return add(row.attempt_log, attempt)


def _entry(attempt: PastAttempt) -> tuple[object, ...]:
    return (
        attempt.number,
        round(attempt.started_at, 3),
        None if attempt.seconds is None else round(attempt.seconds, 3),
        attempt.outcome,
        shorten(attempt.reason, LONGEST_REASON),
        attempt.accepted_at,
        attempt.coalesced,
        attempt.handle,
    )


def read(log: str) -> tuple[PastAttempt, ...]:
    """Return the attempts of a log, in order; none where it cannot be read."""
    try:
        return tuple(
            PastAttempt(number, started_at, seconds, OutcomeKind(outcome), *others)
            for number, started_at, seconds, outcome, *others in json.loads(log or "[]")
        )
    except (ValueError, TypeError):
        return ()
