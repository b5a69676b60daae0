"""Keys that are removed and return: follow-ups, orphaned incidents, and budgets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from engines import EITHER, Clock
from paging import KEY, NEW_KEY, Paging, alert, fake_at

from alerthost.outbox.retry_policy import LaneState
from alerthost.store.database import Database
from alerthost.store.tables import channels
from pagerduty_plugin.testing import FakePagerDuty, misbehaviour


@pytest.fixture
def fake(clock: Clock) -> Iterator[FakePagerDuty]:
    with fake_at(clock, rate_limit=20) as fake:
        yield fake


@pytest.fixture
def at(fake: FakePagerDuty, database: Database, clock: Clock) -> Paging:
    paging = Paging(fake, database, clock)
    paging.connect(KEY, rate_limit=20)
    return paging


def states(at: Paging) -> list[tuple[str, str]]:
    return [(each.service, each.state) for each in at.fake.incidents]


def orphaned(at: Paging) -> list[str]:
    rows = at.engine.admin.incidents(orphaned=True)
    return [row.incident.ref.correlation_key for row in rows]


@pytest.mark.parametrize("said", ["firing", "acknowledged"])
def test_without_its_key_a_firing_alert_opens_a_new_incident(at: Paging, said: str) -> None:
    at.deliver("firing")
    at.connect(NEW_KEY)
    at.deliver(said)
    assert at.reported == ["trigger", "new trigger"]
    assert orphaned(at) == ["disk"]

    at.deliver("acknowledged", "resolved")
    assert at.reported == ["trigger", "new trigger", "new acknowledge", "new resolve"]
    assert states(at) == [("checkout", "triggered"), ("checkout again", "resolved")]
    assert orphaned(at) == ["disk"]


def test_without_its_key_a_resolved_alert_opens_nothing(at: Paging) -> None:
    at.deliver("firing")
    at.connect(NEW_KEY)
    at.deliver("resolved")
    at.advance(3600)
    assert at.reported == ["trigger"]
    assert orphaned(at) == ["disk"]
    assert at.engine.admin.incidents() == ()
    (entry, _) = at.engine.admin.deliveries()
    assert (entry.state, entry.delivery.operation) == ("orphaned", "resolve")

    at.deliver("firing")
    assert at.reported == ["trigger", "new trigger"]


def test_without_its_key_an_unreported_episode_is_still_reported(at: Paging) -> None:
    """The first episode was reported, ended, and began again while nothing was sent."""
    at.deliver("firing")
    for status in ("resolved", "firing", "resolved"):
        at.engine.accept(alert(status))
    at.connect(NEW_KEY)
    at.engine.drain()

    assert at.reported == ["trigger", "new trigger", "new resolve"]
    assert states(at) == [("checkout", "triggered"), ("checkout again", "resolved")]
    assert orphaned(at) == ["disk"]


def test_incidents_of_a_removed_service_are_orphaned(at: Paging) -> None:
    at.deliver("firing")
    at.connect()
    at.deliver("resolved")
    assert at.reported == ["trigger"]
    assert orphaned(at) == ["disk"]


def test_in_a_rotation_each_incident_keeps_its_key(at: Paging) -> None:
    at.deliver("firing")
    at.connect(NEW_KEY, KEY)
    at.deliver("firing", "acknowledged")
    at.deliver("firing", key="memory")
    at.deliver("resolved")
    assert at.reported == ["trigger", "trigger", "acknowledge", "new trigger", "resolve"]

    at.deliver("firing")
    at.connect(NEW_KEY)
    at.deliver("resolved")
    at.deliver("resolved", key="memory")
    assert at.reported[5:] == ["new trigger", "new resolve", "new resolve"]
    assert {state for _, state in states(at)} == {"resolved"}
    assert orphaned(at) == []


def test_an_unreadable_key_orphans_nothing(at: Paging, monkeypatch: pytest.MonkeyPatch) -> None:
    at.deliver("firing")
    at.connect(NEW_KEY, "env:PD_OLD")
    at.deliver("resolved")
    assert at.reported == ["trigger"]
    assert orphaned(at) == []
    assert "PD_OLD" in at.engine.admin.deliveries()[0].reason

    monkeypatch.setenv("PD_OLD", KEY)
    at.advance(31)
    assert at.reported == ["trigger", "resolve"]
    assert states(at) == [("checkout", "resolved")]


def failing_channels(at: Paging) -> int:
    failing = sa.select(sa.func.count()).where(channels.c.failures > 0)
    with at.database.read() as connection:
        return connection.execute(failing).scalar_one()


@EITHER
def test_block_of_a_replaced_key_ends_with_the_key(at: Paging) -> None:
    at.fake.misbehave(misbehaviour.refusing("Invalid routing key"), key=KEY)
    at.deliver("firing")
    at.advance(61)
    [row] = at.engine.admin.deliveries()
    assert (row.attempts, row.lane) == (2, LaneState.BLOCKED)
    assert failing_channels(at) == 2

    at.connect(NEW_KEY)
    at.engine.start()
    assert at.engine.wait_idle(60)
    at.engine.stop()
    assert at.reported == ["new trigger"]
    assert failing_channels(at) == 0
    assert at.engine.admin.blocked() == ()


@EITHER
def test_block_without_deliveries_ends_with_the_next_start(at: Paging) -> None:
    at.fake.misbehave(misbehaviour.refusing("Invalid routing key"), key=KEY)
    at.deliver("firing")
    at.engine.admin.discard_delivery(1)
    assert failing_channels(at) == 2
    at.connect(NEW_KEY)
    at.engine.start()
    at.engine.stop()
    assert failing_channels(at) == 0
    with at.database.read() as connection:
        states = connection.execute(sa.text("SELECT state FROM lanes")).scalars().all()
    assert states == [LaneState.HEALTHY]


@EITHER
def test_block_under_an_old_key_stays_while_its_incidents_are_followed_up(at: Paging) -> None:
    at.deliver("firing")
    at.connect(NEW_KEY, KEY)
    at.fake.misbehave(misbehaviour.refusing("Invalid routing key"), key=KEY)
    at.deliver("resolved")
    at.deliver("firing", key="memory")
    at.engine.start()
    at.engine.stop()
    [blocked] = at.engine.admin.blocked()
    assert "Invalid routing key" in blocked.reason
    assert failing_channels(at) == 1


def test_each_key_has_a_budget_of_its_own(at: Paging) -> None:
    """Of 20 a minute, 19 are used; the first message of a new key counts for the old one, too."""
    old = [f"old {number}" for number in range(12)]
    new = [f"new {number}" for number in range(12)]
    for key in old:
        at.deliver("firing", key=key)
    at.connect(NEW_KEY, KEY, rate_limit=20)
    for key in new:
        at.deliver("firing", key=key)
    assert Counter(at.reported) == {"trigger": 12, "new trigger": 12}

    for key in (*old, *new):
        at.deliver("resolved", key=key)
    assert Counter(at.reported[24:]) == {"resolve": 6, "new resolve": 7}

    at.advance(61)
    assert Counter(at.reported) == {
        "trigger": 12,
        "new trigger": 12,
        "resolve": 12,
        "new resolve": 12,
    }
    assert len(at.fake.requests) == 48


@pytest.mark.parametrize(("limit", "first"), [(2, 1), (10, 7), (20, 16)])
def test_the_rate_limit_of_the_account_is_kept(
    database: Database, clock: Clock, limit: int, first: int
) -> None:
    with fake_at(clock, rate_limit=limit) as fake:
        at = Paging(fake, database, clock)
        at.connect(KEY, rate_limit=limit)
        for number in range(21):
            at.deliver("firing", key=str(number))
        assert len(at.reported) == first
        for _ in range(21):
            at.advance(61)
        assert len(at.reported) == len(fake.requests) == 21


def test_a_changed_rate_limit_applies_to_open_incidents(database: Database, clock: Clock) -> None:
    """It applies from the first message on, when the new limit is read."""
    with fake_at(clock) as fake:
        at = Paging(fake, database, clock)
        at.connect(KEY, rate_limit=1000)
        for number in range(30):
            at.deliver("firing", key=str(number))
        at.connect(KEY, rate_limit=10)
        for number in range(30):
            at.deliver("resolved", key=str(number))
        assert Counter(at.reported) == {"trigger": 30, "resolve": 1}
        at.advance(61)
        assert Counter(at.reported) == {"trigger": 30, "resolve": 10}
