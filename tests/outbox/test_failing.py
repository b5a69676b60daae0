"""A delivery fails repeatedly: its lane goes on, and without any success nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from engines import EITHER_IN_PROOF, START, Clock, World
from paging import KEY, NEW_KEY, Paging

from alerthost.outbox.retry_policy import LaneState
from alerthost.store.database import Database
from hostspec import Delivery, Outcome, OutcomeKind
from pagerduty_plugin.testing import FakePagerDuty, misbehaviour

DELIVERED = Outcome(OutcomeKind.DELIVERED)
FAULTED = Outcome(OutcomeKind.FAULTED, "500: sorry")
FORBIDDEN = Outcome(OutcomeKind.MISCONFIGURED, "403: blocked by the proxy")
TIMED_OUT = Outcome(OutcomeKind.UNREACHABLE, "no answer within 15 s")
WRONG_KEY = Outcome(OutcomeKind.MISCONFIGURED, "400: Invalid routing key")


def is_bad(delivery: Delivery) -> bool:
    return delivery.ref.correlation_key.startswith("bad")


def poison(world: World, outcome: Outcome, seconds: float = 0.0) -> None:
    """Make alerts named "bad" always fail, and all others succeed."""

    def send(delivery: Delivery) -> Outcome:
        if is_bad(delivery):
            world.clock.now += seconds
            return outcome
        return DELIVERED

    world.page.behaviour["send"] = send


def goods(world: World) -> list[str]:
    """Return the states of the sound deliveries."""
    return [str(each.state) for each in reversed(world.deliveries) if not is_bad(each.delivery)]


def bads(world: World) -> list[str]:
    return [str(each.state) for each in reversed(world.deliveries) if is_bad(each.delivery)]


@EITHER_IN_PROOF
@pytest.mark.parametrize(
    ("count", "outcome", "seconds"),
    [(3, FAULTED, 0.0), (8, FORBIDDEN, 0.0), (5, TIMED_OUT, 15.0)],
    ids=["always 500", "always 403", "always timed out"],
)
def test_a_few_failing_deliveries_delay_no_other(
    count: int, outcome: Outcome, seconds: float, world: World
) -> None:
    poison(world, outcome, seconds)
    for number in range(count):
        world.accept(f"bad {number}", severity="critical")
    world.advance_in_steps(10, step=0.5)
    for number in range(14):
        world.accept(f"good {number}", severity="warning")
    began = world.clock.now
    while set(goods(world)) != {"delivered"}:
        world.advance(0.5)
    assert world.clock.now - began < 30 + 4 * count * seconds

    world.accept("good page", severity="critical")
    began = world.clock.now
    while set(goods(world)) != {"delivered"}:
        world.advance(0.5)
    assert world.clock.now - began <= 2.5 + 2 * seconds


@pytest.mark.parametrize("outcome", [FAULTED, FORBIDDEN, TIMED_OUT], ids=["500", "403", "no"])
def test_a_failing_delivery_is_dead_lettered_while_others_get_through(
    outcome: Outcome, world: World
) -> None:
    poison(world, outcome)
    world.accept("bad")
    world.drain()
    number = 0
    while bads(world) != ["dead"]:
        number += 1
        world.accept(f"good {number}", severity="critical")
        world.advance_in_steps(10, step=2)
        assert number < 60
    assert set(goods(world)) == {"delivered"}
    # seven after a success of another, the first, and at most four between two successes
    assert world.delivery(0).attempts <= 12
    assert world.delivery(0).reason == outcome.reason


def test_while_nothing_gets_through_nothing_is_dead_lettered(world: World) -> None:
    """One delivery gets through after the first failure; then the provider is down."""
    world.fail(TIMED_OUT)
    world.accept("disk", severity="critical")
    world.drain()
    world.accept("cpu")
    world.advance(1.1)
    assert sorted(world.states) == ["delivered", "delivered"]

    world.fail(TIMED_OUT)
    world.accept("page", severity="critical")
    world.drain()
    world.advance(0.6)
    world.page.behaviour["send"] = lambda _: TIMED_OUT
    world.accept("other")
    world.advance_in_steps(7200)
    assert {str(each.state) for each in world.deliveries if each.attempts > 8} == {"queued"}

    world.page.behaviour.clear()
    world.advance_in_steps(120)
    assert set(world.states) == {"delivered"}


def test_a_recovered_provider_is_found_despite_a_failing_delivery(world: World) -> None:
    """All deliveries were tried in the outage, so none is new; the failing one came first."""
    world.page.behaviour["send"] = lambda _: FAULTED
    for number in range(3):
        world.accept(f"bad {number}", severity="critical")
    for number in range(14):
        world.accept(f"good {number}")
    world.advance_in_steps(1800, step=10)
    assert set(world.states) == {"queued"}

    poison(world, FAULTED)
    world.advance_in_steps(120, step=1)
    assert set(goods(world)) == {"delivered"}


def test_a_new_page_is_tried_first_in_a_failing_lane(world: World) -> None:
    world.page.behaviour["send"] = lambda _: TIMED_OUT
    for number in range(20):
        world.accept(f"mild {number}", severity="warning")
    world.advance_in_steps(1200, step=5)
    before = len(world.page.sent)

    world.accept("page", severity="critical")
    world.advance(2.1)
    assert [sent.key for sent in world.page.sent[before:]][-1] == "page"


@pytest.mark.parametrize("hours", [3, -3, 24 * 400, -24 * 400])
def test_after_a_clock_change_a_page_goes_before_failing_deliveries(
    hours: int, world: World
) -> None:
    poison(world, FAULTED)
    for number in range(5):
        world.accept(f"bad {number}")
    world.advance_in_steps(300, step=3)
    world.clock.now += hours * 3600
    world.accept("good page", severity="critical")
    world.advance_in_steps(15, step=0.5)
    assert goods(world) == ["delivered"]


@pytest.mark.parametrize("hours", [3, 24 * 400])
def test_a_page_from_a_clock_ahead_does_not_wait_for_a_flood(hours: int, world: World) -> None:
    """It was accepted in the future of the clock: its age counts from the correction on."""
    world.page.behaviour["send"] = lambda _: TIMED_OUT
    world.clock.now += hours * 3600
    world.accept("page", severity="critical")
    world.drain()
    world.clock.now -= hours * 3600
    world.page.behaviour.clear()
    for number in range(500):
        world.accept(f"mild {number}", severity="warning")
    world.advance(1)
    world.advance(61)
    sent = [sent.key for sent in world.page.sent]
    assert sent.index("page", 1) < 200


@EITHER_IN_PROOF
def test_a_revoked_key_delays_no_page_under_a_valid_key(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    at = Paging(fake, database, clock)
    for number in range(10):
        at.deliver("firing", key=f"old {number}")
    at.connect(NEW_KEY, KEY)
    fake.misbehave(misbehaviour.refusing("Invalid routing key"), key=KEY)
    for number in range(10):
        at.deliver("resolved", key=f"old {number}")
    for number in range(15):
        at.deliver("firing", key=f"page {number}")
    for _ in range(20):
        at.advance(0.5)
    assert at.reported[10:] == ["new trigger"] * 15
    waiting = at.engine.admin.deliveries(["queued"])
    assert {(str(each.delivery.operation), str(each.lane)) for each in waiting} == {
        ("resolve", "blocked")
    }
    for _ in range(60):
        at.advance(10)
    at.deliver("firing", key="late page")
    at.advance(2)
    assert at.reported[10:] == ["new trigger"] * 16
    assert len(at.engine.admin.deliveries(["queued"])) == 10, "none is dead-lettered"

    fake.behave()
    for _ in range(20):
        at.advance(2)
    assert at.reported[26:] == ["resolve"] * 10


def test_only_incidents_of_a_revoked_key_are_blocked(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    """The newest key is revoked; incidents of the old one are still followed up."""
    at = Paging(fake, database, clock)
    at.deliver("firing", key="old")
    at.connect(NEW_KEY, KEY)
    fake.misbehave(misbehaviour.refusing("Invalid routing key"), key=NEW_KEY)
    for number in range(5):
        at.deliver("firing", key=f"page {number}")
    at.deliver("resolved", key="old")
    at.advance(2)
    assert at.reported == ["trigger", "resolve"]
    states = {str(each.lane) for each in at.engine.admin.deliveries(["queued"])}
    assert states == {LaneState.BLOCKED}


def test_a_slow_first_attempt_delays_no_page(worlds: Callable[..., World]) -> None:
    """Of several slow deliveries only one is in flight at a time."""
    world = worlds(workers=8)
    started: list[str] = []

    def send(delivery: Delivery) -> Outcome:
        key = delivery.ref.correlation_key
        started.append(key)
        if key == "bad" and started.count("bad") <= 2:
            world.clock.now += 10
            world.accept(f"page {started.count('bad')}", severity="critical")
            world.new_engine().drain()
            return TIMED_OUT
        return DELIVERED

    world.page.behaviour["send"] = send
    world.accept("bad")
    world.drain()
    world.advance(2)
    assert started[:4] == ["bad", "page 1", "bad", "page 2"]
    assert world.clock.now > START


def test_a_delivery_that_fails_alone_in_its_lane_is_late_and_listed(world: World) -> None:
    """It is not dead-lettered: the failure may be that of its lane."""
    poison(world, FAULTED)
    world.accept("bad")
    world.advance_in_steps(24 * 3600, step=1800)

    entry = world.delivery()
    assert (entry.state, entry.outcome, entry.reason) == ("queued", FAULTED.kind, FAULTED.reason)
    assert entry.attempts > 24
    assert entry.next_try is not None
    assert entry.lane is not LaneState.HEALTHY
    assert world.observer.names == ["delayed"]
