"""What an operator sees, and what comes of what they do."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import attrs
import pytest
from engines import START, World, deliver
from recorder import SILENT, UPDATING, rule_of

from hostspec import Capabilities, Outcome, OutcomeKind
from hostspec.delivery import chunks
from hostspec.delivery.desk import DeskError
from hostspec.delivery.verdict import DeliveryState
from hostspec.host.deliveries import as_json
from hostspec.host.lanes import Lanes
from hostspec.kernel import Rule

REFUSED, MISCONFIGURED = OutcomeKind.REFUSED, OutcomeKind.MISCONFIGURED


def refuse(world: World, key: str = "disk", status: str = "firing") -> int:
    """Let something be refused; give the delivery's number."""
    world.fail(Outcome(REFUSED, "no such field"))
    world.say(key, status)
    world.drain()
    return world.entry().id


def test_a_delivery_is_shown_as_it_stands(world: World) -> None:
    world.fail(Outcome(MISCONFIGURED, "wrong key"))
    statement = world.say("disk")
    world.drain()

    entry = world.entry()
    assert (entry.state, entry.attempts, entry.outcome, entry.reason) == (
        "waiting",
        1,
        MISCONFIGURED,
        "wrong key",
    )
    assert (entry.lane, entry.lane_reason, entry.held) == ("held", "wrong key", True)
    assert (entry.statement_id, entry.accepted_at, entry.sending) == (statement, START, False)
    assert world.engine.desk.deliveries(["delivered"]) == ()
    backlog = world.engine.desk.backlog()
    assert (backlog.unplanned, backlog.waiting, backlog.oldest) == (0, 1, START)


def test_a_fate_says_why_nothing_is_sent(worlds: Callable[..., World]) -> None:
    def rules(plugins: object) -> list[Rule]:
        return [rule_of(plugins, matches=lambda alert: alert.key == "disk")]  # type: ignore[arg-type]

    world = worlds(rules=rules)
    ids = [world.say("cpu"), world.say("cpu", "resolved"), "unknown"]
    assert world.engine.desk.fates(ids)[0].note is None
    world.drain()

    fates = world.engine.desk.fates(ids)
    assert [fate.note and fate.note.remark for fate in fates] == [
        "no rule matches",
        "nothing is open",
        None,
    ]
    assert [fate.settled for fate in fates] == [True, True, False]
    assert world.engine.wait(ids, 0) == fates


def test_a_failed_plan_is_told(world: World) -> None:
    world.page.behaviour["plan"] = lambda _: 1 / 0
    statement = world.say("disk")
    world.drain()

    (fate,) = world.engine.desk.fates([statement])
    assert fate.note
    assert (
        "the action pager.page could not plan: it failed at recorder.py:" in fate.note.failures[0]
    )


def test_a_replay_plans_anew(world: World) -> None:
    number = refuse(world)

    statement = world.engine.desk.replay(number)

    assert statement
    assert world.drain() == ["trigger disk"]
    assert world.states == ["collapsed", "delivered"]
    assert world.engine.desk.fates([statement])[0].entries[0].state == "delivered"
    assert world.open == ["disk"]
    with pytest.raises(DeskError, match="was not given up: it is collapsed"):
        world.engine.desk.replay(number)


@pytest.mark.parametrize("said", [["resolved"], ["resolved", "acknowledged"]])
def test_a_replay_pages_nobody_for_a_dead_problem(world: World, said: list[str]) -> None:
    number = refuse(world)
    for status in said:
        world.say("disk", status)
    world.drain()

    statement = world.engine.desk.replay(number)

    assert world.drain() == []
    assert statement
    note = world.engine.desk.fates([statement])[0].note
    assert note
    assert note.remark == "its problem is over"


def test_a_replay_as_it_is_pages(world: World) -> None:
    number = refuse(world)
    world.say("disk", "resolved")
    world.drain()

    world.engine.desk.replay(number, as_is=True)

    assert world.drain() == ["trigger disk"]


def test_a_replayed_resolve_closes_what_nobody_holds(world: World) -> None:
    world.say("disk")
    world.drain()
    number = refuse(world, status="resolved")
    assert world.open == ["disk"]

    assert world.engine.desk.replay(number)
    assert world.drain() == ["resolve disk"]
    assert world.open == []


@pytest.mark.parametrize("over", [False, True])
def test_a_replayed_acknowledgement_opens_nothing(world: World, *, over: bool) -> None:
    world.say("disk")
    world.drain()
    number = refuse(world, status="acknowledged")
    if over:
        world.engine.desk.resolve(1)
        world.drain()

    assert (world.engine.desk.replay(number) is None) == over
    assert world.drain() == ([] if over else ["acknowledge disk"])


def test_a_replayed_resolve_closes_nothing_that_fires_again(world: World) -> None:
    world.say("disk")
    world.drain()
    number = refuse(world, status="resolved")
    world.say("disk")
    world.drain()

    assert world.engine.desk.replay(number) is None
    assert world.drain() == []
    assert world.open == ["disk"]


@pytest.mark.parametrize("can", [UPDATING, SILENT])
def test_what_is_uncertain_is_opened_by_who_replays_it(
    worlds: Callable[..., World], can: Capabilities
) -> None:
    world = worlds(can=can)
    world.fail(OutcomeKind.UNCERTAIN)
    world.say("disk")
    world.drain()

    assert world.engine.desk.replay(world.entry().id)

    assert world.later(2) == ["trigger disk"]
    assert world.states == ["collapsed", "delivered"]
    assert world.open == ["disk"]


def in_doubt(world: World) -> None:
    """Let a problem be over of which a trigger may arrive late."""
    world.fail(OutcomeKind.UNREACHABLE)
    world.say("disk")
    world.drain()
    world.say("disk", "resolved")
    assert world.later(2) == ["trigger disk", "resolve disk"]


def test_a_resolve_that_would_have_ended_a_doubt_is_replayed(world: World) -> None:
    in_doubt(world)
    world.fail(REFUSED)
    assert world.later(61) == ["resolve disk"]
    assert world.open == ["disk"]

    assert world.engine.desk.replay(world.entry().id)

    assert world.drain() == ["resolve disk"]
    assert world.later(61) == ["resolve disk"]
    assert world.open == []


def test_who_drops_what_was_given_up_of_an_incident_that_is_over_closes_no_other(
    world: World,
) -> None:
    in_doubt(world)
    world.say("disk")
    world.fail(OutcomeKind.DELIVERED, REFUSED)
    assert world.drain() == ["resolve disk", "trigger disk"]
    [number] = world.engine.desk.numbers([DeliveryState.REFUSED])
    world.engine.desk.forget(world.engine.desk.incidents()[0].id)
    world.say("disk")
    assert world.drain() == ["trigger disk"]

    world.engine.desk.drop(number)

    assert world.settle() == []
    assert world.open == ["disk"]


def test_a_dropped_delivery_is_not_sent(world: World) -> None:
    world.fail(MISCONFIGURED)
    world.say("disk")
    world.drain()

    world.engine.desk.drop(world.entry().id)

    assert world.later(60) == []
    assert world.states == ["dropped"]
    assert world.open == []
    for number, why in ((world.entry().id, "is finished: it is dropped"), (99, "no delivery 99")):
        with pytest.raises(DeskError, match=why):
            world.engine.desk.drop(number)


def test_what_is_being_sent_is_not_dropped(world: World) -> None:
    def send(_: object) -> Outcome:
        with pytest.raises(DeskError, match="being sent now"):
            world.engine.desk.drop(world.entry().id)
        return Outcome(OutcomeKind.DELIVERED)

    world.page.behaviour["send"] = send
    world.say("disk")
    world.drain()

    assert world.states == ["delivered"]


def test_an_incident_is_resolved_by_hand(world: World) -> None:
    world.say("disk")
    world.drain()
    (case,) = world.engine.desk.incidents()
    assert (case.told, case.may_be_open, case.open, case.stranded) == (True, True, True, False)

    statement = world.engine.desk.resolve(case.id)

    assert statement
    assert world.drain() == ["resolve disk"]
    assert world.open == []
    assert world.engine.desk.fates([statement])[0].settled
    with pytest.raises(DeskError, match="no open incident"):
        world.engine.desk.resolve(case.id)


def test_what_cannot_be_resolved_there_is_forgotten_here(worlds: Callable[..., World]) -> None:
    world = worlds(can=SILENT)
    world.say("disk")
    world.drain()

    assert world.engine.desk.resolve(world.engine.desk.incidents()[0].id) is None
    assert world.drain() == []
    assert world.open == []


def test_a_replay_needs_the_action_and_what_its_alert_said(world: World) -> None:
    number = refuse(world)
    world.execute("DELETE FROM statements")
    with pytest.raises(DeskError, match="what the alert disk said is not kept any more"):
        world.engine.desk.replay(number)

    world.plugins.actions.pop("pager.page")  # type: ignore[attr-defined]
    with pytest.raises(DeskError, match=r"the action pager\.page is gone"):
        world.engine.desk.replay(number, as_is=True)
    assert world.states == ["refused"]


def test_a_replay_whose_delivery_was_pruned_meanwhile_pages_nobody(world: World) -> None:
    number = refuse(world)
    statement = world.engine.desk.replay(number)
    world.execute("DELETE FROM deliveries")

    assert world.drain() == []
    assert statement
    assert world.engine.desk.fates([statement])[0].settled


def test_what_is_dropped_lets_the_next_of_its_line_go(world: World) -> None:
    world.fail(MISCONFIGURED)
    world.say("disk")
    world.drain()
    world.say("disk", "acknowledged")
    world.drain()
    first, _ = [each.id for each in reversed(world.entries)]

    world.engine.desk.drop(first)

    assert world.later(31) == ["acknowledge disk"]
    assert world.states == ["dropped", "delivered"]


def test_an_incident_cannot_be_resolved_by_an_action_that_is_gone_or_fails(world: World) -> None:
    world.say("disk")
    world.drain()
    (case,) = world.engine.desk.incidents()

    world.page.behaviour["follow_up"] = lambda *_: 1 / 0
    with pytest.raises(DeskError, match="page could not follow up: it failed at recorder"):
        world.engine.desk.resolve(case.id)
    world.plugins.actions.pop("pager.page")  # type: ignore[attr-defined]
    with pytest.raises(DeskError, match="is gone; enable its plugin first"):
        world.engine.desk.resolve(case.id)
    assert world.open == ["disk"]


def test_what_is_not_done_with_is_counted(world: World) -> None:
    refuse(world, "cpu")
    world.fail(Outcome(MISCONFIGURED, "wrong key"))
    world.say("disk")
    world.drain()

    desk = world.engine.desk
    assert desk.unsettled() == (1, {"refused": 1, "waiting": 1})
    assert [entry.delivery.alert.key for entry in desk.deliveries(held=True)] == ["disk", "cpu"]
    assert desk.deliveries(held=False) == ()
    assert desk.numbers([DeliveryState.WAITING]) == (2,)
    found, listed = desk.delivery(2), world.entry()
    assert attrs.evolve(found, delivery=attrs.evolve(found.delivery, message={})) == listed
    with pytest.raises(DeskError, match="there is no delivery 99"):
        desk.delivery(99)


def test_open_incidents_are_counted_by_the_way_to_them(world: World) -> None:
    world.say("disk")
    world.say("cpu")
    world.drain()

    desk = world.engine.desk
    assert desk.exists
    [((action, installation), count)] = desk.ways().items()
    assert (action, count) == ("pager.page", 2)
    assert desk.count_open(installation) == 2
    assert desk.count_open("other") == 0
    assert len(desk.incidents(installation=installation)) == 2
    assert desk.incidents(installation="other") == ()


def test_an_incident_that_is_forgotten_drops_what_waits(world: World) -> None:
    world.fail(OutcomeKind.UNREACHABLE)
    world.say("disk")
    world.drain()
    [case] = world.engine.desk.incidents()

    world.engine.desk.forget(case.id)

    assert (world.open, world.states) == ([], ["dropped"])
    assert world.later(3600) == []
    with pytest.raises(DeskError, match=f"there is no open incident {case.id}"):
        world.engine.desk.forget(case.id)


def test_an_incident_that_is_being_told_is_not_forgotten(world: World) -> None:
    told: list[str] = []

    def forget(_: object) -> None:
        [case] = world.engine.desk.incidents()
        with pytest.raises(DeskError) as caught:
            world.engine.desk.forget(case.id)
        told.append(str(caught.value))

    world.page.behaviour["send"] = deliver(forget)
    world.say("disk")
    world.drain()

    assert told == ["the delivery 1 is being sent now; try again"]
    assert world.open == ["disk"]


def test_very_many_fates_are_asked_for_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostspec.delivery.desk._TOGETHER", 2)
    ids = [world.say(f"disk-{number}") for number in range(5)]
    world.drain()

    fates = world.engine.desk.fates(ids)

    assert [fate.statement_id for fate in fates] == ids
    assert [fate.entries[0].delivery.alert.key for fate in fates] == [
        f"disk-{number}" for number in range(5)
    ]


def test_listed_deliveries_hold_no_messages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the bodies of one chunk are in memory, however many deliveries are listed."""
    monkeypatch.setattr(chunks, "BATCH_SIZE", 200_000)
    ids = [world.say(f"disk-{number}") for number in range(60)]
    world.drain()
    large = "x" * 100_000
    world.execute(
        "UPDATE deliveries SET body = replace(body, '\"message\": {', :more)",
        more=f'"message": {{"x": "{large}", ',
    )
    desk = world.engine.desk
    assert desk.delivery(1).delivery.message["x"] == large

    for listing in (lambda: desk.deliveries(most=100), lambda: desk.fates(ids)):
        tracemalloc.start()
        try:
            assert len(listing()) == len(ids)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 20 * len(large)


def test_a_queued_delivery_says_when_it_is_tried_next(world: World) -> None:
    world.fail(Outcome(MISCONFIGURED, "wrong key"))
    world.say("disk")
    world.drain()

    (opening,) = world.entries
    assert opening.next_try is not None
    assert START < opening.next_try <= START + 30
    world.later(31)
    assert world.entry().next_try is None


def test_the_desk_says_whether_a_process_delivers(world: World) -> None:
    desk = world.engine.desk
    assert not desk.is_worked_on()
    with world.engine:
        assert desk.is_worked_on()
    assert not desk.is_worked_on()


def test_blocked_lanes_are_listed_with_their_present_cause(world: World) -> None:
    """An outage that turned into a wrong key: the deliveries tried in the outage show it, too."""
    world.fail(Outcome(OutcomeKind.UNREACHABLE, "no answer"))
    world.say("disk")
    world.drain()
    assert world.engine.desk.blocked() == ()
    world.fail(Outcome(MISCONFIGURED, "Invalid routing key"))
    world.say("cpu")
    world.later(1.1)
    world.say("memory")
    world.engine._plan_ahead()

    (blocked,) = world.engine.desk.blocked()
    assert (blocked.place.destination, blocked.reason) == ("all", "Invalid routing key")
    assert (blocked.since, blocked.waiting) == (world.clock.now, 3)
    assert {entry.lane_reason for entry in world.entries} == {"Invalid routing key"}
    assert {as_json(entry, Lanes())["reason"] for entry in world.entries} == {"Invalid routing key"}

    for entry in world.entries:
        world.engine.desk.drop(entry.id)
    assert world.engine.desk.blocked() == ()
