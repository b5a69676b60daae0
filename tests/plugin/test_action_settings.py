"""The settings of a rule on the wire, and rules whose services were removed."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

import attrs
import pytest

from hostspec import (
    Alert,
    Delivery,
    Destination,
    IncidentRef,
    Installation,
    Operation,
    OutcomeKind,
    Repair,
    Secret,
    SettingsError,
    Suppression,
    structure,
)
from pagerduty_plugin.installation import merge_services
from pagerduty_plugin.installation.merge_services import replace_services
from pagerduty_plugin.installation.service_table import ServiceTable
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import InstallationSettings, ServiceSettings, TriggerSettings
from pagerduty_plugin.testing import FakePagerDuty, refusing
from pagerduty_plugin.trigger import Trigger

from .conftest import KEYS, Sender, faults_of, host_of, restarted_host

ALERT = Alert(
    "db-1/disk",
    "Disk full on db-1",
    severity="critical",
    source="db-1",
    component="postgres",
    group="storage",
    class_="disk",
    labels={"team": "data", "cluster": "eu"},
    details={"used": 0.98},
    url="https://host.example/alerts/1",
    links=[{"href": "https://wiki.example/disk"}],
    images=[{"src": "https://g.example/1.png"}],
)
FAILS = "{{ 1 / 0 }}"
NOTHING = "{{ labels.nothing }}"


def trigger_faults(**changes: Any) -> list[str]:
    return faults_of(TriggerSettings, **{"services": ["checkout"], **changes})


# texts


def test_every_setting_is_sent_byte_for_byte(sender: Sender) -> None:
    delivery = sender.at(dedup_prefix="prod").notify(
        ALERT,
        severity="warning",
        dedup_key="{{ labels.cluster }}/{{ key }}",
        summary="[{{ rule }}] {{ summary }}",
        component="{{ component|upper }}",
        group="{{ service }}",
        **{"class": "{{ class }} at {{ installation }}"},
        client="nightwatch",
        client_url="https://watch.example/{{ key }}",
        details={"runbook": "https://wiki.example/{{ labels.team }}", "plain": "as it is"},
        links=[{"href": "https://x.example/{{ key }}", "text": "{{ labels.team }}"}],
        images=[{"src": "https://i.example", "href": "https://h.example", "alt": "{{ status }}"}],
    )
    assert delivery.notes == ()
    assert delivery.repairs == ()
    assert sender.body == (
        b'{"routing_key":"0123456789abcdef0123456789abcdef","event_action":"trigger",'
        b'"dedup_key":"prod/eu/db-1/disk","payload":{"summary":"[Pages] Disk full on db-1",'
        b'"source":"db-1","severity":"warning","component":"POSTGRES","group":"checkout",'
        b'"class":"disk at acme","custom_details":{"used":0.98,'
        b'"labels":{"team":"data","cluster":"eu"},'
        b'"runbook":"https://wiki.example/data","plain":"as it is"}},"client":"nightwatch",'
        b'"client_url":"https://watch.example/db-1/disk",'
        b'"links":[{"href":"https://wiki.example/disk"},'
        b'{"href":"https://x.example/db-1/disk","text":"data"}],'
        b'"images":[{"src":"https://g.example/1.png"},'
        b'{"src":"https://i.example","href":"https://h.example","alt":"firing"}]}'
    )


def test_details_keep_their_types_and_may_be_nested(sender: Sender) -> None:
    """A template of one expression keeps its type, too; the texts within are templates."""
    alert = Alert("k", "Down", labels={"count": "3"}, details={"hosts": ["a", "b"], "used": 0.5})
    sender.notify(
        alert,
        details={
            "number": 7,
            "share": 0.25,
            "on": False,
            "list": [1, "two", "{{ labels.count }}", "{{ labels.no }}"],
            "deep": {"host": "{{ details.hosts[0] }}", "count": " {{ labels.count | int }}\n"},
            "count": "{{ labels.count | int }}",
            "many": "{{ details.used > 0.4 }}",
            "hosts2": "{{ details.hosts }}",
            "pair": "{{ [details.used, labels.no] }}",
            "text": "{{ labels.count }}",
            "mixed": "{{ labels.count | int }} times",
            "missing": "{{ labels.no }}",
            "huge": "{{ 1e308 * 10 }}",
        },
    )
    details = sender.payload["custom_details"]
    assert {name: value for name, value in details.items() if name not in alert.details} == {
        "labels": {"count": "3"},
        "number": 7,
        "share": 0.25,
        "on": False,
        "list": [1, "two", "3"],
        "deep": {"host": "a", "count": 3},
        "count": 3,
        "many": True,
        "hosts2": ["a", "b"],
        "pair": [0.5, None],
        "text": "3",
        "mixed": "3 times",
        "huge": "Infinity",
    }
    assert type(details["count"]) is int


def test_a_value_that_is_too_large_is_left_out(sender: Sender) -> None:
    alert = Alert("k", "Down", source="s", details={"log": ["x" * 60_000] * 2})
    delivery = sender.notify(alert, details={"copy": "{{ details.log }}", "why": "{{ [1 / 0] }}"})
    assert set(sender.payload["custom_details"]) == {"log"}
    assert delivery.notes == (
        "details.copy: makes a value of more than 65,536 characters; left out",
        "details.why: divides by zero; left out",
    )


@pytest.mark.parametrize(
    ("page", "severity", "repair"),
    [
        ("critical", "critical", None),
        ("CRITICAL", "critical", None),
        ("debug", "info", None),
        ("moon", "error", Repair("severity", '"moon" is unknown; taken as error')),
        ("", "warning", None),
    ],
)
def test_a_severity_may_be_a_template(
    sender: Sender, page: str, severity: str, repair: Repair | None
) -> None:
    alert = Alert("k", "Down", source="s", severity="warning", labels={"page": page})
    delivery = sender.notify(alert, severity="{{ labels.page }}", source="{{ labels.page }}-1")
    assert sender.payload["severity"] == severity
    assert sender.payload["source"] == f"{page}-1"
    assert delivery.repairs == ((repair,) if repair else ())
    nothing = ("severity: renders to nothing; the alert's is used instead",)
    assert delivery.notes == (() if page else nothing)


def test_a_severity_template_applies_to_triggers_only(sender: Sender) -> None:
    alert = Alert("k", "Fine", status="resolved", severity="info")
    assert sender.notify(alert, severity="{{ 1 / 0 }}").notes == ()


def test_blank_settings_keep_the_alerts_texts(sender: Sender) -> None:
    sender.notify(ALERT)
    plain = sender.body
    blank = dict.fromkeys(("summary", "component", "group", "class", "client", "client_url"), " ")
    delivery = sender.notify(
        ALERT, **blank, links=[], images=[], details={}, dedup_key="alert", severity="default"
    )
    assert sender.body == plain
    assert delivery.notes == ()


def test_texts_are_rendered_for_each_service(sender: Sender) -> None:
    for delivery in sender.plan(ALERT, "checkout", "platform", summary="{{ service }}"):
        assert sender.deliver(delivery).delivered
        assert sender.payload["summary"] == delivery.ref.destination


def test_a_dedup_key_may_differ_by_service(sender: Sender) -> None:
    template = "{{ service }}/{{ key }}"
    for delivery in sender.plan(ALERT, "checkout", "platform", dedup_key=template):
        assert sender.deliver(delivery).delivered
        assert sender.event["dedup_key"] == f"{delivery.ref.destination}/db-1/disk"


EVERY = {
    "summary": "the alert's is used instead",
    "component": "the alert's is used instead",
    "group": "the alert's is used instead",
    "class": "the alert's is used instead",
    "client": "left out",
    "client_url": "the alert's is used instead",
    "details.runbook": "left out",
    "links[0].href": "left out",
    "images[0].src": "left out",
    "dedup_key": "the alert's key is used instead",
}


def everywhere(template: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(
            ("summary", "component", "group", "class", "client", "client_url", "dedup_key"),
            template,
        ),
        "details": {"runbook": template},
        "links": [{"href": template, "text": "Runbook"}],
        "images": [{"src": template, "alt": "graph"}],
    }


@pytest.mark.parametrize(
    ("template", "reason"),
    [(FAILS, ""), (NOTHING, "renders to"), (" {{ '\\n' }}", "renders")],
)
def test_a_failed_template_falls_back_with_a_note(
    sender: Sender, template: str, reason: str
) -> None:
    sender.notify(ALERT)
    plain = sender.body
    delivery = sender.notify(ALERT, **everywhere(template))
    assert sender.body == plain
    reported = dict(note.split(": ", 1) for note in delivery.notes)
    assert {field: why.rpartition("; ")[2] for field, why in reported.items()} == EVERY
    assert all(why.startswith(reason) for why in reported.values())


def test_an_entry_is_sent_without_a_failed_text(sender: Sender) -> None:
    delivery = sender.notify(
        ALERT,
        links=[{"href": "https://x.example", "text": FAILS}],
        images=[{"src": "https://i.example", "href": FAILS, "alt": NOTHING}],
    )
    assert sender.event["links"][1:] == [{"href": "https://x.example"}]
    assert sender.event["images"][1:] == [{"src": "https://i.example"}]
    fields = [note.partition(": ")[0] for note in delivery.notes]
    assert fields == ["links[0].text", "images[0].href", "images[0].alt"]


@pytest.mark.parametrize("length", [65_536, 65_537])
def test_long_texts_are_cut_and_long_addresses_left_out(sender: Sender, length: int) -> None:
    text = "{{ details.log }}"
    log = "https://x.example/".ljust(length, "x")
    alert = Alert("k", "Down", source="s", severity="info", details={"log": log})
    delivery = sender.notify(
        alert, details={"copy": text}, links=[{"href": text}], client_url=text, component=text
    )
    event = sender.event
    over = length > 65_536
    kept = log[:65_535] + "…" if over else log
    assert event["payload"]["custom_details"]["copy"] == kept
    assert event["payload"]["component"] == kept
    assert ("links" in event, "client_url" in event) == (not over, not over)
    why = "renders to more than 65,536 characters"
    assert (
        list(delivery.notes)
        == [
            f"component: {why}; cut",
            f"client_url: {why}; the alert's is used instead",
            f"details.copy: {why}; cut",
            f"links[0].href: {why}; left out",
        ]
        * over
    )


def test_texts_of_a_rule_are_repaired_like_those_of_an_alert(sender: Sender) -> None:
    delivery = sender.notify(
        ALERT,
        summary="{{ summary }} " + "x" * 1024,
        details={"used": "1", "labels": "2", "_delivery": "3", "details.used": "4"},
        images=[{"src": "http://i.example", "alt": "graph"}],
    )
    assert len(sender.payload["summary"]) == 1024
    assert sender.payload["custom_details"] == {
        "used": 0.98,
        "labels": {"team": "data", "cluster": "eu"},
        "details.used": "1",
        "details.labels": "2",
        "details._delivery": "3",
        "details.details.used": "4",
    }
    assert sender.event["links"][1:] == [{"href": "http://i.example", "text": "graph"}]
    assert {(repair.field, repair.reason) for repair in delivery.repairs} == {
        ("summary", "1042 characters, PagerDuty takes 1024; cut"),
        ("details.used", "the name is taken; moved to 'details.used'"),
        ("details.labels", "the name is taken; moved to 'details.labels'"),
        ("details._delivery", "the name is taken; moved to 'details._delivery'"),
        ("details.details.used", "the name is taken; moved to 'details.details.used'"),
        ("images[1]", "PagerDuty takes images over https only; became a link"),
    }


def test_a_surrogate_of_a_template_is_not_sent(sender: Sender) -> None:
    sender.notify(ALERT, summary="{{ '\\ud800' }}Down", details={"a\ud800": "b\udfff"})
    assert sender.payload["summary"] == "\ufffdDown"
    assert sender.payload["custom_details"]["a\ufffd"] == "b\ufffd"


def test_a_large_client_is_cut_last(sender: Sender) -> None:
    endless = "x" + "\x01" * 65_535
    delivery = sender.notify(
        Alert("k", "Down", source=endless, component=endless, severity="info"), client="n" * 3000
    )
    assert sender.event["client"] == "n" * 2043 + "…"
    assert "client" in [repair.field for repair in delivery.repairs]


@pytest.mark.parametrize("status", ["acknowledged", "resolved"])
def test_only_triggers_have_texts(sender: Sender, status: str) -> None:
    (opening,) = sender.plan(ALERT)
    assert sender.deliver(opening).delivered
    later = Alert("db-1/disk", "Fine", status=status, severity="info", source="s")
    delivery = sender.notify(later, summary=FAILS, details={"a": FAILS})
    assert delivery.notes == ()
    assert set(sender.event) == {"routing_key", "event_action", "dedup_key"}


# dedup keys


def keys_of(sender: Sender, alert: Alert, **settings: Any) -> tuple[str, ...]:
    """Trigger, acknowledge and resolve an alert, and return its dedup keys."""
    for status in ("firing", "acknowledged", "resolved"):
        fields = {field.name: getattr(alert, field.name) for field in attrs.fields(Alert)}
        del fields["repairs"]
        sender.notify(Alert(**{**fields, "status": status}), **settings)
    return tuple(request.json()["dedup_key"] for request in sender.fake.requests[-3:])


@pytest.mark.parametrize(
    ("settings", "alert", "key"),
    [
        ({}, Alert("k"), "k"),
        ({"dedup_key": "alert"}, Alert("k", scope="a/b"), "a%2Fb/k"),
        ({"dedup_key": "rule and alert"}, Alert("k"), "Pages//k"),
        ({"dedup_key": "rule and alert"}, Alert("k", scope="a/b"), "Pages/a%2Fb/k"),
        ({"dedup_key": "{{ labels.host }}"}, Alert("k", labels={"host": "db-1"}), "db-1"),
        ({"dedup_key": "{{ labels.host }}"}, Alert("k"), "k"),
        ({"dedup_key": "{{ rule }}:{{ key }}"}, Alert("k"), "Pages:k"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "prod-1"])
def test_a_key_is_the_same_from_trigger_to_resolve(
    sender: Sender, settings: dict[str, Any], alert: Alert, key: str, prefix: str
) -> None:
    sent = keys_of(sender.at(dedup_prefix=prefix), alert, **settings)
    assert sent == (f"{prefix}/{key}" if prefix else key,) * 3
    (incident,) = sender.fake.incidents
    assert incident.state == "resolved"


def test_a_long_key_of_a_template_ends_in_a_hash(sender: Sender) -> None:
    alert = Alert("k" * 300, severity="info", source="s")
    settings = {"dedup_key": "rule {{ rule }}: {{ key }}"}
    (key, *_) = keys_of(sender, alert, **settings)
    whole = "rule Pages: " + "k" * 300
    assert key == whole[:190] + "…" + hashlib.sha256(whole.encode()).hexdigest()


def test_a_failed_key_template_uses_the_alerts_key_for_every_status(sender: Sender) -> None:
    assert keys_of(sender, Alert("k"), dedup_key=FAILS) == ("k", "k", "k")
    (delivery,) = sender.plan(Alert("k", status="resolved"), dedup_key=FAILS)
    (note,) = delivery.notes
    assert note.startswith("dedup_key: ")


def test_keys_of_rule_and_alert_are_unique(sender: Sender) -> None:
    alerts = [Alert("k"), Alert("b/k"), Alert("k", scope="b"), Alert("/k"), Alert("k", scope="/")]
    settings = TriggerSettings(services=("checkout",), dedup_key="rule and alert")
    keys = [
        delivery.ref.correlation_key
        for rule in ("", "a", "a/b", "a%2Fb", "a/")
        for alert in alerts
        for delivery in sender.action.plan(alert, settings, sender.installation, rule=rule)
        if isinstance(delivery, Delivery)
    ]
    assert len(set(keys)) == len(keys) == 25


# event actions


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("event_actions", "sent"),
    [
        (("trigger", "acknowledge", "resolve"), ["trigger", "acknowledge", "resolve"]),
        (("trigger", "resolve"), ["trigger", "resolve"]),
        (("acknowledge", "trigger"), ["trigger", "acknowledge"]),
        (("trigger",), ["trigger"]),
        (("resolve",), ["resolve"]),
    ],
)
def test_a_rule_sends_its_event_actions_only(
    fake: FakePagerDuty, event_actions: tuple[str, ...], sent: list[str], *, restarted: bool
) -> None:
    """After a restart no acknowledgement is sent, and a resolve if the rule sends unknown ones."""
    host = restarted_host(host_of(fake, event_actions=event_actions))
    for status in ("firing", "acknowledged", "resolved"):
        if restarted:
            host = restarted_host(host)
        host.handle(Alert("k", "Down", status=status))
    lost = "acknowledge" if restarted else None
    assert [request.json()["event_action"] for request in fake.requests] == [
        each for each in sent if each != lost
    ]


def test_an_incident_keeps_its_follow_ups(sender: Sender) -> None:
    (delivery,) = sender.plan(ALERT, event_actions=["trigger", "resolve"])
    assert delivery.follow_ups == (Operation.RESOLVE,)
    (delivery,) = sender.plan(ALERT)
    assert delivery.follow_ups == (Operation.ACKNOWLEDGE, Operation.RESOLVE)


# faults at load


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        ({"dedup_key": "alert"}, []),
        ({"dedup_key": "rule and alert"}, []),
        ({"dedup_key": "{{ key }}"}, []),
        (
            {"dedup_key": "allert"},
            [
                "dedup_key: is not a known strategy; use 'alert', 'rule and alert' "
                "or a template such as '{{ labels.cluster }}/{{ key }}'"
            ],
        ),
        ({"dedup_key": ""}, ["dedup_key: is not a known strategy"]),
        ({"dedup_key": "{{ severity }}"}, ["dedup_key: "]),
        (
            {"event_actions": ["page"]},
            ["event_actions[0]: 'page' is unknown; known are trigger, acknowledge, resolve"],
        ),
        ({"event_actions": []}, ["event_actions: has 0 entries; needs at least 1"]),
        ({"links": [{"text": "a"}]}, ["links[0].href: missing; it is required"]),
        ({"links": [{"href": " "}]}, ["links[0].href: is blank"]),
        ({"images": [{"src": ""}]}, ["images[0].src: is blank"]),
        (
            {"details": {"a": None, "b": dt.date(2026, 1, 1), "c": {"d": [float("nan")]}}},
            [
                "details.a: must be text, a number, true or false, a list or a table, not null",
                "details.b: must be text, a number, true or false, a list or a table, not a date",
                "details.c.d[0]: must be a finite number",
            ],
        ),
        (
            {"details": {"a": {"b": ["{{ x }}", "{{ key }}"]}, "c": ["{{ y }}"], "d": "{{ z }}"}},
            ["details.a.b[0]: 'x'", "details.c[0]: 'y'", "details.d: 'z'"],
        ),
        (
            {"severity": "moon"},
            ["severity: 'moon' is unknown; known are default, "],
        ),
        ({"severity": "{{ moon }}"}, ["severity: 'moon' is unknown; known are class, "]),
        ({"details": {" ": "x"}}, ["details: has an entry without a name"]),
        ({"class_": "x"}, ["class_: unknown (did you mean 'class'?)"]),
        (
            {
                "summary": "{{ sumary }}",
                "component": "{{ x }}",
                "group": "{{ x }}",
                "class": "{{ x }}",
                "client": "{{ x }}",
                "client_url": "{{ x }}",
                "links": [{"href": "{{ x }}", "text": "{{ x }}"}],
                "details": {"a": "as it is", "b.c": "{{ x }}"},
                "images": [{"src": "{{ x }}", "href": "{{ x }}", "alt": "{{ x }}"}],
            },
            [
                "summary: ",
                "component: ",
                "group: ",
                "class: ",
                "client: ",
                "client_url: ",
                "details.b.c: ",
                "links[0].href: ",
                "links[0].text: ",
                "images[0].src: ",
                "images[0].href: ",
                "images[0].alt: ",
            ],
        ),
        (
            {"details": {"good": "{{ key }}", "a": "{{ x }}", "b": "{% if %}"}},
            ["details.a: ", "details.b: "],
        ),
    ],
)
def test_all_faults_of_the_settings_are_reported_at_once(
    given: dict[str, Any], faults: list[str]
) -> None:
    reported = trigger_faults(**given)
    assert len(reported) == len(faults), reported
    assert [
        fault for fault, start in zip(reported, faults, strict=True) if start not in fault
    ] == []


@pytest.mark.parametrize("prefix", ["", "a", "A.b_c-9", "x" * 64])
def test_valid_prefixes_are_accepted(prefix: str) -> None:
    raw = {"dedup_prefix": prefix, "services": [{"name": "a", "integration_key": "env:A"}]}
    assert structure(InstallationSettings, raw).dedup_prefix == prefix


@pytest.mark.parametrize("prefix", ["a/b", "a b", "ü", "x" * 65, "a\n"])
def test_invalid_prefixes_are_rejected(prefix: str) -> None:
    raw = {"dedup_prefix": prefix, "services": [{"name": "a", "integration_key": "env:A"}]}
    with pytest.raises(SettingsError) as caught:
        structure(InstallationSettings, raw)
    (fault,) = caught.value.faults
    assert fault.path == "dedup_prefix"
    assert "is not a valid prefix" in fault.reason


# removed services


def service(name: str, **more: Any) -> ServiceSettings:
    return ServiceSettings(name=name, integration_key=Secret(KEYS["checkout"]), **more)


def saved(sender: Sender, *rows: dict[str, Any]) -> Sender:
    """Return the sender after its service table was saved."""
    settings = ServiceTable().save(sender.installation.settings, rows)
    return attrs.evolve(sender, installation=attrs.evolve(sender.installation, settings=settings))


@pytest.fixture
def made_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the id of new services to ``made``."""
    monkeypatch.setattr(merge_services, "new_id", lambda: "made")


def rows(sender: Sender) -> list[dict[str, Any]]:
    return ServiceTable().rows(sender.installation.settings)


def refused(sender: Sender, *services: str) -> list[str]:
    settings = TriggerSettings(services=services)
    return [str(fault) for fault in sender.action.check(settings, sender.installation)]


def test_a_removed_service_does_not_stop_others(sender: Sender) -> None:
    without = saved(sender, rows(sender)[0])
    assert without.installation.settings.removed_services == ("platform",)
    assert refused(without, "checkout", "platform") == []
    (delivery,) = without.plan(ALERT, "platform", "checkout", "platform")
    assert delivery.notes == ("the service platform was removed from the account",)
    assert without.deliver(delivery).delivered
    assert [incident.service for incident in sender.fake.incidents] == ["checkout"]


def test_a_misspelt_service_is_rejected(sender: Sender) -> None:
    without = saved(sender, rows(sender)[0])
    assert refused(without, "chekout", "platform", "checkout") == [
        'services[0]: account acme has no service "chekout"; did you mean "checkout"?'
    ]


def test_an_action_without_any_service_is_rejected_and_suppressed(sender: Sender) -> None:
    without = saved(sender, rows(sender)[0])
    reason = "all its services were removed from account acme: platform"
    assert refused(without, "platform", "platform") == [
        f"services: {reason}; choose another service"
    ]
    assert without.plan(ALERT, "platform") == [
        Suppression("pagerduty.trigger", "acme", reason, rules=("Pages",))
    ]
    settings = TriggerSettings(services=("platform",))
    (suppressed,) = without.action.plan(ALERT, settings, without.installation)
    assert isinstance(suppressed, Suppression)
    assert suppressed.rules == ()


def test_an_unknown_service_is_reported_as_misconfigured(sender: Sender) -> None:
    (delivery,) = sender.plan(ALERT, "unknown")
    assert delivery.ref == IncidentRef("pagerduty.trigger", "acme", "unknown", "db-1/disk")
    assert sender.deliver(delivery).kind is OutcomeKind.MISCONFIGURED


@pytest.mark.usefixtures("made_id")
def test_a_new_service_takes_the_name_of_a_removed_one(sender: Sender) -> None:
    without = saved(sender, rows(sender)[0])
    again = saved(without, *rows(without), {"name": "platform", "integration_key": "env:NEW"})
    settings = again.installation.settings
    assert settings.removed_services == ()
    (delivery,) = again.plan(ALERT, "platform")
    assert delivery.ref.destination == "made"
    gone = saved(again, rows(again)[0])
    assert gone.installation.settings.removed_services == ("made", "platform")
    assert refused(gone, "made", "checkout") == []


@pytest.mark.usefixtures("made_id")
def test_a_renamed_service_is_still_paged_by_its_former_names(sender: Sender) -> None:
    new = saved(sender, *rows(sender), {"name": "shop", "integration_key": "env:SHOP"})
    first, second, third = rows(new)
    renamed = saved(new, first, second, {**third, "name": "store"})
    again = saved(renamed, first, second, {**third, "name": "kiosk"})
    kiosk = again.installation.settings.services[2]
    assert (kiosk.name, kiosk.former_names) == ("kiosk", ("shop", "store"))
    assert again.installation.settings.removed_services == ()
    assert refused(again, "shop", "store", "kiosk", "made") == []
    (delivery,) = again.plan(ALERT, "shop", "store", "kiosk", "made")
    assert delivery.ref.destination == "made"
    back = saved(again, first, second, {**third, "name": "shop"})
    assert back.installation.settings.services[2].former_names == ("store", "kiosk")
    gone = saved(again, first, second)
    removed = ("made", "kiosk", "shop", "store")
    assert gone.installation.settings.removed_services == removed


def test_a_former_name_gives_way_to_a_service_of_that_name() -> None:
    before = InstallationSettings(services=(service("a", id="A"), service("b", id="B")))
    after = replace_services(before, (service("b", id="A"), service("a", id="B")))
    assert [each.former_names for each in after.services] == [(), ()]
    taken = replace_services(
        before, (service("c", id="A"), service("d", id="B", former_names=("a", "c", "e")))
    )
    assert [each.former_names for each in taken.services] == [("a",), ("e", "b")]
    assert list(taken.faults()) == []
    found = taken.service("e")
    assert found is not None
    assert found.name == "d"


@pytest.mark.parametrize("name", ["b", "B", "old"])
def test_a_former_name_of_another_service_is_rejected(name: str) -> None:
    services = [
        {"name": "a", "integration_key": "env:A", "former_names": ["fine", name]},
        {"name": "b", "id": "B", "integration_key": "env:B", "former_names": ["old"]},
    ]
    with pytest.raises(SettingsError) as caught:
        structure(InstallationSettings, {"services": services})
    assert f"services[0].former_names[1]: {name!r} also names another service" in [
        str(fault) for fault in caught.value.faults
    ]


# display


@pytest.mark.parametrize(
    ("services", "severity", "reported"),
    [
        (("checkout",), "default", "acme and services checkout with default severity"),
        (
            ("platform", "checkout", "platform"),
            "critical",
            "acme and services platform, checkout with critical severity",
        ),
        (("checkout", "gone", "more"), "info", "acme and services checkout, [removed] with info"),
        (("gone",), "info", "acme and services [removed] with info"),
    ],
)
def test_an_action_is_described_by_current_names(
    sender: Sender, services: tuple[str, ...], severity: str, reported: str
) -> None:
    settings = TriggerSettings(services=services, severity=severity)
    described = sender.action.describe(settings, sender.installation)
    assert described.startswith(f"Send a notification to PagerDuty account {reported}")
    assert sender.action.describe(settings, None) == (
        f"Send a notification to PagerDuty account [removed] and services [removed] with "
        f"{severity} severity"
    )


# probes


def rotating(fake: FakePagerDuty, *keys: str) -> Installation[InstallationSettings]:
    service = {"name": "checkout", "id": "C", "integration_key": list(keys)}
    return PagerDuty().installation("acme", {"base_url": fake.url, "services": [service]})


CHECKOUT = Destination("C", "checkout")


def test_a_probe_tries_every_key_and_opens_nothing(sender: Sender) -> None:
    """A probe resolves an incident that does not exist, with a new key each time."""
    at_both = rotating(sender.fake, *KEYS.values())
    for _ in range(2):
        assert sender.action.probe(CHECKOUT, at_both).delivered
    events = [request.json() for request in sender.fake.requests]
    assert [event["routing_key"] for event in events] == [*KEYS.values()] * 2
    assert {event["event_action"] for event in events} == {"resolve"}
    assert len({event["dedup_key"] for event in events}) == 4
    assert all(set(event) == {"routing_key", "event_action", "dedup_key"} for event in events)
    assert sender.fake.incidents == ()


def test_a_probe_names_the_key_that_fails(sender: Sender) -> None:
    unknown = "unknownunknownunknownunknownunkn"
    outcome = sender.action.probe(CHECKOUT, rotating(sender.fake, KEYS["checkout"], unknown))
    assert outcome.kind is OutcomeKind.MISCONFIGURED
    reported = (
        "400: Invalid routing key; a key of another region, or of an integration for the Events "
        "API v1, looks the same"
    )
    assert outcome.reason == f"key 2 of 2: {reported}"
    outcome = sender.action.probe(CHECKOUT, rotating(sender.fake, unknown))
    assert outcome.reason == reported


@pytest.mark.parametrize(
    "words",
    [
        '{"errors":["Length of \'routing_key\' is incorrect (should be 32 characters)"]}',
        '{"errors":["Invalid routing key","\'payload\' is missing or blank"]}',
    ],
)
def test_a_probe_explains_an_unknown_key(sender: Sender, words: str) -> None:
    sender.fake.misbehave(refusing(words))
    outcome = sender.action.probe(CHECKOUT, rotating(sender.fake, KEYS["checkout"]))
    assert outcome.reason == f"400: {words}"


def test_a_delivery_under_an_unknown_key_shows_pagerdutys_words_only(sender: Sender) -> None:
    sender.fake.misbehave(refusing())
    assert sender.send(Alert("k", "Down")).reason == "400: Invalid routing key"


def test_a_probe_ends_at_the_first_key_that_fails(sender: Sender) -> None:
    sender.fake.misbehave(refusing("no"), times=1)
    outcome = sender.action.probe(CHECKOUT, rotating(sender.fake, *KEYS.values()))
    assert outcome.kind is OutcomeKind.REJECTED
    assert outcome.reason == "key 1 of 2: 400: no"
    assert len(sender.fake.requests) == 1


def test_a_probe_of_an_unknown_service_sends_nothing(sender: Sender) -> None:
    outcome = sender.action.probe(Destination("gone", "gone"), sender.installation)
    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert outcome.reason == "service 'gone' is not in the installation any more"
    outcome = sender.action.probe(
        CHECKOUT, rotating(sender.fake, "env:PD_NOT_SET", KEYS["checkout"])
    )
    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert outcome.reason.startswith("key 1 of 2: service 'checkout' has no key: ")
    assert sender.fake.requests == ()


def test_the_minimal_settings_page_one_service(sender: Sender) -> None:
    settings = sender.action.settings_for(Destination("platform", "Whatever it is called"))
    assert settings == TriggerSettings(services=("platform",))
    assert Trigger().check(settings, sender.installation) == []
    (delivery,) = sender.action.plan(ALERT, settings, sender.installation)
    assert isinstance(delivery, Delivery)
    assert delivery.ref.destination == "platform"
