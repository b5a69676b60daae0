"""A person reads in the log that a lane fails, once, and that it is well again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import Clock, World

from hostspec import Outcome, OutcomeKind
from hostspec.host.lane_log import TRIES, LaneLog
from hostspec.host.lanes import Lanes
from hostspec.store.database import Database

AGAIN = "acme/Everybody gets through again"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    log = LaneLog(lambda: Lanes({}, {("acme", "all"): "Everybody"}))
    with Database("sqlite:///alerthost.db", tmp_path) as database:
        yield World(database, Clock(), watch=lambda claim, made, _: log.attempted(claim, made))


def fail(world: World, kind: OutcomeKind, times: int) -> None:
    world.fail(*[Outcome(kind, "why")] * times)
    world.say("disk")
    world.drain()
    world.settle(300)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if "get" in text]


def test_a_lane_that_fails_again_and_again_is_told_of_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fail(world, OutcomeKind.UNREACHABLE, TRIES + 2)
    assert told(caplog) == ["acme/Everybody does not get through: unreachable: why", AGAIN]

    caplog.clear()
    world.say("cpu")
    world.drain()
    assert told(caplog) == []


def test_what_fails_now_and_then_is_no_news(world: World, caplog: pytest.LogCaptureFixture) -> None:
    fail(world, OutcomeKind.FAULTED, TRIES - 1)
    assert world.states == ["delivered"]
    assert told(caplog) == []


def test_what_a_person_has_to_mend_is_told_of_at_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fail(world, OutcomeKind.MISCONFIGURED, 1)
    assert told(caplog) == ["acme/Everybody does not get through: misconfigured: why", AGAIN]


def test_a_refusal_is_an_answer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    fail(world, OutcomeKind.MISCONFIGURED, 1)
    fail(world, OutcomeKind.REFUSED, 1)
    assert len(told(caplog)) == 2
