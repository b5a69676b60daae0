"""Unchanged repeats go behind deliveries that open, change or close an incident."""

from __future__ import annotations

from engines import EITHER, World

from hostspec import OutcomeKind


def open_all(world: World, count: int) -> None:
    for number in range(count):
        world.accept(f"node {number}", summary="down")
    world.drain()


@EITHER
def test_a_new_alert_goes_before_repeats_that_change_nothing(world: World) -> None:
    open_all(world, 30)
    world.clock.now += 60
    for number in range(30):
        world.accept(f"node {number}", summary="down")
    world.accept("new", summary="down")
    world.accept("node 3", "resolved")
    world.accept("node 4", summary="on fire")
    world.accept("node 5", summary="down", severity="critical")
    first = world.drain(4)
    assert first[0] == "trigger node 5"
    assert sorted(first) == ["resolve node 3", "trigger new", "trigger node 4", "trigger node 5"]
    assert len(world.drain()) == 27, "repeats are sent, too"


def test_a_repeat_equals_the_last_delivered_trigger(world: World) -> None:
    open_all(world, 1)
    world.accept("node 0", summary="on fire")
    world.engine._dispatcher.plan_ahead()
    world.accept("node 0", summary="down")
    world.accept("new")
    assert world.drain() == ["trigger new", "trigger node 0"]

    world.accept("node 0", "resolved")
    world.accept("node 0", summary="down")
    world.accept("newer")
    in_turn = [*world.drain(1), *world.drain(1), *world.drain(1)]
    assert in_turn == ["resolve node 0", "trigger node 0", "trigger newer"]


def test_a_repeat_in_flight_or_failed_stays_a_repeat(world: World) -> None:
    open_all(world, 1)
    world.fail(OutcomeKind.THROTTLED)
    world.accept("node 0", summary="down")
    world.drain()
    world.accept("new")
    world.advance(20)
    assert [f"{sent.operation} {sent.key}" for sent in world.page.sent[-2:]] == [
        "trigger new",
        "trigger node 0",
    ]


def test_a_repeat_is_sent_eventually(world: World) -> None:
    open_all(world, 1)
    world.accept("node 0", summary="down")
    world.engine._dispatcher.plan_ahead()
    world.clock.now += 3601
    world.accept("new")
    assert world.drain() == ["trigger node 0", "trigger new"]
