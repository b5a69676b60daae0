"""A clock jump alone forgets no incident."""

from __future__ import annotations

import pytest
from engines import EITHER, World

from alerthost.outbox.clock_watch import DAY
from alerthost.outbox.maintenance import Patience


@EITHER
@pytest.mark.parametrize("days", [400, -400])
def test_a_clock_jump_and_back_forgets_no_incident(world: World, days: int) -> None:
    world.new_engine(patience=Patience())
    world.accept("before")
    world.drain()
    world.clock.now += days * DAY
    world.advance_in_steps(4, step=2)
    world.accept("meanwhile")
    world.advance_in_steps(4, step=2)
    world.clock.now -= days * DAY
    world.advance_in_steps(4, step=2)
    assert sorted(world.open_keys) == ["before", "meanwhile"]
    assert len(world.deliveries) == 2, "the history is kept, too"

    world.accept("before", "resolved")
    world.accept("meanwhile", "resolved")
    assert sorted(world.drain()) == ["resolve before", "resolve meanwhile"]


def test_a_silent_incident_is_forgotten_after_a_steady_time(world: World) -> None:
    world.new_engine(patience=Patience())
    world.accept("disk")
    world.drain()
    world.advance_in_steps(89 * DAY, step=DAY)
    assert world.open_keys == ["disk"]
    world.advance_in_steps(2 * DAY, step=DAY)
    assert world.open_keys == []
