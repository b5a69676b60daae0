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
    world.say("disk")
    world.drain()
    world.settle(300)


def lane_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if text.startswith("acme/")]


def test_a_lane_that_fails_again_and_again_is_told_of_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fail(world, OutcomeKind.UNREACHABLE, FAILED_ATTEMPTS + 2)
    assert lane_messages(caplog) == ["acme/Everybody does not deliver: unreachable: why", AGAIN]

    caplog.clear()
    world.say("cpu")
    world.drain()
    assert lane_messages(caplog) == []


def test_what_fails_now_and_then_is_no_news(world: World, caplog: pytest.LogCaptureFixture) -> None:
    fail(world, OutcomeKind.FAULTED, FAILED_ATTEMPTS - 1)
    assert world.states == ["delivered"]
    assert lane_messages(caplog) == []


def test_what_a_person_has_to_mend_is_told_of_at_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fail(world, OutcomeKind.MISCONFIGURED, 1)
    assert lane_messages(caplog) == ["acme/Everybody does not deliver: misconfigured: why", AGAIN]


def test_a_refusal_is_an_answer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    fail(world, OutcomeKind.MISCONFIGURED, 1)
    fail(world, OutcomeKind.REJECTED, 1)
    assert len(lane_messages(caplog)) == 2


def test_each_cause_is_told_at_once_when_it_changes(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage that turns into a wrong key, and causes that alternate."""
    outage, wrong = OutcomeKind.UNREACHABLE, OutcomeKind.MISCONFIGURED
    world.fail(*[Outcome(outage, "no answer")] * FAILED_ATTEMPTS)
    world.fail(Outcome(wrong, "Invalid routing key"), Outcome(outage, "no answer"))
    world.fail(Outcome(wrong, "Invalid routing key"), Outcome(wrong, "no such service"))
    world.say("disk")
    world.drain()
    world.settle(290)
    assert lane_messages(caplog) == [
        "acme/Everybody does not deliver: unreachable: no answer",
        "acme/Everybody does not deliver: misconfigured: Invalid routing key",
        "acme/Everybody does not deliver: misconfigured: no such service",
        AGAIN,
    ]


def test_causes_without_end_are_not_remembered(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    count = MOST_CAUSES + 2
    world.fail(*[Outcome(OutcomeKind.MISCONFIGURED, f"why {n}") for n in range(count)])
    world.say("disk")
    world.settle(40 * count, step=35)
    assert len(lane_messages(caplog)) == count + 1


def test_a_delivery_that_fails_alone_is_no_news_of_its_lane(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def send(delivery: Delivery) -> Outcome:
        bad = delivery.ref.correlation_key == "bad"
        return Outcome(OutcomeKind.MISCONFIGURED if bad else OutcomeKind.DELIVERED, "403")

    world.page.behaviour["send"] = send
    world.say("bad")
    world.drain()
    for number in range(retry_policy.FEWEST_TRIES - 1):
        world.say(f"good {number}")
        world.later(retry_policy.LONGEST_RETRY)  # which no jitter exceeds
    assert lane_messages(caplog) == ["acme/Everybody does not deliver: misconfigured: 403", AGAIN]
    assert world.states.count("dead") == 1


def test_incidents_that_are_open_under_a_bad_key_are_told_of_by_themselves(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.fail(Outcome(OutcomeKind.DELIVERED, handle={"key": "old"}))
    world.say("disk")
    world.drain()
    world.fail(Outcome(OutcomeKind.MISCONFIGURED, "why"))
    world.say("disk", "resolved")
    world.drain()
    assert lane_messages(caplog) == [
        "acme/Everybody (open incidents) does not deliver: misconfigured: why"
    ]
