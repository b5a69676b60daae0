"""The log reports a failing lane once, and its recovery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import Clock, World

from alerthost.config.plugins import LaneNames
from alerthost.http.delivery_log import FAILED_ATTEMPTS, MOST_CAUSES, LaneLog
from alerthost.outbox import retry_policy
from alerthost.store.database import Database
from hostspec import Delivery, Outcome, OutcomeKind

AGAIN = "acme/Everybody delivers again"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    log = LaneLog(lambda: LaneNames({}, {("acme", "all"): "Everybody"}))
    with Database("sqlite:///alerthost.db", tmp_path) as database:
        yield World(database, Clock(), watch=lambda lease, made, _: log.attempted(lease, made))


def fail(world: World, kind: OutcomeKind, times: int) -> None:
    world.fail(*[Outcome(kind, "why")] * times)
    world.accept("disk")
    world.drain()
    world.advance_in_steps(300)


def lane_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if text.startswith("acme/")]


def test_failing_lane_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    fail(world, OutcomeKind.UNREACHABLE, FAILED_ATTEMPTS + 2)
    assert lane_messages(caplog) == ["acme/Everybody does not deliver: unreachable: why", AGAIN]

    caplog.clear()
    world.accept("cpu")
    world.drain()
    assert lane_messages(caplog) == []


def test_single_failures_are_not_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    fail(world, OutcomeKind.FAULTED, FAILED_ATTEMPTS - 1)
    assert world.states == ["delivered"]
    assert lane_messages(caplog) == []


def test_misconfigured_lane_is_logged_at_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fail(world, OutcomeKind.MISCONFIGURED, 1)
    assert lane_messages(caplog) == ["acme/Everybody does not deliver: misconfigured: why", AGAIN]


def test_rejected_delivery_is_an_answer_of_the_lane(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fail(world, OutcomeKind.MISCONFIGURED, 1)
    fail(world, OutcomeKind.REJECTED, 1)
    assert len(lane_messages(caplog)) == 2


def test_each_cause_is_logged_when_it_changes(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage turns into a wrong key, and causes alternate."""
    outage, wrong = OutcomeKind.UNREACHABLE, OutcomeKind.MISCONFIGURED
    world.fail(*[Outcome(outage, "no answer")] * FAILED_ATTEMPTS)
    world.fail(Outcome(wrong, "Invalid routing key"), Outcome(outage, "no answer"))
    world.fail(Outcome(wrong, "Invalid routing key"), Outcome(wrong, "no such service"))
    world.accept("disk")
    world.drain()
    world.advance_in_steps(290)
    assert lane_messages(caplog) == [
        "acme/Everybody does not deliver: unreachable: no answer",
        "acme/Everybody does not deliver: misconfigured: Invalid routing key",
        "acme/Everybody does not deliver: misconfigured: no such service",
        AGAIN,
    ]


def test_number_of_remembered_causes_is_bounded(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    count = MOST_CAUSES + 2
    world.fail(*[Outcome(OutcomeKind.MISCONFIGURED, f"why {n}") for n in range(count)])
    world.accept("disk")
    world.advance_in_steps(40 * count, step=35)
    assert len(lane_messages(caplog)) == count + 1


def test_single_failing_delivery_does_not_count_for_its_lane(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def send(delivery: Delivery) -> Outcome:
        bad = delivery.ref.correlation_key == "bad"
        return Outcome(OutcomeKind.MISCONFIGURED if bad else OutcomeKind.DELIVERED, "403")

    world.page.behaviour["send"] = send
    world.accept("bad")
    world.drain()
    for number in range(retry_policy.FEWEST_TRIES - 1):
        world.accept(f"good {number}")
        world.advance(retry_policy.LONGEST_RETRY)  # which no jitter exceeds
    assert lane_messages(caplog) == ["acme/Everybody does not deliver: misconfigured: 403", AGAIN]
    assert world.states.count("dead") == 1


def test_open_incidents_under_a_bad_key_are_logged_apart(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.fail(Outcome(OutcomeKind.DELIVERED, handle={"key": "old"}))
    world.accept("disk")
    world.drain()
    world.fail(Outcome(OutcomeKind.MISCONFIGURED, "why"))
    world.accept("disk", "resolved")
    world.drain()
    assert lane_messages(caplog) == [
        "acme/Everybody (open incidents) does not deliver: misconfigured: why"
    ]
