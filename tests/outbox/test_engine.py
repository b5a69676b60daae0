"""The journey of alerts, from acceptance to the messages of the pager."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from engines import EITHER_IN_PROOF, START, World, deliver
from recorder import SILENT, UPDATING, rule_of

from alerthost.outbox import dispatcher, maintenance, planner
from alerthost.outbox.submission import Note
from hostspec import Alert, Limit, Outcome, OutcomeKind

pytestmark = EITHER_IN_PROOF

BEGUN = dt.datetime.fromtimestamp(START - 3600, dt.UTC)

UNREACHABLE, FAULTED = OutcomeKind.UNREACHABLE, OutcomeKind.FAULTED
THROTTLED, MISCONFIGURED = OutcomeKind.THROTTLED, OutcomeKind.MISCONFIGURED
REJECTED, DELIVERED = OutcomeKind.REJECTED, OutcomeKind.DELIVERED


def test_a_problem_is_triggered_and_resolved(world: World) -> None:
    world.accept("disk")
    assert world.drain() == ["trigger disk"]
    assert world.open_keys == ["disk"]

    world.accept("disk", "acknowledged")
    assert world.drain() == ["acknowledge disk"]
    world.accept("disk", "resolved")

    assert world.drain() == ["resolve disk"]
    assert world.open_keys == []
    assert world.observer.names == ["delivered"] * 3


def test_queued_deliveries_coalesce(world: World) -> None:
    world.fail(UNREACHABLE)
    world.accept("disk")
    world.drain()
    for status in ["resolved", "firing", "acknowledged", "resolved", "firing"]:
        world.accept("disk", status)

    assert world.advance(5) == ["resolve disk", "trigger disk"]
    assert world.open_keys == ["disk"]


def test_a_submission_is_accepted_once(world: World) -> None:
    for _ in range(2):
        assert world.engine.accept(Alert("disk"), submission_id="mine") == "mine"

    assert world.drain() == ["trigger disk"]


@pytest.mark.parametrize("name", ["", "x" * 256, "a NUL \0", "half of a pair \ud800", 7])
def test_an_unstorable_submission_id_is_rejected(world: World, name: Any) -> None:
    reported = r"^invalid submission ids: .*; use 1 to 255 characters, without "
    with pytest.raises(ValueError, match=reported) as raised:
        world.engine.accept_many([Alert("a"), Alert("b")], submission_ids=["x" * 255, name])
    assert len(str(raised.value)) < 200
    assert world.drain() == []


def test_many_are_accepted_all_or_none(world: World) -> None:
    ids = world.engine.accept_many([Alert("a"), Alert("b")])
    assert len(set(ids)) == 2
    with pytest.raises(ValueError, match="zip"):
        world.engine.accept_many([Alert("c"), Alert("d")], submission_ids=["one"])

    assert world.engine.accept_many([]) == ()
    assert world.drain() == ["trigger a", "trigger b"]


def test_accept_joins_a_transaction_of_the_host(world: World) -> None:
    world.database.migrate()
    with world.database.begin() as connection:
        world.engine.accept(Alert("a"), connection=connection)
        connection.rollback()
    with world.database.begin() as connection:
        world.engine.accept(Alert("b"), connection=connection)

    assert world.drain() == ["trigger b"]


def test_an_outdated_submission_is_recorded_and_sends_nothing(world: World) -> None:
    now = dt.datetime(2026, 11, 18, 3, tzinfo=dt.UTC)
    world.accept("disk", "resolved", updated_at=now)
    late = world.accept("disk", updated_at=now - dt.timedelta(microseconds=1))

    assert world.drain() == []
    (status,) = world.engine.admin.statuses([late])
    assert status.note
    assert status.note.remark.startswith("older than the known state: 2026-11-18T03:00:00+00:00")

    world.accept("disk", updated_at=now)
    world.accept("cpu", "resolved")
    assert world.drain() == ["trigger disk"]


def test_a_repeat_of_an_ended_episode_opens_nothing(world: World) -> None:
    world.accept("disk", started_at=BEGUN)
    world.accept("disk", started_at=BEGUN)
    assert world.drain()[-1] == "trigger disk"
    world.accept("disk", "resolved", started_at=BEGUN)
    within_the_batch = world.accept("disk", started_at=BEGUN)
    assert world.drain() == ["resolve disk"]
    world.accept("disk", "acknowledged", started_at=BEGUN)
    world.accept("disk", "resolved")
    world.drain()
    later = world.accept("disk", started_at=BEGUN)

    assert world.drain() == []
    assert world.open_keys == []
    for status in world.engine.admin.statuses([within_the_batch, later]):
        assert status.note == Note(
            "a repeat of an episode that has ended: it started at the same time"
        )


@pytest.mark.parametrize(("seconds", "sent"), [(300, []), (301, ["trigger disk"])])
def test_a_source_that_was_offline_pages_again(
    world: World, seconds: float, sent: list[str]
) -> None:
    """Alertmanager resolves an alert without updates; afterwards it fires with its old start."""
    world.accept("disk", started_at=BEGUN)
    world.accept("disk", "resolved", started_at=BEGUN)
    world.drain()
    world.advance(seconds)
    world.accept("disk", started_at=BEGUN)
    assert world.drain() == sent


@pytest.mark.parametrize(
    "fields", [{"started_at": BEGUN + dt.timedelta(microseconds=1)}, {}], ids=["other", "none"]
)
def test_another_start_opens_a_new_episode(world: World, fields: dict[str, Any]) -> None:
    world.accept("disk", started_at=BEGUN)
    world.accept("disk", "resolved", started_at=BEGUN)
    world.drain()
    world.accept("disk", **fields)
    assert world.drain() == ["trigger disk"]
    world.accept("disk", started_at=BEGUN)
    assert world.drain() == ["trigger disk"], "a repeat while it is open"


def test_a_later_update_is_no_late_repeat(world: World) -> None:
    world.accept("disk", "resolved", started_at=BEGUN, updated_at=BEGUN)
    world.accept("disk", started_at=BEGUN, updated_at=BEGUN)
    assert world.drain() == []
    world.accept("disk", started_at=BEGUN, updated_at=BEGUN + dt.timedelta(seconds=1))
    assert world.drain() == ["trigger disk"]


def test_a_start_ahead_of_the_clock_is_no_late_repeat(world: World) -> None:
    """Two alerts of one request get the same time."""
    now = dt.datetime.fromtimestamp(world.clock.now, dt.UTC)
    ahead = [now + dt.timedelta(minutes=each) for each in (5, 6)]
    world.engine.accept_many(
        [Alert("disk", status="resolved", started_at=ahead[0]), Alert("disk", started_at=ahead[1])]
    )
    assert world.drain() == ["trigger disk"]


def test_a_failed_delivery_is_retried_with_backoff(world: World) -> None:
    world.fail(*[UNREACHABLE] * 12)
    world.accept("disk")
    world.drain()
    moments = [world.clock.now]
    while world.delivery().state != "delivered":
        if world.advance(max(0.1, world.delivery().due - world.clock.now)):
            moments.append(world.clock.now)

    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert gaps[0] <= 1.25
    assert max(gaps) <= 60.25
    assert gaps[-1] >= 30
    assert world.delivery().attempts == 13


def test_a_poison_delivery_is_dead_lettered_and_its_lane_goes_on(world: World) -> None:
    def send(delivery: object) -> Outcome:
        return Outcome(FAULTED if delivery.ref.correlation_key == "bad" else DELIVERED)  # type: ignore[attr-defined]

    world.page.behaviour["send"] = send
    world.accept("bad", severity="critical")
    world.drain()
    for number in range(20):
        world.accept(f"good {number}")
    world.advance_in_steps(600)

    assert [
        each.delivery.ref.correlation_key for each in world.deliveries if each.state != "delivered"
    ] == ["bad"]
    bad = world.delivery(0)
    assert (bad.state, bad.attempts) == ("dead", 8)
    assert "undelivered" in world.observer.names
    assert "bad" in world.open_keys


def test_no_delivery_is_dead_lettered_while_none_gets_through(world: World) -> None:
    world.page.behaviour["send"] = lambda _: Outcome(UNREACHABLE)
    world.accept("a")
    world.accept("b")
    world.advance_in_steps(3600)

    assert world.states == ["queued", "queued"]
    world.page.behaviour.clear()
    assert sorted(world.advance_in_steps(300)) == ["trigger a", "trigger b"]


def test_after_a_rejected_trigger_the_next_submission_tries_again(world: World) -> None:
    world.fail(REJECTED)
    world.accept("disk")
    world.drain()
    assert world.states == ["rejected"]
    assert world.open_keys == []
    assert world.observer.names == ["undelivered"]

    world.accept("disk")
    assert world.drain() == ["trigger disk"]


def test_a_throttled_lane_pauses_as_long_as_asked(world: World) -> None:
    world.fail(Outcome(THROTTLED, retry_after=50))
    world.accept("disk")
    world.drain()
    world.accept("cpu", severity="critical")

    assert world.advance(49) == []
    assert world.advance(3) != []
    assert world.states == ["delivered", "delivered"]


def test_a_misconfigured_lane_resumes_after_repair(world: World) -> None:
    world.fail(MISCONFIGURED)
    one = world.accept("disk")
    world.drain()
    world.accept("cpu")
    assert world.drain() == []
    assert world.engine.admin.statuses([one])[0].settled
    assert world.delivery(0).blocked

    assert sorted(world.advance(31)) == ["trigger cpu", "trigger disk"]


def test_drain_continues_past_submissions_without_deliveries(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "BATCH_SECONDS", -1.0)
    monkeypatch.setattr(dispatcher, "AHEAD", 2)
    for number in range(5):
        world.accept(f"{number}", "resolved")
    world.accept("disk")

    assert world.drain() == ["trigger disk"]


def test_a_new_engine_tries_blocked_deliveries_at_once(world: World) -> None:
    world.fail(MISCONFIGURED)
    one = world.accept("disk")
    world.drain()

    with world.new_engine() as new:
        (status,) = new.wait([one], 30)
        while not status.entries[0].finished_at:
            (status,) = new.wait([one], 30)

    assert status.entries[0].state == "delivered"


def test_a_missing_installation_blocks_its_lane(world: World) -> None:
    world.fail(UNREACHABLE)
    world.accept("disk")
    world.drain()
    rules, world._rules = world._rules, lambda _: []
    world.new_engine()

    assert world.advance(5) == []
    assert world.delivery().lane_reason == (
        "the action pager.page or the installation acme is gone"
    )
    world._rules = rules
    world.new_engine()
    assert world.advance(31) == ["trigger disk"]


def test_urgent_deliveries_go_first_within_the_limit(world: World) -> None:
    limit = Limit("key", 20, 60.0)
    world.page.limits = lambda *_: [limit]  # type: ignore[method-assign]
    for number in range(40):
        world.accept(f"{number:02}", severity="info")
    first = world.drain()
    world.accept("urgent", severity="critical")

    assert 14 <= len(first) <= 19
    assert world.drain() == ["trigger urgent"]
    assert world.advance(30) == []
    assert len(world.advance(31)) > 10
    assert len(world.page.sent) < 40


def test_a_budget_counts_from_the_first_attempt(world: World) -> None:
    world.page.limits = lambda *_: [Limit("key", 20, 60.0)]  # type: ignore[method-assign]
    world.accept("disk")
    world.drain()

    ((used,),) = world.execute("SELECT used FROM budgets")
    assert list(json.loads(used).values()) == [[0, 1]]


def test_a_message_counts_from_its_answer(world: World) -> None:
    """It is unknown when the provider counted the message."""
    world.page.limits = lambda *_: [Limit("key", 20, 60.0)]  # type: ignore[method-assign]
    world.accept("disk")
    world.drain()
    slow = deliver(lambda _: setattr(world.clock, "now", world.clock.now + 20))
    world.page.behaviour["send"] = slow
    world.accept("memory")
    world.drain()

    ((used,),) = world.execute("SELECT used FROM budgets")
    assert max(json.loads(used).items()) == (str(int(START * 1000) + 20_600), [0, 1])


def test_a_clock_step_breaks_no_guarantee(world: World) -> None:
    world.page.limits = lambda *_: [Limit("key", 20, 60.0)]  # type: ignore[method-assign]
    world.fail(UNREACHABLE, Outcome(THROTTLED, retry_after=200))
    world.accept("a")
    world.drain()
    world.accept("b")
    for number in range(30):
        world.accept(f"{number}")
    world.clock.now += 3600
    world.drain()
    world.clock.now -= 3600
    world.accept("c")
    world.advance_in_steps(600)
    world.clock.now -= 3600
    world.accept("d")
    for key in [row.incident.ref.correlation_key for row in world.engine.admin.incidents()]:
        world.accept(key, "resolved")
    world.advance_in_steps(900)

    assert set(world.states) <= {"delivered", "coalesced"}
    assert len(world.open_keys) <= 1


def test_plans_of_two_rules_meet_in_one_incident(worlds: Callable[..., World]) -> None:
    world = worlds(rules=lambda plugins: [rule_of(plugins, "One"), rule_of(plugins, "Two")])
    world.accept("disk")
    assert world.drain() == ["trigger disk"]
    assert world.engine.admin.incidents()[0].incident.rules == ("One", "Two")


def test_an_incident_resolves_with_its_last_holder(worlds: Callable[..., World]) -> None:
    world = worlds(correlate=lambda _: "shared")
    world.accept("a")
    world.accept("b")
    world.drain()
    world.accept("a", "resolved")
    assert world.drain() == []
    assert world.open_keys == ["shared"]

    world.accept("b", "resolved")
    assert world.drain() == ["resolve shared"]


def test_rules_do_not_affect_resolves(world: World) -> None:
    world.accept("disk")
    world.drain()
    world._rules = lambda _: []
    world.new_engine(installations=[rule_of(world.plugins).actions[0].installation])

    world.accept("disk", "resolved")
    assert world.drain() == ["resolve disk"]


def test_an_unconfirmed_incident_gets_a_confirming_resolve(world: World) -> None:
    world.fail(UNREACHABLE)
    world.accept("disk")
    world.drain()
    assert world.advance(5) == ["trigger disk"]
    world.accept("disk", "resolved")
    assert world.drain() == ["resolve disk"]
    assert world.open_keys == ["disk"]
    assert [each.reason for each in world.deliveries if each.state == "queued"] == [
        "sent again, in case an earlier delivery arrives late and reopens the incident"
    ]

    assert world.advance(61) == ["resolve disk"]
    assert world.open_keys == []
    assert world.advance_in_steps() == []


def test_a_new_trigger_goes_right_after_the_confirming_resolve(world: World) -> None:
    world.fail(UNREACHABLE)
    world.accept("disk")
    world.drain()
    world.advance(5)
    world.accept("disk", "resolved")
    world.drain()
    world.accept("disk")
    world.engine._dispatcher.plan_ahead()
    assert [each.reason for each in world.deliveries if each.state == "queued"] == [
        "",
        "sent early, since the alert fires again and an earlier delivery may have arrived late",
    ]

    assert world.drain() == ["resolve disk", "trigger disk"]
    assert world.advance_in_steps(600) == []
    assert world.open_keys == ["disk"]

    world.accept("disk", "resolved")
    assert world.drain() == ["resolve disk"]
    assert world.advance(61) == ["resolve disk"]  # something may still have been late
    assert world.open_keys == []


def test_tickets_are_never_opened_twice(worlds: Callable[..., World]) -> None:
    world = worlds(can=UPDATING)
    world.fail(Outcome(DELIVERED, handle={"id": 7}))
    world.accept("disk")
    world.drain()
    world.accept("disk")
    world.drain()
    world.accept("disk", "resolved")
    world.accept("disk")
    world.drain()

    assert [(str(sent.operation), sent.handle) for sent in world.page.sent] == [
        ("trigger", None),
        ("update", {"id": 7}),
        ("resolve", {"id": 7}),
        ("trigger", None),
    ]


@pytest.mark.parametrize("end", [OutcomeKind.REJECTED, OutcomeKind.UNCERTAIN])
def test_a_ticket_after_a_failed_one_is_closed_by_its_own_handle(
    worlds: Callable[..., World], end: OutcomeKind
) -> None:
    world = worlds(can=UPDATING)
    first, second = (Outcome(OutcomeKind.DELIVERED, handle={"id": number}) for number in (1, 2))
    world.fail(first, end, second)
    for status in ("firing", "resolved", "firing", "resolved"):
        world.accept("disk", status)
        world.advance(2)

    assert world.page.operations == ["trigger", "resolve", "trigger", "resolve"]
    assert world.page.sent[-1].handle == {"id": 2}
    assert world.open_keys == []


def test_mails_need_no_follow_up(worlds: Callable[..., World]) -> None:
    world = worlds(can=SILENT)
    world.accept("disk")
    world.accept("disk", "resolved")
    world.accept("disk")

    assert world.drain() == ["trigger disk", "trigger disk"]


def test_a_follow_up_without_its_key_is_orphaned_and_firing_alerts_reopen(world: World) -> None:
    handle = {"key": "old"}
    world.fail(Outcome(DELIVERED, handle=handle))
    world.accept("disk")
    world.drain()
    world.page.can_follow_up = lambda incident, _: incident.handle != handle  # type: ignore[method-assign]

    world.accept("disk", "acknowledged")
    assert world.drain() == ["trigger disk"]
    assert [row.orphaned for row in world.engine.admin.incidents(orphaned=True)] == [True]
    assert "orphaned" in world.states

    world.accept("disk", "resolved")
    assert world.drain() == ["resolve disk"]


def test_a_resolved_orphan_opens_nothing(world: World) -> None:
    world.fail(Outcome(DELIVERED, handle={"key": "old"}))
    world.accept("disk")
    world.drain()
    world.page.can_follow_up = lambda *_: False  # type: ignore[method-assign]

    world.accept("disk", "resolved")
    assert world.drain() == []
    assert world.states == ["delivered", "orphaned"]
    assert world.open_keys == []


def test_a_late_delivery_is_reported_once(worlds: Callable[..., World]) -> None:
    world = worlds()
    world.fail(MISCONFIGURED, MISCONFIGURED)
    world.accept("disk")
    world.drain()
    world.page.behaviour["send"] = lambda _: Outcome(MISCONFIGURED, "no key")
    world.advance_in_steps(1200)

    assert world.observer.names == ["delayed"]
    (_, receipt) = world.observer.reported[0]
    assert receipt.outcome == Outcome(MISCONFIGURED, "no key")


def test_incidents_that_never_resolve_are_forgotten(world: World) -> None:
    world.accept("disk")
    world.drain()
    world.advance_in_steps(91 * 86400, step=86400)

    assert world.open_keys == []
    world.accept("disk", "resolved")
    assert world.drain() == []


def test_finished_history_is_pruned(worlds: Callable[..., World]) -> None:
    from alerthost.outbox.maintenance import Patience

    world = worlds(patience=Patience(keep=86400))
    world.accept("disk")
    world.accept("cpu")
    world.drain()
    world.accept("disk", "resolved")
    world.drain()
    world.advance_in_steps(2 * 86400, step=43200)

    counts = {
        table: world.execute(f"SELECT count(*) FROM {table}")[0][0]
        for table in ("deliveries", "incidents", "submissions", "alerts", "holders", "receipts")
    }
    assert counts == {
        "deliveries": 1,
        "incidents": 1,
        "submissions": 0,
        "alerts": 1,
        "holders": 1,
        "receipts": 0,
    }
    world.accept("cpu", "resolved")
    assert world.drain() == ["resolve cpu"]


def test_the_last_trigger_of_an_open_incident_is_not_pruned(worlds: Callable[..., World]) -> None:
    world = worlds(patience=maintenance.Patience(keep=100))
    world.fail(*[Outcome(OutcomeKind.DELIVERED, handle={"key": "old"})] * 2)
    for _ in range(2):
        world.accept("disk")
        world.drain()
    world.advance(200)
    assert world.states == ["delivered"]
    world.page.can_follow_up = lambda incident, _: incident.handle != {"key": "old"}  # type: ignore[method-assign]

    world.accept("disk", "acknowledged")
    assert world.drain() == ["trigger disk"]
    world.accept("disk", "resolved")
    world.drain()
    world.advance(200)
    world.advance(200)
    assert world.states == []


def test_the_engine_is_idle_when_nothing_is_due(world: World) -> None:
    engine = world.engine
    world.accept("disk")
    assert not engine.wait_idle(0)
    world.fail(OutcomeKind.UNREACHABLE)
    world.drain()
    assert engine.wait_idle(0), "it is tried again later"
    world.clock.now += 60
    assert not engine.wait_idle(0)

    with engine:
        assert engine.wait_idle(30)
    assert world.states == ["delivered"]


def test_a_change_can_be_waited_for(world: World) -> None:
    seen = world.engine.wait_change(0, 0)
    assert world.engine.wait_change(seen, 0) == seen
    world.accept("disk")
    world.drain()
    assert world.engine.wait_change(seen, 30) != seen
