"""Problems that were over before PagerDuty could be notified, and incidents whose key is gone."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from hostspec import (
    Alert,
    Delivery,
    Incident,
    IncidentRef,
    IncidentState,
    Limit,
    Operation,
    SendContext,
    SettingsError,
    Severity,
    from_json,
    structure,
    to_json,
)
from pagerduty_plugin.change import Change
from pagerduty_plugin.event import LARGEST_BODY
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.routing import fingerprint
from pagerduty_plugin.settings import ChangeSettings, TriggerSettings
from pagerduty_plugin.trigger import Trigger

from .conftest import KEYS, Sender

ALERT = Alert(
    "db-1/disk",
    "Disk full on db-1",
    severity="critical",
    source="db-1",
    component="postgres",
    details={"used": 0.98},
    url="https://host.example/alerts/1",
    links=[{"href": "https://wiki.example/disk", "text": "Runbook"}],
    images=[{"src": "https://g.example/1.png", "alt": "Load"}],
    started_at="2026-11-23T03:14:07Z",
)


def pair(sender: Sender, alert: Alert = ALERT, **settings: Any) -> tuple[Delivery, Delivery]:
    """Return the trigger of a problem, and the resolve of its incident."""
    (opening,) = sender.plan(alert, **settings)
    incident = Incident(opening.ref, IncidentState.RESOLVED, opening.severity)
    closing = sender.action.follow_up(incident, attrs.evolve(alert, status="resolved"))
    assert closing is not None
    return opening, closing


def missed(sender: Sender, alert: Alert = ALERT, **settings: Any) -> list[Delivery]:
    """Return the deliveries for a missed problem, after they were stored and read again."""
    opening, closing = pair(sender, alert, **settings)
    stored = from_json(Delivery, json.loads(json.dumps(to_json(opening))))
    return list(sender.action.on_missed(stored, closing))


def test_by_default_a_missed_problem_pages(sender: Sender) -> None:
    opening, closing = pair(sender)
    assert missed(sender) == missed(sender, missed="page") == [opening, closing]


def test_a_page_of_a_missed_problem_says_that_it_is_over(sender: Sender) -> None:
    opening, closing = pair(sender)
    assert sender.deliver(opening).delivered
    plain = sender.event
    over = attrs.evolve(opening, over=True)
    assert sender.deliver(over, attempt=3).delivered
    details = {
        "used": 0.98,
        "_delivery": {"attempts": 3, "over": "before PagerDuty could be notified"},
    }
    assert sender.event == {**plain, "payload": {**plain["payload"], "custom_details": details}}
    body = sender.action.preview(over, sender.installation, SendContext(attempt=3)).body
    assert isinstance(body, dict)
    assert body["payload"] == sender.payload

    assert sender.deliver(attrs.evolve(closing, over=True)).delivered
    assert set(sender.event) == {"routing_key", "event_action", "dedup_key"}


def test_a_dropped_missed_problem_sends_nothing(sender: Sender) -> None:
    assert missed(sender, missed="drop") == []


def test_a_missed_problem_can_become_a_change_event(sender: Sender) -> None:
    (opening,) = sender.plan(ALERT, missed="change-event")
    (recorded,) = Change().plan(ALERT, ChangeSettings(services=("checkout",)), sender.installation)
    (change,) = missed(sender, missed="change-event")
    key = "db-1/disk#missed"
    ref = attrs.evolve(opening.ref, action="pagerduty.change", correlation_key=key)
    assert change.ref == ref != recorded.ref
    assert change.follow_ups == ()
    assert change.operation is Operation.RESOLVE
    assert (change.alert, change.rules) == (ALERT.identity, ("Pages",))


@pytest.mark.parametrize(
    ("alert", "links"),
    [
        (
            ALERT,
            [
                {"href": "https://host.example/alerts/1"},
                {"href": "https://wiki.example/disk", "text": "Runbook"},
                {"href": "https://g.example/1.png", "text": "Load"},
            ],
        ),
        (
            attrs.evolve(ALERT, url="", links=(), images=[{"src": "https://g.example/2.png"}]),
            [{"href": "https://g.example/2.png"}],
        ),
        (attrs.evolve(ALERT, url="", links=(), images=()), None),
    ],
)
def test_the_change_event_has_the_content_of_the_trigger(
    sender: Sender, alert: Alert, links: Any
) -> None:
    (change,) = missed(sender, alert, missed="change-event", summary="{{ service }}: {{ summary }}")
    action = Change(Client({}))
    assert action.send(change, sender.installation, SendContext()).delivered
    assert sender.event == {
        "routing_key": KEYS["checkout"],
        "payload": {
            "summary": "checkout: Disk full on db-1",
            "source": "db-1",
            "timestamp": "2026-11-23T03:14:07.000Z",
            "custom_details": {
                "used": 0.98,
                "_delivery": {"over": "before PagerDuty could be notified"},
            },
        },
        **({"links": links} if links else {}),
    }
    (recorded,) = sender.fake.changes
    assert recorded.service == "checkout"
    assert sender.fake.incidents == ()
    body = action.preview(change, sender.installation, SendContext()).body
    assert isinstance(body, dict)
    assert body["payload"] == sender.payload


def test_the_largest_change_event_is_accepted(sender: Sender) -> None:
    links = [{"href": f"https://wiki.example/{n}/{'x' * 200}"} for n in range(1000)]
    images = [{"src": f"https://i.example/{n}", "alt": "é" * 100} for n in range(1000)]
    alert = attrs.evolve(ALERT, links=links, images=images, details={"d": "ü" * 400_000})
    (change,) = missed(sender, alert, missed="change-event")
    context = SendContext(attempt=100, coalesced=100)
    assert Change(Client({})).send(change, sender.installation, context).delivered
    assert len(sender.body) <= LARGEST_BODY


@pytest.mark.parametrize("wanted", ["page", "change-event", "drop"])
def test_the_setting_itself_is_never_sent(sender: Sender, wanted: str) -> None:
    sender.notify(ALERT)
    plain = sender.body
    delivery = sender.notify(ALERT, missed=wanted)
    assert sender.body == plain
    preview = sender.action.preview(delivery, sender.installation, SendContext())
    assert "_missed" not in json.dumps(preview.body)


def test_other_values_are_rejected() -> None:
    with pytest.raises(SettingsError, match="missed"):
        structure(TriggerSettings, {"services": ["checkout"], "missed": "email"})


# follow-ups


OLD, NEW = KEYS["checkout"], KEYS["platform"]
OPENED = {"key": fingerprint(OLD), "url": "https://events.pagerduty.com"}


def can_follow_up(keys: Any, handle: Any, *, service: str = "checkout", **settings: str) -> bool:
    """Return whether an incident can be followed up at a service with some keys."""
    at = PagerDuty().installation(
        "acme", {"services": [{"name": "checkout", "integration_key": keys}], **settings}
    )
    ref = IncidentRef("pagerduty.trigger", "acme", service, "k")
    incident = Incident(ref, IncidentState.TRIGGERED, Severity.CRITICAL, handle)
    return Trigger().can_follow_up(incident, at)


@pytest.mark.parametrize("keys", [OLD, [OLD], [NEW, OLD], [NEW, "env:PD_NOT_SET", OLD]])
def test_an_incident_is_followed_up_while_its_key_is_configured(keys: Any) -> None:
    assert can_follow_up(keys, OPENED)


@pytest.mark.parametrize("keys", [NEW, [NEW], [NEW, NEW]])
def test_an_incident_is_orphaned_when_its_key_is_gone(keys: Any) -> None:
    assert not can_follow_up(keys, OPENED)


@pytest.mark.parametrize("keys", ["env:PD_NOT_SET", [NEW, "env:PD_NOT_SET"]])
def test_an_unreadable_key_keeps_the_incident(keys: Any) -> None:
    assert can_follow_up(keys, OPENED)


@pytest.mark.parametrize(
    ("url", "settings", "own"),
    [
        ("https://events.eu.pagerduty.com", {}, True),
        ("https://events.pagerduty.com", {"base_url": "https://gateway.example"}, True),
        ("https://gateway.example", {"base_url": "https://gateway.example/"}, True),
        ("https://gateway.example", {"base_url": "https://other.example"}, False),
        ("http://127.0.0.1:6666", {}, False),
        (None, {}, False),
    ],
)
def test_no_incident_is_followed_up_at_a_foreign_address(
    url: str | None, settings: dict[str, str], *, own: bool
) -> None:
    """A manipulated incident in the store must not redirect the key."""
    assert can_follow_up(OLD, OPENED | {"url": url}, **settings) == own


@pytest.mark.parametrize("handle", [None, {}])
def test_an_incident_without_a_handle_needs_no_key(handle: Any) -> None:
    assert can_follow_up(NEW, handle)


@pytest.mark.parametrize("handle", [None, OPENED])
def test_an_incident_of_a_removed_service_is_not_followed_up(handle: Any) -> None:
    assert not can_follow_up(OLD, handle, service="payments")


@pytest.mark.parametrize(
    ("keys", "service", "handle"),
    [
        ([OLD, NEW], "checkout", {**OPENED, "url": "https://events.eu.pagerduty.com"}),
        (["env:PD_NOT_SET", OLD], "checkout", None),
        (OLD, "payments", None),
    ],
)
def test_the_expected_handle_is_that_of_the_newest_readable_key(
    keys: Any, service: str, handle: Any
) -> None:
    services = [{"name": "checkout", "integration_key": keys}]
    acme = PagerDuty().installation("acme", {"services": services, "region": "eu"})
    ref = IncidentRef("pagerduty.trigger", "acme", service, "k")
    opening = Delivery(Operation.TRIGGER, ref, ALERT.identity, Severity.CRITICAL)
    assert Trigger().expected_handle(opening, acme) == handle


# rate limits


@pytest.mark.parametrize("limit", [1, 120, 10_000])
def test_the_rate_limit_is_that_of_the_account(limit: int) -> None:
    service = {"name": "checkout", "integration_key": OLD}
    at = PagerDuty().installation("acme", {"services": [service], "rate_limit": limit})
    (opening,) = Trigger().plan(ALERT, TriggerSettings(services=("checkout",)), at)
    (change,) = Change().plan(ALERT, ChangeSettings(services=("checkout",)), at)
    wanted = (Limit(f"pagerduty:{fingerprint(OLD)}", limit, 60.0),)
    assert Trigger().limits(opening, at) == Change().limits(change, at) == wanted


@pytest.mark.parametrize("limit", [0, -1, 10_001, 1.5, "120", True])
def test_an_invalid_rate_limit_is_rejected(limit: Any) -> None:
    service = {"name": "checkout", "integration_key": OLD}
    with pytest.raises(SettingsError, match="rate_limit"):
        PagerDuty().installation("acme", {"services": [service], "rate_limit": limit})
