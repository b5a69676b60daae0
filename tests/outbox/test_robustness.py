"""Poison, faulty plugins, dead processes and hanging threads do not stop the engine."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from engines import (
    DELIVERED,
    EITHER_IN_PROOF,
    World,
    complete_late,
    deliver,
    lease_as_dead_process,
    lease_in,
    unit_of_work,
    unwritten_plans,
)
from recorder import SILENT, UPDATING, rule_of

from alerthost.outbox import (
    completion,
    delivery_store,
    heads,
    heartbeat,
    inbox,
    lane_store,
    leasing,
    maintenance,
    plan_writer,
    planner,
    snapshot,
)
from alerthost.outbox.backend import UnitOfWork
from alerthost.store.errors import StoreError, UnstorableError
from hostspec import Alert, Delivery, Identity, Limit, Outcome, OutcomeKind, Secret
from hostspec.plugins import planning

pytestmark = EITHER_IN_PROOF

LONG = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(200))
"""Longer than an index row of PostgreSQL may be, even when compressed."""

OLD, NEW = {"key": "old"}, {"key": "new"}


def test_an_unreadable_submission_blocks_no_other(world: World) -> None:
    bad = world.accept("bad")
    world.accept("good")
    world.execute("UPDATE submissions SET body = '[]' WHERE submission_id = :id", id=bad)

    assert world.drain() == ["trigger good"]
    (status,) = world.engine.admin.statuses([bad])
    assert status.note
    assert status.note.failures[0].startswith("could not be planned: ")


@pytest.mark.parametrize("reason", ["a NUL \0", "half of a pair \ud800", None])
def test_an_unstorable_reason_blocks_no_delivery(world: World, reason: Any) -> None:
    world.fail(Outcome(OutcomeKind.REJECTED, reason))
    world.accept("disk")
    world.accept("cpu")

    assert world.drain() == ["trigger disk", "trigger cpu"]
    assert world.states == ["rejected", "delivered"]


@pytest.mark.parametrize("text", ["a NUL \0", "half of a pair \ud800"])
@pytest.mark.parametrize("name", ["ref", "alert"])
def test_an_unstorable_name_blocks_no_delivery(world: World, name: str, text: str) -> None:
    good = world.page.plan

    def plan(*arguments: Any, **named: Any) -> Any:
        (delivery,) = good(*arguments, **named)
        ref = attrs.evolve(delivery.ref, correlation_key=text)
        bad = {"ref": ref, "alert": Identity("", text)}
        return [attrs.evolve(delivery, **{name: bad[name]}), delivery]

    world.page.plan = plan  # type: ignore[method-assign]
    submission_id = world.accept("disk")

    assert world.drain() == ["trigger disk"]
    (status,) = world.engine.admin.statuses([submission_id])
    assert status.note
    assert "planned something else than a delivery of its own" in status.note.failures[0]


@pytest.mark.parametrize("answer", ["no delivery", "a missing action"])
@pytest.mark.parametrize("flying", [False, True])
def test_an_invalid_answer_of_on_missed_blocks_no_delivery(
    world: World, answer: str, *, flying: bool
) -> None:
    def on_missed(opening: Delivery, _: Delivery) -> Any:
        gone = attrs.evolve(opening.ref, action="pager.gone")
        return [attrs.evolve(opening, ref=gone) if answer == "a missing action" else answer]

    def meanwhile(_: Delivery) -> Outcome:
        del world.page.behaviour["send"]
        if flying:
            world.accept("disk", "resolved")
            world.engine._dispatcher.plan_ahead()
        return Outcome(OutcomeKind.UNREACHABLE)

    world.page.on_missed = on_missed  # type: ignore[method-assign]
    world.page.behaviour["send"] = meanwhile
    world.accept("disk")
    world.drain()
    if not flying:
        world.accept("disk", "resolved")
    world.accept("cpu")

    sent = [*world.drain(), *world.advance_in_steps(700)]

    assert "trigger cpu" in sent
    assert "resolve disk" in sent
    assert ("trigger disk" in sent) == (answer == "no delivery")
    assert ("queued" in world.states) == (answer == "a missing action")


@pytest.mark.parametrize("scope", ["", LONG])
def test_long_keys_that_differ_at_the_end_are_two_problems(world: World, scope: str) -> None:
    one, other = Alert(LONG).key, Alert(f"{LONG}, another").key
    world.accept(LONG, scope=scope)
    world.accept(f"{LONG}, another", scope=scope)
    assert world.drain() == [f"trigger {one}", f"trigger {other}"]
    assert world.open_keys == [one, other]

    world.accept(LONG, "resolved", scope=scope)
    assert world.drain() == [f"resolve {one}"]
    world.accept(LONG, scope=scope)
    assert world.drain() == [f"trigger {one}"]


DEEP: Any = "bottom"
for _ in range(planning.MOST_LEVELS + 1):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "garbled",
    [
        {"follow_ups": ("none",)},
        {"follow_ups": []},
        {"message": {"a": object()}},
        {"message": {"a": [Secret("canary")]}},
        {"message": {"deep": DEEP}},
        {"repairs": ("none",)},
        {"notes": (None,)},
        {"over": object()},
        {"message": {("a", "pair"): 1}},
    ],
    ids="".join,
)
def test_an_unreadable_delivery_blocks_no_other(world: World, garbled: dict[str, Any]) -> None:
    good = world.page.plan

    def plan(alert: Alert, *arguments: Any, **named: Any) -> Any:
        (delivery,) = good(alert, *arguments, **named)
        return [attrs.evolve(delivery, **garbled) if alert.key == "bad" else delivery]

    world.page.plan = plan  # type: ignore[method-assign]
    bad = world.accept("bad")
    world.accept("good")

    assert world.drain() == ["trigger good"]
    (status,) = world.engine.admin.statuses([bad])
    assert status.note
    (failure,) = status.note.failures
    assert "planned something else than a delivery" in failure or "could not be planned" in failure
    assert "canary" not in failure


@pytest.mark.parametrize("seconds", ["soon", [20], 10**400])
def test_an_invalid_pause_blocks_no_delivery(world: World, seconds: Any) -> None:
    world.fail(Outcome(OutcomeKind.THROTTLED, retry_after=seconds))
    world.accept("disk")

    assert world.drain() == ["trigger disk"]
    assert world.advance(120) == ["trigger disk"]
    assert world.states == ["delivered"]


def test_a_very_long_destination_blocks_no_delivery(world: World) -> None:
    good = world.page.plan

    def plan(alert: Alert, *arguments: Any, **named: Any) -> Any:
        (delivery,) = good(alert, *arguments, **named)
        ref = attrs.evolve(delivery.ref, destination=LONG)
        return [attrs.evolve(delivery, ref=ref) if alert.key == "far" else delivery]

    world.page.plan = plan  # type: ignore[method-assign]
    far = world.accept("far")
    world.accept("near")
    held = world.database.file is not None

    assert world.drain() == (["trigger far", "trigger near"] if held else ["trigger near"])
    (status,) = world.engine.admin.statuses([far])
    assert status.note
    assert [each.partition(" at ")[0] for each in status.note.failures] == (
        [] if held else ["could not be planned: it failed"]
    )


def test_an_unwritable_outcome_blocks_no_delivery(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise UnstorableError("too long")

    world.accept("disk")
    with monkeypatch.context() as patched:
        patched.setattr(completion, "complete", fail)
        with pytest.raises(UnstorableError, match="too long"):
            world.drain()
    world.accept("cpu")

    sent = [*world.drain(), *world.advance_in_steps(120, step=10)]
    assert sorted(sent) == ["trigger cpu", "trigger disk"]  # it is unknown whether it arrived
    assert world.states == ["delivered", "delivered"]


@pytest.mark.parametrize(
    "limit",
    [
        Limit("", 1, 60.0),
        Limit(LONG, 1, 60.0),
        Limit("a NUL \0", 1, 60.0),
        Limit("none", 0, 60.0),
        Limit("endless", 10**30, 60.0),
        Limit("no time", 1, 0.0),
        Limit("for ever", 1, math.inf),
        Limit("no number", 1, math.nan),
        Limit(None, 1, 60.0),  # type: ignore[arg-type]
        Limit("text", "1", 60.0),  # type: ignore[arg-type]
        Limit("text", 1, "60"),  # type: ignore[arg-type]
        "no limit",
    ],
)
def test_an_invalid_limit_blocks_no_delivery(
    world: World, caplog: pytest.LogCaptureFixture, limit: Any
) -> None:
    sound = Limit("sound", 1, 60.0)
    world.page.limits = lambda *_: [limit, sound]  # type: ignore[method-assign]
    for key in ("disk", "cpu"):
        world.accept(key, severity="info")

    assert world.drain() == ["trigger disk"]
    assert world.advance(61) == ["trigger cpu"]
    assert "the action pager.page returns limits that are not valid" in caplog.text


def test_an_unwritable_plan_blocks_no_other(world: World) -> None:
    good = world.page.plan

    def plan(alert: Alert, settings: Any, installation: Any, *, rule: str = "") -> Any:
        (delivery,) = good(alert, settings, installation, rule=rule)
        if alert.key == "bad":
            delivery = attrs.evolve(delivery, message={"text": object()})
        return [delivery]

    world.page.plan = plan  # type: ignore[method-assign]
    for key in ("one", "bad", "two"):
        world.accept(key)

    assert world.drain() == ["trigger one", "trigger two"]


def test_an_alert_with_unstorable_text_is_sent(world: World) -> None:
    world.accept("di\0sk\ud800", scope="\0")
    assert world.drain() == ["trigger di\ufffdsk\ufffd"]
    world.accept("di\0sk\ud800", "resolved", scope="\0")
    assert world.drain() == ["resolve di\ufffdsk\ufffd"]


def test_unstorable_text_of_a_provider_is_cleaned(world: World) -> None:
    world.fail(Outcome(OutcomeKind.REJECTED, "no \0 such \ud800 thing"))
    world.accept("disk")
    world.drain()
    assert world.states == ["rejected"]
    assert world.delivery().reason == "no \ufffd such \ufffd thing"


def test_a_missing_action_affects_only_its_incident(world: World) -> None:
    world.accept("disk")
    world.drain()
    world.plugins.actions.pop("pager.page")  # type: ignore[attr-defined]
    world._rules = lambda _: []
    world.new_engine()

    submission_id = world.accept("disk", "resolved")
    world.drain()

    (status,) = world.engine.admin.statuses([submission_id])
    assert status.note
    assert "the action pager.page is gone" in status.note.failures[0]
    assert world.open_keys == ["disk"]


def test_a_delivery_of_a_dead_process_is_sent_again(world: World) -> None:
    world.accept("disk")
    lease_as_dead_process(world)

    assert world.drain() == ["trigger disk"]
    world.accept("disk", "resolved")
    assert world.drain() == ["resolve disk"]
    assert world.advance(61) == ["resolve disk"]
    assert world.open_keys == []


def test_a_delivery_of_a_dead_process_waits_for_its_budget(world: World) -> None:
    world.page.limits = lambda *_: [Limit("all", 4, 600.0)]  # type: ignore[method-assign]
    world.page.expected_handle = lambda *_: NEW  # type: ignore[method-assign]
    world.accept("disk", severity="critical")
    world.drain()
    world.accept("cpu", severity="critical")
    world.engine._dispatcher.plan_ahead()
    other = heartbeat.presence(world.database)
    with world.database.begin() as connection:
        promises = world.engine._dispatcher._expected_handles
        assert leasing.Leasing(
            unit_of_work(world, connection), other.name, expected_handles=promises
        ).lease()
    world.accept("net", severity="critical")
    assert world.drain() == ["trigger net"]
    other.leave()

    assert world.advance(10) == []
    assert world.advance(600) == ["trigger cpu"]


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_delivery_of_a_dead_process_is_sent_again_after_a_clock_change(
    world: World, step: float
) -> None:
    world.accept("disk")
    lease_as_dead_process(world)
    world.clock.now += step
    assert [*world.drain(), *world.advance(5)] == ["trigger disk"]


def test_deliveries_behind_one_in_flight_keep_their_order(world: World) -> None:
    def meanwhile(_: Delivery) -> None:
        if len(world.page.sent) == 1:
            world.accept("disk", "resolved")
            world.accept("disk")
            world.new_engine().drain()

    world.page.behaviour["send"] = deliver(meanwhile)
    world.accept("disk")
    assert world.drain() == ["trigger disk", "resolve disk", "trigger disk"]
    assert world.open_keys == ["disk"]


def test_discarding_a_queued_delivery_sends_nothing_beside_one_in_flight(world: World) -> None:
    beside = []

    def meanwhile(_: Delivery) -> None:
        if len(world.page.sent) == 1:
            world.accept("disk", "resolved")
            world.accept("disk")
            other = world.new_engine()
            other.drain()
            other.admin.discard_delivery(world.delivery(1).id)
            beside.append(other.drain())

    world.page.behaviour["send"] = deliver(meanwhile)
    world.accept("disk")
    assert world.drain() == ["trigger disk", "trigger disk"]
    assert beside == [0]


def test_an_outdated_plan_is_made_again(worlds: Callable[..., World]) -> None:
    pager = worlds(correlate=lambda _: "same")
    pager.accept("one")
    pager.drain()
    pager.accept("two")
    pager.accept("one", "resolved")
    assert pager.drain() == ["trigger same"], "the other one holds it open"
    pager.accept("two", "resolved")
    pager.accept("three")
    assert pager.drain() == ["resolve same", "trigger same"]
    assert [each.key for each in pager.engine.admin.incidents()[0].incident.holders] == ["three"]


def test_alerts_of_one_incident_are_planned_in_order(worlds: Callable[..., World]) -> None:
    pager = worlds(correlate=lambda _: "same")
    pager.accept("one")
    pager.drain()
    pager.accept("one", "acknowledged")
    pager.accept("one", "resolved")
    pager.accept("two")
    assert pager.drain() == ["resolve same", "trigger same"]


def test_a_ticket_of_a_dead_process_is_uncertain(worlds: Callable[..., World]) -> None:
    world = worlds(can=UPDATING)
    world.accept("disk")
    lease_as_dead_process(world)

    assert world.drain() == []
    assert world.states == ["uncertain"]
    assert world.observer.names == ["undelivered"]


def test_a_late_trigger_after_the_end_is_resolved_again(world: World) -> None:
    world.accept("disk")
    lease = lease_as_dead_process(world)
    world.drain()
    world.accept("disk", "resolved")
    world.drain()
    world.advance(61)
    assert world.open_keys == []

    complete_late(world, lease)

    assert world.advance(61) == ["resolve disk"]
    assert world.open_keys == []


def test_a_late_trigger_of_a_firing_alert_is_unconfirmed(world: World) -> None:
    world.accept("disk")
    lease = lease_as_dead_process(world)
    world.drain()

    complete_late(world, lease)

    world.accept("disk", "resolved")
    assert world.drain() == ["resolve disk"]
    assert world.advance(61) == ["resolve disk"]


def arrive_when_all_is_over(world: World) -> None:
    """Deliver a trigger late, after its alert fired again, and was resolved twice."""
    world.accept("disk")
    lease = lease_as_dead_process(world)
    for status in ("firing", "resolved"):
        world.accept("disk", status)
        world.drain()
    world.advance(61)

    complete_late(world, lease, Outcome(OutcomeKind.DELIVERED, handle=OLD))


def test_an_incident_opened_by_a_late_trigger_is_followed_up(world: World) -> None:
    arrive_when_all_is_over(world)

    assert world.advance(61) == ["resolve disk"]
    assert world.page.sent[-1].handle == OLD


def test_an_incident_opened_by_a_late_trigger_under_a_removed_key_is_orphaned(world: World) -> None:
    arrive_when_all_is_over(world)
    world.page.can_follow_up = lambda incident, _: incident.handle != OLD  # type: ignore[method-assign]

    assert world.advance(61) == []
    assert [row.incident.handle for row in world.engine.admin.incidents(orphaned=True)] == [OLD]


@pytest.mark.parametrize("flying", [False, True])
def test_a_late_trigger_beside_an_incident_of_another_key_is_orphaned(
    world: World, caplog: pytest.LogCaptureFixture, *, flying: bool
) -> None:
    world.page.expected_handle = lambda *_: NEW  # type: ignore[method-assign]
    world.accept("disk")
    lease = lease_as_dead_process(world)

    def arrive(_: Delivery) -> Outcome:
        complete_late(world, lease, Outcome(OutcomeKind.DELIVERED, handle=OLD))
        return Outcome(OutcomeKind.DELIVERED, handle=NEW)

    if flying:
        world.page.behaviour["send"] = arrive
        world.drain()
        del world.page.behaviour["send"]
    else:
        world.fail(Outcome(OutcomeKind.DELIVERED, handle=NEW))
        world.drain()
        complete_late(world, lease, Outcome(OutcomeKind.DELIVERED, handle=OLD))

    (record,) = [each for each in caplog.records if "is orphaned: its trigger" in each.message]
    assert record.message.startswith("the incident disk at acme/all is orphaned")
    assert record.name == "hostspec", "which log handlers that make alerts leave out"
    (row,) = world.engine.admin.incidents(orphaned=True)
    assert (row.incident.handle, row.incident.holders) == (OLD, (Identity("", "disk"),))
    world.accept("disk", "resolved")
    assert world.drain() == ["resolve disk"]
    assert world.advance(61) == ["resolve disk"]
    assert [sent.handle for sent in world.page.sent[-2:]] == [NEW, NEW]
    assert world.open_keys == []


@pytest.mark.parametrize("end", ["discarded", "rejected"])
def test_an_unconfirmed_incident_is_resolved_again_after_a_failed_trigger(
    world: World, end: str
) -> None:
    world.fail(OutcomeKind.UNREACHABLE)
    world.accept("disk")
    world.drain()
    world.accept("disk", "resolved")
    assert world.advance(2) == ["trigger disk", "resolve disk"]
    world.accept("disk")
    assert world.drain(1) == ["resolve disk"]

    if end == "discarded":
        world.engine.admin.discard_delivery(world.delivery().id)
    else:
        world.fail(OutcomeKind.REJECTED)
        assert world.drain() == ["trigger disk"]

    assert world.advance(59) == []
    assert world.advance(2) == ["resolve disk"]
    assert world.open_keys == []


def test_a_trigger_that_replaces_a_confirming_resolve_is_unconfirmed(world: World) -> None:
    world.fail(Outcome(OutcomeKind.UNREACHABLE, handle=OLD))
    world.accept("disk")
    world.drain()
    world.accept("disk", "resolved")
    world.advance(2)
    world.accept("disk")
    world.fail(OutcomeKind.DELIVERED, OutcomeKind.REJECTED)
    assert world.drain() == ["resolve disk", "trigger disk"]
    world.page.can_follow_up = lambda incident, _: incident.handle != OLD  # type: ignore[method-assign]
    world.fail(Outcome(OutcomeKind.UNREACHABLE, handle=NEW))
    assert world.advance(61) == ["trigger disk"]
    assert world.advance(2) == ["trigger disk"]

    world.accept("disk", "resolved")

    assert world.drain() == ["resolve disk"]
    assert world.advance(61) == ["resolve disk"]
    assert world.open_keys == []


def test_an_action_that_is_not_idempotent_resolves_once(worlds: Callable[..., World]) -> None:
    world = worlds(can=UPDATING)
    world.fail(OutcomeKind.UNCERTAIN)
    world.accept("disk")
    world.drain()
    world.accept("disk", "resolved")
    assert world.advance_in_steps() == ["resolve disk"]
    assert world.open_keys == []


def test_discarding_a_confirming_resolve_ends_the_incident(world: World) -> None:
    world.fail(OutcomeKind.UNREACHABLE)
    world.accept("disk")
    world.drain()
    world.accept("disk", "resolved")
    world.advance(2)

    world.engine.admin.discard_delivery(world.delivery().id)

    assert world.open_keys == []
    assert world.advance_in_steps() == []


def test_a_late_failed_attempt_changes_nothing(world: World) -> None:
    world.accept("disk")
    lease = lease_as_dead_process(world)
    world.drain()
    complete_late(world, lease, Outcome(OutcomeKind.REJECTED))

    assert world.states == ["delivered"]


def test_a_hanging_attempt_is_reclaimed_when_its_lease_runs_out(world: World) -> None:
    world.accept("disk")
    hanging = heartbeat.presence(world.database)
    world.engine._dispatcher.plan_ahead()
    with world.database.begin() as connection:
        assert lease_in(world, connection, hanging.name)

    assert world.advance(59) == []
    assert world.advance(2) == []
    assert world.advance(2) == ["trigger disk"]
    hanging.leave()


def test_receipts_of_a_dead_process_are_reported(world: World) -> None:
    world.accept("disk")
    world.engine._notifier.notify = lambda *_, **__: None  # type: ignore[method-assign]
    world.drain()
    assert world.observer.names == []

    world.new_engine()
    world.drain()

    assert world.observer.names == ["delivered"]


def test_an_unreadable_receipt_blocks_no_other(world: World) -> None:
    world.accept("disk")
    world.accept("cpu")
    world.engine._notifier.notify = lambda *_, **__: None  # type: ignore[method-assign]
    world.drain()
    world.execute("UPDATE receipts SET delivery = '[]' WHERE id = 1")
    world.new_engine()
    world.drain()

    assert world.observer.names == ["delivered"]
    assert world.execute("SELECT count(*) FROM receipts") == [(0,)]


def test_an_outcome_is_written_when_the_store_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise StoreError("full")

    world.accept("disk")
    with monkeypatch.context() as patched:
        patched.setattr(completion, "complete", failing)
        with pytest.raises(StoreError, match="full"):
            world.drain()
    assert world.states == ["queued"]

    assert world.drain() == []
    assert world.states == ["delivered"]


def test_a_frozen_process_starts_no_attempt(world: World) -> None:
    world.page.limits = lambda *_: setattr(world.clock, "now", world.clock.now + 11) or []  # type: ignore[method-assign]
    world.accept("disk")
    world.page.sent.clear()
    world.engine.drain(1)
    assert world.page.sent == []

    world.page.limits = lambda *_: []  # type: ignore[method-assign]
    assert world.drain() == ["trigger disk"]
    assert world.delivery().attempts == 1


def test_an_action_whose_methods_fail_still_sends(world: World) -> None:
    world.fail(Outcome(OutcomeKind.DELIVERED, handle={"id": 1}))
    world.accept("disk")
    world.drain()
    world.page.can_follow_up = lambda *_: 1 / 0  # type: ignore[method-assign,assign]
    world.page.limits = lambda *_: 1 / 0  # type: ignore[method-assign,assign]
    world.accept("disk", "resolved")

    assert world.drain() == ["resolve disk"]


def test_an_interrupted_attempt_is_unconfirmed(world: World) -> None:
    world.fail(KeyboardInterrupt())  # type: ignore[arg-type]
    world.accept("disk")
    with pytest.raises(KeyboardInterrupt):
        world.drain()

    assert world.states == ["queued"]
    assert world.advance(2) == ["trigger disk"]


def test_an_engine_starts_once_and_stops(world: World) -> None:
    world.database.migrate()
    with world.engine as engine:
        assert engine.working
        with pytest.raises(RuntimeError, match="started already"):
            engine.start()
        assert engine.wait([world.accept("disk")], 30)[0].settled
    assert not engine.working
    assert engine.stop()


def test_a_hanging_lane_blocks_no_other(worlds: Callable[..., World]) -> None:
    gate, hanging = threading.Event(), []

    def send(delivery: Delivery) -> Outcome:
        if delivery.ref.destination == "bad":
            hanging.append(delivery)
            gate.wait(60)
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
    bad = [world.accept(f"bad {number}") for number in range(20)]
    good = [world.accept(f"good {number}") for number in range(20)]
    with world.engine as engine:
        statuses = engine.wait(good, 30)
        assert all(status.settled for status in statuses)
        assert 1 <= len(hanging) <= 2
        gate.set()
        assert all(status.settled for status in engine.wait(bad, 30))


def test_a_new_engine_takes_over_at_a_reload(world: World) -> None:
    old = world.engine
    old.start()
    ids = [world.accept(f"a{number}") for number in range(20)]
    new = world.new_engine()
    new.start()
    assert old.stop(30)
    ids += [world.accept(f"b{number}") for number in range(20)]
    statuses = new.wait(ids, 30)
    new.stop()

    assert all(status.entries[0].state == "delivered" for status in statuses)
    assert len(world.page.sent) == 40


def test_the_outcome_of_a_removed_delivery_changes_nothing(world: World) -> None:
    """Another process finished its delivery during the hang, and it was pruned."""
    world.accept("disk")
    lease = lease_as_dead_process(world)
    world.drain()
    world.accept("disk", "resolved")
    world.advance_in_steps(120)
    world.execute("DELETE FROM deliveries")
    complete_late(world, lease)
    with world.database.begin() as connection:
        gone = [kind(lease, 0.0) for kind in (completion.OrphaningLease, completion.UnusedLease)]
        completion.complete(unit_of_work(world, connection), gone)

    assert world.advance(61) == []
    assert world.open_keys == []


def test_a_late_resolve_after_the_end_changes_nothing(world: World) -> None:
    world.accept("disk")
    world.drain()
    world.accept("disk", "resolved")
    lease = lease_as_dead_process(world)
    world.advance_in_steps(300)
    complete_late(world, lease)

    assert world.advance(61) == []
    assert world.open_keys == []


def test_a_late_trigger_while_its_resolve_is_sent_is_resolved_again(world: World) -> None:
    world.accept("disk")
    late = lease_as_dead_process(world)
    world.drain()
    world.accept("disk", "resolved")
    world.engine._dispatcher.plan_ahead()
    with world.database.begin() as connection:
        [resolving] = lease_in(world, connection, "other")
    complete_late(world, late)
    complete_late(world, resolving)

    assert world.advance(61) == ["resolve disk"]
    assert world.open_keys == []


def test_two_processes_reclaim_a_lease_once(world: World) -> None:
    world.accept("disk")
    lease = lease_as_dead_process(world)
    with world.database.read() as connection:
        held = maintenance.held_leases(connection)
    actions, now = world.plugins.actions, world.clock.now
    with world.database.begin() as connection:
        assert maintenance.reclaim_leases(UnitOfWork(connection, now, actions), held, "one") == 1
    with world.database.begin() as connection:
        assert maintenance.reclaim_leases(UnitOfWork(connection, now, actions), held, "two") == 0
        [again] = lease_in(world, connection, "one")
        assert (again.id, again.attempt) == (lease.id, 2)
        assert maintenance.reclaim_leases(UnitOfWork(connection, now, actions), held, "two") == 0


def test_a_mail_of_a_dead_process_is_uncertain_and_ended(worlds: Callable[..., World]) -> None:
    world = worlds(can=SILENT)
    world.accept("disk")
    world.accept("disk", "resolved")
    lease_as_dead_process(world)

    assert world.drain() == []
    assert world.states == ["uncertain"]


def test_an_uncertain_follow_up_of_a_dead_process_ends_its_incident(
    worlds: Callable[..., World],
) -> None:
    world = worlds(can=UPDATING)
    world.fail(OutcomeKind.REJECTED)
    world.accept("disk")
    world.accept("disk", "acknowledged")
    world.drain(1)
    lease_as_dead_process(world)

    assert world.drain() == []
    assert world.states == ["rejected", "uncertain"]
    assert world.open_keys == []


def test_an_orphan_with_another_holder_opens_for_that_holder(worlds: Callable[..., World]) -> None:
    world = worlds(correlate=lambda _: "shared")
    world.fail(Outcome(OutcomeKind.DELIVERED, handle={"key": "old"}))
    world.accept("a")
    world.accept("b")
    world.drain()
    world.page.can_follow_up = lambda incident, _: incident.handle != {"key": "old"}  # type: ignore[method-assign]
    world.accept("b")
    world.accept("b", "resolved")
    world.accept("a", "acknowledged")

    assert world.drain() == ["trigger shared", "acknowledge shared"]
    (row,) = world.engine.admin.incidents()
    assert [each.key for each in row.incident.holders] == ["a"]


def test_more_lanes_than_one_query_reads_are_served(worlds: Callable[..., World]) -> None:
    teams = [f"{number}" for number in range(heads.LOOK + 2)]
    world = worlds(rules=lambda plugins: [rule_of(plugins, teams=teams)])
    spent = Limit("spent", 1, 60.0)
    world.page.limits = lambda delivery, *_: (  # type: ignore[method-assign]
        [] if delivery.ref.destination == teams[-1] else [spent]
    )
    world.accept("disk", severity="info")
    world.drain()
    world.accept("cpu", severity="info")
    world.drain()

    assert sorted(each.destination for each in world.page.sent if each.key == "cpu") == [teams[-1]]


def test_the_store_fails_while_an_engine_starts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise StoreError("full")

    with monkeypatch.context() as patched:
        patched.setattr(lane_store, "resume", fail)
        with pytest.raises(StoreError, match="full"):
            world.engine.start()
    assert not world.engine.working
    with world.engine as engine:
        assert engine.wait([world.accept("disk")], 30)[0].settled


def test_several_use_one_engine_at_once(world: World) -> None:
    """A task queue may run `drain` twice at once: the first to end leaves the other registered."""
    names: set[str] = set()

    def send(_: Delivery) -> Outcome:
        is_first = not names
        names.update(row.worker_id for row in world.execute(HOLDERS))
        if is_first:
            other = threading.Thread(target=world.engine.drain, args=(1,))
            other.start()
            other.join()
            assert world.engine.admin.is_worked_on()
        names.update(row.worker_id for row in world.execute(HOLDERS))
        return DELIVERED

    world.page.behaviour["send"] = send
    world.accept("a")
    world.accept("b")
    world.engine.drain(1)

    assert world.states == ["delivered", "delivered"]
    assert len(names) == 1


HOLDERS = "SELECT worker_id FROM deliveries WHERE worker_id IS NOT NULL"


def test_a_submission_planned_by_two_processes_is_planned_once(world: World) -> None:
    submission_id = world.accept("disk")
    with world.database.read() as connection:
        (found,) = inbox.find_pending(connection, inbox.BATCH, inbox.RoundRobin())
    world.drain()
    with world.database.begin() as connection:
        assert not inbox.still_pending(connection, [found.row])

    assert world.engine.admin.statuses([submission_id])[0].settled
    assert world.states == ["delivered"]


def test_a_submission_whose_incident_changed_is_planned_again(world: World) -> None:
    """Two processes plan the same submission; the second one finds it planned."""
    other = world.new_engine()
    plan = world.page.plan

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        world.page.plan = plan  # type: ignore[method-assign]
        other.drain()
        return plan(*arguments, **options)

    world.page.plan = meanwhile  # type: ignore[method-assign]
    world.accept("disk")
    world.new_engine()

    assert world.drain() == ["trigger disk"]
    assert world.states == ["delivered"]


def test_a_submission_planned_by_another_process_is_skipped(world: World) -> None:
    world.accept("disk", "resolved")
    made = unwritten_plans(world)
    world.drain()
    with world.database.begin() as connection:
        assert plan_writer.write_plans(UnitOfWork(connection, world.clock.now, {}), made) == []


def test_slow_planning_writes_the_plans_made_so_far(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "BATCH_SECONDS", -1.0)
    for number in range(5):
        world.accept(f"{number}")
    world.engine.drain(1)

    assert len(world.states) == 5


def test_a_store_failure_while_planning_alone_is_raised(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        monkeypatch.setattr(inbox, "record_planned", full)
        raise ZeroDivisionError

    def full(*_: Any) -> None:
        raise StoreError("full")

    planned = inbox.record_planned
    world.accept("disk")
    monkeypatch.setattr(inbox, "record_planned", fail)
    with pytest.raises(StoreError, match="full"):
        world.drain()
    monkeypatch.setattr(inbox, "record_planned", planned)
    assert world.drain() == ["trigger disk"]


def test_an_unreadable_database_while_planning_is_raised(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: sa.Connection, *_: object) -> None:
        connection.execute(sa.text("SELECT nothing FROM nowhere"))

    submission_id = world.accept("disk")
    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "find_all_open", fail)
        with pytest.raises(StoreError, match="cannot be used"):
            world.drain()
    assert world.engine.admin.statuses([submission_id])[0].note is None
    assert world.drain() == ["trigger disk"]


def test_an_unreadable_database_while_planning_a_replay_is_raised(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: sa.Connection, *_: object) -> None:
        connection.execute(sa.text("SELECT nothing FROM nowhere"))

    world.fail(OutcomeKind.REJECTED)
    world.accept("disk")
    world.drain()
    world.engine.admin.replay(world.delivery().id)
    with monkeypatch.context() as patched:
        patched.setattr(delivery_store, "load_deliveries", fail)
        with pytest.raises(StoreError, match="cannot be used"):
            world.drain()
    assert world.drain() == ["trigger disk"]


def test_an_unreadable_delivery_that_is_replayed_blocks_no_other(world: World) -> None:
    world.fail(OutcomeKind.REJECTED)
    world.accept("disk")
    world.drain()
    submission_id = world.engine.admin.replay(world.delivery().id)
    world.execute("UPDATE deliveries SET body = '[]'")
    world.accept("cpu")

    assert world.drain() == ["trigger cpu"]
    (status,) = world.engine.admin.statuses([submission_id])
    assert status.note
    assert status.note.failures[0].startswith("could not be planned: ")


def test_a_store_failure_while_planning_is_raised(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise StoreError("full")

    world.accept("disk")
    with monkeypatch.context() as patched:
        patched.setattr(inbox, "record_planned", fail)
        with pytest.raises(StoreError, match="full"):
            world.drain()
    assert world.drain() == ["trigger disk"]


def test_the_rows_of_an_alert_are_bounded(world: World) -> None:
    """A body of 3.6 MB, of nothing but texts where images belong."""
    world.engine.accept(Alert.read({"key": "l" * 1_000_000, "images": ["x"] * 900_000}))
    assert world.drain() != []

    ((stored,),) = world.execute("SELECT length(body) FROM submissions")
    assert stored < 10_000
    (entry,) = world.deliveries
    assert len(entry.delivery.repairs) < 20
