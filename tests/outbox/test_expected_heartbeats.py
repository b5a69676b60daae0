"""A missed heartbeat fires, and the next one resolves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from engines import EITHER_IN_PROOF, START, World

from alerthost.outbox.acceptance import UnknownHeartbeatError
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat, HeartbeatRow
from hostspec import Alert, Severity

Worlds = Callable[..., World]

BACKUP = ExpectedHeartbeat(key="backup", every=300, grace=60)
WATCHDOG = ExpectedHeartbeat(
    key="prometheus", every=300, grace=60, matches=lambda alert: alert.class_ == "Watchdog"
)
KEY = "heartbeat/backup"


def row_of(world: World, heartbeat: ExpectedHeartbeat = BACKUP) -> HeartbeatRow:
    [row] = world.engine.admin.heartbeats([heartbeat])
    return row


def run_maintenance(world: World) -> None:
    with world.engine._registration.registered() as worker:
        world.engine._maintenance.run(worker)


@EITHER_IN_PROOF
def test_a_missed_heartbeat_fires_and_the_next_one_resolves(worlds: Worlds) -> None:
    world = worlds(heartbeats=[BACKUP])
    world.drain()
    world.advance_in_steps(120)
    assert world.engine.hear("backup") == world.clock.now + 360
    assert world.advance_in_steps(330) == []
    assert world.advance(30) == [f"trigger {KEY}"]
    assert world.advance_in_steps(3600) == [], "one page for one silence"
    world.engine.hear("backup")
    assert world.drain() == [f"resolve {KEY}"]
    assert world.advance_in_steps(330) == []
    assert world.advance(30) == [f"trigger {KEY}"]


@EITHER_IN_PROOF
def test_heartbeats_in_time_fire_nothing(worlds: Worlds) -> None:
    world = worlds(heartbeats=[BACKUP])
    for _ in range(20):
        world.engine.hear("backup")
        assert world.advance_in_steps(330) == []


@EITHER_IN_PROOF
def test_one_that_was_never_heard_fires_too(worlds: Worlds) -> None:
    world = worlds(heartbeats=[BACKUP])
    assert row_of(world).state == "awaited"
    world.drain()
    assert world.advance_in_steps(330) == []
    assert world.advance(30) == [f"trigger {KEY}"]
    assert row_of(world) == HeartbeatRow(BACKUP, None, None, START + 360)
    [submission] = world.engine.admin.lists.submissions(None, None, 10).rows
    assert submission.alert.summary == "Heartbeat backup is missing: never heard"


def test_the_alert_tells_what_was_missed(worlds: Worlds) -> None:
    backup = ExpectedHeartbeat(
        key="backup",
        every=3600,
        grace=60,
        severity=Severity.CRITICAL,
        scope="team-a",
        labels={"team": "data"},
    )
    world = worlds(heartbeats=[backup])
    world.engine.hear("backup")
    world.drain()
    world.advance_in_steps(3660)
    [submission] = world.engine.admin.lists.submissions(None, None, 10).rows
    moment = dt.datetime.fromtimestamp(START, dt.UTC)
    heard = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    assert submission.alert == Alert(
        KEY,
        f"Heartbeat backup is missing: last heard at {heard}",
        severity="critical",
        scope="team-a",
        source="backup",
        class_="heartbeat",
        started_at=moment + dt.timedelta(seconds=3660),
        labels={"heartbeat": "backup", "team": "data"},
        details={"last_heard": heard, "every": "3,600 s", "grace": "60 s"},
    )
    assert world.delivery().delivery.notes == ("the heartbeat was missed",)


def test_a_summary_of_the_configuration_is_used(worlds: Worlds) -> None:
    backup = ExpectedHeartbeat(key="backup", every=60, grace=60, summary="No backup")
    world = worlds(heartbeats=[backup])
    world.drain()
    world.advance_in_steps(120)
    assert world.engine.admin.lists.submissions(None, None, 1).rows[0].alert.summary == "No backup"


def test_an_unknown_heartbeat_is_rejected(worlds: Worlds) -> None:
    world = worlds(heartbeats=[BACKUP])
    with pytest.raises(UnknownHeartbeatError, match="the heartbeat 'backups' is unknown; did you"):
        world.engine.hear("backups")


@EITHER_IN_PROOF
@pytest.mark.parametrize("seconds", [-400 * 86_400, -3600, 3600, 400 * 86_400])
@pytest.mark.parametrize("restarts", [False, True])
def test_after_a_jump_or_downtime_it_gets_its_whole_time(
    worlds: Worlds, seconds: float, *, restarts: bool
) -> None:
    world = worlds(heartbeats=[BACKUP])
    world.engine.hear("backup")
    world.drain()
    world.advance_in_steps(330)
    world.clock.now += seconds
    if restarts:
        world.new_engine()
    world.drain()
    assert world.advance_in_steps(330) == []
    assert world.advance(30) == [f"trigger {KEY}"]


def test_a_missed_one_stays_missed_after_downtime(
    worlds: Worlds, caplog: pytest.LogCaptureFixture
) -> None:
    world = worlds(heartbeats=[BACKUP, WATCHDOG])
    world.engine.hear("prometheus")
    world.drain()
    world.advance_in_steps(330)
    world.engine.hear("prometheus")
    world.advance_in_steps(60)
    assert row_of(world).state == "missed"
    assert "the heartbeat backup was missed" in caplog.messages
    world.clock.now += 3600
    assert world.drain() == []
    assert "alerts are moved by as much, and 1 heartbeats get their whole time" in caplog.text
    world.engine.hear("backup")
    assert world.drain() == [f"resolve {KEY}"]
    assert "the heartbeat backup was heard again" in caplog.messages


@EITHER_IN_PROOF
@pytest.mark.parametrize(("every", "sent"), [(600, []), (120, [f"trigger {KEY}"])])
def test_a_changed_duration_counts_from_the_last_sign_of_life(
    worlds: Worlds, every: float, sent: list[str]
) -> None:
    world = worlds(heartbeats=[BACKUP])
    world.engine.hear("backup")
    world.drain()
    world.advance_in_steps(330)
    changed = ExpectedHeartbeat(key="backup", every=every, grace=60)
    world.new_engine(heartbeats=[changed])
    world.drain()
    assert world.advance_in_steps(30, step=10) == sent
    assert row_of(world, changed).due == (None if sent else START + 660)


def test_a_changed_scope_resolves_the_alert_of_the_former_one(worlds: Worlds) -> None:
    world = worlds(heartbeats=[BACKUP], correlate=lambda alert: str(alert.identity))
    world.drain()
    world.advance_in_steps(360)
    moved = ExpectedHeartbeat(key="backup", every=300, grace=60, scope="a")
    world.new_engine(heartbeats=[moved])
    world.engine.hear("backup")
    assert world.drain() == [f"resolve {KEY}"]
    world.advance_in_steps(360)
    assert world.open_keys == [f"a/{KEY}"]


def test_one_that_is_not_configured_any_more_is_left_alone(worlds: Worlds) -> None:
    world = worlds(heartbeats=[BACKUP])
    world.drain()
    world.new_engine(heartbeats=[])
    assert world.advance_in_steps(600) == []


@EITHER_IN_PROOF
def test_a_watchdog_feeds_its_heartbeat_and_pages_no_one(worlds: Worlds) -> None:
    world = worlds(heartbeats=[WATCHDOG])
    for _ in range(5):
        number = world.accept("watchdog", class_="Watchdog")
        assert world.advance_in_steps(330) == []
    [status] = world.engine.admin.statuses([number])
    assert status.note is not None
    assert status.note.remark == "feeds the heartbeat prometheus"
    assert status.note.outcome is None
    assert world.advance_in_steps(60) == ["trigger heartbeat/prometheus"]
    world.accept("watchdog", "resolved", class_="Watchdog")
    assert world.drain() == []
    world.accept("watchdog", class_="Watchdog")
    assert world.drain() == ["resolve heartbeat/prometheus"]


@EITHER_IN_PROOF
def test_a_watchdog_that_is_not_planned_yet_counts(worlds: Worlds) -> None:
    world = worlds(heartbeats=[WATCHDOG])
    world.accept("watchdog", class_="Watchdog")
    world.drain()
    world.advance_in_steps(350, step=10)
    world.accept("watchdog", class_="Watchdog")
    for _ in range(3):
        world.clock.now += 10
        run_maintenance(world)
    assert world.drain() == []
    assert row_of(world, WATCHDOG).due == START + 740


@EITHER_IN_PROOF
def test_an_alert_that_expires_at_the_same_time_delays_no_page(worlds: Worlds) -> None:
    """Its resolve is pending then, but of the engine itself: it is no sign of life."""
    world = worlds(heartbeats=[WATCHDOG])
    assert world.advance_in_steps(300) == []
    expires_at = dt.datetime.fromtimestamp(world.clock.now + 60, dt.UTC)
    world.engine.accept(Alert("disk"), expires_at=expires_at)
    assert world.advance_in_steps(60) == ["trigger disk"]
    assert sorted(world.advance(30)) == ["resolve disk", "trigger heartbeat/prometheus"]


def test_a_sign_of_life_during_the_check_counts(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after the heartbeats were read, and before the overdue one is locked."""
    from alerthost.outbox import heartbeat_store

    world = worlds(heartbeats=[BACKUP])
    world.drain()
    world.advance_in_steps(330)
    lock = heartbeat_store._lock

    def hear_and_lock(uow: Any, key: str) -> Any:
        monkeypatch.setattr(heartbeat_store, "_lock", lock)
        heartbeat_store.hear(uow, BACKUP)
        return lock(uow, key)

    monkeypatch.setattr(heartbeat_store, "_lock", hear_and_lock)
    assert world.advance(30) == []
    assert row_of(world).state == "heard"
