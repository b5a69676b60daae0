"""Decides the next step of a delivery, its incident and its lane after an attempt. Pure."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from typing import Final

import attrs

from hostspec.delivery import IncidentState, Operation, Outcome, OutcomeKind

FIRST_RETRY: Final = 1.0
"""Most seconds until the first retry."""

LONGEST_RETRY: Final = 60.0
"""Most seconds between two tries."""

BLOCKED_RETRY: Final = 30.0
"""Seconds after which a blocked delivery is tried again: the operator may have fixed the cause."""

LONGEST_PAUSE: Final = 300.0
"""Most seconds of a pause that a provider may ask for; a longer one is ignored."""

LONGEST_PROBE: Final = 10.0
"""Most seconds between two attempts in a channel that fails."""

FIRST_TRY: Final = 2.0
"""Most seconds that a delivery waits for its first attempt in a channel that fails."""

FEWEST_TRIES: Final = 8
"""Tries before a delivery may be dead-lettered."""


class DeliveryState(enum.StrEnum):
    """How far a delivery has come."""

    QUEUED = "queued"
    """To be sent, or in flight."""
    DELIVERED = "delivered"
    REJECTED = "rejected"
    """The provider will never accept it."""
    UNCERTAIN = "uncertain"
    """It may have arrived, and a repeat would be a second message."""
    DEAD = "dead"
    """Dead-lettered: it failed again and again while other deliveries got through."""
    ORPHANED = "orphaned"
    """The key that opened its incident is no longer configured."""
    COALESCED = "coalesced"
    """A later queued delivery covers it."""
    DISCARDED = "discarded"
    """The operator discarded it, or its problem was over before it was sent."""


GIVEN_UP: Final = (
    DeliveryState.DEAD,
    DeliveryState.REJECTED,
    DeliveryState.UNCERTAIN,
    DeliveryState.ORPHANED,
)
"""States of deliveries that the operator may replay."""


class LaneState(enum.StrEnum):
    """Whether deliveries of a lane, or of one of its channels, get through."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    """The last attempt failed; it is retried."""
    BLOCKED = "blocked"
    """Blocked until the operator fixes the configuration."""


@attrs.frozen
class Decision:
    """The next step after an attempt.

    Attributes:
        state: the delivery's from now on.
        delivery_due: when it may be tried again.
        lane: the channel's state from now on; None where the attempt is no evidence of it,
            because other deliveries get through.
        lane_due: when a delivery of the channel may be tried again.
        first_due: when a delivery of the channel that was never tried may be tried.
        paused_until: no message of the same budgets before this moment; 0 for none.
        own_failures: consecutive failures that are the delivery's own.
    """

    state: DeliveryState
    delivery_due: float
    lane: LaneState | None
    lane_due: float
    first_due: float
    paused_until: float = 0.0
    own_failures: int = 0


ANSWERED: Final = {
    OutcomeKind.DELIVERED: DeliveryState.DELIVERED,
    OutcomeKind.REJECTED: DeliveryState.REJECTED,
}
"""States after a final answer, which shows that the channel works."""


def classify(  # noqa: PLR0913 -- one argument for each thing that matters
    outcome: Outcome,
    now: float,
    *,
    attempts: int,
    failures: int,
    own_failures: int = 0,
    others_get_through: bool = False,
    jitter: Callable[[], float] = random.random,
) -> Decision:
    """Decide the next step after an attempt.

    Args:
        outcome: of the attempt.
        now: when it ended, in seconds of the epoch.
        attempts: how many were made for the delivery, with this one.
        failures: consecutive failures of the channel before this one.
        own_failures: consecutive failures that are the delivery's own, before this one.
        others_get_through: other deliveries show that the failure is the delivery's own.
        jitter: returns a random number from 0 to 1.
    """
    kind = outcome.kind
    if kind in ANSWERED:
        return Decision(ANSWERED[kind], now, LaneState.HEALTHY, now, now)
    unhealthy = LaneState.UNHEALTHY
    if kind is OutcomeKind.THROTTLED:
        until = now + _pause(outcome.retry_after, failures, jitter)
        queued = DeliveryState.QUEUED
        return Decision(queued, until, unhealthy, until, until, until, own_failures)
    uncertain = kind is OutcomeKind.UNCERTAIN
    state = DeliveryState.UNCERTAIN if uncertain else DeliveryState.QUEUED
    due = now + backoff(attempts, jitter)
    if others_get_through:
        own_failures += 1
        if own_failures >= FEWEST_TRIES - 1 and not uncertain:
            state = DeliveryState.DEAD
        return Decision(state, due, None, now, now, own_failures=own_failures)
    # others are tried before it, to see whether it is this delivery or all of them
    lane_due = now + min(LONGEST_PROBE, backoff(failures + 1, jitter) / 2)
    first_due = min(lane_due, now + FIRST_TRY)
    blocked = kind is OutcomeKind.MISCONFIGURED
    lane, due = (LaneState.BLOCKED, now + BLOCKED_RETRY) if blocked else (unhealthy, due)
    return Decision(state, due, lane, lane_due, first_due, own_failures=own_failures)


def backoff(failures: int, jitter: Callable[[], float] = random.random) -> float:
    """Return the seconds until the next try: doubling from one, capped, with jitter."""
    longest = min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 30))
    return longest * (0.5 + 0.5 * jitter())


def _pause(asked: float | None, failures: int, jitter: Callable[[], float]) -> float:
    if asked is not None and 0 < asked <= LONGEST_PAUSE:
        return asked + jitter()
    return backoff(failures + 3, jitter)


@attrs.frozen
class ProviderState:
    """The state of an incident at its provider, as far as it is known.

    Attributes:
        may_be_open: the provider may hold it open now.
        trigger_delivered: the provider accepted a trigger of the present episode.
        unconfirmed: an attempt may have arrived, or may still arrive.
    """

    state: IncidentState = IncidentState.RESOLVED
    may_be_open: bool = False
    trigger_delivered: bool = False
    unconfirmed: bool = False

    @property
    def needs_resolve(self) -> bool:
        """Whether a resolve may be needed: an unconfirmed incident counts as open."""
        return self.may_be_open or self.unconfirmed

    def after(
        self, operation: Operation, *, delivered: bool, may_have_arrived: bool
    ) -> ProviderState:
        """Return the state after an attempt."""
        if not may_have_arrived:
            return self
        doubt = self.unconfirmed or not delivered
        match operation:
            case Operation.TRIGGER:
                acknowledged = self.state is IncidentState.ACKNOWLEDGED
                return ProviderState(
                    # a repeat does not undo an acknowledgement
                    self.state if acknowledged else IncidentState.TRIGGERED,
                    may_be_open=True,
                    trigger_delivered=self.trigger_delivered or delivered,
                    unconfirmed=doubt,
                )
            case Operation.RESOLVE if delivered:
                return ProviderState(unconfirmed=doubt)
            case Operation.ACKNOWLEDGE if delivered and self.may_be_open:
                return attrs.evolve(self, state=IncidentState.ACKNOWLEDGED)
        return attrs.evolve(self, unconfirmed=doubt)
