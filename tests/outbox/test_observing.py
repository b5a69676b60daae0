"""Observers get every delivery at least once, always under the same id."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from engines import EITHER_IN_PROOF, Clock, Observer, World

from alerthost.outbox import serialisation
from alerthost.outbox.maintenance import Patience
from alerthost.outbox.notifier import Notifier
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from hostspec import Alert, Delivery, Outcome, OutcomeKind, Receipt, hookimpl

pytestmark = EITHER_IN_PROOF

UNREACHABLE, FAULTED, DELIVERED = (
    OutcomeKind.UNREACHABLE,
    OutcomeKind.FAULTED,
    OutcomeKind.DELIVERED,
)


def reported(world: World) -> list[tuple[str, str, str]]:
    """Return the notifications of observers: the hook, the operation, and the reason."""
    return [
        (
            name,
            str(receipt.delivery.operation),
            receipt.reason or (receipt.outcome.reason if receipt.outcome else ""),
        )
        for name, receipt in world.observer.reported
    ]


def ids(world: World) -> list[str]:
    return [receipt.id for _, receipt in world.observer.reported]


def test_superseded_deliveries_are_reported(world: World) -> None:
    world.fail(UNREACHABLE)
    world.accept("disk")
    world.drain()
    world.accept("disk")
    world.advance(5)

    assert reported(world) == [
        ("superseded", "trigger", "superseded by another delivery of the same incident"),
        ("delivered", "trigger", ""),
    ]
    (_, superseded), (_, delivered) = world.observer.reported
    assert superseded.outcome == Outcome(UNREACHABLE)
    assert (superseded.attempts, delivered.attempts) == (1, 1)
    assert len(set(ids(world))) == len(world.deliveries) == 2


def test_discarded_deliveries_of_an_ended_problem_are_reported(world: World) -> None:
    world.page.on_missed = lambda *_: ()  # type: ignore[method-assign]
    world.fail(OutcomeKind.MISCONFIGURED)
    world.accept("disk")
    world.drain()
    submission_id = world.accept("disk", "resolved")
    world.drain()

    over = "its problem was over before it was sent"
    assert reported(world) == [("superseded", "trigger", over), ("superseded", "resolve", over)]
    (status,) = world.engine.admin.statuses([submission_id])
    assert [(str(each.state), each.reason) for each in status.entries] == [("discarded", over)]
    assert world.open_keys == []


def test_a_delivery_discarded_by_hand_is_reported_once(world: World) -> None:
    world.fail(OutcomeKind.MISCONFIGURED, OutcomeKind.REJECTED)
    world.accept("disk")
    world.drain()
    world.engine.admin.discard_delivery(world.delivery().id)
    world.accept("cpu")
    world.advance(31)
    world.engine.admin.discard_delivery(world.delivery().id)
    world.drain()

    assert reported(world) == [
        ("undelivered", "trigger", "discarded by hand"),
        ("undelivered", "trigger", ""),
    ]
    assert world.states == ["discarded", "discarded"]


def test_orphaned_deliveries_are_reported(world: World) -> None:
    world.fail(Outcome(DELIVERED, handle={"key": "old"}))
    world.accept("disk")
    world.drain()
    world.page.can_follow_up = lambda *_: False  # type: ignore[method-assign]
    world.accept("disk", "resolved")
    world.drain()

    assert reported(world)[1:] == [
        (
            "undelivered",
            "resolve",
            "the key or address that opened the incident is not configured any more",
        )
    ]


def test_a_late_dead_lettered_delivery_is_reported_twice_under_one_id(
    worlds: Callable[..., World],
) -> None:
    world = worlds(patience=Patience(late=100))

    def send(delivery: Delivery) -> Outcome:
        return Outcome(FAULTED if delivery.ref.correlation_key == "bad" else DELIVERED, "500")

    world.page.behaviour["send"] = send
    world.accept("bad")
    for number in range(30):
        world.accept(f"good {number}")
        world.advance(30)

    of_bad = [
        (name, receipt.id)
        for name, receipt in world.observer.reported
        if receipt.delivery.alert.key == "bad"
    ]
    assert [name for name, _ in of_bad] == ["delayed", "undelivered"]
    assert len({number for _, number in of_bad}) == 1


def test_every_delivery_is_reported_at_its_end(world: World) -> None:
    statuses = [UNREACHABLE, OutcomeKind.REJECTED, DELIVERED, FAULTED, OutcomeKind.THROTTLED]
    for number in range(40):
        world.fail(statuses[number % 5])
        world.accept(f"{number % 3}", ("firing", "acknowledged", "firing", "resolved")[number % 4])
        world.advance(number % 7)
    for key in "012":
        world.accept(key, "resolved")
    world.advance_in_steps(600)

    assert sorted({*ids(world)}) == sorted(
        row.uid for row in world.execute("SELECT uid FROM deliveries")
    )
    assert "superseded" in world.observer.names


class DeadWriter:
    """The writer of a process that dies before it commits."""

    def run(self, work: Callable[..., object]) -> None:
        """Do nothing."""


def test_a_process_killed_while_reporting_reports_again_under_the_same_id(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.accept("disk")
    monkeypatch.setattr(world.engine._notifier, "adopt", lambda _: None)
    monkeypatch.setattr(world.engine._notifier, "_writer", DeadWriter())
    once = iter([False, True])
    notify = world.engine._notifier.notify
    monkeypatch.setattr(
        world.engine._notifier, "notify", lambda worker_id, _: notify(worker_id, lambda: next(once))
    )
    world.drain()
    world.new_engine()
    world.drain()

    assert world.observer.names == ["delivered", "delivered"]
    assert len(set(ids(world))) == 1


def test_a_failing_observer_is_named_and_affects_no_other(
    database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        @hookimpl
        def hostspec_delivered(self, receipt: Receipt) -> None:
            raise RuntimeError("a token")

    class Chatty:
        @hookimpl
        def hostspec_delivered(self, receipt: Receipt) -> str:
            return "thank you"

    world = World(database, clock)
    other = Observer()
    world.plugins = world.plugins_with(broken=Broken(), chatty=Chatty(), other=other)
    world.new_engine()
    world.accept("disk")
    world.accept("cpu")
    with caplog.at_level(logging.ERROR):
        world.drain()

    assert other.names == ["delivered"] * 2
    (said,) = caplog.messages  # one for each cause, whatever the number of receipts
    assert said.startswith("plugin broken: hostspec_delivered failed at tests/outbox/")
    assert world.execute("SELECT count(*) FROM receipts") == [(0,)]


def test_observers_are_called_outside_of_transactions(world: World) -> None:
    """An observer may be slow, and may use the engine."""
    seen: list[list[str]] = []

    class Looking:
        @hookimpl
        def hostspec_delivered(self, receipt: Receipt) -> None:
            world.accept("looked")
            seen.append(world.states)

    world.plugins = world.plugins_with(looking=Looking())
    world.new_engine()
    world.accept("disk")
    world.drain(1)

    assert seen == [["delivered"]]


def test_a_stopping_engine_reports_its_deliveries(world: World) -> None:
    """A program that sends and ends reports all its deliveries, without a next process."""
    submissions = [world.accept(name) for name in "abc"]
    with world.engine:
        world.engine.wait(submissions, 30)

    assert world.observer.names == ["delivered"] * 3
    assert world.execute("SELECT count(*) FROM receipts") == [(0,)]


def test_receipts_left_at_stop_are_reported_by_the_next_engine(world: World) -> None:
    enough = iter([False, True, True])
    world.accept("a")
    world.accept("b")
    notify = world.engine._notifier.notify
    world.engine._notifier.notify = lambda worker_id, _: notify(  # type: ignore[method-assign]
        worker_id, lambda: next(enough)
    )
    world.drain()
    assert world.observer.names == ["delivered"]

    world.new_engine().drain()
    assert world.observer.names == ["delivered"] * 2


def test_a_slow_observer_does_not_delay_a_stop(world: World) -> None:
    began, go_on = threading.Event(), threading.Event()

    class Slow:
        @hookimpl
        def hostspec_delivered(self, receipt: Receipt) -> None:
            began.set()
            go_on.wait(60)

    world.plugins = world.plugins_with(slow=Slow())
    engine = world.new_engine()
    engine.start()
    world.accept("a")
    assert began.wait(60)
    try:
        assert not engine.stop(0.0)
    finally:
        go_on.set()
        assert engine.stop()


@pytest.mark.parametrize("hanging", ["adopt", "leave"])
def test_stop_keeps_its_timeout_whatever_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch, hanging: str
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def hang(*arguments: object) -> None:
        if threading.current_thread().name == "hostspec end":
            began.set()
            go_on.wait(60)
        real(*arguments)

    world.engine.start()
    threads = world.engine._threads._threads
    ref: Any = Notifier if hanging == "adopt" else type(world.engine._registration.current)
    real = getattr(ref, hanging)
    monkeypatch.setattr(ref, hanging, hang)
    assert not world.engine.stop(0.0)
    for thread in threads:
        thread.join(60)
    assert not world.engine.stop(0.0)
    assert began.wait(60)
    assert not world.engine.stop(0.0)

    go_on.set()
    assert world.engine.stop()
    assert world.engine.stop()


def test_a_store_failure_while_reporting_at_stop_is_logged(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.engine.start()

    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Notifier, "adopt", fail)
        with caplog.at_level(logging.ERROR):
            assert world.engine.stop()
    assert "the store fails: the disk is full" in caplog.messages


def ignore(*_: object) -> None:
    """Observe nothing."""


def test_large_receipts_are_read_a_few_at_a_time(
    worlds: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late deliveries and receipts, all of them large."""
    monkeypatch.setattr(serialisation, "CHUNK_BYTES", 1)
    world = worlds(patience=Patience(late=100, keep=1e9))
    world.fail(*[UNREACHABLE] * 8)
    world.engine.accept_many([Alert(f"{n}") for n in range(8)])
    world.drain()
    read: list[int] = []

    @sa.event.listens_for(world.database.engine, "before_cursor_execute")
    def note(*given: Any) -> None:
        statement, parameters = given[2:4]
        if statement.startswith("SELECT") and ".body," in statement and " IN " in statement:
            read.append(len(parameters))

    world.advance(101)
    world.advance_in_steps(600)

    assert world.observer.names.count("delayed") == 8
    assert world.observer.names.count("delivered") == 8
    assert read
    assert max(read) == 1
