"""The action and the provider: through a host, and called directly."""

from __future__ import annotations

import hashlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hostspec import (
    Alert,
    Delivery,
    Identity,
    Incident,
    IncidentRef,
    IncidentState,
    Installation,
    Limit,
    Operation,
    OutcomeKind,
    SecretUnavailableError,
    SendContext,
    SettingsError,
    Severity,
    from_json,
    json_schema,
    structure,
    to_json,
)
from hostspec.plugins import load
from hostspec.secret import LiteralSecretError
from pagerduty_plugin import plugin
from pagerduty_plugin.constants import BASE_URLS
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.overrides import NoHooks
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import InstallationSettings, TriggerSettings
from pagerduty_plugin.testing import FakePagerDuty, Gate, late
from pagerduty_plugin.trigger import Trigger

from .conftest import Sender, connect, faults_of, host_of
from .wire import KEYS

MISCONFIGURED = OutcomeKind.MISCONFIGURED


def fingerprint(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def raw(url: str) -> dict[str, Any]:
    services = [{"name": name, "integration_key": key} for name, key in KEYS.items()]
    return {"base_url": url, "services": services}


# through a host


def test_an_alert_triggers_acknowledges_and_resolves_in_every_service(fake: FakePagerDuty) -> None:
    host = host_of(fake, "checkout", "platform")
    states = []
    for status in ("firing", "acknowledged", "resolved"):
        report = host.handle(Alert("db-1/disk", "Disk full", status=status, severity="critical"))
        assert report.delivered
        states.append(sorted((incident.service, incident.state) for incident in fake.incidents))
    assert states == [
        [("checkout", "triggered"), ("platform", "triggered")],
        [("checkout", "acknowledged"), ("platform", "acknowledged")],
        [("checkout", "resolved"), ("platform", "resolved")],
    ]
    assert [request.json()["event_action"] for request in fake.requests] == [
        *["trigger"] * 2,
        *["acknowledge"] * 2,
        *["resolve"] * 2,
    ]
    assert {incident.dedup_key for incident in fake.incidents} == {"db-1/disk"}


def test_many_alerts_of_one_problem_are_one_incident(fake: FakePagerDuty) -> None:
    host = host_of(fake, "checkout")
    for number in range(10):
        assert host.handle(Alert("k", f"Down {number}")).delivered
    (incident,) = fake.incidents
    assert (incident.events, incident.notifications, incident.summary) == (10, 1, "Down 9")


def test_a_service_named_twice_gets_one_event(fake: FakePagerDuty) -> None:
    host = host_of(fake, "checkout", "platform", "checkout")
    assert len(host.handle(Alert("k", "Down")).receipts) == 2
    assert len(fake.requests) == 2


def test_a_broken_service_does_not_affect_others(fake: FakePagerDuty) -> None:
    fake.stop()
    host = host_of(fake, "checkout", "platform")
    report = host.handle(Alert("k", "Down"))
    assert [r.outcome.kind for r in report.receipts if r.outcome] == [OutcomeKind.UNREACHABLE] * 2
    fake.start()
    assert host.handle(Alert("k", "Down")).delivered


def test_threads_handle_alerts_at_once(fake: FakePagerDuty) -> None:
    host = host_of(fake, "checkout", "platform")
    alerts = [
        Alert(f"k{number % 20}", "Down", status=status)
        for status in ("firing", "resolved")
        for number in range(40)
    ]
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(host.handle, alerts[:40]))
        reports += list(pool.map(host.handle, alerts[40:]))
    assert all(report.delivered for report in reports[:40])
    assert not any(report.failed for report in reports)
    assert {incident.state for incident in fake.incidents} == {"resolved"}
    assert len(fake.incidents) == 40
    # one for each service of the eight alerts that are handled at once
    assert len({request.connection for request in fake.requests}) <= 16


def test_the_plugin_offers_provider_and_action() -> None:
    (provider,) = plugin.hostspec_providers()
    action, change = plugin.hostspec_actions(hooks=NoHooks())
    assert (provider.name, provider.label) == ("pagerduty", "PagerDuty")
    assert (action.name, action.provider) == ("pagerduty.trigger", "pagerduty")
    assert action.capabilities.idempotent
    assert not action.capabilities.update
    infos = {info.name: info for info in load(["pagerduty"]).infos}
    info = infos["pagerduty"]
    assert (info.distribution, info.state) == ("pagerduty-plugin", "active")
    assert info.providers == ("pagerduty",)
    assert info.actions == ("pagerduty.trigger", "pagerduty.change")
    assert (change.name, change.provider) == ("pagerduty.change", "pagerduty")


def test_an_installation_has_its_services_as_destinations(sender: Sender) -> None:
    destinations = PagerDuty().destinations(sender.installation)
    assert [(each.id, each.name) for each in destinations] == [
        ("checkout", "checkout"),
        ("platform", "platform"),
    ]


def test_the_provider_offers_a_demo() -> None:
    assert PagerDuty().demo() is not None


# failures


def send(installation: Installation[InstallationSettings], **context: Any) -> Any:
    action = Trigger(Client({}))
    (delivery,) = action.plan(
        Alert("k", "Down"), TriggerSettings(services=("checkout",)), installation
    )
    return action.send(delivery, installation, SendContext(**context))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("env:PD_NOT_SET", "has no key: the environment variable PD_NOT_SET is not set"),
        ("file:/nowhere", "has no key: the file /nowhere cannot be read: No such file or "),
        ("u+abcdefghijklmno_-x", "got 20 characters, as a REST API key has"),
        ("x" * 31, "not an integration key: expected 32 letters and digits, got 31"),
    ],
)
def test_an_unusable_key_sends_nothing(fake: FakePagerDuty, key: str, reason: str) -> None:
    installation = connect(fake.url, checkout=key)
    outcome = send(installation)
    assert outcome.kind is MISCONFIGURED
    assert outcome.reason.startswith("service 'checkout' has ")
    assert reason in outcome.reason
    assert "abcdefghijklmno" not in outcome.reason
    assert fake.requests == ()
    (fault,) = PagerDuty().check(installation)
    assert fault.path == "services[0].integration_key"
    assert fault.reason.rpartition(": ")[2] in outcome.reason


def test_usable_keys_pass_the_check(sender: Sender) -> None:
    assert PagerDuty().check(sender.installation) == []


def test_a_removed_service_sends_nothing(sender: Sender) -> None:
    (delivery,) = sender.plan(Alert("k", "Down"))
    smaller = connect(sender.fake.url, platform=KEYS["platform"])
    outcome = sender.action.send(delivery, smaller, SendContext())
    assert outcome.kind is MISCONFIGURED
    assert outcome.reason == "service 'checkout' is not in the installation any more"
    assert sender.fake.requests == ()
    assert sender.action.limits(delivery, smaller) == ()


def test_a_replaced_key_file_is_read_again(fake: FakePagerDuty, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEYS["checkout"] + "\n")
    installation = connect(fake.url, checkout=f"file:{path}")
    assert send(installation).delivered
    path.write_text(KEYS["platform"])
    assert send(installation).delivered
    assert [incident.service for incident in fake.incidents] == ["checkout", "platform"]


def test_a_new_key_never_follows_up_an_incident_of_the_old_one(
    fake: FakePagerDuty, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text(KEYS["checkout"])
    installation = connect(fake.url, checkout=f"file:{path}")
    handle = send(installation).handle
    assert json.loads(json.dumps(handle)) == handle
    assert KEYS["checkout"] not in repr(handle)
    path.write_text(KEYS["platform"])
    for wrong in (handle, {"key": "", "url": fake.url}, {"url": fake.url}):
        outcome = send(installation, handle=wrong)
        assert outcome.kind is MISCONFIGURED
        assert outcome.reason == (
            "service 'checkout' does not have the key that opened the incident"
        )
    assert len(fake.requests) == 1
    path.write_text(KEYS["checkout"])
    assert send(installation, handle=handle).handle == handle


def test_follow_ups_use_the_address_that_opened_the_incident(
    fake: FakePagerDuty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Holds for any region or base URL that the installation has now."""
    monkeypatch.setitem(BASE_URLS, "us", fake.url)
    handle = send(connect(fake.url)).handle
    with FakePagerDuty(services=KEYS) as elsewhere:
        moved = connect(elsewhere.url)
        assert send(moved, handle=handle).delivered
        assert send(moved).delivered
        assert (len(fake.requests), len(elsewhere.requests)) == (2, 1)
        (delivery,) = Trigger().plan(
            Alert("k", "Down"), TriggerSettings(services=("checkout",)), moved
        )
        preview = Trigger().preview(delivery, moved, SendContext(handle=handle))
        assert preview.target == f"POST {fake.url}/v2/enqueue"


def test_no_key_is_sent_to_a_manipulated_address(fake: FakePagerDuty) -> None:
    handle = send(connect(fake.url)).handle
    assert handle
    with FakePagerDuty(services=KEYS) as stranger:
        outcome = send(connect(fake.url), handle={**handle, "url": stranger.url})
        assert (outcome.kind, stranger.requests) == (OutcomeKind.MISCONFIGURED, ())
        assert outcome.reason == (
            "service 'checkout' opened the incident at "
            f"{stranger.url}, which is not its address any more"
        )


@pytest.mark.parametrize("base", ["{}/", "{}//", "{}"])
def test_a_trailing_slash_of_a_base_url_is_ignored(fake: FakePagerDuty, base: str) -> None:
    installation = connect(base.format(fake.url))
    assert installation.settings.events_url == fake.url
    assert send(installation).delivered
    assert fake.requests[0].path == "/v2/enqueue"


@pytest.mark.parametrize(
    ("region", "url"),
    [("us", "https://events.pagerduty.com"), ("eu", "https://events.eu.pagerduty.com")],
)
def test_each_region_has_its_address(region: str, url: str) -> None:
    installation = PagerDuty().installation(
        "acme", {"region": region, "services": [{"name": "c", "integration_key": "env:NONE"}]}
    )
    (delivery,) = Trigger().plan(Alert("k", "Down"), TriggerSettings(services=("c",)), installation)
    preview = Trigger().preview(delivery, installation, SendContext())
    assert preview.target == f"POST {url}/v2/enqueue"


# limits, previews, checks


def test_each_key_has_its_own_rate_limit(sender: Sender) -> None:
    first, second = sender.plan(Alert("k", "Down"), "checkout", "platform")
    limits = [sender.action.limits(each, sender.installation) for each in (first, second)]
    assert limits == [(Limit(f"pagerduty:{fingerprint(key)}", 120, 60.0),) for key in KEYS.values()]


def test_a_rate_limit_needs_a_readable_key(fake: FakePagerDuty) -> None:
    installation = connect(fake.url, checkout="env:PD_NOT_SET")
    (delivery,) = Trigger().plan(
        Alert("k", "Down"), TriggerSettings(services=("checkout",)), installation
    )
    with pytest.raises(SecretUnavailableError):
        Trigger().limits(delivery, installation)


@pytest.mark.parametrize(
    ("key", "shown"),
    [("env:PD_NOT_SET", "******** (env:PD_NOT_SET)"), (KEYS["checkout"], "********")],
)
@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_a_preview_is_the_body_with_the_key_masked(
    fake: FakePagerDuty, key: str, shown: str, status: str
) -> None:
    """A preview reads no secret."""
    installation = connect(fake.url, checkout=key)
    alert = Alert("k", "Down", status=status, details={"used": 0.98})
    (delivery,) = Trigger().plan(alert, TriggerSettings(services=("checkout",)), installation)
    preview = Trigger().preview(delivery, installation, SendContext(attempt=2))
    Trigger(Client({})).send(delivery, connect(fake.url), SendContext(attempt=2))
    sent = fake.requests[0].json()
    assert preview.target == f"POST {fake.url}/v2/enqueue"
    assert json.loads(json.dumps(preview.body)) == {**sent, "routing_key": shown}
    assert list(json.loads(json.dumps(preview.body))) == list(sent)


def test_a_preview_for_a_removed_service_is_masked(sender: Sender) -> None:
    (delivery,) = sender.plan(Alert("k", "Down"))
    smaller = connect(sender.fake.url, platform=KEYS["platform"])
    body: Any = sender.action.preview(delivery, smaller, SendContext()).body
    assert body["routing_key"] == "********"


def test_unknown_services_are_rejected() -> None:
    plugins = load(["pagerduty"])
    installation = plugins.installation("pagerduty", "acme", raw("https://x.example"))
    with pytest.raises(SettingsError) as caught:
        plugins.rule_action(
            "pagerduty.trigger", installation, {"services": ["checkout", "billing"]}
        )
    (fault,) = caught.value.faults
    assert str(fault) == (
        'services[1]: account acme has no service "billing"; it has checkout, platform'
    )


# plans


@pytest.mark.parametrize("status", ["firing", "acknowledged", "resolved"])
def test_planning_reads_no_secret_and_opens_no_socket(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    installation = connect("https://x.example", checkout="env:PD_NOT_SET")
    action = Trigger()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    deliveries = action.plan(
        Alert("k", "Down", status=status, details={"log": "x" * 600_000}),
        TriggerSettings(services=("checkout",)),
        installation,
        rule="Pages",
    )
    preview = action.preview(deliveries[0], installation, SendContext())
    monkeypatch.undo()
    assert len(deliveries) == 1
    assert preview.body


def test_a_plan_has_reference_alert_and_rule(sender: Sender) -> None:
    alert = Alert("k", "Down", scope="acme", severity="warning")
    first, second = sender.plan(alert, "checkout", "platform")
    assert first.ref == IncidentRef("pagerduty.trigger", "acme", "checkout", "acme/k")
    assert second.ref == IncidentRef("pagerduty.trigger", "acme", "platform", "acme/k")
    assert first.alert == Identity("acme", "k")
    assert (first.operation, first.severity) == (Operation.TRIGGER, Severity.WARNING)
    assert first.rules == ("Pages",)
    (without,) = sender.action.plan(
        alert, TriggerSettings(services=("checkout",)), sender.installation
    )
    assert without.rules == ()


def test_a_plan_names_each_service_once_and_every_repair(sender: Sender) -> None:
    (delivery,) = sender.plan(Alert("k", "Down"), "checkout", "checkout")
    assert [repair.field for repair in delivery.repairs] == ["severity", "source"]
    (resolve,) = sender.plan(Alert("k", "Down", status="resolved"))
    assert resolve.repairs == ()


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"a": [1, 0.5, None, True, {"b": "ü🔥"}]},
        {"big": 2**1000, "tiny": 5e-324, "log": "x" * 600_000},
        {"deep": nested(62)},
        {"deep": nested(100)},
        {"numbers": [0] * 190_000},
    ],
    ids=["none", "some", "large", "deep", "deepest", "many"],
)
@pytest.mark.parametrize("status", ["firing", "acknowledged", "resolved"])
def test_a_delivery_survives_json(sender: Sender, status: str, details: dict[str, object]) -> None:
    (delivery,) = sender.plan(Alert("k", "Down", status=status, details=details))
    stored = json.dumps(to_json(delivery), allow_nan=False)
    assert from_json(Delivery, json.loads(stored)) == delivery
    assert hash(delivery) == hash(from_json(Delivery, json.loads(stored)))


def test_no_delivery_installation_or_outcome_shows_the_key(sender: Sender) -> None:
    (delivery,) = sender.plan(Alert("k", "Down"))
    outcome = sender.deliver(delivery)
    shown = repr([delivery, sender.installation, outcome, sender.action]) + json.dumps(
        to_json(delivery)
    )
    assert KEYS["checkout"] not in shown
    with pytest.raises(LiteralSecretError) as caught:
        to_json(sender.installation)
    assert KEYS["checkout"] not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "operation"),
    [("acknowledged", Operation.ACKNOWLEDGE), ("resolved", Operation.RESOLVE)],
)
def test_follow_ups_come_from_the_incident_alone(
    sender: Sender, status: str, operation: Operation
) -> None:
    (opening,) = sender.plan(Alert("k", "Down", severity="critical"))
    handle = sender.deliver(opening).handle
    incident = Incident(
        opening.ref, IncidentState.TRIGGERED, Severity.CRITICAL, handle, rules=("Pages",)
    )
    alert = Alert("other", "Fine", status=status, severity="info", details={"a": 1})
    delivery = sender.action.follow_up(incident, alert)
    assert delivery == Delivery(
        operation, opening.ref, alert.identity, Severity.CRITICAL, rules=("Pages",)
    )
    assert sender.deliver(delivery, handle=handle).delivered
    assert sender.event == {
        "routing_key": KEYS["checkout"],
        "event_action": operation.value,
        "dedup_key": "k",
    }


def test_a_repeat_is_a_trigger_of_its_own(sender: Sender) -> None:
    (opening,) = sender.plan(Alert("k", "Down"))
    incident = Incident(opening.ref, IncidentState.TRIGGERED, Severity.ERROR)
    assert sender.action.follow_up(incident, Alert("k", "Down")) is None


def test_sends_of_two_services_run_side_by_side(sender: Sender) -> None:
    gate = Gate()
    sender.fake.misbehave(late(gate), key=KEYS["checkout"])
    slow, quick = sender.plan(Alert("k", "Down"), "checkout", "platform")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sender.deliver, slow)
        sender.fake.wait_for(lambda fake: len(fake.requests) == 1)
        assert sender.deliver(quick).delivered
        assert not waiting.done()
        gate.open()
        assert waiting.result().delivered


# settings


def account_faults(**changes: Any) -> list[str]:
    services = [{"name": "checkout", "integration_key": "env:PD_CHECKOUT"}]
    return faults_of(InstallationSettings, **{"services": services, **changes})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://events.example",
        "https://events.example:8443/pagerduty/",
        "HTTPS://events.example",
        "http://127.0.0.1:8080",
        "http://127.9.9.9",
        "http://localhost:8080",
        "http://LOCALHOST:8080",
        "http://[::1]:8080",
    ],
)
def test_valid_base_urls_are_accepted(url: str) -> None:
    assert account_faults(base_url=url) == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://events.example", "is not encrypted; use https://, or a loopback address"),
        ("http://127.events.example", "is not encrypted"),
        ("http://localhost.example", "is not encrypted"),
        ("http://10.0.0.1", "is not encrypted"),
        ("http://0.0.0.0", "is not encrypted"),
        ("events.pagerduty.com", "is not a base URL; use one like 'https://events.pagerduty.com'"),
        ("ftp://events.example", "is not a base URL"),
        ("https://", "is not a base URL"),
        ("https://:443", "is not a base URL"),
        (" https://events.example", "is not a base URL"),
        ("https://events.example ", "is not a base URL"),
        ("https://events.example\\path", "is not a base URL"),
        ("https://events .example", "is not a base URL"),
        ("https://events..example", "is not a base URL"),
        ("https://*.example", "is not a base URL"),
        ("https://[bad", "is not a valid URL: Invalid IPv6 URL"),
        ("https://events.example:99999", "is not a valid URL: Port out of range 0-65535"),
        ("https://events.example:port", "is not a valid URL: Port could not be cast"),
        ("https://events.example?a=b", "has a query or fragment; use a base URL without them"),
        ("https://events.example#top", "has a query or fragment"),
        ("https://relay.example/v2/enqueue", "includes the path of the Events API; use 'https://r"),
        ("https://events.example/?", "has a query or fragment"),
    ],
)
def test_invalid_base_urls_are_rejected(url: str, reason: str) -> None:
    (fault,) = account_faults(base_url=url)
    assert fault.startswith("base_url: ")
    assert reason in fault


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hidden@events.example",
        "https://hidden@events.example",
        "https://user:hidden@[bad",
        "https://user:hid/den@events.example",
        "user:hidden@events.example",
        "https:/user:hidden@events.example",
        "http://127.0.0.1:hidden@events.example",
    ],
)
def test_credentials_in_a_url_are_rejected_and_not_shown(url: str) -> None:
    (fault,) = account_faults(base_url=url)
    assert fault == "base_url: contains a user name or password (an @); the Events API takes none"


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"region": "ap"}, ["region: 'ap' is unknown; known are us, eu"]),
        ({"services": []}, ["services: has 0 entries; needs at least 1"]),
        (
            {"services": [{"name": " ", "integration_key": "env:A"}]},
            ["services[0].name: is blank"],
        ),
        (
            {"services": [{"name": name, "integration_key": "env:A"} for name in ("a", "b", "a")]},
            ["services[0].name: 'a' is used twice", "services[2].name: 'a' is used twice"],
        ),
        (
            {"region": 1, "services": [{"name": "a"}, {"integration_key": "env:A"}]},
            [
                "region: must be text, not the number 1",
                "services[0].integration_key: missing; it is required",
                "services[1].name: missing; it is required",
            ],
        ),
    ],
)
def test_all_faults_are_reported_at_once(changes: dict[str, Any], faults: list[str]) -> None:
    assert account_faults(**changes) == faults


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"services": []}, "services: has 0 entries; needs at least 1"),
        (
            {"services": ["a"], "severity": "fatal"},
            "severity: 'fatal' is unknown; known are default, critical, error, warning, info, "
            "or a template",
        ),
        (
            {"services": ["a"], "severity": "0123456789abcdef"},
            "severity: this is unknown; known are default, critical, error, warning, info, "
            "or a template",
        ),
    ],
)
def test_faults_of_an_action_are_reported(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        structure(TriggerSettings, given)
    assert [str(each) for each in caught.value.faults] == [fault]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            InstallationSettings,
            {"region": "eu", "services": [{"name": "a", "integration_key": "env:A"}]},
            [
                {},
                {"services": []},
                {"region": "ap", "services": [{"name": "a", "integration_key": "env:A"}]},
                {"services": [{"name": "a"}]},
                {"services": [{"name": "a", "integration_key": "env:A", "odd": 1}]},
            ],
        ),
        (
            TriggerSettings,
            {"services": ["a"], "severity": "default"},
            [{}, {"services": "a"}, {"services": ["a"], "severity": 3}],
        ),
    ],
)
def test_the_json_schema_agrees_with_the_checks(
    kind: type, good: object, bad: list[object]
) -> None:
    schema = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(good)
    structure(kind, good)
    for each in bad:
        assert not validator.is_valid(each)
        with pytest.raises(SettingsError):
            structure(kind, each)
