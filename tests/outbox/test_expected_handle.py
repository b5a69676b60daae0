"""The handle of an attempt is stored before it starts, so that a killed process loses none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from engines import EITHER, World, lease_as_dead_process
from recorder import UPDATING

from alerthost.outbox import leasing
from alerthost.store.errors import StoreError
from hostspec import Outcome, OutcomeKind

OLD, NEW = {"key": "old"}, {"key": "new"}

pytestmark = EITHER


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    return promising(worlds())


def promising(world: World) -> World:
    world.page.expected_handle = lambda *_: OLD  # type: ignore[method-assign]
    return world


def rotate(world: World) -> None:
    world.page.expected_handle = lambda *_: NEW  # type: ignore[method-assign]


def handles(world: World) -> list[Any]:
    return [sent.handle for sent in world.page.sent]


class KilledError(BaseException):
    """The process ends in the middle of an attempt."""


def kill(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the process right after the provider took the next delivery."""

    def gone(*_: object, **__: object) -> None:
        raise KilledError

    monkeypatch.setattr(world.engine._dispatcher, "_complete", gone)
    with pytest.raises(KilledError):
        world.drain()
    world.new_engine()
    world.clock.now += leasing.LEASE * leasing.START_WITHIN + 1


@pytest.mark.parametrize("openings", [1, 2])
def test_an_incident_opened_by_a_dead_process_is_followed_up_by_its_handle(
    world: World, monkeypatch: pytest.MonkeyPatch, openings: int
) -> None:
    """The first attempt of a lane records its expected handle; later leases carry it."""
    for number in range(openings - 1):
        world.accept(f"before {number}")
    world.drain()
    world.accept("disk")
    kill(world, monkeypatch)
    rotate(world)

    world.accept("disk", "resolved")
    assert world.drain() == ["trigger disk", "resolve disk"]
    assert handles(world)[-2:] == [OLD, OLD]


def test_an_expected_handle_of_an_earlier_key_is_not_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.accept("cpu")
    world.drain()
    rotate(world)
    world.accept("disk")
    kill(world, monkeypatch)

    world.accept("disk", "resolved")
    world.drain()
    assert handles(world)[-2:] == [NEW, NEW]


def test_only_the_first_trigger_of_a_lane_records_the_handle(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    promised = []
    promise = leasing.record_expected_handle
    monkeypatch.setattr(
        leasing,
        "record_expected_handle",
        lambda writing, lease: promised.append(promise(writing, lease)),
    )
    for key in ("disk", "cpu", "memory"):
        world.accept(key)
    world.drain()
    world.accept("disk", "resolved")
    world.drain()
    assert len(promised) == 1


def test_a_trigger_that_did_not_arrive_opens_under_the_newest_key(world: World) -> None:
    world.fail(OutcomeKind.THROTTLED)
    world.accept("disk")
    world.drain()
    rotate(world)
    world.advance_in_steps(600)
    world.accept("disk", "resolved")
    world.drain()
    assert handles(world) == [None, None, NEW]


def test_an_attempt_that_failed_in_the_action_is_repeated_under_its_handle(world: World) -> None:
    world.fail(RuntimeError("broken"))  # type: ignore[arg-type]
    world.accept("disk")
    world.drain()
    rotate(world)
    world.advance_in_steps(600)
    assert handles(world) == [None, OLD]


def test_the_returned_handle_overrides_the_expected_one(world: World) -> None:
    world.fail(Outcome(OutcomeKind.DELIVERED, handle=NEW))
    world.accept("disk")
    world.drain()
    world.accept("disk", "resolved")
    world.drain()
    assert handles(world) == [None, NEW]


def test_an_action_without_expected_handle_still_sends(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.page.expected_handle = lambda *_: 1 / 0  # type: ignore[method-assign]
    world.accept("disk")
    assert world.drain() == ["trigger disk"]
    assert "the action pager.page failed at " in caplog.text


def test_nothing_is_sent_before_the_expected_handle_is_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        message = "the disk is full"
        raise StoreError(message)

    world.accept("disk")
    with monkeypatch.context() as patched:
        patched.setattr(leasing, "record_expected_handle", full)
        with pytest.raises(StoreError, match="full"):
            world.drain()
    assert world.page.sent == []

    assert world.drain() == ["trigger disk"]
    assert world.delivery().attempts == 1


def test_a_reclaimed_lease_records_no_expected_handle(world: World) -> None:
    world.accept("disk")
    lease = lease_as_dead_process(world)
    world.drain()

    with world.database.begin() as connection:
        leasing.record_expected_handle(connection, lease)
    assert world.execute("SELECT expected_handle FROM deliveries") == [('{"key": "old"}',)]


def test_a_ticket_opened_by_a_dead_process_keeps_its_expected_id(
    worlds: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = promising(worlds(can=UPDATING))
    world.accept("disk")
    kill(world, monkeypatch)
    world.accept("disk", "resolved")
    assert world.drain() == ["resolve disk"]
    assert handles(world)[-1] == OLD
