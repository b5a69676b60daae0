"""Resolves of alerts that the store does not know: sent where a rule asks for it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
from engines import EITHER_IN_PROOF, Clock, World, complete_late, lease_as_dead_process
from recorder import rule_of

from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat
from alerthost.outbox.submission import NOTHING_OPEN, UNKNOWN
from hostspec import Alert, Capabilities, OutcomeKind
from hostspec.plugins import Rule
from hostspec.plugins.planning import RESOLVED_FOR

RECORDING = Capabilities(resolve=True, record=True)


def asking(plugins: Any) -> Sequence[Rule]:
    """Return a rule that sends the resolves of unknown alerts."""
    return [attrs.evolve(rule_of(plugins), resolve_unknown=True)]


def of_data(alert: Alert) -> bool:
    return alert.labels.get("team") == "data"


def by_team(plugins: Any) -> Sequence[Rule]:
    """Return a rule for a team, and one for other alerts that sends resolves of unknown ones."""
    others = rule_of(plugins, "Others", lambda alert: not of_data(alert), teams=["others"])
    data = rule_of(plugins, "Data", of_data, teams=["data"])
    return [data, attrs.evolve(others, resolve_unknown=True)]


@pytest.fixture
def asked(worlds: Callable[..., World]) -> World:
    return worlds(rules=asking)


def remark(world: World, submission_id: str) -> str:
    (status,) = world.engine.admin.statuses([submission_id])
    assert status.note is not None
    return status.note.remark


def test_resolve_of_an_unknown_alert_is_not_sent(world: World) -> None:
    first, second = world.accept("disk", "resolved"), world.accept("disk", "resolved")
    acknowledged = world.accept("cpu", "acknowledged")

    assert world.drain() == []
    assert [remark(world, each) for each in (first, second, acknowledged)] == [
        UNKNOWN,
        NOTHING_OPEN,
        NOTHING_OPEN,
    ]


@EITHER_IN_PROOF
def test_resolve_goes_where_the_rule_says(asked: World) -> None:
    asked.accept("disk", "resolved")
    asked.accept("cpu", "acknowledged")

    assert asked.drain() == ["resolve disk"]
    assert asked.states == ["delivered"]
    assert asked.open_keys == []
    assert asked.advance_in_steps() == []


@EITHER_IN_PROOF
def test_resolve_survives_the_death_of_its_sender(asked: World) -> None:
    asked.accept("disk", "resolved")
    lease = lease_as_dead_process(asked)

    asked.new_engine()
    assert asked.drain() == ["resolve disk"]
    complete_late(asked, lease)
    # an attempt that may have arrived late gets one confirming resolve
    assert asked.advance_in_steps() == ["resolve disk"]
    assert asked.states == ["delivered", "delivered"]
    assert asked.open_keys == []


def test_failed_resolve_is_retried(asked: World) -> None:
    asked.fail(OutcomeKind.THROTTLED, OutcomeKind.MISCONFIGURED)
    asked.accept("disk", "resolved")

    assert asked.drain() == ["resolve disk"]
    assert asked.advance_in_steps(120) == ["resolve disk"] * 2
    assert asked.states == ["delivered"]


def test_rejected_resolve_stays_listed(asked: World) -> None:
    """The incident of another host may be open."""
    asked.fail(OutcomeKind.REJECTED)
    asked.accept("disk", "resolved")
    asked.drain()

    assert (asked.states, asked.open_keys) == (["rejected"], ["disk"])
    asked.accept("disk", "resolved")
    assert asked.drain() == ["resolve disk"]
    assert asked.open_keys == []


def test_queued_resolves_coalesce(asked: World) -> None:
    for _ in range(300):
        asked.accept("disk", "resolved")

    assert asked.drain() == ["resolve disk"]
    assert sorted(asked.states) == ["coalesced"] * 299 + ["delivered"]


def test_resolve_is_sent_again_after_a_while(asked: World) -> None:
    """Another host may have opened an incident meanwhile."""
    asked.accept("disk", "resolved")
    asked.drain()

    asked.accept("disk", "resolved")
    assert asked.advance(RESOLVED_FOR) == []
    asked.accept("disk", "resolved")
    assert asked.advance(1) == ["resolve disk"]


@EITHER_IN_PROOF
def test_resolve_is_sent_after_a_clock_was_ahead(asked: World) -> None:
    """The time of the last resolve is in the future then."""
    asked.clock.now += 400 * 86_400
    asked.accept("disk", "resolved")
    asked.drain()

    asked.clock.now -= 400 * 86_400
    asked.accept("disk", "resolved")
    assert asked.drain() == ["resolve disk"]
    asked.accept("disk", "resolved")
    assert asked.drain() == []


def test_resolve_of_a_known_alert_is_sent_once(asked: World) -> None:
    asked.accept("disk")
    asked.drain()
    for _ in range(3):
        asked.accept("disk", "resolved")
        asked.drain()

    assert asked.page.operations == ["trigger", "resolve"]


@EITHER_IN_PROOF
def test_alert_that_fires_after_its_unknown_resolve_opens_an_incident(asked: World) -> None:
    asked.accept("disk", "resolved")
    asked.accept("disk")

    assert asked.drain() == ["resolve disk", "trigger disk"]
    assert asked.open_keys == ["disk"]
    asked.accept("disk", "resolved")
    assert asked.drain() == ["resolve disk"]
    assert asked.open_keys == []


def test_resolve_of_another_holder_does_not_close_a_shared_incident(
    worlds: Callable[..., World],
) -> None:
    world = worlds(rules=asking, correlate=lambda _: "shared")
    world.accept("disk")
    world.drain()

    world.accept("cpu", "resolved")
    assert world.drain() == []
    world.accept("disk", "resolved")
    assert world.drain() == ["resolve shared"]


def test_unknown_resolve_is_recorded_where_the_action_records(
    worlds: Callable[..., World], clock: Clock
) -> None:
    world = worlds(rules=asking, can=RECORDING)
    world.fail(OutcomeKind.REJECTED)
    world.accept("disk", "resolved")

    assert world.drain() == ["resolve disk"]
    assert world.execute("SELECT id FROM incidents WHERE active") == []


@EITHER_IN_PROOF
def test_resolve_of_an_expired_alert_goes_to_its_incidents_only(
    worlds: Callable[..., World],
) -> None:
    """It has no labels, so that other rules would match it."""
    world = worlds(rules=by_team)
    expires_at = dt.datetime.fromtimestamp(world.clock.now + 60, dt.UTC)
    world.engine.accept(Alert("disk", labels={"team": "data"}), expires_at=expires_at)

    assert world.advance_in_steps(120) == ["trigger disk", "resolve disk"]
    assert {each.destination for each in world.page.sent} == {"data"}


def test_resolve_of_a_missed_heartbeat_goes_to_its_incidents_only(
    worlds: Callable[..., World],
) -> None:
    beat = ExpectedHeartbeat(key="job", every=60, grace=60, labels={"team": "data"})
    world = worlds(rules=by_team, heartbeats=[beat])
    assert world.advance_in_steps(180) == ["trigger heartbeat/job"]
    world.engine.hear("job")

    assert world.drain() == ["resolve heartbeat/job"]
    assert {each.destination for each in world.page.sent} == {"data"}
