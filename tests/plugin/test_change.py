"""Change events on the wire, and attempts that must not be repeated."""

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
    OutcomeKind,
    SendContext,
    SettingsError,
    Severity,
    Suppression,
    from_json,
    structure,
    to_json,
)
from pagerduty_plugin.change import Change
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.settings import ChangeSettings
from pagerduty_plugin.testing import (
    FakePagerDuty,
    Misbehaviour,
    captive_portal,
    closing,
    failing,
    garbage,
    refusing,
    reset,
    reset_unread,
    throttling,
    truncated,
)

from .conftest import KEYS, Sender, connect, host_of, restarted_host

DEPLOY = Alert(
    "shop/42",
    "Deploy 42 of shop",
    severity="info",
    source="ci-1",
    component="shop",
    started_at="2026-11-23T04:14:00+01:00",
    labels={"team": "web"},
    details={"commit": "c0ffee", "tests": 812},
    url="https://ci.example/42",
    links=[{"href": "https://git.example/c0ffee", "text": "Commit"}],
    images=[{"src": "https://ci.example/42.png", "alt": "Graph"}],
)


class Recorder(Sender):
    """The action for changes, and an installation of the two services at a fake."""

    def plan(self, alert: Alert, *services: str, **settings: Any) -> list[Any]:
        given = {"services": services or ("checkout",), **settings}
        structured = structure(ChangeSettings, given)
        return list(self.action.plan(alert, structured, self.installation, rule="Deploys"))


@pytest.fixture
def recorder(fake: FakePagerDuty) -> Recorder:
    return Recorder(fake, Change(Client({})), connect(fake.url))


@pytest.mark.parametrize("announced", [True, False])
def test_a_change_is_not_uncertain_after_an_announced_close(
    recorder: Recorder, *, announced: bool
) -> None:
    recorder.fake.misbehave(closing(announced=announced))
    for number in range(60):
        recorder.notify(attrs.evolve(DEPLOY, key=f"shop/{number}"))
    assert len(recorder.fake.changes) == 60
    assert len({request.connection for request in recorder.fake.requests}) == 60


def test_a_change_event_is_sent_byte_for_byte(recorder: Recorder) -> None:
    delivery = recorder.notify(
        DEPLOY,
        summary="[{{ rule }}] {{ summary }}",
        details={"service": "{{ service }}"},
        links=[{"href": "https://x.example/{{ key }}", "text": "More"}],
    )
    assert recorder.fake.requests[0].path == "/v2/change/enqueue"
    assert recorder.fake.requests[0].body == (
        b'{"routing_key":"0123456789abcdef0123456789abcdef","payload":{'
        b'"summary":"[Deploys] Deploy 42 of shop","source":"ci-1",'
        b'"timestamp":"2026-11-23T03:14:00.000Z","custom_details":{"commit":"c0ffee",'
        b'"tests":812,"labels":{"team":"web"},"service":"checkout"}},'
        b'"links":[{"href":"https://ci.example/42"},'
        b'{"href":"https://git.example/c0ffee","text":"Commit"},'
        b'{"href":"https://x.example/shop/42","text":"More"},'
        b'{"href":"https://ci.example/42.png","text":"Graph"}]}'
    )
    (change,) = recorder.fake.changes
    assert (change.service, change.summary) == ("checkout", "[Deploys] Deploy 42 of shop")
    assert recorder.fake.incidents == ()
    assert [(repair.field, repair.reason) for repair in delivery.repairs] == [
        ("images[0]", "a change event has no images; became a link")
    ]
    assert delivery.ref == IncidentRef("pagerduty.change", "acme", "checkout", "shop/42")
    assert (delivery.severity, delivery.rules) == (Severity.INFO, ("Deploys",))


def test_a_minimal_change_has_no_empty_field(recorder: Recorder) -> None:
    recorder.notify(Alert("k", "Deployed"))
    assert recorder.event == {
        "routing_key": KEYS["checkout"],
        "payload": {"summary": "Deployed"},
    }


def test_each_service_gets_one_event(recorder: Recorder) -> None:
    deliveries = recorder.plan(DEPLOY, "platform", "checkout", "platform", summary="{{ service }}")
    assert all(recorder.deliver(each).delivered for each in deliveries)
    assert [(change.service, change.summary) for change in recorder.fake.changes] == [
        ("platform", "platform"),
        ("checkout", "checkout"),
    ]


def test_invalid_content_is_repaired(recorder: Recorder) -> None:
    alert = Alert("k", "x" * 2000, severity="info", details={"log": "x" * 600_000})
    delivery = recorder.notify(alert)
    assert len(recorder.fake.requests[0].body) <= 512_000
    assert recorder.event["payload"]["summary"] == "x" * 1023 + "…"
    assert {repair.field for repair in delivery.repairs} == {"summary", "details.log"}


def test_a_failed_template_falls_back_with_a_note(recorder: Recorder) -> None:
    fails = "{{ 1 / 0 }}"
    delivery = recorder.notify(DEPLOY, summary=fails, details={"a": fails}, links=[{"href": fails}])
    assert recorder.event["payload"]["summary"] == "Deploy 42 of shop"
    assert "a" not in recorder.event["payload"]["custom_details"]
    assert [note.partition(":")[0] for note in delivery.notes] == [
        "summary",
        "details.a",
        "links[0].href",
    ]


def test_a_repeated_change_says_so(recorder: Recorder) -> None:
    (delivery,) = recorder.plan(Alert("k", "Deployed"))
    assert recorder.deliver(delivery, attempt=2).delivered
    assert recorder.event["payload"]["custom_details"] == {"_delivery": {"attempts": 2}}


# statuses


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ({}, ["Deploy 42"]),
        ({"statuses": ["firing"]}, ["Deploy 42"]),
        ({"statuses": ["resolved", "firing"]}, ["Deploy 42", "Resolved: Deploy 42"]),
        (
            {"statuses": ["firing", "acknowledged", "resolved"]},
            ["Deploy 42", "Acknowledged: Deploy 42", "Resolved: Deploy 42"],
        ),
    ],
)
def test_a_rule_records_the_statuses_it_names(
    fake: FakePagerDuty, settings: dict[str, Any], reported: list[str], *, restarted: bool
) -> None:
    """After a restart no acknowledgement is, and a resolve where the rule sends unknown ones."""
    host = host_of(fake, use="change", **settings)
    for status in ("firing", "acknowledged", "resolved"):
        if restarted:
            host = restarted_host(host)
        host.handle(Alert("k", "Deploy 42", status=status))
    lost = "Acknowledged: Deploy 42" if restarted else None
    assert [change.summary for change in fake.changes] == [
        each for each in reported if each != lost
    ]


@pytest.mark.parametrize("settings", [{}, {"statuses": ["firing", "resolved"]}])
def test_every_change_is_recorded_despite_the_same_key(
    fake: FakePagerDuty, settings: dict[str, Any]
) -> None:
    host = host_of(fake, use="change", **settings)
    for number in range(3):
        host.handle(Alert("shop", f"Deploy {number}"))
    assert [change.summary for change in fake.changes] == ["Deploy 0", "Deploy 1", "Deploy 2"]


@pytest.mark.parametrize(
    ("status", "operation"),
    [("acknowledged", Operation.ACKNOWLEDGE), ("resolved", Operation.RESOLVE)],
)
def test_follow_ups_come_from_the_incident_and_the_alert_alone(
    recorder: Recorder, status: str, operation: Operation
) -> None:
    (opening,) = recorder.plan(DEPLOY, statuses=["firing", "resolved"])
    assert opening.follow_ups == (Operation.RESOLVE,)
    incident = Incident(opening.ref, IncidentState.TRIGGERED, Severity.INFO, rules=("Deploys",))
    alert = Alert("shop/42", "x" * 2000, status=status, severity="info", source="s")
    delivery = recorder.action.follow_up(incident, alert)
    assert delivery is not None
    assert (delivery.operation, delivery.ref) == (operation, opening.ref)
    assert delivery.rules == ("Deploys",)
    assert [repair.field for repair in delivery.repairs] == ["summary"]
    assert recorder.deliver(delivery).delivered
    assert recorder.event["payload"]["summary"].startswith(f"{status.capitalize()}: xxx")
    assert recorder.action.follow_up(incident, DEPLOY) is None


def test_statuses_must_include_firing() -> None:
    with pytest.raises(SettingsError) as caught:
        structure(
            ChangeSettings,
            {"services": ["a"], "statuses": ["resolved"], "details": {"a": "{{ x }}"}},
        )
    reported = [str(fault) for fault in caught.value.faults]
    assert reported[0] == "statuses: must contain 'firing'"
    assert reported[1].startswith("details.a: ")


# failures


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("R" + "0" * 31, "the key of a ruleset or an event orchestration (it begins with R)"),
        ("R03ABCDEFGHIJKLMNOPQRSTUVWXYZ012", "accept no change events"),
        ("u+abcdefghijklmno_-x", "got 20 characters, as a REST API key has"),
        ("R+abcdefghijklmno_-x", "got 20 characters, as a REST API key has"),
        ("env:PD_NOT_SET", "has no key: the environment variable PD_NOT_SET is not set"),
    ],
)
def test_a_key_for_no_change_events_sends_nothing(
    fake: FakePagerDuty, recorder: Recorder, key: str, reason: str
) -> None:
    there = connect(fake.url, checkout=key)
    (delivery,) = recorder.plan(DEPLOY)
    outcome = recorder.action.send(delivery, there, SendContext())
    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert outcome.reason.startswith("service 'checkout' has ")
    assert reason in outcome.reason
    assert key[1:] not in outcome.reason or key.startswith("env:")
    assert fake.requests == ()


def test_the_fake_rejects_changes_under_a_ruleset_key(recorder: Recorder) -> None:
    """The fake shares no code with the sender, which would not send it."""
    key = recorder.fake.add_service("ruleset", "R" + "0" * 31)
    (delivery,) = recorder.plan(DEPLOY)
    body = json.dumps({"routing_key": key, **delivery.message}).encode()
    url = f"{recorder.fake.url}/v2/change/enqueue"
    reply: Any = Client({}).post(url, body)
    assert reply.status == 400


def test_a_change_uses_the_newest_key_of_a_rotation(
    fake: FakePagerDuty, recorder: Recorder
) -> None:
    held = [KEYS["platform"], KEYS["checkout"]]
    there = connect(fake.url)
    service = structure(
        type(there.settings.services[0]), {"name": "checkout", "integration_key": held}
    )
    settings = attrs.evolve(there.settings, services=(service,))
    (delivery,) = recorder.plan(DEPLOY)
    outcome = recorder.action.send(delivery, attrs.evolve(there, settings=settings), SendContext())
    assert outcome.delivered
    assert [change.service for change in fake.changes] == ["platform"]


def test_a_removed_service_sends_nothing(recorder: Recorder) -> None:
    (delivery,) = recorder.plan(DEPLOY)
    smaller = connect(recorder.fake.url, platform=KEYS["platform"])
    outcome = recorder.action.send(delivery, smaller, SendContext())
    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert outcome.reason == "service 'checkout' is not in the installation any more"
    assert recorder.action.limits(delivery, smaller) == ()
    body: Any = recorder.action.preview(delivery, smaller, SendContext()).body
    assert body["routing_key"] == "********"


def test_services_are_checked_and_described_as_for_a_trigger(recorder: Recorder) -> None:
    unknown = ChangeSettings(services=("billing",))
    (fault,) = recorder.action.check(unknown, recorder.installation)
    assert 'account acme has no service "billing"' in fault.reason
    described = recorder.action.describe(unknown, recorder.installation)
    assert described == "Record a change at PagerDuty account acme and services [removed]"
    without = recorder.at(removed_services=("billing",))
    (delivery,) = without.plan(DEPLOY, "billing", "checkout")
    assert delivery.notes == ("the service billing was removed from the account",)
    (suppressed,) = without.plan(DEPLOY, "billing")
    assert isinstance(suppressed, Suppression)
    assert suppressed.rules == ("Deploys",)
    (unnamed,) = without.action.plan(DEPLOY, unknown, without.installation)
    assert unnamed.rules == ()


# repeats


UNCERTAIN = OutcomeKind.UNCERTAIN


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        (reset(), UNCERTAIN),
        (reset_unread(), UNCERTAIN),
        (garbage(), UNCERTAIN),
        (failing(500), UNCERTAIN),
        (failing(503), UNCERTAIN),
        (captive_portal(), UNCERTAIN),
        (throttling(), OutcomeKind.THROTTLED),
        (refusing("no"), OutcomeKind.REJECTED),
        (truncated(), OutcomeKind.DELIVERED),
    ],
)
def test_a_change_that_may_have_arrived_is_uncertain(
    recorder: Recorder, how: Misbehaviour, kind: OutcomeKind
) -> None:
    recorder.fake.misbehave(how)
    (delivery,) = recorder.plan(DEPLOY)
    assert recorder.deliver(delivery).kind is kind


def test_a_change_that_was_never_sent_is_unreachable(recorder: Recorder) -> None:
    (delivery,) = recorder.plan(DEPLOY)
    recorder.fake.stop()
    assert recorder.deliver(delivery).kind is OutcomeKind.UNREACHABLE


def test_a_change_is_never_sent_twice(recorder: Recorder) -> None:
    """A trigger is repeated when a kept connection closes; a change is not."""
    (delivery,) = recorder.plan(DEPLOY)
    assert recorder.deliver(delivery).delivered
    recorder.fake.misbehave(reset(), times=1)
    assert recorder.deliver(delivery).kind is UNCERTAIN
    assert len(recorder.fake.requests) == 2


def test_no_connection_is_kept_for_changes(recorder: Recorder) -> None:
    (delivery,) = recorder.plan(DEPLOY)
    for _ in range(3):
        assert recorder.deliver(delivery).delivered
    assert len({request.connection for request in recorder.fake.requests}) == 3


# limits, previews, purity


def test_changes_count_towards_the_limit_of_the_key(recorder: Recorder) -> None:
    (delivery,) = recorder.plan(DEPLOY)
    (limit,) = recorder.action.limits(delivery, recorder.installation)
    assert isinstance(limit, Limit)
    assert limit.budget.startswith("pagerduty:")
    assert (limit.count, limit.window) == (120, 60.0)


def test_a_preview_is_the_body_with_the_key_masked(recorder: Recorder) -> None:
    (delivery,) = recorder.plan(DEPLOY)
    preview = recorder.action.preview(delivery, recorder.installation, SendContext(attempt=3))
    assert recorder.deliver(delivery, attempt=3).delivered
    assert preview.target == f"POST {recorder.fake.url}/v2/change/enqueue"
    assert json.loads(json.dumps(preview.body)) == {**recorder.event, "routing_key": "********"}


def test_a_delivery_survives_json(recorder: Recorder) -> None:
    (delivery,) = recorder.plan(DEPLOY, statuses=["firing", "resolved"], summary="{{ key }}")
    stored = json.dumps(to_json(delivery), allow_nan=False)
    assert from_json(Delivery, json.loads(stored)) == delivery
