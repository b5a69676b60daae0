"""A problem that was over before PagerDuty could be told, from accepting it to the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from engines import Clock

from hostspec import Alert
from hostspec.delivery.engine import Engine
from hostspec.kernel import Rule, load
from hostspec.store.database import Database
from pagerduty_plugin.testing import FakePagerDuty, misbehaviour

KEY = "0123456789abcdef" * 2


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    with FakePagerDuty(services={"checkout": KEY}, rate_limit=0) as fake:
        yield fake


@attrs.frozen
class Host:
    """An engine at a fake, and its clock."""

    engine: Engine
    clock: Clock

    def say(self, *statuses: str) -> None:
        for status in statuses:
            self.engine.accept(Alert("disk", "Disk full", status=status))
            self.engine.drain()

    def later(self) -> None:
        self.clock.now += 61.0
        self.engine.drain()


def host(fake: FakePagerDuty, database: Database, clock: Clock, **settings: Any) -> Host:
    plugins = load(["pagerduty"])
    service = {"name": "checkout", "integration_key": KEY}
    acme = plugins.installation("pagerduty", "acme", {"base_url": fake.url, "services": [service]})
    page = plugins.rule_action("pagerduty.trigger", acme, {"services": ["checkout"], **settings})
    return Host(Engine(database, plugins, [Rule("Pages", [page])], clock=clock), clock)


REFUSED_OR_IN_DOUBT = [misbehaviour.throttling(), misbehaviour.failing(503)]


def told(fake: FakePagerDuty) -> list[str]:
    """Give what was taken: event actions, and changes."""
    taken = [each for each in fake.requests if each.status == 202]
    return [each.json().get("event_action", "change") for each in taken]


@pytest.mark.parametrize("how", REFUSED_OR_IN_DOUBT)
def test_somebody_is_paged_and_told_that_it_is_over(
    fake: FakePagerDuty, database: Database, clock: Clock, how: misbehaviour.Misbehaviour
) -> None:
    at = host(fake, database, clock)
    fails = fake.misbehave(how)
    at.say("firing", "acknowledged", "resolved")
    fails.clear()
    at.later()
    (incident,) = fake.incidents
    assert incident.state == "resolved"
    assert incident.summary == "Disk full"
    trigger = next(each.json() for each in fake.requests if each.status == 202)
    assert trigger["payload"]["custom_details"]["_delivery"]["over"]


@pytest.mark.parametrize("how", REFUSED_OR_IN_DOUBT)
def test_a_change_is_recorded_and_nobody_paged(
    fake: FakePagerDuty, database: Database, clock: Clock, how: misbehaviour.Misbehaviour
) -> None:
    at = host(fake, database, clock, missed="change-event")
    fails = fake.misbehave(how)
    at.say("firing", "resolved", "firing", "acknowledged", "resolved")
    fails.clear()
    at.later()
    at.later()
    assert fake.incidents == ()
    assert [change.summary for change in fake.changes] == ["Disk full", "Disk full"]
    assert at.engine.desk.incidents() == ()

    at.say("firing")
    assert [incident.state for incident in fake.incidents] == ["triggered"]
    at.say("resolved")
    assert [incident.state for incident in fake.incidents] == ["resolved"]
    assert len(fake.changes) == 2


@pytest.mark.parametrize("how", REFUSED_OR_IN_DOUBT)
def test_nobody_hears_of_what_is_dropped(
    fake: FakePagerDuty, database: Database, clock: Clock, how: misbehaviour.Misbehaviour
) -> None:
    at = host(fake, database, clock, missed="drop")
    fails = fake.misbehave(how)
    at.say("firing", "resolved")
    fails.clear()
    at.later()
    assert fake.incidents == ()
    assert fake.changes == ()
    assert set(told(fake)) <= {"resolve"}
