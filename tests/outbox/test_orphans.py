"""Orphaned incidents are closed when their key is back, by the engine and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from engines import EITHER, Clock, complete_late, lease_as_dead_process
from paging import KEY, NEW_KEY, Paging, alert

from alerthost.cli.session import cut_off_notes
from alerthost.config.configuration import Configuration
from alerthost.config.states import incident_state
from alerthost.outbox import incident_store, orphans
from alerthost.outbox.admin_rows import AdminError, DeliveryRow
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.leasing import Lease
from alerthost.outbox.planner import ORPHANED
from alerthost.outbox.retry_policy import DeliveryState
from alerthost.outbox.submission import NOTHING_OPEN
from alerthost.store.database import Database
from hostspec.plugins import load
from pagerduty_plugin.testing import FakePagerDuty, misbehaviour


@pytest.fixture
def at(fake: FakePagerDuty, database: Database, clock: Clock) -> Paging:
    """An account with an incident that was orphaned while its key was exchanged."""
    paging = Paging(fake, database, clock)
    paging.deliver("firing")
    paging.connect(NEW_KEY)
    paging.deliver("resolved")
    assert orphaned(paging) == ["disk"]
    return paging


def orphaned(at: Paging) -> list[str]:
    rows = at.engine.admin.incidents(orphaned=True)
    return [row.incident.ref.correlation_key for row in rows]


def number_of(at: Paging) -> int:
    (row,) = at.engine.admin.incidents(orphaned=True)
    return row.id


def queue_resolve(at: Paging) -> DeliveryRow:
    """Resolve the orphaned incident by hand; return its queued resolve."""
    submission_id = at.engine.admin.resolve(number_of(at))
    assert submission_id
    (queued,) = at.engine.admin.statuses([submission_id])[0].entries
    return queued


@EITHER
def test_an_orphan_recovers_when_its_key_is_back(at: Paging) -> None:
    at.advance(60)
    assert at.reported == ["trigger"]

    at.connect(NEW_KEY, KEY)
    at.advance(1)
    assert at.reported == ["trigger", "resolve"]
    assert orphaned(at) == []
    assert [str(each.state) for each in at.engine.admin.deliveries()] == [
        "delivered",
        "coalesced",
        "delivered",
    ]
    at.connect(KEY)
    at.advance(60)
    assert at.reported == ["trigger", "resolve"]


def test_an_orphan_waits_for_the_incident_opened_in_its_place(at: Paging) -> None:
    at.deliver("firing")
    at.connect(NEW_KEY, KEY)
    at.advance(1)
    assert at.reported == ["trigger", "new trigger"]
    assert orphaned(at) == ["disk"]

    at.deliver("resolved")
    at.connect(NEW_KEY, KEY)
    at.advance(1)
    assert at.reported == ["trigger", "new trigger", "new resolve", "resolve"]
    assert orphaned(at) == []


def hung(fake: FakePagerDuty, database: Database, clock: Clock) -> tuple[Paging, Lease]:
    """Orphan an incident while the first attempt to open it hangs; return that lease."""
    at = Paging(fake, database, clock)
    at.engine.accept(alert())
    lease = lease_as_dead_process(at)
    at.engine.drain()
    at.connect(NEW_KEY)
    at.deliver("resolved")
    return at, lease


@EITHER
def test_an_orphan_stays_one_after_a_late_trigger(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    """The attempt of a hanging process may have opened it again; both resolves close it."""
    at, lease = hung(fake, database, clock)

    complete_late(at, lease)

    assert orphaned(at) == ["disk"]
    assert at.engine.admin.incidents() == ()
    at.deliver("firing", "resolved")
    at.connect(NEW_KEY, KEY)
    at.advance(1)
    at.advance(61)
    assert at.reported == ["trigger", "new trigger", "new resolve", "resolve", "resolve"]
    assert orphaned(at) == []


@EITHER
@pytest.mark.parametrize("back", [False, True])
def test_a_late_trigger_is_not_taken_for_the_new_incident(
    fake: FakePagerDuty, database: Database, clock: Clock, *, back: bool
) -> None:
    """This holds while it is orphaned, and while its resolve is queued."""
    at, lease = hung(fake, database, clock)
    if back:
        at.connect(NEW_KEY, KEY)
        at.engine.recover_orphans()
    at.engine.accept(alert("firing"))
    at.engine._dispatcher.plan_ahead()

    complete_late(at, lease)

    assert len(at.engine.admin.incidents()) == 1 + back
    assert orphaned(at) == ([] if back else ["disk"])
    at.engine.drain()
    at.deliver("resolved")
    at.connect(NEW_KEY, KEY)
    at.advance(1)
    at.advance(61)
    assert sorted(at.reported) == ["new resolve", "new trigger", "resolve", "resolve", "trigger"]
    assert (at.engine.admin.incidents(), orphaned(at)) == ((), [])


def found(database: Database) -> incident_store.StoredIncident:
    with database.read() as connection:
        (stored,) = orphans.find(connection)
    return stored


def recover(at: Paging, database: Database, *back: incident_store.StoredIncident) -> None:
    actions = at.engine.admin._plugins.actions
    with database.begin() as connection:
        orphans.recover(UnitOfWork(connection, at.clock.now, actions), back)


def test_an_orphan_may_be_recovered_by_another_process(at: Paging, database: Database) -> None:
    stored = found(database)
    at.connect(NEW_KEY, KEY)
    recover(at, database, stored, stored)
    at.engine.drain()
    assert at.reported == ["trigger", "resolve"]


def test_an_orphan_waits_for_an_incident_opened_meanwhile(at: Paging, database: Database) -> None:
    stored = found(database)
    at.deliver("firing")
    at.connect(NEW_KEY, KEY)
    recover(at, database, stored)
    assert orphaned(at) == ["disk"]


def test_many_orphans_are_read_in_steps(at: Paging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "MOST", 1)
    at.connect(NEW_KEY, KEY)
    at.advance(1)
    assert at.reported == ["trigger", "resolve"]


@pytest.mark.parametrize("trigger", ["kept", "pruned"])
def test_an_orphan_without_a_planned_resolve_is_followed_up(
    at: Paging, database: Database, trigger: str
) -> None:
    pruned = ["resolve"] if trigger == "kept" else ["resolve", "trigger"]
    stored = found(database)
    with database.begin() as connection:
        for operation in pruned:
            connection.execute(
                sa.text("DELETE FROM deliveries WHERE operation = :operation"),
                {"operation": operation},
            )
        orphans.recover(UnitOfWork(connection, at.clock.now, {}), [stored])
    assert orphaned(at) == ["disk"]
    at.connect(NEW_KEY, KEY)
    at.advance(1)
    assert at.reported == ["trigger", "resolve"]


def test_a_failing_action_affects_no_other_orphan(
    at: Paging, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    action = SimpleNamespace(name="pagerduty.trigger", follow_up=fail)
    stored = found(database)
    with database.begin() as connection:
        connection.execute(sa.text("DELETE FROM deliveries WHERE operation = 'resolve'"))
        actions: Any = {"pagerduty.trigger": action}
        assert orphans.resolving(UnitOfWork(connection, 0.0, actions), stored) is None
    assert "the action pagerduty.trigger failed" in caplog.text


@pytest.mark.parametrize("command", ["resolve", "replay"])
def test_an_orphan_is_resolved_by_hand_when_its_key_is_back(at: Paging, command: str) -> None:
    engine = at.connect(KEY)
    if command == "resolve":
        submission_id = engine.admin.resolve(number_of(at))
    else:
        submission_id = engine.admin.replay(engine.admin.deliveries(["orphaned"])[0].id)
    engine.drain()
    assert submission_id
    assert at.reported == ["trigger", "resolve"]
    (status,) = engine.admin.statuses([submission_id])
    assert [str(each.state) for each in status.entries] == ["delivered"]
    assert orphaned(at) == []


def test_resolved_by_hand_an_orphan_stays_one_without_its_key(at: Paging) -> None:
    submission_id = at.engine.admin.resolve(number_of(at))
    at.engine.drain()
    assert submission_id
    (status,) = at.engine.admin.statuses([submission_id])
    (entry,) = status.entries
    assert (entry.state, entry.reason) == ("orphaned", orphans.KEY_GONE)
    assert at.reported == ["trigger"]
    assert orphaned(at) == ["disk"]


@pytest.mark.parametrize("command", ["drain", "resolve", "forget"])
def test_a_recovering_orphan_is_listed_until_its_resolve_is_delivered(
    at: Paging, command: str
) -> None:
    """Resolved by hand, nothing is sent twice: the queued resolve is used, or discarded."""
    engine = at.connect(NEW_KEY, KEY)
    admin = engine.admin
    number = number_of(at)
    submission_id = admin.resolve(number)
    (row,) = admin.incidents()
    installations = tuple(engine._dispatcher._installations.values())
    loaded = Configuration(load(["pagerduty"]), installations, ())
    assert (row.id, row.orphaned, incident_state(row, loaded)) == (number, False, "resolving")
    assert admin.incidents(installation="another") == ()

    if command == "resolve":
        assert admin.resolve(number) == submission_id
    elif command == "forget":
        admin.forget(number)
    engine.drain()

    assert at.reported == (["trigger"] if command == "forget" else ["trigger", "resolve"])
    assert (admin.incidents(), orphaned(at)) == ((), [])
    with pytest.raises(AdminError, match="no open incident"):
        admin.forget(number)


def test_an_orphan_that_is_never_resolved_is_left_to_its_provider(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    at = Paging(fake, database, clock, event_actions=["trigger", "acknowledge"])
    at.connect(KEY)
    at.deliver("firing")
    at.connect(NEW_KEY)
    at.deliver("acknowledged")
    number = at.engine.admin.incidents(orphaned=True)[0].id
    at.connect(KEY)
    at.advance(60)
    assert orphaned(at) == ["disk"]
    with pytest.raises(AdminError, match="cannot close"):
        at.engine.admin.resolve(number)
    at.engine.admin.forget(number)
    assert orphaned(at) == []


def test_a_later_resolve_is_answered_with_the_orphaned_state(at: Paging) -> None:
    submission_id = at.engine.accept(alert("resolved"))
    at.engine.drain()
    note = at.engine.admin.statuses([submission_id])[0].note
    assert note is not None
    assert note.remark == ORPHANED

    at.connect(KEY)
    at.advance(1)
    at.advance(1)
    submission_id = at.engine.accept(alert("resolved"))
    at.engine.drain()
    note = at.engine.admin.statuses([submission_id])[0].note
    assert note is not None
    assert note.remark == NOTHING_OPEN


def test_a_removed_key_is_reported_before_it_orphans_incidents(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    """`check` reports it, and `send` and `run` do at their start."""
    at = Paging(fake, database, clock)
    at.deliver("firing")
    at.deliver("firing", key="memory")
    plugins = load(["pagerduty"])

    def notes(key: str) -> Sequence[str]:
        services = [{"name": "checkout", "integration_key": key}]
        settings = {"base_url": fake.url, "services": services}
        account = plugins.installation("pagerduty", "acme", settings)
        return cut_off_notes(at.engine.admin, Configuration(plugins, (account,), ()))

    assert notes(KEY) == []
    (note,) = notes(NEW_KEY)
    assert note.startswith(
        "2 open incidents at acme/checkout cannot be closed without their former key; configure "
        "the key again, or close at the provider"
    )


@EITHER
def test_an_orphan_stays_one_when_its_queued_resolve_is_discarded(
    at: Paging, database: Database
) -> None:
    engine = at.connect(NEW_KEY, KEY)
    queued = queue_resolve(at)

    engine.admin.discard_delivery(queued.id)

    assert orphaned(at) == ["disk"]
    at.advance(60)
    assert engine.recover_orphans() == ()
    assert (at.reported, orphaned(at)) == (["trigger"], ["disk"])
    note = engine.admin.statuses([engine.accept(alert("resolved"))])[0].note
    assert note is None or note.remark == ORPHANED


@EITHER
@pytest.mark.parametrize("command", ["resolve", "replay"])
def test_an_orphan_is_resolved_by_hand_after_its_resolve_was_discarded(
    at: Paging, command: str, database: Database
) -> None:
    engine = at.connect(NEW_KEY, KEY)
    queued = queue_resolve(at)
    engine.admin.discard_delivery(queued.id)

    if command == "resolve":
        engine.admin.resolve(number_of(at))
    else:
        engine.admin.replay(queued.id)
    engine.drain()

    assert at.reported == ["trigger", "resolve"]
    assert (engine.admin.incidents(), orphaned(at)) == ((), [])
    with pytest.raises(AdminError, match="was not given up"):
        engine.admin.replay(queued.id)


def test_an_orphan_stays_one_when_its_orphaned_resolve_is_discarded(at: Paging) -> None:
    (given_up,) = at.engine.admin.deliveries(["orphaned"])
    at.engine.admin.discard_delivery(given_up.id)
    at.connect(NEW_KEY, KEY)
    at.advance(60)
    assert (at.reported, orphaned(at)) == (["trigger"], ["disk"])


@EITHER
@pytest.mark.parametrize("command", ["resolve", "replay"])
def test_an_orphan_stays_one_when_its_resolve_is_rejected(
    at: Paging, command: str, database: Database
) -> None:
    """It is not sent again automatically, only by hand."""
    engine = at.connect(NEW_KEY, KEY)
    engine.admin.resolve(number_of(at))
    at.fake.misbehave(misbehaviour.failing(400), times=1)
    engine.drain()
    (rejected,) = engine.admin.deliveries([DeliveryState.REJECTED])
    assert orphaned(at) == ["disk"]
    at.advance(60)
    assert engine.recover_orphans() == ()

    if command == "resolve":
        engine.admin.resolve(number_of(at))
    else:
        engine.admin.replay(rejected.id)
    engine.drain()
    assert at.reported == ["trigger", "resolve"]
    assert (orphaned(at), engine.admin.deliveries([DeliveryState.REJECTED])) == ([], ())


def test_an_orphan_stays_one_after_a_replayed_acknowledgement(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    at = Paging(fake, database, clock)
    at.deliver("firing")
    at.connect(NEW_KEY)
    at.deliver("acknowledged", "resolved")
    engine = at.connect(NEW_KEY, KEY)
    (given_up,) = engine.admin.deliveries(["orphaned"])
    engine.admin.replay(given_up.id)
    engine.drain()
    assert at.reported == ["trigger", "new trigger", "new resolve", "acknowledge"]
    assert orphaned(at) == ["disk"]
    engine.recover_orphans()
    engine.drain()
    assert (at.reported[4:], orphaned(at)) == (["resolve"], [])
