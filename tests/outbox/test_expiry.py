"""An alert that is not reported any more is resolved, unless nothing could be reported."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from engines import EITHER_IN_PROOF, START, World
from recorder import rule_of

from alerthost.outbox.timing import TimedRule
from hostspec import Alert, OutcomeKind
from hostspec.plugins import Rule

Worlds = Callable[..., World]


def expiring(**seconds: float | None) -> Callable[[Any], list[Rule]]:
    """Return rules, each with the part of the keys that it matches and its duration."""

    def build(plugins: Any, part: str, after: float | None) -> Rule:
        rule = rule_of(plugins, part, lambda alert: part in alert.key)
        return TimedRule(rule.name, rule.actions, rule.matches, expire_after=after)

    return lambda plugins: [build(plugins, *each) for each in seconds.items()]


def report(world: World, key: str, seconds: float | None, **fields: Any) -> str:
    """Report an alert that expires after some seconds."""
    expires_at = None
    if seconds is not None:
        expires_at = dt.datetime.fromtimestamp(world.clock.now + seconds, dt.UTC)
    return world.engine.accept(Alert(key, **fields), expires_at=expires_at)


@EITHER_IN_PROOF
def test_an_alert_expires_at_its_time(world: World) -> None:
    report(world, "disk", 300)
    assert world.drain() == ["trigger disk"]
    assert world.advance_in_steps(298, step=2) == []
    assert world.advance(2) == ["resolve disk"]
    assert world.open_keys == []


@EITHER_IN_PROOF
def test_each_report_moves_the_expiry(world: World) -> None:
    report(world, "disk", 300)
    for _ in range(10):
        world.advance_in_steps(240, step=30)
        report(world, "disk", 300)
    assert world.open_keys == ["disk"]
    report(world, "disk", None)
    world.advance_in_steps(3600, step=30)
    assert world.open_keys == ["disk"], "the newest report has no expiry"


def test_the_resolve_says_why(world: World) -> None:
    report(world, "disk", 300)
    world.drain()
    world.advance_in_steps(300)
    moment = dt.datetime.fromtimestamp(START, dt.UTC)
    why = f"expired: not reported since {moment:%Y-%m-%d %H:%M:%S} UTC"
    assert world.delivery().delivery.notes == (why,)
    [resolve, _] = world.engine.admin.lists.submissions(None, None, 10).rows
    assert resolve.alert.summary == why


@EITHER_IN_PROOF
def test_a_rule_lets_its_alerts_expire(worlds: Worlds) -> None:
    world = worlds(rules=expiring(disk=3600))
    world.accept("disk")
    world.drain()
    world.advance_in_steps(1800)
    world.accept("disk", "acknowledged")
    world.drain()
    world.advance_in_steps(3570)
    assert world.open_keys == ["disk"], "an acknowledgement is a report"
    world.advance(30)
    assert world.open_keys == []


def test_the_longest_duration_of_the_matching_rules_counts(worlds: Worlds) -> None:
    world = worlds(rules=expiring(d=120, disk=3600, di=None))
    world.accept("disk")
    world.accept("dns")
    world.drain()
    world.advance_in_steps(120)
    assert world.open_keys == ["disk"]
    world.advance_in_steps(3480)
    assert world.open_keys == []


def test_the_time_of_the_alert_precedes_that_of_the_rule(worlds: Worlds) -> None:
    world = worlds(rules=expiring(disk=120))
    report(world, "disk", 600)
    world.drain()
    world.advance_in_steps(570)
    assert world.open_keys == ["disk"]
    world.advance(30)
    assert world.open_keys == []


@pytest.mark.parametrize("seconds", [-3600, 0, 59])
def test_a_firing_alert_pages_even_if_it_has_expired(world: World, seconds: float) -> None:
    report(world, "disk", seconds)
    assert world.drain() == ["trigger disk"]
    assert world.advance(30) == []
    assert world.advance(30) == ["resolve disk"]


def test_a_resolved_alert_does_not_expire(world: World) -> None:
    report(world, "disk", 300)
    world.drain()
    report(world, "disk", 300, status="resolved")
    assert world.drain() == ["resolve disk"]
    report(world, "disk", 300, status="acknowledged")
    world.drain()
    world.advance_in_steps(600)
    assert len(world.engine.admin.lists.submissions(None, None, 10).rows) == 3


def test_an_alert_that_fires_again_after_its_expiry_pages_again(world: World) -> None:
    started = dt.datetime.fromtimestamp(START, dt.UTC)
    report(world, "disk", 60, started_at=started)
    world.drain()
    assert world.advance_in_steps(60) == ["resolve disk"]
    report(world, "disk", 60, started_at=started)
    assert world.advance(1) == ["trigger disk"]


@EITHER_IN_PROOF
def test_a_report_that_is_not_planned_yet_prevents_the_expiry(world: World) -> None:
    report(world, "disk", 300)
    world.drain()
    world.advance_in_steps(290, step=10)
    report(world, "disk", 300)
    world.clock.now += 20
    with world.engine._registration.registered() as worker:
        world.engine._maintenance.run(worker)
    assert world.drain() == ["trigger disk"]
    world.advance_in_steps(240)
    assert world.open_keys == ["disk"]


@EITHER_IN_PROOF
def test_many_alerts_expire_at_once(world: World) -> None:
    moment = dt.datetime.fromtimestamp(START + 60, dt.UTC)
    many = [Alert(f"{number}") for number in range(450)]
    world.engine.accept_many(many, expires_at=[moment] * len(many))
    world.drain()
    world.advance_in_steps(60)
    assert world.open_keys == []
    assert len(world.page.sent) == 2 * len(many)


@EITHER_IN_PROOF
@pytest.mark.parametrize("seconds", [-400 * 86_400, -3600, 31, 3600, 400 * 86_400])
def test_a_clock_that_jumps_expires_nothing(world: World, seconds: float) -> None:
    report(world, "disk", 300)
    world.drain()
    world.advance_in_steps(120)
    world.clock.now += seconds
    world.drain()
    world.advance_in_steps(150)
    assert world.open_keys == ["disk"], "as much time is left as before"
    assert world.advance_in_steps(60) == ["resolve disk"]


@EITHER_IN_PROOF
def test_what_could_not_be_reported_does_not_expire_at_the_start(world: World) -> None:
    report(world, "disk", 300)
    world.drain()
    world.advance_in_steps(290, step=10)
    world.clock.now += 3600
    world.new_engine()
    assert world.drain() == []
    assert world.advance(30) == []
    assert world.advance(30) == ["resolve disk"]


def test_moved_times_are_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.drain()
    world.advance(600)
    assert "are moved" not in caplog.text
    report(world, "disk", 300)
    world.drain()
    world.advance(600)
    assert "the due times of 1 alerts are moved by as much" in caplog.text


def test_an_outdated_report_moves_no_expiry(world: World) -> None:
    moment = dt.datetime.fromtimestamp(START, dt.UTC)
    report(world, "disk", 60, updated_at=moment)
    world.drain()
    report(world, "disk", 3600, updated_at=moment - dt.timedelta(seconds=1))
    world.drain()
    assert world.advance_in_steps(60) == ["resolve disk"]


def test_a_replay_moves_no_expiry(world: World) -> None:
    report(world, "disk", 300)
    world.fail(OutcomeKind.REJECTED)
    world.drain()
    world.advance_in_steps(270)
    world.engine.admin.replay(world.delivery().id)
    assert world.drain() == ["trigger disk"]
    assert world.advance(30) == ["resolve disk"]
