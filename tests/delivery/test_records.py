"""A change event is a record: each is delivered as accepted, and none opens an incident."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engines import EITHER, Clock
from paging import KEY, fake_at

from hostspec import Alert
from hostspec.delivery.engine import Engine
from hostspec.kernel import Rule, load
from hostspec.store.database import Database
from pagerduty_plugin.testing import FakePagerDuty, misbehaviour


@pytest.fixture
def fake(clock: Clock) -> Iterator[FakePagerDuty]:
    with fake_at(clock) as fake:
        yield fake


def engine_of(fake: FakePagerDuty, database: Database, clock: Clock, *statuses: str) -> Engine:
    plugins = load(["pagerduty"])
    services = [{"name": "checkout", "integration_key": KEY}]
    acme = plugins.installation("pagerduty", "acme", {"base_url": fake.url, "services": services})
    wanted = {"services": ["checkout"], "statuses": list(statuses)}
    rules = [Rule("Deploys", [plugins.rule_action("pagerduty.change", acme, wanted)])]
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
    assert {str(each.state) for each in engine.desk.deliveries()} == {"delivered"}
    assert engine.desk.incidents() == ()
    assert engine.desk.ways() == {}


def test_changes_that_waited_together_are_delivered_in_their_order(
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


def test_what_became_of_a_change_is_recorded_and_no_incident_is_listed(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    engine = engine_of(fake, database, clock, "firing", "resolved")
    for status in ("firing", "firing", "resolved", "resolved", "firing"):
        engine.accept(Alert("shop", "Deploy", status=status))
        engine.drain()
        assert engine.desk.incidents() == ()
    assert summaries(fake) == ["Deploy", "Deploy", "Resolved: Deploy", "Deploy"]
