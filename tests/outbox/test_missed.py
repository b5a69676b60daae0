"""A problem that was over before PagerDuty was notified, from acceptance to the wire."""

from __future__ import annotations

import pytest
from engines import Clock
from paging import KEY, Paging

from alerthost.store.database import Database
from pagerduty_plugin.testing import FakePagerDuty, misbehaviour

REFUSED_OR_IN_DOUBT = [misbehaviour.throttling(), misbehaviour.failing(503)]


@pytest.mark.parametrize("how", REFUSED_OR_IN_DOUBT)
def test_a_missed_problem_is_triggered_and_resolved(
    fake: FakePagerDuty, database: Database, clock: Clock, how: misbehaviour.Misbehaviour
) -> None:
    at = Paging(fake, database, clock)
    fails = fake.misbehave(how)
    at.deliver("firing", "acknowledged", "resolved")
    fails.clear()
    at.advance(61)
    assert at.reported[0] == "trigger"
    assert at.taken[0].json() == {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": "disk",
        "payload": {
            "summary": "Disk full",
            "source": "unknown",
            "severity": "error",
            "timestamp": "2026-11-18T11:06:40.000Z",
            "custom_details": {
                "_delivery": {
                    "delayed_by": "61 s",
                    "coalesced": 1,
                    "over": "before PagerDuty could be notified",
                }
            },
        },
    }
    assert [incident.state for incident in fake.incidents] == ["resolved"]


@pytest.mark.parametrize("how", REFUSED_OR_IN_DOUBT)
def test_a_missed_problem_is_recorded_as_a_change(
    fake: FakePagerDuty, database: Database, clock: Clock, how: misbehaviour.Misbehaviour
) -> None:
    at = Paging(fake, database, clock, missed="change-event")
    fails = fake.misbehave(how)
    at.deliver("firing", "resolved", "firing", "acknowledged", "resolved")
    fails.clear()
    at.advance(61)
    at.advance(61)
    assert fake.incidents == ()
    assert [change.summary for change in fake.changes] == ["Disk full", "Disk full"]
    assert at.engine.admin.incidents() == ()

    at.deliver("firing")
    assert [incident.state for incident in fake.incidents] == ["triggered"]
    at.deliver("resolved")
    assert [incident.state for incident in fake.incidents] == ["resolved"]
    assert len(fake.changes) == 2


def test_the_record_of_a_missed_problem_can_be_replayed(
    fake: FakePagerDuty, database: Database, clock: Clock
) -> None:
    at = Paging(fake, database, clock, missed="change-event")
    fails = fake.misbehave(misbehaviour.throttling())
    at.deliver("firing", "resolved")
    fails.clear()
    refuses = fake.misbehave(misbehaviour.failing(400))
    at.advance(61)
    refuses.clear()
    (entry,) = at.engine.admin.deliveries(["rejected"])
    assert fake.changes == ()

    assert at.engine.admin.replay(entry.id)
    at.engine.drain()
    assert [change.summary for change in fake.changes] == ["Disk full"]
    assert fake.incidents == ()


@pytest.mark.parametrize("how", REFUSED_OR_IN_DOUBT)
def test_a_missed_problem_can_be_dropped(
    fake: FakePagerDuty, database: Database, clock: Clock, how: misbehaviour.Misbehaviour
) -> None:
    at = Paging(fake, database, clock, missed="drop")
    fails = fake.misbehave(how)
    at.deliver("firing", "resolved")
    fails.clear()
    at.advance(61)
    assert fake.incidents == ()
    assert fake.changes == ()
    assert set(at.reported) <= {"resolve"}


@pytest.mark.parametrize("before", ["page", "change-event", "drop"])
def test_the_rule_at_the_trigger_decides_about_missed_problems(
    fake: FakePagerDuty, database: Database, clock: Clock, before: str
) -> None:
    at = Paging(fake, database, clock, missed=before)
    fails = fake.misbehave(misbehaviour.throttling())
    at.deliver("firing")
    at.settings = {"missed": "drop" if before == "page" else "page"}
    at.connect(KEY)
    at.deliver("resolved")
    fails.clear()
    at.advance(61)
    reported = {"page": ["trigger", "resolve"], "change-event": ["change"], "drop": []}
    assert at.reported == reported[before]


@pytest.mark.parametrize("wanted", ["page", "change-event", "drop"])
def test_a_delivered_problem_is_not_missed(
    fake: FakePagerDuty, database: Database, clock: Clock, wanted: str
) -> None:
    at = Paging(fake, database, clock, missed=wanted)
    at.deliver("firing")
    fails = fake.misbehave(misbehaviour.throttling())
    at.deliver("firing", "resolved")
    fails.clear()
    at.advance(61)
    assert at.reported == ["trigger", "resolve"]
    assert "_delivery" not in str(at.taken[0].json())
