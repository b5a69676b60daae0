"""Repeats of a sender that reports all its alerts again and again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from engines import EITHER, World
from recorder import rule_of

from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat
from alerthost.outbox.repeats import PLAN_AGAIN, PLAN_AGAIN_UNSENT
from alerthost.outbox.timing import TimedRule
from hostspec import Alert, OutcomeKind
from hostspec.plugins import Rule


def report(world: World, *alerts: Alert, seconds: float | None = 300.0) -> list[bool]:
    """Report alerts as Prometheus does; return for each whether it only repeats the known state."""
    now = dt.datetime.fromtimestamp(world.clock.now, dt.UTC)
    expires = None if seconds is None else now + dt.timedelta(seconds=seconds)
    repeated = world.engine.renew(alerts, [expires] * len(alerts))
    fresh = [each for each, known in zip(alerts, repeated, strict=True) if not known]
    world.engine.accept_many(fresh, expires_at=[expires] * len(fresh))
    return list(repeated)


FIRING = Alert("disk", "Disk full")
OVER = Alert("disk", status="resolved")


@EITHER
def test_repeats_renew_the_expiry_and_send_nothing(world: World) -> None:
    assert report(world, FIRING) == [False]
    assert world.drain() == ["trigger disk"]
    for _ in range(10):
        assert world.advance_in_steps(60) == []
        assert report(world, FIRING, Alert("disk", "Another text")) == [True, True]
    assert world.advance_in_steps(270) == []
    assert world.advance_in_steps(60) == ["resolve disk"]
    assert len(world.execute("SELECT id FROM submissions")) == 2


def test_alert_that_fires_again_after_its_expiry_opens_an_incident(world: World) -> None:
    report(world, FIRING)
    world.drain()
    assert world.advance_in_steps(330) == ["resolve disk"]

    assert report(world, FIRING) == [False]
    assert world.drain() == ["trigger disk"]


@EITHER
def test_repeated_resolve_is_accepted_once(world: World) -> None:
    report(world, FIRING)
    world.drain()
    assert [report(world, OVER), world.drain()] == [[False], ["resolve disk"]]
    for _ in range(15):
        assert world.advance(60) == []
        assert report(world, OVER) == [True]
    assert report(world, FIRING) == [False]


def test_report_beside_a_pending_one_is_accepted(world: World) -> None:
    report(world, FIRING)
    world.drain()
    assert [report(world, OVER), report(world, FIRING), report(world, OVER)] == [[False]] * 3
    assert world.drain()[-1:] == ["resolve disk"]
    assert world.open_keys == []


def test_expiry_ends_when_none_is_given(world: World) -> None:
    report(world, FIRING)
    world.drain()
    assert report(world, FIRING, seconds=None) == [True]
    assert world.advance_in_steps(3600) == []


def test_repeat_is_planned_again_after_hours(world: World) -> None:
    """The incident may have been closed by hand."""
    report(world, FIRING, seconds=None)
    world.drain()
    world.clock.now += PLAN_AGAIN
    assert report(world, FIRING, seconds=None) == [True]
    world.clock.now += 1
    assert report(world, FIRING, seconds=None) == [False]
    assert world.drain() == ["trigger disk"]


def test_alert_without_an_incident_is_planned_again_soon(world: World) -> None:
    world.fail(OutcomeKind.REJECTED)
    report(world, FIRING, seconds=None)
    world.drain()
    assert world.open_keys == []
    world.clock.now += PLAN_AGAIN_UNSENT
    assert report(world, FIRING, seconds=None) == [True]
    world.clock.now += 1
    assert report(world, FIRING, seconds=None) == [False]
    assert world.drain() == ["trigger disk"]


def test_each_alert_is_planned_with_the_rules_of_a_new_engine(
    worlds: Callable[..., World],
) -> None:
    rules: list[Rule] = []

    def present(plugins: Any) -> Sequence[Rule]:
        return rules

    world = worlds(rules=present)
    report(world, FIRING)
    world.clock.now += 1
    assert [report(world, FIRING), world.drain()] == [[False], []]
    world.clock.now += 1
    assert report(world, FIRING) == [True]
    rules.append(rule_of(world.plugins))
    world.new_engine()
    world.clock.now += 1

    assert report(world, FIRING) == [False]
    assert world.drain() == ["trigger disk"]
    world.clock.now += 1
    assert report(world, FIRING) == [True]


def test_acknowledged_alert_stays_acknowledged(world: World) -> None:
    report(world, FIRING)
    world.accept("disk", "acknowledged")
    world.drain()
    assert report(world, FIRING) == [True]
    assert world.drain() == []


def test_nothing_is_renewed_in_a_report_of_nothing(world: World) -> None:
    assert world.engine.renew([], []) == ()


@pytest.mark.parametrize("count", [256])
def test_repeats_of_a_whole_batch_are_one_transaction(world: World, count: int) -> None:
    alerts = [Alert(f"disk-{number}") for number in range(count)]
    report(world, *alerts)
    world.drain()
    assert report(world, *alerts) == [True] * count


def test_a_repeat_that_feeds_a_heartbeat_is_accepted(worlds: Callable[..., World]) -> None:
    watchdog = ExpectedHeartbeat(
        key="prometheus", every=60.0, grace=60.0, matches=lambda alert: alert.key == "watchdog"
    )
    world = worlds(heartbeats=[watchdog])
    assert world.advance_in_steps(60) == []
    for _ in range(10):
        assert report(world, Alert("watchdog")) == [False]
        assert world.advance_in_steps(60) == []
    assert world.advance_in_steps(120) == ["trigger heartbeat/prometheus"]


def test_a_repeated_alert_starts_the_actions_of_a_rule_that_waits(
    worlds: Callable[..., World],
) -> None:
    def waiting(plugins: Any) -> Sequence[Rule]:
        rule = rule_of(plugins)
        return [TimedRule(rule.name, rule.actions, wait=3600.0)]

    world = worlds(rules=waiting)
    sent = []
    for _ in range(65):
        report(world, FIRING)
        sent += world.advance_in_steps(60)
        assert sent in ([], ["trigger disk"])
    assert sent == ["trigger disk"]
    assert [report(world, OVER), world.drain()] == [[False], ["resolve disk"]]
