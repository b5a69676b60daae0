"""The event as it is sent."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

import pytest

from hostspec import Alert, Identity, Repair
from pagerduty_plugin.dedup_keys import dedup_key
from pagerduty_plugin.routing import routing_key_fault

from .conftest import Sender
from .wire import KEYS

FULL = Alert(
    "db-1/disk",
    "Disk full on db-1",
    severity="critical",
    source="db-1",
    component="postgres",
    group="storage",
    class_="disk",
    started_at="2026-11-23T04:14:00+01:00",
    labels={"team": "data"},
    details={"used": 0.98, "volumes": ["a", {"b": None}]},
    url="https://host.example/alerts/1",
    links=[{"href": "https://wiki.example/disk", "text": "Runbook"}, {"href": "https://x.example"}],
    images=[{"src": "https://g.example/1.png", "href": "https://g.example", "alt": "graph"}],
)


def reported(repairs: tuple[Repair, ...]) -> dict[str, str]:
    return {repair.field: repair.reason for repair in repairs}


def test_a_whole_alert_is_sent_byte_for_byte(sender: Sender) -> None:
    assert sender.send(FULL).delivered
    assert sender.body == (
        b'{"routing_key":"0123456789abcdef0123456789abcdef","event_action":"trigger",'
        b'"dedup_key":"db-1/disk","payload":{"summary":"Disk full on db-1","source":"db-1",'
        b'"severity":"critical","timestamp":"2026-11-23T03:14:00.000Z","component":"postgres",'
        b'"group":"storage","class":"disk","custom_details":{"used":0.98,'
        b'"volumes":["a",{"b":null}],"labels":{"team":"data"}}},'
        b'"client_url":"https://host.example/alerts/1",'
        b'"links":[{"href":"https://wiki.example/disk","text":"Runbook"},'
        b'{"href":"https://x.example"}],'
        b'"images":[{"src":"https://g.example/1.png","href":"https://g.example","alt":"graph"}]}'
    )


def test_a_minimal_alert_has_no_empty_field(sender: Sender) -> None:
    assert sender.send(Alert("k", "Down", severity="info")).delivered
    assert sender.event == {
        "routing_key": KEYS["checkout"],
        "event_action": "trigger",
        "dedup_key": "k",
        "payload": {"summary": "Down", "source": "unknown", "severity": "info"},
    }


def test_blank_optional_fields_are_left_out(sender: Sender) -> None:
    alert = Alert(
        "k", "Down", source="s", component=" ", group="\t", class_="\n", url=" ",
        links=[{"href": "https://x.example", "text": " "}],
        images=[{"src": "https://x.example/1", "href": "", "alt": " "}],
    )  # fmt: skip
    assert sender.send(alert).delivered
    assert set(sender.payload) == {"summary", "source", "severity"}
    assert sender.event["links"] == [{"href": "https://x.example"}]
    assert sender.event["images"] == [{"src": "https://x.example/1"}]
    assert "client_url" not in sender.event


@pytest.mark.parametrize("status", ["acknowledged", "resolved"])
def test_follow_ups_carry_key_action_and_dedup_key_only(sender: Sender, status: str) -> None:
    alert = Alert.read(
        {
            "key": "db-1/disk",
            "status": status,
            "summary": "s" * 2000,
            "severity": "critical",
            "details": {"a": 1},
            "links": ["https://x.example"],
        }
    )
    late = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    outcome = sender.send(
        alert, attempt=3, coalesced=2, accepted_at=late, now=late + dt.timedelta(hours=1)
    )
    assert outcome.delivered
    action = {"acknowledged": b"acknowledge", "resolved": b"resolve"}[status]
    assert sender.body == (
        b'{"routing_key":"0123456789abcdef0123456789abcdef","event_action":"%s",'
        b'"dedup_key":"db-1/disk"}' % action
    )


def test_text_is_sent_as_utf_8_and_not_escaped(sender: Sender) -> None:
    assert sender.send(Alert("k", "Störung 🔥", details={"größe": "12 µs"})).delivered
    assert '"summary":"Störung 🔥"'.encode() in sender.body
    assert '"größe":"12 µs"'.encode() in sender.body


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("debug", "info"),
        ("info", "info"),
        ("warning", "warning"),
        ("error", "error"),
        ("critical", "critical"),
        (" CRITICAL ", "critical"),
        ("page", "critical"),
        ("nonsense", "error"),
        (None, "error"),
    ],
)
def test_severities_become_one_of_pagerdutys_four(
    sender: Sender, given: str | None, sent: str
) -> None:
    (delivery,) = sender.plan(Alert("k", "Down", severity=given))
    assert delivery.severity == sent
    assert sender.deliver(delivery).delivered
    assert sender.payload["severity"] == sent


@pytest.mark.parametrize("severity", ["critical", "error", "warning", "info"])
def test_a_rules_severity_overrides_the_alerts(sender: Sender, severity: str) -> None:
    (delivery,) = sender.plan(Alert("k", "Down", severity="debug"), severity=severity)
    assert delivery.severity == severity
    assert sender.deliver(delivery).delivered
    assert sender.payload["severity"] == severity


@pytest.mark.parametrize(
    ("started_at", "sent"),
    [
        ("2026-11-23T03:14:00Z", "2026-11-23T03:14:00.000Z"),
        ("2026-11-23T03:14:00.123456-08:30", "2026-11-23T11:44:00.123Z"),
        (dt.datetime(2, 1, 2, tzinfo=dt.UTC), "0002-01-02T00:00:00.000Z"),
        (dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC), "9999-12-31T23:59:59.000Z"),
    ],
)
def test_the_start_is_sent_in_utc(sender: Sender, started_at: Any, sent: str) -> None:
    assert sender.send(Alert("k", "Down", started_at=started_at)).delivered
    assert sender.payload["timestamp"] == sent


@pytest.mark.parametrize(
    ("source", "component", "sent"),
    [("", "postgres", "postgres"), (" \u3000", "postgres", "postgres"), ("", " ", "unknown")],
)
def test_a_blank_source_is_replaced(sender: Sender, source: str, component: str, sent: str) -> None:
    alert = Alert("k", "Down", severity="info", source=source, component=component)
    (delivery,) = sender.plan(alert)
    assert sender.deliver(delivery).delivered
    assert sender.payload["source"] == sent
    assert reported(delivery.repairs) == {
        "source": f"missing or blank, PagerDuty needs one; {sent!r} is used instead"
    }


def test_labels_move_a_detail_of_the_same_name(sender: Sender) -> None:
    alert = Alert(
        "k", "Down", severity="info", source="s", labels={"team": "data"},
        details={"labels": [1], "details.labels": 2, "_delivery": 3, "_truncated": {"x": 4}},
    )  # fmt: skip
    (delivery,) = sender.plan(alert)
    assert sender.deliver(delivery, attempt=2).delivered
    assert sender.payload["custom_details"] == {
        "labels": {"team": "data"},
        "details.details.labels": [1],
        "details.labels": 2,
        "details._delivery": 3,
        "details._truncated": {"x": 4},
        "_delivery": {"attempts": 2},
    }
    assert reported(delivery.repairs) == {
        "details.labels": "the name is taken; moved to 'details.details.labels'",
        "details._delivery": "the name is taken; moved to 'details._delivery'",
        "details._truncated": "the name is taken; moved to 'details._truncated'",
    }


def test_a_detail_named_labels_stays_where_an_alert_has_no_labels(sender: Sender) -> None:
    assert sender.send(Alert("k", "Down", details={"labels": [1]})).delivered
    assert sender.payload["custom_details"] == {"labels": [1]}


def test_images_that_are_not_https_become_links(sender: Sender) -> None:
    alert = Alert(
        "k", "Down", severity="info", source="s", links=["https://first.example"],
        images=[
            {"src": "http://g.example/1.png", "alt": "graph"},
            {"src": " HTTPS://g.example/2.png "},
        ],
    )  # fmt: skip
    (delivery,) = sender.plan(alert)
    assert sender.deliver(delivery).delivered
    assert sender.event["links"] == [
        {"href": "https://first.example"},
        {"href": "http://g.example/1.png", "text": "graph"},
    ]
    assert sender.event["images"] == [{"src": "https://g.example/2.png"}]
    assert [r.field for r in delivery.repairs] == ["links[0]", "images[0]"]


ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
SPLIT = {
    "plain": ("x" * 1022, "yzz", "y"),
    "at the limit": ("x" * 1021, "yyy", "yyy"),
    "combining mark": ("x" * 1022, "e\u0301zz", ""),
    "two marks": ("x" * 1021, "e\u0301\u0302zz", ""),
    "variation selector": ("x" * 1022, "☃\ufe0fzz", ""),
    "joined emoji": ("x" * 1019, "👩\u200d👩\u200d👧\u200d👦zz", ""),
    "skin tone": ("x" * 1022, "👍🏽zz", ""),
    "flag": ("x" * 1022, "🇩🇪zz", ""),
    "between flags": ("x" * 1021, "🇩🇪🇫🇷zz", "🇩🇪"),
    "second flag": ("x" * 1020, "🇩🇪🇫🇷zz", "🇩🇪"),
    "regional flag": (
        "x" * 1019,
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007fz",
        "",
    ),
    "korean syllable": ("x" * 1021, "\u1112\u1161\u11abzz", ""),
    "lone indicator": ("x" * 1022, "🇩zzz", "🇩"),
}


@pytest.mark.parametrize("case", SPLIT)
def test_an_over_long_summary_is_cut_between_characters(sender: Sender, case: str) -> None:
    before, around, kept = SPLIT[case]
    summary = before + around
    (delivery,) = sender.plan(Alert("k", summary, severity="info", source="s"))
    assert sender.deliver(delivery).delivered
    if len(summary) <= 1024:
        assert sender.payload["summary"] == summary
        assert delivery.repairs == ()
    else:
        assert sender.payload["summary"] == before + kept + "…"
        reason = f"{len(summary)} characters, PagerDuty takes 1024; cut"
        assert reported(delivery.repairs) == {"summary": reason}


def test_many_combining_marks_are_cut_within_the_limit(sender: Sender) -> None:
    """The cut steps back a limited number of characters, so that some summary is left."""
    assert sender.send(Alert("k", "x" + "\u0301" * 5000)).delivered
    assert sender.payload["summary"] == "x" + "\u0301" * 1022 + "…"


def test_a_dedup_key_is_the_alerts_key_up_to_255_characters(sender: Sender) -> None:
    key = 'ü/ "\\\n🔥' * 36 + "end"
    assert len(key) == 255
    (delivery,) = sender.plan(Alert(key, "Down", severity="info", source="s"))
    assert delivery.repairs == ()
    assert sender.deliver(delivery).delivered
    assert sender.event["dedup_key"] == key


def test_a_longer_key_keeps_its_beginning_and_ends_in_a_hash(sender: Sender) -> None:
    key = "k" * 200 + "x" * 56
    sent = []
    for status in ("firing", "acknowledged", "resolved"):
        (delivery,) = sender.plan(Alert(key, "Down", severity="info", source="s", status=status))
        assert sender.deliver(delivery).delivered
        sent.append(sender.event["dedup_key"])
        reason = "256 characters, PagerDuty takes 255; its end became a hash"
        assert reported(delivery.repairs) == {"key": reason}
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert sent == ["k" * 190 + "…" + digest] * 3
    (incident,) = sender.fake.incidents
    assert incident.state == "resolved"


def test_no_two_identities_share_a_dedup_key() -> None:
    identities = [
        Identity("", "a"),
        Identity("a", "b/c"),
        Identity("a/b", "c"),
        Identity("a%2Fb", "c"),
        Identity("x" * 300, "k"),
        Identity("x" * 300, "l"),
        Identity("", "k" * 300),
        Identity("", "k" * 301),
    ]
    keys = [dedup_key(each)[0] for each in identities]
    assert len(set(keys)) == len(keys)
    assert all(len(key) <= 255 for key in keys)


def test_a_scope_precedes_the_key(sender: Sender) -> None:
    assert sender.send(Alert("disk", "Down", scope="eu/acme 100%")).delivered
    assert sender.event["dedup_key"] == "eu%2Facme 100%25/disk"


NOW = dt.datetime(2026, 11, 23, 3, 15, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("context", "marks"),
    [
        ({}, None),
        ({"now": NOW}, None),
        ({"accepted_at": NOW}, None),
        ({"now": NOW, "accepted_at": NOW - dt.timedelta(seconds=29.9)}, None),
        ({"now": NOW, "accepted_at": NOW + dt.timedelta(hours=1)}, None),
        ({"now": NOW, "accepted_at": NOW - dt.timedelta(seconds=30)}, {"delayed_by": "30 s"}),
        ({"attempt": 2}, {"attempts": 2}),
        ({"coalesced": 7}, {"coalesced": 7}),
        (
            {
                "now": NOW,
                "accepted_at": NOW - dt.timedelta(days=2, seconds=0.9),
                "attempt": 40,
                "coalesced": 3,
            },
            {"delayed_by": "172800 s", "attempts": 40, "coalesced": 3},
        ),
    ],
)
@pytest.mark.parametrize("details", [{}, {"used": 0.98}])
def test_a_trigger_reports_delay_attempts_and_coalesced(
    sender: Sender, context: dict[str, Any], marks: object, details: dict[str, object]
) -> None:
    assert sender.send(Alert("k", "Down", details=details), **context).delivered
    expected = {**details, **({"_delivery": marks} if marks else {})}
    assert sender.payload.get("custom_details", {}) == expected


def test_the_delivery_report_does_not_change_the_planned_message(sender: Sender) -> None:
    (delivery,) = sender.plan(Alert("k", "Down", details={"a": 1}))
    before = json.dumps(delivery.message)
    sender.deliver(delivery, attempt=2)
    assert json.dumps(delivery.message) == before
    sender.deliver(delivery)
    assert "_delivery" not in sender.payload["custom_details"]


@pytest.mark.parametrize("key", KEYS.values())
def test_integration_keys_are_accepted(key: str) -> None:
    assert routing_key_fault(key) is None


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("u+abcdefghijklmno_-x", "got 20 characters, as a REST API key has"),
        ("x" * 31, "got 31 characters"),
        ("x" * 31 + "-", "got 32 characters, not all of them letters and digits"),
        ("x" * 31 + "ü", "got 32 characters, not all of them letters and digits"),
        ("x" * 31 + "٣", "got 32 characters, not all of them letters and digits"),
        ("x" * 32 + "\n", "got 33 characters"),
        ("pdus+_0XBPWQQ_aaaaaaaa", "got an OAuth token of PagerDuty"),
        ("pdeu+_0XBPWQQ_aaaaaa", "got an OAuth token of PagerDuty"),
        ("https://events.pagerduty.com/integration/x/enqueue", "got a URL"),
        ("", "got 0 characters"),
        ('"' + "x" * 32, 'got the quote " (U+0022); remove it'),
        ("x" * 31 + "\u200b", "got the invisible character U+200B; remove it"),
    ],
)
def test_other_texts_are_rejected_as_keys(key: str, reason: str) -> None:
    fault = routing_key_fault(key)
    assert fault is not None
    assert fault.endswith(reason) or reason in fault
    assert not key or key not in fault


@pytest.mark.parametrize("status", ["acknowledged", "resolved"])
def test_a_follow_up_reports_the_repairs_of_its_own_fields_only(
    sender: Sender, status: str
) -> None:
    (delivery,) = sender.plan(Alert("k", status=status, links=["x"]))
    assert delivery.repairs == ()
    (delivery,) = sender.plan(Alert("k" * 300, status=status))
    assert [repair.field for repair in delivery.repairs] == ["key"]
