"""Deliveries that are leased and completed together cost each other neither time nor certainty."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
from engines import DELIVERED, EITHER, World, lease_in, unit_of_work
from recorder import UPDATING, Hanging, rule_of
from waiting import wait_until

from alerthost.outbox import backend, completion, heads, held_leases, leasing, selection
from alerthost.outbox.held_leases import HeldLeases
from alerthost.outbox.retry_policy import LaneState
from alerthost.store.database import Database
from alerthost.store.errors import StoreError, UnstorableError
from hostspec import Alert, Delivery, Limit, Outcome, OutcomeKind
from hostspec.plugins import Rule

LANES = ("one", "two", "three", "four", "five")
RELEASE = 60.0


def of_lanes(plugins: Any) -> Sequence[Rule]:
    """Return rules that send each alert to the destination that its key begins with."""
    return [
        rule_of(plugins, lane, lambda alert, to=lane: alert.key.split()[0] == to, teams=[lane])
        for lane in LANES
    ]


@pytest.fixture
def world(database: Database, clock: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return an engine that leases many deliveries together, however slow the machine is.

    It has sent one delivery, and knows by that how long they take.
    """
    monkeypatch.setattr(held_leases, "WITHIN", 1e9)
    world = World(database, clock, rules=of_lanes)
    return warm(world)


def warm(world: World) -> World:
    """Send one delivery to the first lane."""
    world.accept("one first")
    assert world.drain() == ["trigger one first"]
    world.page.sent.clear()
    return world


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def accept(world: World, *keys: str) -> None:
    world.engine.accept_many([Alert(key) for key in keys])


def state_of(world: World, key: str) -> str:
    """Return the state of the only delivery of an alert."""
    [row] = [each for each in world.deliveries if each.delivery.alert.key == key]
    return "sending" if row.sending else str(row.state)


class Gates:
    """Makes each attempt wait until it is released, in the order in which they began."""

    def __init__(self, world: World) -> None:
        self.entered: list[str] = []
        self._go_on = [threading.Event() for _ in range(8)]
        self._lock = threading.Lock()
        world.page.behaviour["send"] = self._send

    def _send(self, delivery: Delivery) -> Outcome:
        with self._lock:
            number = len(self.entered)
            self.entered.append(delivery.alert.key)
        assert self._go_on[number].wait(RELEASE)
        return DELIVERED

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.entered) == count, f"attempt {count}")

    def release(self, number: int) -> None:
        self._go_on[number].set()


@EITHER
def test_several_deliveries_are_leased_and_completed_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    complete = completion.complete

    def count(uow: Any, results: Sequence[Any]) -> None:
        sizes.append(len(results))
        complete(uow, results)

    monkeypatch.setattr(completion, "complete", count)
    accept(world, "one a", "one b", "two a", "three a")

    assert len(world.drain()) == 4
    assert sizes == [4]
    assert world.states == ["delivered"] * 5


@EITHER
def test_a_drain_that_fails_keeps_no_lease(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("full")

    failing = world.engine
    accept(world, "one a", "one b")
    with monkeypatch.context() as patched:
        patched.setattr(leasing, "record_expected_handle", fail)
        world.page.expected_handle = lambda *_: {"key": 1}  # type: ignore[assignment,method-assign]
        with pytest.raises(StoreError, match="full"):
            world.drain()
    assert not any(each.sending or each.attempts for each in world.deliveries[:2])

    world.new_engine()
    assert world.drain() == ["trigger one a", "trigger one b"]
    world.accept("one b", "resolved")
    assert world.drain() == ["resolve one b"]
    before = len(world.page.sent)
    failing.drain()
    assert len(world.page.sent) == before


@EITHER
def test_an_interrupted_completion_loses_no_outcome(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = completion.complete

    def interrupt(*_: object) -> None:
        monkeypatch.setattr(completion, "complete", complete)
        raise KeyboardInterrupt

    accept(world, "one a", "one b")
    monkeypatch.setattr(completion, "complete", interrupt)
    with pytest.raises(KeyboardInterrupt):
        world.drain()
    assert world.states == ["delivered"] * 3


@EITHER
def test_outcomes_kept_while_the_store_fails_are_recorded_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("full")

    accept(world, "one a", "one b", "two a")
    world.fail(OutcomeKind.DELIVERED, OutcomeKind.REJECTED)
    with monkeypatch.context() as patched:
        patched.setattr(completion, "complete", fail)
        with pytest.raises(StoreError, match="full"):
            world.drain()
        with pytest.raises(StoreError, match="full"):
            world.drain()
    assert [state_of(world, key) for key in ("one a", "one b", "two a")] == ["sending"] * 3

    assert world.drain() == []
    assert world.states == ["delivered", "delivered", "rejected", "delivered"]


@EITHER
def test_a_faulty_outcome_costs_no_other_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = completion.complete

    def refuse(uow: Any, results: Sequence[Any]) -> None:
        if any(each.lease.delivery.alert.key == "one b" for each in results):
            raise UnstorableError("a faulty value")
        complete(uow, results)

    accept(world, "one a", "one b", "one c")
    with monkeypatch.context() as patched:
        patched.setattr(completion, "complete", refuse)
        with pytest.raises(UnstorableError, match="a faulty value"):
            world.drain()
    assert [state_of(world, key) for key in ("one a", "one b", "one c")] == [
        "delivered",
        "sending",
        "delivered",
    ]
    world.drain()
    assert world.engine.wait_idle(0)


@EITHER
def test_a_store_that_fails_amid_faulty_outcomes_keeps_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = completion.complete

    def refuse(uow: Any, results: Sequence[Any]) -> None:
        if len(results) > 1 or results[0].lease.delivery.alert.key == "one a":
            raise UnstorableError("a faulty value")
        raise StoreError("full")

    accept(world, "one a", "one b", "one c")
    with monkeypatch.context() as patched:
        patched.setattr(completion, "complete", refuse)
        with pytest.raises(StoreError, match="full"):
            world.drain()
    monkeypatch.setattr(completion, "complete", complete)
    assert not {"trigger one b", "trigger one c"}.intersection(world.drain())
    assert [state_of(world, key) for key in ("one b", "one c")] == ["delivered", "delivered"]


@EITHER
@pytest.mark.parametrize("kind", ["throttled", "unreachable", "misconfigured", "faulted"])
def test_after_a_failure_nothing_else_that_was_leased_in_its_lane_is_sent(
    world: World, kind: str
) -> None:
    accept(world, "one a", "one b", "one c", "two a")
    world.page.behaviour["send"] = lambda delivery: Outcome(
        OutcomeKind(kind) if delivery.ref.destination == "one" else OutcomeKind.DELIVERED
    )
    sent = world.drain()
    assert sorted(each for each in sent if "one" in each) == ["trigger one a"]
    assert "trigger two a" in sent
    assert [each.attempts for each in world.deliveries].count(0) == 2


@EITHER
def test_a_lease_that_is_given_back_uses_up_no_budget(
    database: Database, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_leases, "WITHIN", 1e9)
    world = World(database, clock, rules=of_lanes)
    world.page.limits = lambda *_: [Limit("key", 10, 600.0)]  # type: ignore[method-assign]
    warm(world)
    accept(world, "one a", "one b", "one c", "one d")
    world.fail(OutcomeKind.FAULTED)
    assert world.drain() == ["trigger one a"]

    sent = [each for _ in range(20) for each in world.advance(5)]
    assert sorted(sent) == [f"trigger one {key}" for key in "abcd"]


@EITHER
def test_an_own_failure_between_delivered_ones_is_not_its_lanes(world: World) -> None:
    def send(delivery: Delivery) -> Outcome:
        world.clock.now += 0.1
        faulted = delivery.alert.key == "one b"
        return Outcome(OutcomeKind.FAULTED if faulted else OutcomeKind.DELIVERED)

    world.fail(OutcomeKind.UNREACHABLE)
    accept(world, "one z")
    world.drain()
    assert world.advance(10) == ["trigger one z"]
    world.page.behaviour["send"] = send
    accept(world, "one a", "one b", "two c")
    world.drain()

    assert world.execute("SELECT max(own_failures) FROM deliveries") == [(1,)]
    assert world.deliveries[1].lane is LaneState.HEALTHY


def test_an_attempt_that_outlives_its_lease_disturbs_no_later_one(
    world: World, aside: ThreadPoolExecutor
) -> None:
    engine = world.new_engine(lease=0.01)
    gates = Gates(world)
    accept(world, "one a")
    first = aside.submit(engine.drain)
    gates.wait_for(1)
    world.clock.now += 1
    wait_until(lambda: engine.drain() == 0 and state_of(world, "one a") == "queued")
    world.clock.now += 2
    second = aside.submit(engine.drain)
    gates.wait_for(2)
    gates.release(0)
    first.result()
    assert state_of(world, "one a") == "sending"
    assert not engine.wait_idle(0)
    gates.release(1)
    assert second.result() == 1
    assert state_of(world, "one a") == "delivered"
    assert engine.wait_idle(0)


@EITHER
def test_stopping_records_what_has_ended_though_an_attempt_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.new_engine(workers=2)
    gates = Gates(world)
    accept(world, "one a")
    with world.engine as engine:
        gates.wait_for(1)
        accept(world, "two a")
        gates.wait_for(2)
        assert not engine.stop(0.01)
        gates.release(1)
        wait_until(lambda: state_of(world, "two a") == "delivered")
        assert state_of(world, "one a") == "sending"
        gates.release(0)
        assert engine.stop(RELEASE)
        assert state_of(world, "one a") == "delivered"
        engine.start()


@EITHER
def test_stopping_gives_back_leases_though_an_attempt_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "POLL", 600.0)
    monkeypatch.setattr(backend, "POLL_SERVER", 600.0)
    world.new_engine(workers=2)
    with world.engine as engine:
        assert engine.wait([world.accept("one b")], RELEASE)[0].settled
        gates = Gates(world)
        accept(world, "one c", "one d")
        gates.wait_for(1)
        wait_until(lambda: world.execute(IN_FLIGHT) == [(2,)])
        assert not engine.stop(0.01)
        wait_until(lambda: world.execute(IN_FLIGHT) == [(1,)])
        gates.release(0)


IN_FLIGHT = "SELECT count(*) FROM deliveries WHERE worker_id IS NOT NULL"


@EITHER
def test_an_outcome_is_recorded_while_the_only_worker_sends_the_next(world: World) -> None:
    world.new_engine(workers=1)
    with world.engine as engine:
        assert engine.wait([world.accept("one b")], RELEASE)[0].settled
        gates = Gates(world)
        accept(world, "one c", "one d")
        gates.wait_for(1)
        gates.release(0)
        gates.wait_for(2)
        wait_until(lambda: state_of(world, gates.entered[0]) == "delivered")
        assert state_of(world, gates.entered[1]) == "sending"
        gates.release(1)


@EITHER
def test_an_outcome_is_recorded_by_an_idle_worker_while_another_sends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "POLL", 600.0)
    monkeypatch.setattr(backend, "POLL_SERVER", 600.0)
    world.new_engine(workers=2)
    with world.engine as engine:
        assert engine.wait([world.accept("one b")], RELEASE)[0].settled
        gates = Gates(world)
        accept(world, "one c", "one d")
        gates.wait_for(1)
        gates.release(0)
        gates.wait_for(2)
        wait_until(lambda: state_of(world, gates.entered[0]) == "delivered")
        gates.release(1)


@EITHER
def test_a_lease_that_waits_for_long_is_given_back_to_other_processes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "POLL", 0.01)
    hanging = world.new_engine(workers=1)
    with hanging:
        assert hanging.wait([world.accept("one b")], RELEASE)[0].settled
        gates = Gates(world)
        accept(world, "one c", "two a")
        gates.wait_for(1)
        wait_until(lambda: world.execute(IN_FLIGHT) == [(2,)])
        world.clock.now += held_leases.LONGEST_WAIT + 1
        wait_until(lambda: world.execute(IN_FLIGHT) == [(1,)])
        world.page.behaviour.clear()
        world.new_engine()
        assert len(world.drain()) == 1
        gates.release(0)


@EITHER
def test_hanging_lanes_that_failed_before_delay_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_leases, "WITHIN", 0.0)
    monkeypatch.setattr(backend, "POLL", 600.0)
    monkeypatch.setattr(backend, "POLL_SERVER", 600.0)
    world.new_engine(workers=4)
    with world.engine as engine:
        failed = OutcomeKind.UNREACHABLE
        world.page.behaviour["send"] = lambda _: Outcome(failed)
        accept(world, *(f"{lane} a" for lane in LANES[:4]))
        wait_until(lambda: [each.outcome for each in world.deliveries].count(failed) == 4)
        hanging = Hanging(world.page, lambda delivery: delivery.ref.destination != "five")
        world.clock.now += 20
        assert engine.wait([world.accept("five a")], RELEASE)[0].settled
        hanging.go_on.set()


def test_leases_that_were_not_used_do_not_count_as_quick_attempts(world: World) -> None:
    accept(world, "one a")
    world.engine._dispatcher.plan_ahead()
    with world.database.begin() as connection:
        leases = lease_in(world, connection, "me")
    held = HeldLeases(8)
    held.add(leases)
    lease = held.take()
    assert lease
    held.sent(lease)
    assert (held.quota(world.clock.now, 8).most, held.quota(world.clock.now, 8).per_quick_lane) == (
        8,
        {},
    )


@EITHER
def test_a_record_for_an_incident_of_the_same_batch_does_not_stop_its_queue(world: World) -> None:
    def record(opening: Delivery, _: Delivery) -> Sequence[Delivery]:
        ref = attrs.evolve(opening.ref, correlation_key="one b")
        return [attrs.evolve(opening, ref=ref, over=True)]

    world.page.on_missed = record  # type: ignore[method-assign,assignment]
    world.fail(OutcomeKind.THROTTLED)
    accept(world, "one b", "one a")
    assert len(world.drain()) == 1
    world.engine.accept_many([Alert("one a", status="resolved"), Alert("one b")])
    world.drain()

    sent = [each for _ in range(3) for each in world.advance(61)]
    assert "trigger one b" in sent
    assert "queued" not in world.states


def test_an_unreadable_delivery_costs_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.accept("two bad")
    world.accept("two good")
    world.engine._dispatcher.plan_ahead()
    world.execute(
        "UPDATE deliveries SET body = '{}' WHERE incident_id ="
        " (SELECT id FROM incidents WHERE correlation_key = 'two bad')"
    )

    assert world.drain() == ["trigger two good"]
    states = world.execute("SELECT state FROM deliveries ORDER BY id")
    assert [row.state for row in states] == ["delivered", "dead", "delivered"]
    assert "cannot be read: it failed at " in caplog.text


def test_outcomes_that_fail_together_are_recorded_one_by_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = completion.complete

    def alone(uow: Any, results: Sequence[completion.Result]) -> None:
        if len(results) > 1:
            raise UnstorableError("too much at once")
        complete(uow, results)

    monkeypatch.setattr(completion, "complete", alone)
    world.accept("two")
    world.accept("three")

    assert sorted(world.drain()) == ["trigger three", "trigger two"]
    assert world.states == ["delivered"] * 3


def test_the_pace_of_few_lanes_is_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_leases, "REMEMBERED", 1)
    for lane in LANES:
        world.accept(lane)
    world.drain()

    assert len(world.engine._dispatcher._leases.quota(world.clock.now, 1).per_quick_lane) == 1


def test_a_lease_completed_while_it_is_sent_is_not_held(world: World) -> None:
    world.accept("two")
    world.engine._dispatcher.plan_ahead()
    with world.database.begin() as connection:
        [lease] = lease_in(world, connection, "me")
    held = HeldLeases(1)
    held.add([lease])
    assert held.take() == lease
    held.complete([lease])
    held.sent(lease)

    assert (lease.id, lease.attempt) not in held


@pytest.mark.parametrize(
    ("error", "logged"), [(StoreError("full"), "full"), (RuntimeError("odd"), "a worker failed")]
)
def test_the_engine_stops_though_the_last_outcomes_cannot_be_recorded(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    logged: str,
) -> None:
    def fail() -> None:
        raise error

    with world.engine as engine:
        monkeypatch.setattr(engine._dispatcher, "settle", fail)
        assert engine.stop(RELEASE)
    assert logged in caplog.text


def test_actions_that_may_not_repeat_are_not_leased_ahead(worlds: Callable[..., World]) -> None:
    world = worlds(can=UPDATING)
    accept(world, "a", "b")
    world.engine._dispatcher.plan_ahead()

    def leased(unrepeatable: int) -> int:
        quota = selection.Quota(most=8, unrepeatable=unrepeatable)
        with world.database.begin() as connection:
            return len(leasing.Leasing(unit_of_work(world, connection), "me", quota).lease())

    assert [leased(0), leased(1), leased(0)] == [0, 1, 0]
    held = HeldLeases(1)
    assert held.quota(world.clock.now, 1).unrepeatable == 1
    [waiting] = lease_from(world)
    held.add([waiting])
    assert held.quota(world.clock.now, 1).unrepeatable == 0


@EITHER
def test_a_lane_with_a_due_delivery_is_looked_at_again_soon(world: World) -> None:
    accept(world, "two a", "two b", "two c", "two d")
    world.engine._dispatcher.plan_ahead()
    with world.database.begin() as connection:
        quota = selection.Quota(most=2)
        leasing.Leasing(unit_of_work(world, connection), "other", quota).lease()
    world.clock.now += selection.SLOW + 1
    later = world.clock.now + 60
    world.execute("UPDATE deliveries SET due = :due WHERE id = 5", due=later)

    assert lease_from(world) == ()
    [(due,)] = world.execute("SELECT due FROM lanes WHERE destination = 'two'")
    assert due == world.clock.now + heads.LOOK_AGAIN


def lease_from(world: World) -> Sequence[leasing.Lease]:
    with world.database.begin() as connection:
        return lease_in(world, connection, "me")
