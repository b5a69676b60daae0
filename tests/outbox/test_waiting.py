"""A rule with `for` pages only for an alert that still fires then."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from engines import EITHER_IN_PROOF, START, World
from recorder import UPDATING, rule_of

from alerthost.outbox.maintenance import Patience
from alerthost.outbox.submission import SubmissionOutcome
from alerthost.outbox.timing import TimedRule
from hostspec import Alert
from hostspec.plugins import Rule

Worlds = Callable[..., World]
Rules = Callable[[Any], list[Rule]]


def waiting(**seconds: float) -> Rules:
    """Return rules, each for a team of its own, with the time that it waits."""

    def build(plugins: Any, name: str, wait: float) -> Rule:
        rule = rule_of(plugins, name, teams=[name])
        return TimedRule(rule.name, rule.actions, rule.matches, wait=wait)

    return lambda plugins: [build(plugins, *each) for each in seconds.items()]


def remark_of(world: World, submission_id: str) -> str:
    [status] = world.engine.admin.statuses([submission_id])
    assert status.note is not None
    return status.note.remark


@EITHER_IN_PROOF
def test_an_alert_that_still_fires_pages_once(worlds: Worlds) -> None:
    world = worlds(rules=waiting(team=300))
    world.accept("disk")
    assert world.drain() == []
    assert world.engine.admin.backlog().waiting == 1
    assert world.advance_in_steps(270) == []
    assert world.advance(30) == ["trigger disk"]
    assert world.engine.admin.backlog().waiting == 0
    assert world.advance_in_steps(3600) == []
    note = "it still fires after the time that a rule waits"
    assert world.delivery().delivery.notes == (note,)
    world.accept("disk", "resolved")
    assert world.drain() == ["resolve disk"]


@EITHER_IN_PROOF
@pytest.mark.parametrize("status", ["resolved", "acknowledged"])
def test_one_that_ends_before_sends_nothing(worlds: Worlds, status: str) -> None:
    world = worlds(rules=waiting(team=300))
    waits = world.accept("disk", severity="critical")
    world.drain()
    world.advance_in_steps(120)
    ends = world.accept("disk", status)
    assert world.advance_in_steps(3600) == []
    until = dt.datetime.fromtimestamp(START + 300, dt.UTC)
    waited = f"waits until {until:%Y-%m-%d %H:%M:%S} UTC whether it still fires: team"
    assert remark_of(world, waits) == waited
    assert remark_of(world, ends) == f"{status} while rules waited whether it still fires: team"
    [found] = world.engine.admin.unsent(SubmissionOutcome.WAITING)
    assert (found.submission_id, found.note.reasons) == (waits, (waited,))
    assert world.engine.admin.backlog().waiting == 0


def test_repeats_do_not_start_the_time_again(worlds: Worlds) -> None:
    world = worlds(rules=waiting(team=300))
    sent = []
    for number in range(14):
        world.accept("disk", summary=f"{number}")
        world.drain()
        sent += world.advance(25)
    assert sent == ["trigger disk"]
    first = world.engine.admin.delivery(world.delivery(0).id)
    assert first.delivery.message["text"] == "11", "the newest report"


def test_one_that_fires_again_waits_again(worlds: Worlds) -> None:
    world = worlds(rules=waiting(team=300))
    world.accept("disk")
    world.advance_in_steps(240)
    world.accept("disk", "resolved")
    world.advance(30)
    world.accept("disk")
    world.drain()
    assert world.advance_in_steps(270) == []
    assert world.advance(30) == ["trigger disk"]


def test_an_acknowledged_one_that_fires_on_pages_at_its_next_report(worlds: Worlds) -> None:
    world = worlds(rules=waiting(team=300))
    world.accept("disk")
    world.drain()
    world.accept("disk", "acknowledged")
    assert world.advance_in_steps(600) == []
    world.accept("disk")
    assert world.drain() == ["trigger disk"]


@EITHER_IN_PROOF
def test_each_rule_waits_for_its_own_time(worlds: Worlds) -> None:
    world = worlds(rules=waiting(now=0, soon=60, later=300))
    world.accept("disk")
    world.drain()
    world.advance_in_steps(600)
    moments = [(sent.destination, sent.operation) for sent in world.page.sent]
    assert moments == [("now", "trigger"), ("soon", "trigger"), ("later", "trigger")]
    world.accept("disk", "resolved")
    assert world.drain() == ["resolve disk"] * 3
    [submission] = world.engine.admin.lists.submissions(SubmissionOutcome.WAITING, None, 1).rows
    assert submission.cause == "it still fires after the time that a rule waits"
    assert submission.note is not None
    assert submission.note.remark.endswith("whether it still fires: later")


def test_a_ticket_gets_no_update_when_another_rule_has_waited(worlds: Worlds) -> None:
    world = worlds(rules=waiting(now=0, later=300), can=UPDATING)
    world.accept("disk")
    assert world.drain() == ["trigger disk"]
    assert world.advance_in_steps(300) == ["trigger disk"]
    assert [sent.destination for sent in world.page.sent] == ["now", "later"]


@pytest.mark.parametrize("renamed", [waiting(pages=300), waiting(team=0), waiting(team=120)])
def test_a_changed_rule_loses_no_page(worlds: Worlds, renamed: Rules) -> None:
    world = worlds(rules=waiting(team=300))
    world.accept("disk")
    world.drain()
    world.advance_in_steps(270)
    world._rules = renamed
    world.new_engine()
    assert world.advance(30) == ["trigger disk"]


def test_a_longer_time_counts_from_the_first_report(worlds: Worlds) -> None:
    world = worlds(rules=waiting(team=300))
    world.accept("disk")
    world.drain()
    world._rules = waiting(team=600)
    world.new_engine()
    assert world.advance_in_steps(570) == []
    assert world.advance(30) == ["trigger disk"]


def test_a_rule_that_cannot_decide_waits_and_pages(worlds: Worlds) -> None:
    def fail(_: Alert) -> bool:
        message = "no idea"
        raise ValueError(message)

    def rules(plugins: Any) -> list[Rule]:
        [rule] = waiting(team=300)(plugins)
        return [TimedRule(rule.name, rule.actions, fail, wait=300)]

    world = worlds(rules=rules)
    world.accept("disk")
    assert world.drain() == []
    assert world.advance_in_steps(300) == ["trigger disk"]


def test_a_rule_that_does_not_match_does_not_wait(worlds: Worlds) -> None:
    def rules(plugins: Any) -> list[Rule]:
        [rule] = waiting(team=300)(plugins)
        return [TimedRule(rule.name, rule.actions, lambda alert: alert.key == "cpu", wait=300)]

    world = worlds(rules=rules)
    number = world.accept("disk")
    world.drain()
    assert remark_of(world, number) == "no rule matches"


@EITHER_IN_PROOF
@pytest.mark.parametrize("seconds", [-400 * 86_400, -3600, 3600, 400 * 86_400])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_jump_or_downtime_pages_nothing(
    worlds: Worlds, seconds: float, *, restarts: bool
) -> None:
    world = worlds(rules=waiting(team=300))
    world.accept("disk")
    world.drain()
    world.advance_in_steps(120)
    world.accept("disk")
    world.clock.now += seconds
    if restarts:
        world.new_engine()
    world.drain()
    assert world.advance_in_steps(150) == [], "as much time is left as before"
    assert world.advance_in_steps(60) == ["trigger disk"]


@EITHER_IN_PROOF
def test_a_report_that_is_not_planned_yet_comes_first(worlds: Worlds) -> None:
    world = worlds(rules=waiting(team=300))
    world.accept("disk")
    world.drain()
    world.advance_in_steps(290, step=10)
    world.accept("disk", "resolved")
    world.clock.now += 20
    with world.engine._registration.registered() as worker:
        world.engine._maintenance.run(worker)
    assert world.drain() == []
    assert world.advance_in_steps(600) == []


def test_an_alert_may_expire_while_a_rule_waits(worlds: Worlds) -> None:
    world = worlds(rules=waiting(team=300))
    moment = dt.datetime.fromtimestamp(START + 120, dt.UTC)
    world.engine.accept(Alert("disk"), expires_at=moment)
    world.drain()
    assert world.advance_in_steps(3600) == []
    [over, _] = world.engine.admin.lists.submissions(None, None, 10).rows
    assert over.cause.startswith("expired: not reported since ")


def test_the_check_whether_it_still_fires_is_no_report(worlds: Worlds) -> None:
    world = worlds(rules=waiting(team=300))
    moment = dt.datetime.fromtimestamp(START + 330, dt.UTC)
    world.engine.accept(Alert("disk"), expires_at=moment)
    world.drain()
    assert world.advance_in_steps(300) == ["trigger disk"]
    assert world.advance(30) == ["resolve disk"]


def test_a_waiting_alert_is_kept_beyond_the_history(worlds: Worlds) -> None:
    world = worlds(rules=waiting(team=3 * 86_400), patience=Patience(keep=3600))
    world.accept("disk")
    world.drain()
    world.execute("UPDATE clock SET steady_since = steady_since - 86401")
    world.advance_in_steps(7200)
    assert world.engine.admin.backlog().waiting == 1
    world.execute("UPDATE alerts SET fires_since = 0, waits_until = 1")
    assert world.advance(30) == ["trigger disk"]


def test_many_wait_at_once(worlds: Worlds) -> None:
    world = worlds(rules=waiting(team=300))
    world.engine.accept_many([Alert(f"{number}") for number in range(450)])
    world.drain()
    assert len(world.advance_in_steps(300)) == 450
