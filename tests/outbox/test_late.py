"""Late deliveries state their delay and when the problem was detected."""

from __future__ import annotations

from typing import Any

import pytest
from paging import KEY, Paging, alert

from pagerduty_plugin.testing import misbehaviour

DETECTED = "2026-11-18T11:00:00.250Z"
ACCEPTED = "2026-11-18T11:06:40.000Z"


def payload(at: Paging) -> Any:
    return at.taken[-1].json()["payload"]


@pytest.mark.parametrize("fields", [{}, {"started_at": DETECTED}])
@pytest.mark.parametrize("seconds", [0, 29])
def test_a_timely_delivery_has_no_note_of_delay(at: Paging, seconds: int, fields: Any) -> None:
    at.engine.accept(alert(**fields))
    at.clock.now += seconds
    at.engine.drain()
    assert "custom_details" not in payload(at)
    assert payload(at).get("timestamp") == fields.get("started_at")


@pytest.mark.parametrize(
    ("fields", "timestamp"), [({}, ACCEPTED), ({"started_at": DETECTED}, DETECTED)]
)
def test_a_late_delivery_states_its_age_and_attempts(
    at: Paging, fields: Any, timestamp: str
) -> None:
    fails = at.fake.misbehave(misbehaviour.failing(503))
    at.deliver("firing", details={"used": 0.98}, **fields)
    for _ in range(4):
        at.advance(150)
    fails.clear()
    at.advance(60)
    assert payload(at)["custom_details"] == {
        "used": 0.98,
        "_delivery": {"delayed_by": "660 s", "attempts": 6},
    }
    assert payload(at)["timestamp"] == timestamp


def test_a_coalesced_delivery_states_how_many_it_supersedes(at: Paging) -> None:
    fails = at.fake.misbehave(misbehaviour.throttling())
    at.deliver("firing")
    at.advance(100)
    at.deliver("firing", "firing")
    fails.clear()
    at.advance(100)
    marks = {"delayed_by": "200 s", "coalesced": 2}
    assert payload(at)["custom_details"] == {"_delivery": marks}
    assert payload(at)["timestamp"] == ACCEPTED
    assert at.reported == ["trigger"]


def test_a_late_follow_up_carries_its_key_alone(at: Paging) -> None:
    at.deliver("firing")
    fails = at.fake.misbehave(misbehaviour.throttling())
    at.deliver("acknowledged", "resolved")
    fails.clear()
    at.advance(600)
    assert at.reported == ["trigger", "resolve"]
    assert set(at.taken[-1].json()) == {"routing_key", "event_action", "dedup_key"}


def test_a_late_change_states_its_age(at: Paging) -> None:
    at.settings = {"missed": "change-event"}
    fails = at.fake.misbehave(misbehaviour.throttling())
    at.connect(KEY)
    at.deliver("firing", "resolved")
    fails.clear()
    at.advance(600)
    assert at.reported == ["change"]
    assert payload(at)["timestamp"] == ACCEPTED
    marks = {"delayed_by": "600 s", "over": "before PagerDuty could be notified"}
    assert payload(at)["custom_details"] == {"_delivery": marks}
