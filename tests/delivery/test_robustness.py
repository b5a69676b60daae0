"""What must not stop the engine: poison, faulty plugins, dead processes, threads that hang."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from engines import World
from recorder import UPDATING, rule_of

from hostspec import Alert, Delivery, Outcome, OutcomeKind
from hostspec.delivery import dispatch, presence
from hostspec.store.database import Database
from hostspec.store.errors import StoreError

DELIVERED = Outcome(OutcomeKind.DELIVERED)


def claimed(world: World) -> dispatch.Claim:
    """Claim what is next as a process that is gone right after."""
    world.engine._plan_ahead()
    gone = presence.presence(world.database)
    with world.database.begin() as connection:
        claim = dispatch.claim(connection, gone.name, world.clock.now)
    gone.leave()
    assert claim
    return claim


def late(world: World, claim: dispatch.Claim, outcome: Outcome = DELIVERED) -> None:
    """Settle a claim that somebody else has taken over."""
    with world.database.begin() as connection:
        dispatch.settle(
            connection,
            claim,
            outcome,
            world.clock.now,
            arrived=outcome.kind.may_have_arrived,
            limits=(),
            actions=world.plugins.actions,
        )


def test_a_statement_that_cannot_be_read_blocks_nobody(world: World) -> None:
    bad = world.say("bad")
    world.say("good")
    world.execute("UPDATE statements SET body = '[]' WHERE statement_id = :id", id=bad)

    assert world.drain() == ["trigger good"]
    (fate,) = world.engine.desk.fates([bad])
    assert fate.note
    assert fate.note.failures[0].startswith("could not be planned: ")


def test_a_plan_that_cannot_be_written_blocks_nobody(world: World) -> None:
    good = world.page.plan

    def plan(alert: Alert, settings: Any, installation: Any, *, rule: str = "") -> Any:
        (delivery,) = good(alert, settings, installation, rule=rule)
        if alert.key == "bad":
            delivery = attrs.evolve(delivery, message={"text": object()})
        return [delivery]

    world.page.plan = plan  # type: ignore[method-assign]
    for key in ("one", "bad", "two"):
        world.say(key)

    assert world.drain() == ["trigger one", "trigger two"]


def test_an_action_that_is_gone_costs_only_its_incident(world: World) -> None:
    world.say("disk")
    world.drain()
    world.plugins.actions.pop("pager.page")  # type: ignore[attr-defined]
    world._rules = lambda _: []
    world.new_engine()

    statement = world.say("disk", "resolved")
    world.drain()

    (fate,) = world.engine.desk.fates([statement])
    assert fate.note
    assert "the action pager.page is gone" in fate.note.failures[0]
    assert world.open == ["disk"]


def test_what_a_dead_process_was_sending_is_sent_again(world: World) -> None:
    world.say("disk")
    claimed(world)

    assert world.drain() == ["trigger disk"]
    world.say("disk", "resolved")
    assert world.drain() == ["resolve disk"]
    assert world.later(61) == ["resolve disk"]
    assert world.open == []


def test_a_ticket_that_a_dead_process_was_opening_is_uncertain(
    worlds: Callable[..., World],
) -> None:
    world = worlds(can=UPDATING)
    world.say("disk")
    claimed(world)

    assert world.drain() == []
    assert world.states == ["uncertain"]
    assert world.observer.names == ["undelivered"]


def test_a_trigger_that_arrives_after_all_was_closed_is_resolved_once_more(world: World) -> None:
    world.say("disk")
    claim = claimed(world)
    world.drain()
    world.say("disk", "resolved")
    world.drain()
    world.later(61)
    assert world.open == []

    late(world, claim)

    assert world.later(61) == ["resolve disk"]
    assert world.open == []


def test_a_trigger_that_arrives_late_while_it_fires_is_in_doubt(world: World) -> None:
    world.say("disk")
    claim = claimed(world)
    world.drain()

    late(world, claim)

    world.say("disk", "resolved")
    assert world.drain() == ["resolve disk"]
    assert world.later(61) == ["resolve disk"]


def test_what_did_not_arrive_late_changes_nothing(world: World) -> None:
    world.say("disk")
    claim = claimed(world)
    world.drain()
    late(world, claim, Outcome(OutcomeKind.REFUSED))

    assert world.states == ["delivered"]


def test_an_attempt_that_hangs_is_taken_over_when_its_lease_runs_out(world: World) -> None:
    world.say("disk")
    hanging = presence.presence(world.database)
    world.engine._plan_ahead()
    with world.database.begin() as connection:
        assert dispatch.claim(connection, hanging.name, world.clock.now)

    assert world.later(59) == []
    assert world.later(2) == []
    assert world.later(2) == ["trigger disk"]
    hanging.leave()


def test_an_observer_hears_what_a_dead_process_noted(world: World) -> None:
    world.say("disk")
    world.engine.tell = lambda _: None  # type: ignore[method-assign]
    world.drain()
    assert world.observer.names == []

    world.new_engine()
    world.drain()

    assert world.observer.names == ["delivered"]


def test_a_receipt_that_cannot_be_read_blocks_nobody(world: World) -> None:
    world.say("disk")
    world.say("cpu")
    world.engine.tell = lambda _: None  # type: ignore[method-assign]
    world.drain()
    world.execute("UPDATE receipts SET body = '[]' WHERE id = 1")
    world.new_engine()
    world.drain()

    assert world.observer.names == ["delivered"]
    assert world.execute("SELECT count(*) FROM receipts") == [(0,)]


def test_what_a_store_did_not_take_is_written_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.say("disk")
    settle = dispatch.settle

    def failing(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(dispatch, "settle", settle)
        raise StoreError("full")

    monkeypatch.setattr(dispatch, "settle", failing)
    with pytest.raises(StoreError, match="full"):
        world.drain()
    assert world.states == ["waiting"]

    assert world.drain() == []
    assert world.states == ["delivered"]


def test_a_process_that_froze_starts_no_attempt(world: World) -> None:
    world.page.limits = lambda *_: setattr(world.clock, "now", world.clock.now + 11) or []  # type: ignore[method-assign]
    world.say("disk")
    world.page.sent.clear()
    world.engine.drain(1)
    assert world.page.sent == []

    world.page.limits = lambda *_: []  # type: ignore[method-assign]
    assert world.drain() == ["trigger disk"]
    assert world.entry().attempts == 1


def test_an_action_that_cannot_say_what_it_holds_is_asked_to_send(world: World) -> None:
    world.fail(Outcome(OutcomeKind.DELIVERED, handle={"id": 1}))
    world.say("disk")
    world.drain()
    world.page.can_follow_up = lambda *_: 1 / 0  # type: ignore[method-assign,assign]
    world.page.limits = lambda *_: 1 / 0  # type: ignore[method-assign,assign]
    world.say("disk", "resolved")

    assert world.drain() == ["resolve disk"]


def test_an_interrupted_attempt_is_in_doubt(world: World) -> None:
    world.fail(KeyboardInterrupt())  # type: ignore[arg-type]
    world.say("disk")
    with pytest.raises(KeyboardInterrupt):
        world.drain()

    assert world.states == ["waiting"]
    assert world.later(2) == ["trigger disk"]


def test_an_engine_starts_once_and_stops(world: World) -> None:
    world.database.migrate()
    with world.engine as engine:
        assert engine.working
        with pytest.raises(RuntimeError, match="started already"):
            engine.start()
        assert engine.wait([world.say("disk")], 30)[0].settled
    assert not engine.working
    assert engine.stop()


def test_a_lane_that_hangs_blocks_no_other(worlds: Callable[..., World]) -> None:
    gate, hanging = threading.Event(), []

    def send(delivery: Delivery) -> Outcome:
        if delivery.place.destination == "bad":
            hanging.append(delivery)
            gate.wait(30)
        return DELIVERED

    def rules(plugins: Any) -> Any:
        return [
            rule_of(
                plugins, team, lambda alert, team=team: alert.key.startswith(team), teams=[team]
            )
            for team in ("bad", "good")
        ]

    world = worlds(rules=rules, workers=4)
    world.page.behaviour["send"] = send
    bad = [world.say(f"bad {number}") for number in range(20)]
    good = [world.say(f"good {number}") for number in range(20)]
    with world.engine as engine:
        fates = engine.wait(good, 30)
        assert all(fate.settled for fate in fates)
        assert 1 <= len(hanging) <= 2
        gate.set()
        assert all(fate.settled for fate in engine.wait(bad, 30))


def test_a_reload_takes_over_smoothly(world: World) -> None:
    old = world.engine
    old.start()
    ids = [world.say(f"a{number}") for number in range(20)]
    new = world.new_engine()
    new.start()
    assert old.stop(30)
    ids += [world.say(f"b{number}") for number in range(20)]
    fates = new.wait(ids, 30)
    new.stop()

    assert all(fate.entries[0].state == "delivered" for fate in fates)
    assert len(world.page.sent) == 40


def test_left_behind_locks_are_swept(world: World, database: Database) -> None:
    world.database.migrate()
    assert database.file
    left = database.file.with_name("alerthost.db-0.lock")
    fresh = database.file.with_name("alerthost.db-1.lock")
    left.touch()
    fresh.touch()
    old = time.time() - presence.OLD - 1
    os.utime(left, (old, old))

    mine = presence.presence(database)

    assert not left.exists()
    assert fresh.exists()
    assert mine.gone([mine.name, "2"]) == ["2"]
    other = presence.presence(database)
    assert mine.gone([other.name]) == []
    other.leave()
    mine.leave()
