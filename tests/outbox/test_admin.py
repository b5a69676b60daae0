"""Operations and queries of the operator."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from engines import START, World, deliver
from recorder import SILENT, UPDATING, rule_of

from alerthost.cli.deliveries import delivery_json as as_json
from alerthost.config.plugins import LaneNames
from alerthost.outbox import incident_store, serialisation
from alerthost.outbox.admin_rows import AdminError
from alerthost.outbox.retry_policy import DeliveryState
from hostspec import Capabilities, Outcome, OutcomeKind
from hostspec.plugins import Rule

REJECTED, MISCONFIGURED = OutcomeKind.REJECTED, OutcomeKind.MISCONFIGURED


def refuse(world: World, key: str = "disk", status: str = "firing") -> int:
    """Have a delivery rejected; return its number."""
    world.fail(Outcome(REJECTED, "no such field"))
    world.accept(key, status)
    world.drain()
    return world.delivery().id


def test_a_delivery_is_shown_with_its_state(world: World) -> None:
    world.fail(Outcome(MISCONFIGURED, "wrong key"))
    submission_id = world.accept("disk")
    world.drain()

    entry = world.delivery()
    assert (entry.state, entry.attempts, entry.outcome, entry.reason) == (
        "queued",
        1,
        MISCONFIGURED,
        "wrong key",
    )
    assert (entry.lane, entry.lane_reason, entry.blocked) == ("blocked", "wrong key", True)
    assert (entry.submission_id, entry.accepted_at, entry.sending) == (submission_id, START, False)
    assert world.engine.admin.deliveries(["delivered"]) == ()
    backlog = world.engine.admin.backlog()
    assert (backlog.pending, backlog.queued, backlog.oldest) == (0, 1, START)


def test_a_status_has_the_reason_for_no_delivery(worlds: Callable[..., World]) -> None:
    def rules(plugins: object) -> list[Rule]:
        return [rule_of(plugins, matches=lambda alert: alert.key == "disk")]  # type: ignore[arg-type]

    world = worlds(rules=rules)
    ids = [world.accept("cpu"), world.accept("cpu", "resolved"), "unknown"]
    assert world.engine.admin.statuses(ids)[0].note is None
    world.drain()

    statuses = world.engine.admin.statuses(ids)
    assert [status.note and status.note.remark for status in statuses] == [
        "no rule matches",
        "no open incident",
        None,
    ]
    assert [status.settled for status in statuses] == [True, True, False]
    assert world.engine.wait(ids, 0) == statuses


def test_a_failed_plan_is_reported(world: World) -> None:
    world.page.behaviour["plan"] = lambda _: 1 / 0
    submission_id = world.accept("disk")
    world.drain()

    (status,) = world.engine.admin.statuses([submission_id])
    assert status.note
    assert (
        "the action pager.page could not plan: it failed at recorder.py:" in status.note.failures[0]
    )


def test_a_replay_plans_again(world: World) -> None:
    number = refuse(world)

    submission_id = world.engine.admin.replay(number)

    assert submission_id
    assert world.drain() == ["trigger disk"]
    assert world.states == ["coalesced", "delivered"]
    assert world.engine.admin.statuses([submission_id])[0].entries[0].state == "delivered"
    assert world.open_keys == ["disk"]
    with pytest.raises(AdminError, match="was not given up: it is coalesced"):
        world.engine.admin.replay(number)


@pytest.mark.parametrize("said", [["resolved"], ["resolved", "acknowledged"]])
def test_a_replay_sends_nothing_for_a_resolved_problem(world: World, said: list[str]) -> None:
    number = refuse(world)
    for status in said:
        world.accept("disk", status)
    world.drain()

    submission_id = world.engine.admin.replay(number)

    assert world.drain() == []
    assert submission_id
    note = world.engine.admin.statuses([submission_id])[0].note
    assert note
    assert note.remark == "its problem is over"


def test_a_replay_as_planned_is_sent(world: World) -> None:
    number = refuse(world)
    world.accept("disk", "resolved")
    world.drain()

    world.engine.admin.replay(number, as_is=True)

    assert world.drain() == ["trigger disk"]


def test_a_replayed_resolve_closes_an_incident_without_holders(world: World) -> None:
    world.accept("disk")
    world.drain()
    number = refuse(world, status="resolved")
    assert world.open_keys == ["disk"]

    assert world.engine.admin.replay(number)
    assert world.drain() == ["resolve disk"]
    assert world.open_keys == []


@pytest.mark.parametrize("over", [False, True])
def test_a_replayed_acknowledgement_opens_nothing(world: World, *, over: bool) -> None:
    world.accept("disk")
    world.drain()
    number = refuse(world, status="acknowledged")
    if over:
        world.engine.admin.resolve(1)
        world.drain()

    assert (world.engine.admin.replay(number) is None) == over
    assert world.drain() == ([] if over else ["acknowledge disk"])


def test_a_replayed_resolve_closes_no_incident_that_fires_again(world: World) -> None:
    world.accept("disk")
    world.drain()
    number = refuse(world, status="resolved")
    world.accept("disk")
    world.drain()

    assert world.engine.admin.replay(number) is None
    assert world.drain() == []
    assert world.open_keys == ["disk"]


@pytest.mark.parametrize("can", [UPDATING, SILENT])
def test_an_uncertain_trigger_opens_an_incident_when_replayed(
    worlds: Callable[..., World], can: Capabilities
) -> None:
    world = worlds(can=can)
    world.fail(OutcomeKind.UNCERTAIN)
    world.accept("disk")
    world.drain()

    assert world.engine.admin.replay(world.delivery().id)

    assert world.advance(2) == ["trigger disk"]
    assert world.states == ["coalesced", "delivered"]
    assert world.open_keys == ["disk"]


def unconfirmed(world: World) -> None:
    """Resolve a problem whose trigger may still arrive late."""
    world.fail(OutcomeKind.UNREACHABLE)
    world.accept("disk")
    world.drain()
    world.accept("disk", "resolved")
    assert world.advance(2) == ["trigger disk", "resolve disk"]


def test_a_confirming_resolve_can_be_replayed(world: World) -> None:
    unconfirmed(world)
    world.fail(REJECTED)
    assert world.advance(61) == ["resolve disk"]
    assert world.open_keys == ["disk"]

    assert world.engine.admin.replay(world.delivery().id)

    assert world.drain() == ["resolve disk"]
    assert world.advance(61) == ["resolve disk"]
    assert world.open_keys == []


def test_discarding_a_delivery_of_an_ended_incident_closes_no_other(world: World) -> None:
    unconfirmed(world)
    world.accept("disk")
    world.fail(OutcomeKind.DELIVERED, REJECTED)
    assert world.drain() == ["resolve disk", "trigger disk"]
    [number] = world.engine.admin.numbers([DeliveryState.REJECTED])
    world.engine.admin.forget(world.engine.admin.incidents()[0].id)
    world.accept("disk")
    assert world.drain() == ["trigger disk"]

    world.engine.admin.discard_delivery(number)

    assert world.advance_in_steps() == []
    assert world.open_keys == ["disk"]


def test_a_discarded_delivery_is_not_sent(world: World) -> None:
    world.fail(MISCONFIGURED)
    world.accept("disk")
    world.drain()

    world.engine.admin.discard_delivery(world.delivery().id)

    assert world.advance(60) == []
    assert world.states == ["discarded"]
    assert world.open_keys == []
    for number, why in (
        (world.delivery().id, "is finished: it is discarded"),
        (99, "no delivery 99"),
    ):
        with pytest.raises(AdminError, match=why):
            world.engine.admin.discard_delivery(number)


def test_a_delivery_in_flight_cannot_be_discarded(world: World) -> None:
    def send(_: object) -> Outcome:
        with pytest.raises(AdminError, match="being sent now"):
            world.engine.admin.discard_delivery(world.delivery().id)
        return Outcome(OutcomeKind.DELIVERED)

    world.page.behaviour["send"] = send
    world.accept("disk")
    world.drain()

    assert world.states == ["delivered"]


def test_an_incident_is_resolved_by_hand(world: World) -> None:
    world.accept("disk")
    world.drain()
    (row,) = world.engine.admin.incidents()
    assert (row.trigger_delivered, row.may_be_open, row.open, row.orphaned) == (
        True,
        True,
        True,
        False,
    )

    submission_id = world.engine.admin.resolve(row.id)

    assert submission_id
    assert world.drain() == ["resolve disk"]
    assert world.open_keys == []
    assert world.engine.admin.statuses([submission_id])[0].settled
    with pytest.raises(AdminError, match="no open incident"):
        world.engine.admin.resolve(row.id)


def test_an_incident_without_a_resolve_is_ended_in_the_store(worlds: Callable[..., World]) -> None:
    world = worlds(can=SILENT)
    world.accept("disk")
    world.drain()

    assert world.engine.admin.resolve(world.engine.admin.incidents()[0].id) is None
    assert world.drain() == []
    assert world.open_keys == []


def test_a_replay_needs_the_action_and_the_submission(world: World) -> None:
    number = refuse(world)
    world.execute("DELETE FROM submissions")
    with pytest.raises(AdminError, match="the submissions of the alert disk are not kept any more"):
        world.engine.admin.replay(number)

    world.plugins.actions.pop("pager.page")  # type: ignore[attr-defined]
    with pytest.raises(AdminError, match=r"the action pager\.page is gone"):
        world.engine.admin.replay(number, as_is=True)
    assert world.states == ["rejected"]


def test_a_replay_of_a_pruned_delivery_sends_nothing(world: World) -> None:
    number = refuse(world)
    submission_id = world.engine.admin.replay(number)
    world.execute("DELETE FROM deliveries")

    assert world.drain() == []
    assert submission_id
    assert world.engine.admin.statuses([submission_id])[0].settled


def test_after_a_discarded_delivery_the_next_is_sent(world: World) -> None:
    world.fail(MISCONFIGURED)
    world.accept("disk")
    world.drain()
    world.accept("disk", "acknowledged")
    world.drain()
    first, _ = [each.id for each in reversed(world.deliveries)]

    world.engine.admin.discard_delivery(first)

    assert world.advance(31) == ["acknowledge disk"]
    assert world.states == ["discarded", "delivered"]


def test_a_missing_or_failing_action_cannot_resolve(world: World) -> None:
    world.accept("disk")
    world.drain()
    (row,) = world.engine.admin.incidents()

    world.page.behaviour["follow_up"] = lambda *_: 1 / 0
    with pytest.raises(AdminError, match="page could not follow up: it failed at recorder"):
        world.engine.admin.resolve(row.id)
    world.plugins.actions.pop("pager.page")  # type: ignore[attr-defined]
    with pytest.raises(AdminError, match="is gone; enable its plugin first"):
        world.engine.admin.resolve(row.id)
    assert world.open_keys == ["disk"]


def test_unsettled_deliveries_are_counted(world: World) -> None:
    refuse(world, "cpu")
    world.fail(Outcome(MISCONFIGURED, "wrong key"))
    world.accept("disk")
    world.drain()

    admin = world.engine.admin
    assert admin.unsettled() == (1, {"rejected": 1, "queued": 1})
    assert [entry.delivery.alert.key for entry in admin.deliveries(blocked=True)] == ["disk", "cpu"]
    assert admin.deliveries(blocked=False) == ()
    assert admin.numbers([DeliveryState.QUEUED]) == (2,)
    found, listed = admin.delivery(2), world.delivery()
    assert attrs.evolve(found, delivery=attrs.evolve(found.delivery, message={})) == listed
    with pytest.raises(AdminError, match="there is no delivery 99"):
        admin.delivery(99)


def test_open_incidents_are_counted_by_action_and_installation(world: World) -> None:
    world.accept("disk")
    world.accept("cpu")
    world.drain()

    admin = world.engine.admin
    assert admin.exists
    [((action, installation), count)] = admin.ways().items()
    assert (action, count) == ("pager.page", 2)
    assert admin.count_open(installation) == 2
    assert admin.count_open("other") == 0
    assert len(admin.incidents(installation=installation)) == 2
    assert admin.incidents(installation="other") == ()


def test_forgetting_an_incident_discards_its_deliveries(world: World) -> None:
    world.fail(OutcomeKind.UNREACHABLE)
    world.accept("disk")
    world.drain()
    [row] = world.engine.admin.incidents()

    world.engine.admin.forget(row.id)

    assert (world.open_keys, world.states) == ([], ["discarded"])
    assert world.advance(3600) == []
    with pytest.raises(AdminError, match=f"there is no open incident {row.id}"):
        world.engine.admin.forget(row.id)


def test_an_incident_with_a_delivery_in_flight_is_not_forgotten(world: World) -> None:
    reported: list[str] = []

    def forget(_: object) -> None:
        [row] = world.engine.admin.incidents()
        with pytest.raises(AdminError) as caught:
            world.engine.admin.forget(row.id)
        reported.append(str(caught.value))

    world.page.behaviour["send"] = deliver(forget)
    world.accept("disk")
    world.drain()

    assert reported == ["the delivery 1 is being sent now; try again"]
    assert world.open_keys == ["disk"]


def test_very_many_statuses_are_read_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerthost.outbox.admin_queries.TOGETHER", 2)
    ids = [world.accept(f"disk-{number}") for number in range(5)]
    world.drain()

    statuses = world.engine.admin.statuses(ids)

    assert [status.submission_id for status in statuses] == ids
    assert [status.entries[0].delivery.alert.key for status in statuses] == [
        f"disk-{number}" for number in range(5)
    ]


def test_very_many_incidents_are_read_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"disk-{number}" for number in range(5)]
    for key in keys:
        world.accept(key)
    world.drain()
    whole = world.engine.admin.incidents()
    held: list[int] = []
    find = incident_store.incidents_of

    def counted(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> Any:
        held.append(len(rows))
        return find(connection, rows)

    monkeypatch.setattr("alerthost.outbox.admin_queries.TOGETHER", 2)
    monkeypatch.setattr(incident_store, "incidents_of", counted)

    assert world.engine.admin.incidents() == whole
    assert sorted(row.incident.ref.correlation_key for row in whole) == keys
    assert held == [2, 2, 1]


def test_listed_deliveries_hold_no_messages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the bodies of one chunk are in memory, however many deliveries are listed."""
    monkeypatch.setattr(serialisation, "CHUNK_BYTES", 200_000)
    ids = [world.accept(f"disk-{number}") for number in range(60)]
    world.drain()
    large = "x" * 100_000
    world.execute(
        "UPDATE deliveries SET body = replace(body, '\"message\":{', :more)",
        more=f'"message":{{"x":"{large}",',
    )
    admin = world.engine.admin
    assert admin.delivery(1).delivery.message["x"] == large

    for listing in (lambda: admin.deliveries(most=100), lambda: admin.statuses(ids)):
        tracemalloc.start()
        try:
            assert len(listing()) == len(ids)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 20 * len(large)


def test_a_queued_delivery_has_the_time_of_its_next_attempt(world: World) -> None:
    world.fail(Outcome(MISCONFIGURED, "wrong key"))
    world.accept("disk")
    world.drain()

    (opening,) = world.deliveries
    assert opening.next_try is not None
    assert START < opening.next_try <= START + 30
    world.advance(31)
    assert world.delivery().next_try is None


def test_admin_reports_whether_a_process_delivers(world: World) -> None:
    admin = world.engine.admin
    assert not admin.is_worked_on()
    with world.engine:
        assert admin.is_worked_on()
    assert not admin.is_worked_on()


def test_blocked_lanes_are_listed_with_their_present_cause(world: World) -> None:
    """After an outage and a wrong key, deliveries tried in the outage show the wrong key, too."""
    world.fail(Outcome(OutcomeKind.UNREACHABLE, "no answer"))
    world.accept("disk")
    world.drain()
    assert world.engine.admin.blocked() == ()
    world.fail(Outcome(MISCONFIGURED, "Invalid routing key"))
    world.accept("cpu")
    world.advance(1.1)
    world.accept("memory")
    world.engine._dispatcher.plan_ahead()

    (blocked,) = world.engine.admin.blocked()
    assert (blocked.ref.destination, blocked.reason) == ("all", "Invalid routing key")
    assert (blocked.since, blocked.queued) == (world.clock.now, 3)
    assert {entry.lane_reason for entry in world.deliveries} == {"Invalid routing key"}
    assert {as_json(entry, LaneNames())["reason"] for entry in world.deliveries} == {
        "Invalid routing key"
    }

    for entry in world.deliveries:
        world.engine.admin.discard_delivery(entry.id)
    assert world.engine.admin.blocked() == ()
