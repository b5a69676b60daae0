from __future__ import annotations

import itertools
import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerthost.outbox.retry_policy import (
    Decision,
    DeliveryState,
    LaneState,
    ProviderState,
    backoff,
    classify,
)
from hostspec import IncidentState, Operation, Outcome, OutcomeKind

NOW = 1_000_000.0
T, A, R, U = Operation.TRIGGER, Operation.ACKNOWLEDGE, Operation.RESOLVE, Operation.UPDATE
FAILED = (OutcomeKind.UNREACHABLE, OutcomeKind.FAULTED)


def judged(  # noqa: PLR0913 -- each has a name
    kind: OutcomeKind,
    *,
    attempts: int = 1,
    failures: int = 0,
    own_failures: int = 0,
    others_get_through: bool = False,
    retry_after: float | None = None,
    jitter: float = 1.0,
) -> Decision:
    return classify(
        Outcome(kind, retry_after=retry_after),
        NOW,
        attempts=attempts,
        failures=failures,
        own_failures=own_failures,
        others_get_through=others_get_through,
        jitter=lambda: jitter,
    )


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (OutcomeKind.DELIVERED, DeliveryState.DELIVERED),
        (OutcomeKind.REJECTED, DeliveryState.REJECTED),
    ],
)
def test_a_final_answer_ends_the_delivery_and_its_lane_is_healthy(
    kind: OutcomeKind, state: DeliveryState
) -> None:
    decision = judged(kind, attempts=20, failures=30, own_failures=3, others_get_through=True)
    assert decision == Decision(state, NOW, LaneState.HEALTHY, NOW, NOW, 0.0, 0)


@pytest.mark.parametrize("kind", FAILED)
@pytest.mark.parametrize(
    ("attempts", "soonest", "latest"),
    [(1, 0.5, 1), (2, 1, 2), (3, 2, 4), (6, 16, 32), (7, 30, 60), (8, 30, 60), (5000, 30, 60)],
)
def test_a_failed_delivery_backs_off(
    kind: OutcomeKind, attempts: int, soonest: float, latest: float
) -> None:
    for jitter, wait in ((0.0, soonest), (0.5, (soonest + latest) / 2), (1.0, latest)):
        decision = judged(kind, attempts=attempts, jitter=jitter)
        assert decision.state is DeliveryState.QUEUED
        assert decision.delivery_due == NOW + wait
        assert decision.lane is LaneState.UNHEALTHY
        assert decision.paused_until == 0


@pytest.mark.parametrize(
    "kind", [*FAILED, OutcomeKind.UNCERTAIN, OutcomeKind.MISCONFIGURED], ids=str
)
@pytest.mark.parametrize(("failures", "longest"), [(0, 0.5), (1, 1), (4, 8), (5, 10), (6, 10)])
def test_a_failing_lane_backs_off(kind: OutcomeKind, failures: int, longest: float) -> None:
    decision = judged(kind, failures=failures)
    assert decision.lane_due == NOW + longest
    assert decision.lane is not LaneState.HEALTHY
    assert decision.first_due == NOW + min(longest, 2)
    shortest = judged(kind, failures=failures, jitter=0.0).lane_due
    assert NOW + longest / 2 <= shortest <= NOW + longest


@given(
    attempts=st.integers(1, 100),
    jitter=st.floats(0, 1, exclude_max=True),
    kind=st.sampled_from([*FAILED, OutcomeKind.MISCONFIGURED]),
)
def test_other_deliveries_are_tried_before_the_failed_one(
    attempts: int, jitter: float, kind: OutcomeKind
) -> None:
    """In a lane that was healthy before, so that a poison delivery delays no other."""
    decision = judged(kind, attempts=attempts, jitter=jitter)
    assert decision.lane_due < decision.delivery_due


@pytest.mark.parametrize("kind", [*FAILED, OutcomeKind.MISCONFIGURED], ids=str)
def test_the_eighth_failure_of_its_own_dead_letters_a_delivery(kind: OutcomeKind) -> None:
    for own_failures, through in itertools.product((0, 5, 6, 7), (True, False)):
        decision = judged(kind, attempts=50, own_failures=own_failures, others_get_through=through)
        dead = own_failures >= 6 and through
        assert (decision.state is DeliveryState.DEAD) == dead
        assert (decision.state is DeliveryState.QUEUED) != dead
        assert decision.own_failures == own_failures + through
        assert (decision.lane is None) == through


def test_an_uncertain_delivery_ends_and_its_lane_is_unhealthy() -> None:
    """Otherwise all queued deliveries would use up their tries on a provider that is down."""
    decision = judged(OutcomeKind.UNCERTAIN, attempts=8, failures=2)
    assert decision.state is DeliveryState.UNCERTAIN
    assert decision.lane is LaneState.UNHEALTHY
    assert decision.lane_due > NOW


def test_a_misconfigured_delivery_is_retried_forever() -> None:
    decision = judged(OutcomeKind.MISCONFIGURED, attempts=1000, failures=4)
    assert decision.state is DeliveryState.QUEUED
    assert decision.delivery_due == NOW + 30
    assert decision.lane is LaneState.BLOCKED
    assert decision.paused_until == 0


@pytest.mark.parametrize(
    ("asked", "failures", "soonest", "latest"),
    [
        (1.0, 50, 1, 2),
        (0.001, 0, 0.001, 1.001),
        (300.0, 0, 300, 301),
        (300.1, 0, 2, 4),
        (86_400.0, 1, 4, 8),
        (math.inf, 0, 2, 4),
        (math.nan, 0, 2, 4),
        (0.0, 0, 2, 4),
        (-5.0, 0, 2, 4),
        (None, 0, 2, 4),
        (None, 3, 16, 32),
        (None, 4, 30, 60),
        (None, 100, 30, 60),
    ],
)
def test_a_throttled_delivery_waits_as_long_as_asked(
    asked: float | None, failures: int, soonest: float, latest: float
) -> None:
    for jitter, until in ((0.0, NOW + soonest), (1.0, NOW + latest)):
        decision = judged(
            OutcomeKind.THROTTLED,
            retry_after=asked,
            failures=failures,
            jitter=jitter,
            attempts=1000,
            own_failures=6,
            others_get_through=True,
        )
        assert decision == Decision(
            DeliveryState.QUEUED, until, LaneState.UNHEALTHY, until, until, until, 6
        )


def test_every_outcome_has_a_decision() -> None:
    for kind in OutcomeKind:
        answered = kind in {OutcomeKind.DELIVERED, OutcomeKind.REJECTED}
        assert (judged(kind).lane is LaneState.HEALTHY) == answered


def test_pauses_have_jitter() -> None:
    assert len({backoff(3) for _ in range(100)}) > 90
    pauses = {
        classify(
            Outcome(OutcomeKind.THROTTLED, retry_after=5), NOW, attempts=1, failures=0
        ).paused_until
        for _ in range(100)
    }
    assert len(pauses) > 90
    assert all(NOW + 5 <= each <= NOW + 6 for each in pauses)


CLOSED = ProviderState()
OPEN = ProviderState(IncidentState.TRIGGERED, may_be_open=True, trigger_delivered=True)
TAKEN_ON = ProviderState(IncidentState.ACKNOWLEDGED, may_be_open=True, trigger_delivered=True)
MAYBE = ProviderState(
    IncidentState.TRIGGERED, may_be_open=True, trigger_delivered=False, unconfirmed=True
)
LATE = ProviderState(unconfirmed=True)
OPEN_IN_DOUBT = attrs.evolve(OPEN, unconfirmed=True)


@pytest.mark.parametrize("episode", [CLOSED, OPEN, TAKEN_ON, MAYBE, LATE])
@pytest.mark.parametrize("operation", Operation)
def test_an_attempt_that_did_not_arrive_changes_no_state(
    episode: ProviderState, operation: Operation
) -> None:
    assert episode.after(operation, delivered=False, may_have_arrived=False) == episode


TAKEN, UNKNOWN = "taken", "unknown"


@pytest.mark.parametrize(
    ("before", "operation", "answer", "after"),
    [
        (CLOSED, T, TAKEN, OPEN),
        (CLOSED, T, UNKNOWN, MAYBE),
        (MAYBE, T, TAKEN, OPEN_IN_DOUBT),
        (OPEN, T, TAKEN, OPEN),
        (OPEN, T, UNKNOWN, OPEN_IN_DOUBT),
        # a repeat does not undo an acknowledgement
        (TAKEN_ON, T, TAKEN, TAKEN_ON),
        (LATE, T, TAKEN, OPEN_IN_DOUBT),
        (OPEN, R, TAKEN, CLOSED),
        (TAKEN_ON, R, TAKEN, CLOSED),
        # a trigger may still be on its way
        (MAYBE, R, TAKEN, LATE),
        (LATE, R, TAKEN, LATE),
        (OPEN, R, UNKNOWN, OPEN_IN_DOUBT),
        (OPEN, A, TAKEN, TAKEN_ON),
        (MAYBE, A, TAKEN, attrs.evolve(MAYBE, state=IncidentState.ACKNOWLEDGED)),
        (CLOSED, A, TAKEN, CLOSED),
        (OPEN, A, UNKNOWN, OPEN_IN_DOUBT),
        (OPEN, U, TAKEN, OPEN),
        (CLOSED, U, TAKEN, CLOSED),
        (OPEN, U, UNKNOWN, OPEN_IN_DOUBT),
    ],
)
def test_the_provider_state_after_an_attempt(
    before: ProviderState, operation: Operation, answer: str, after: ProviderState
) -> None:
    delivered = answer == TAKEN
    assert before.after(operation, delivered=delivered, may_have_arrived=True) == after
