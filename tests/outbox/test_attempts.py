"""The attempts of a delivery are kept with it: the first and the last ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from engines import EITHER, START, World, complete_late, deliver, lease_as_dead_process
from paging import NEW_KEY, Paging

from alerthost.outbox.admin_rows import DeliveryRow
from hostspec import Outcome, OutcomeKind

REFUSED = Outcome(OutcomeKind.UNREACHABLE, "connection refused")


def shown(row: DeliveryRow) -> Sequence[tuple[int, float, float | None, str, str]]:
    """The attempts that are kept: number, start, duration, outcome and reason."""
    return [
        (each.number, each.started_at - START, each.seconds, str(each.outcome), each.reason)
        for each in row.log
    ]


@EITHER
def test_each_attempt_is_kept_with_its_time_and_outcome(world: World) -> None:
    def wait(_: object) -> None:
        world.clock.now += 2.5

    world.fail(REFUSED)
    world.accept("disk")
    world.drain()
    world.page.behaviour["send"] = deliver(wait)
    world.advance(60)
    del world.page.behaviour["send"]
    world.accept("web")
    world.accept("mail")
    world.drain()

    disk, *others = reversed(world.deliveries)
    assert shown(disk) == [
        (1, 0, 0, "unreachable", "connection refused"),
        (2, 60, 2.5, "delivered", ""),
    ]
    assert [shown(each) for each in others] == [[(1, 62.5, 0, "delivered", "")]] * 2


@EITHER
def test_of_many_attempts_the_first_and_the_last_are_kept(world: World) -> None:
    long = Outcome(OutcomeKind.UNREACHABLE, "x" * 10_000)
    world.fail(*[long] * 30)
    world.accept("disk")
    world.drain()
    for _ in range(30):
        world.advance(3600)
    assert [each.number for each in world.delivery().log] == [*range(1, 6), *range(17, 32)]
    assert {len(each.reason) for each in world.delivery().log} == {0, 501}
    [(size,)] = world.execute("SELECT length(attempt_log) FROM deliveries")
    assert size < 15_000


@EITHER
def test_attempt_of_a_dead_process_is_kept_as_uncertain_until_its_outcome_is_known(
    world: World,
) -> None:
    world.accept("disk")
    lease = lease_as_dead_process(world)
    world.drain()
    gone, again = shown(world.delivery())
    assert gone == (1, 0, None, "uncertain", "the process that was sending it is gone")
    assert again[3] == "delivered"

    complete_late(world, lease, Outcome(OutcomeKind.FAULTED, "500: too late"))
    late, again = shown(world.delivery())
    assert (late[0], late[3:]) == (1, ("faulted", "500: too late"))
    assert again[3] == "delivered"


def test_attempt_that_found_its_key_gone_is_kept(at: Paging) -> None:
    at.deliver("firing")
    at.connect(NEW_KEY)
    at.deliver("resolved")
    [attempt] = at.engine.admin.deliveries()[0].log
    assert (attempt.number, attempt.outcome) == (1, OutcomeKind.MISCONFIGURED)
    assert "is not configured any more" in attempt.reason


@pytest.mark.parametrize("log", ["[", "1", "[[1]]", '[[1, 2.0, 3.0, "odd", "", 0.0, 0, null]]'])
def test_damaged_log_costs_no_delivery(world: World, log: str) -> None:
    world.fail(REFUSED)
    world.accept("disk")
    world.drain()
    world.execute("UPDATE deliveries SET attempt_log = :log", log=log)
    assert world.delivery().log == ()
    assert world.advance(60) == ["trigger disk"]
    assert [each.number for each in world.delivery().log] == [2]
