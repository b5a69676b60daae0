"""A change event is a record: each is delivered as accepted, and none opens an incident."""

from __future__ import annotations

import datetime as dt

import pytest
from engines import EITHER, Clock
from paging import KEY

from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from hostspec import Alert
from hostspec.plugins import Rule, load
from pagerduty_plugin.testing import FakePagerDuty, misbehaviour


def engine_of(
    fake: FakePagerDuty, database: Database, clock: Clock, *statuses: str, pages: bool = False
) -> Engine:
    plugins = load(["pagerduty"])
    services = [{"name": "checkout", "integration_key": KEY}]
    acme = plugins.installation("pagerduty", "acme", {"base_url": fake.url, "services": services})
    wanted = {"services": ["checkout"], "statuses": list(statuses)}
    rules = [Rule("Deploys", [plugins.rule_action("pagerduty.change", acme, wanted)])]
    if pages:
        page = plugins.rule_action("pagerduty.trigger", acme, {"services": ["checkout"]})
        rules.append(Rule("Pages", [page]))
    return Engine(database, plugins, rules, clock=clock)


def summaries(fake: FakePagerDuty) -> list[str]:
    return [change.summary for change in fake.changes]


@EITHER
def test_every_change_of_one_object_is_delivered(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    engine = engine_of(fake, database, clock, "firing")
    engine.accept(Alert("shop", "Synced 1"))
    engine.drain()
    clock.now += 60
    engine.accept_many([Alert("shop", f"Synced {number}") for number in (2, 3, 3)])
    engine.drain()
    assert summaries(fake) == ["Synced 1", "Synced 2", "Synced 3", "Synced 3"]
    assert {str(each.state) for each in engine.admin.deliveries()} == {"delivered"}
    assert engine.admin.incidents() == ()
    assert engine.admin.ways() == {}


def test_queued_changes_are_delivered_in_their_order(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    script = fake.misbehave(misbehaviour.throttling(retry_after="30"))
    engine = engine_of(fake, database, clock, "firing")
    for number in range(4):
        engine.accept(Alert("shop", f"Synced {number}"))
        engine.drain()
    script.clear()
    for _ in range(5):
        clock.now += 31
        engine.drain()
    assert summaries(fake) == [f"Synced {number}" for number in range(4)]


def test_a_change_has_a_delivery_and_no_listed_incident(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    engine = engine_of(fake, database, clock, "firing", "resolved")
    for status in ("firing", "firing", "resolved", "resolved", "firing"):
        engine.accept(Alert("shop", "Deploy", status=status))
        engine.drain()
        assert engine.admin.incidents() == ()
    assert summaries(fake) == ["Deploy", "Deploy", "Resolved: Deploy", "Deploy"]


@pytest.mark.parametrize("together", [False, True])
def test_an_outdated_change_is_sent_and_opens_no_incident(
    fake: FakePagerDuty, database: Database, clock: Clock, *, together: bool
) -> None:
    engine = engine_of(fake, database, clock, "firing", "resolved", pages=True)
    newest = dt.datetime.fromtimestamp(clock.now, dt.UTC)
    for status, minutes in (("resolved", 0), ("firing", 2), ("resolved", 1), ("firing", 3)):
        moment = newest - dt.timedelta(minutes=minutes)
        engine.accept(Alert("shop", f"{minutes} min", status=status, updated_at=moment))
        if not together:
            engine.drain()
    engine.drain()

    assert summaries(fake) == ["2 min", "Resolved: 1 min", "3 min"]
    assert fake.incidents == ()


def test_an_older_submission_without_a_record_is_noted(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    engine = engine_of(fake, database, clock, "firing", pages=True)
    newest = dt.datetime.fromtimestamp(clock.now, dt.UTC)
    engine.accept(Alert("shop", "Deploy", updated_at=newest))
    earlier = newest - dt.timedelta(minutes=1)
    older = engine.accept(Alert("shop", status="resolved", updated_at=earlier))
    engine.drain()

    (status,) = engine.admin.statuses([older])
    assert status.note
    assert status.note.remark.startswith("older than the known state")
    assert summaries(fake) == ["Deploy"]
    assert [incident.state for incident in fake.incidents] == ["triggered"]


def test_a_change_that_repeats_an_episode_that_has_ended_is_sent(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    engine = engine_of(fake, database, clock, "firing", pages=True)
    started = dt.datetime.fromtimestamp(clock.now, dt.UTC)
    for number, status in enumerate(("firing", "resolved", "firing")):
        engine.accept(Alert("shop", f"Synced {number}", status=status, started_at=started))
        engine.drain()

    assert summaries(fake) == ["Synced 0", "Synced 2"]
    assert [incident.state for incident in fake.incidents] == ["resolved"]
