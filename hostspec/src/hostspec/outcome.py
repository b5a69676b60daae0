"""What one attempt to send came to, and what the attempt was told."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any

import attrs

from hostspec.incident import Delivery, Handle, frozen_handle
from hostspec.normalise import clean_text


class OutcomeKind(enum.StrEnum):
    """What is to be done after an attempt."""

    DELIVERED = "delivered"
    """The provider took it."""
    THROTTLED = "throttled"
    """Too much at once: pause the lane, never give up."""
    UNREACHABLE = "unreachable"
    """Nothing is wrong with the message: keep it."""
    FAULTED = "faulted"
    """The provider failed (5xx): keep it; set aside only when others get through."""
    MISCONFIGURED = "misconfigured"
    """A wrong key, a missing secret, a proxy that refuses: hold the lane until repaired."""
    REFUSED = "refused"
    """This message will never be taken."""
    UNCERTAIN = "uncertain"
    """It may have arrived; only of actions whose repeats are not idempotent."""

    @property
    def may_have_arrived(self) -> bool:
        """Whether the provider may hold the message after an attempt that ended like this."""
        return self in _MAY_HAVE_ARRIVED


_MAY_HAVE_ARRIVED = frozenset(
    {
        OutcomeKind.DELIVERED,
        OutcomeKind.UNREACHABLE,
        OutcomeKind.FAULTED,
        OutcomeKind.UNCERTAIN,
    }
)


def _as_text(reason: str) -> str:
    """Make a reason that every store takes, of None, too: a slip that must not cost a delivery."""
    return clean_text(reason or "")


def _as_seconds(given: Any) -> float | None:
    """Make seconds of what a plugin gave, of a header's text too; None of what is no number."""
    try:
        return float(given)
    except (TypeError, ValueError, OverflowError):
        return None


@attrs.frozen
class Outcome:
    """What one attempt to send came to.

    Attributes:
        kind: what is to be done now.
        reason: why, in the provider's own words where it gave any; no secret in it. What not
            everything can hold (NUL, lone surrogates) is replaced.
        handle: what follow-ups need; None where the provider gave nothing to keep.
        retry_after: seconds the provider asks to be left alone; None where it said nothing that
            is a number.
    """

    kind: OutcomeKind
    reason: str = attrs.field(default="", converter=_as_text)
    handle: Handle | None = attrs.field(default=None, converter=frozen_handle)
    retry_after: float | None = attrs.field(default=None, converter=_as_seconds)

    @property
    def delivered(self) -> bool:
        """Whether the provider took the message."""
        return self.kind is OutcomeKind.DELIVERED


@attrs.frozen
class SendContext:
    """What an attempt knows that the plan did not.

    Attributes:
        handle: the incident's, for follow-ups; None before the first send.
        attempt: which attempt this is, from 1.
        accepted_at: when the host took the alert; None where it did not say.
        now: when this attempt starts; None where it does not matter.
        collapsed: how many later or earlier messages this one stands for.
    """

    handle: Handle | None = attrs.field(default=None, converter=frozen_handle)
    attempt: int = 1
    accepted_at: dt.datetime | None = None
    now: dt.datetime | None = None
    collapsed: int = 0


@attrs.frozen
class Receipt:
    """What became of one delivery, as observers are told.

    Attributes:
        id: names this delivery, stable when an observer is told twice.
        delivery: what was to be sent.
        outcome: of the last attempt; None where none was made yet.
        attempts: how many were made.
        reason: why it was not sent to the end, where no outcome says so: it was dropped by hand,
            say.
    """

    id: str
    delivery: Delivery
    outcome: Outcome | None
    attempts: int = 1
    reason: str = ""
