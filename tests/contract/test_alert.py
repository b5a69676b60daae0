"""Any input with a key and a known status is accepted, and every change is reported."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import json
import math
import pickle
import sys
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostspec import Alert, Fault, FaultyAlertError, Identity, Image, Link, Repair, Severity, Status
from hostspec.alert import parse_json
from hostspec.text import is_blank

UTC = dt.UTC
MOMENT = dt.datetime(2026, 11, 23, 3, 14, tzinfo=UTC)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)

WHOLE = {
    "key": "db-1/disk",
    "status": "firing",
    "severity": "critical",
    "summary": "Disk full on db-1",
    "scope": "tenant",
    "source": "db-1",
    "component": "postgres",
    "group": "storage",
    "class": "disk",
    "started_at": "2026-11-23T03:14:00Z",
    "updated_at": "2026-11-23T04:14:00+01:00",
    "labels": {"team": "data"},
    "details": {"used": 0.98, "nested": {"list": [1, None, True]}},
    "url": "https://host.example/alerts/1",
    "links": [{"href": "https://host.example/runbook", "text": "Runbook"}],
    "images": [{"src": "https://h.example/a.png", "href": "https://h.example", "alt": "graph"}],
}


def read(**fields: object) -> Alert:
    return Alert.read({"key": "k", "summary": "s", "severity": "error"} | fields)


def repairs_of(alert: Alert) -> list[tuple[str, str]]:
    return [(repair.field, repair.reason) for repair in alert.repairs]


def faults_of(document: object) -> list[str]:
    with pytest.raises(FaultyAlertError) as raised:
        Alert.read(document)
    return [str(fault) for fault in raised.value.faults]


# --- the whole -------------------------------------------------------------------------------


def test_complete_alert_needs_no_repair() -> None:
    alert = Alert.read_text(json.dumps(WHOLE))
    assert alert == Alert(
        "db-1/disk",
        "Disk full on db-1",
        status=Status.FIRING,
        severity=Severity.CRITICAL,
        scope="tenant",
        source="db-1",
        component="postgres",
        group="storage",
        class_="disk",
        started_at=MOMENT,
        updated_at=MOMENT,
        labels={"team": "data"},
        details={"used": 0.98, "nested": {"list": (1, None, True)}},
        url="https://host.example/alerts/1",
        links=(Link("https://host.example/runbook", "Runbook"),),
        images=(Image("https://h.example/a.png", "https://h.example", "graph"),),
    )
    assert alert.repairs == ()
    assert alert.class_ == "disk"
    assert alert.identity == Identity("tenant", "db-1/disk")


def test_only_the_key_is_required() -> None:
    alert = Alert.read({"key": "k", "summary": "s"})
    assert alert.status is Status.FIRING
    assert alert.severity is Severity.ERROR
    assert repairs_of(alert) == [("severity", "missing; taken as error")]
    assert (alert.scope, alert.source, alert.component, alert.group, alert.class_) == ("",) * 5
    assert (alert.started_at, alert.updated_at) == (None, None)
    assert (alert.labels, alert.details) == ({}, {})
    assert (alert.url, alert.links, alert.images) == ("", (), ())


@pytest.mark.parametrize("name", sorted(set(WHOLE) - {"key"}))
def test_null_counts_as_absent(name: str) -> None:
    absent = {field: value for field, value in WHOLE.items() if field != name}
    assert Alert.read(WHOLE | {name: None}) == Alert.read(absent)


def test_alerts_compare_by_value() -> None:
    alert = Alert.read(WHOLE | {"odd": [1]})
    assert hash(alert) == hash(Alert.read(WHOLE | {"odd": [1]}))
    assert pickle.loads(pickle.dumps(alert)) == alert
    assert copy.deepcopy(alert) == alert
    assert attrs.evolve(alert) == alert
    assert attrs.evolve(alert, summary="other").summary == "other"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        alert.key = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        alert.details["a"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        alert.labels["a"] = "1"  # type: ignore[index]


# --- faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [None, 5, "text", [], [WHOLE], True])
def test_document_must_be_an_object(document: object) -> None:
    assert faults_of(document) == ["not a JSON object"]


@pytest.mark.parametrize("key", [None, "", " ", "\t\n", "\u200b\u3164"])
def test_key_is_required(key: object) -> None:
    assert faults_of({"key": key}) == ["key: missing or blank; it names the problem"]
    assert faults_of({}) == ["key: missing or blank; it names the problem"]


@pytest.mark.parametrize("status", ["", " \t", "\ufeff"])
def test_blank_status_counts_as_firing(status: str) -> None:
    alert = Alert.read({"key": "k", "summary": "s", "severity": "info", "status": status})

    assert alert.status is Status.FIRING
    assert alert.repairs == (Repair("status", "blank; taken as firing"),)


@pytest.mark.parametrize(
    ("status", "repairs_of"),
    [
        ("open", '"open"'),
        (1, "1"),
        (True, "true"),
        ([], "[]"),
        ("x" * 100, '"' + "x" * 59 + "…"),
        ("\ud800", '"\ufffd"'),
    ],
)
def test_unknown_status_is_rejected(status: object, repairs_of: str) -> None:
    assert faults_of({"key": "k", "status": status}) == [
        f"status: {repairs_of} is unknown; known are firing, acknowledged, resolved"
    ]


def test_all_faults_are_reported_at_once() -> None:
    assert faults_of({"key": " ", "status": "open"}) == [
        "key: missing or blank; it names the problem",
        'status: "open" is unknown; known are firing, acknowledged, resolved',
    ]


@pytest.mark.parametrize("status", [*Status, "FIRING", " Resolved ", "ACKnowledged"])
def test_status_ignores_case_and_blanks(status: str) -> None:
    assert read(status=status).status == Status(status.strip().lower())


# --- severity --------------------------------------------------------------------------------

SYNONYMS = {
    Severity.CRITICAL: "critical CRIT Fatal page",
    Severity.ERROR: "error err high major",
    Severity.WARNING: "warning warn minor",
    Severity.INFO: "info notice low informational",
    Severity.DEBUG: "debug trace",
}


@pytest.mark.parametrize(
    ("word", "severity"),
    [(word, severity) for severity, words in SYNONYMS.items() for word in words.split()],
)
def test_severity_ignores_case_and_blanks(word: str, severity: Severity) -> None:
    for spelled in (word, word.upper(), f"  {word.title()}\n"):
        alert = read(severity=spelled)
        assert alert.severity is severity
        assert alert.repairs == ()


@pytest.mark.parametrize("severity", [None, "", " ", "\u2060"])
def test_missing_severity_becomes_error(severity: object) -> None:
    alert = read(severity=severity)
    assert alert.severity is Severity.ERROR
    assert repairs_of(alert) == [("severity", "missing; taken as error")]


@pytest.mark.parametrize(
    ("severity", "shown"),
    [("loud", '"loud"'), (3, "3"), (True, "true"), ({"a": 1}, '{"a": 1}'), (math.nan, '"NaN"')],
)
def test_unknown_severity_becomes_error(severity: object, shown: str) -> None:
    alert = read(severity=severity)
    assert alert.severity is Severity.ERROR
    assert repairs_of(alert) == [("severity", f"{shown} is unknown; taken as error")]


class Named(enum.Enum):
    PAGE = "critical"
    WARNING = 1
    resolved = 2
    ODD = 3


@pytest.mark.parametrize(
    ("member", "severity"), [(Named.PAGE, Severity.CRITICAL), (Named.WARNING, Severity.WARNING)]
)
def test_severity_may_be_an_enum_member(member: Named, severity: Severity) -> None:
    alert = read(severity=member)
    assert alert.severity is severity
    assert alert.repairs == ()


def test_unknown_enum_member_is_quoted_by_its_value() -> None:
    assert repairs_of(read(severity=Named.ODD)) == [("severity", "3 is unknown; taken as error")]
    assert read(status=Named.resolved).status is Status.RESOLVED
    assert faults_of({"key": "k", "status": Named.ODD}) == [
        "status: 3 is unknown; known are firing, acknowledged, resolved"
    ]


def test_severities_are_ranked() -> None:
    assert [severity.rank for severity in Severity] == [0, 1, 2, 3, 4]
    assert max(Severity, key=lambda severity: severity.rank) is Severity.CRITICAL


# --- texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("summary", [None, "", "  ", "\u200b", "\u2800\u115f"])
def test_missing_summary_becomes_the_key(summary: object) -> None:
    alert = read(summary=summary)
    assert alert.summary == "k"
    assert repairs_of(alert) == [("summary", "missing or blank; replaced by the key")]


@pytest.mark.parametrize(
    "field", ["key", "summary", "scope", "source", "component", "group", "class", "url"]
)
@pytest.mark.parametrize(
    ("value", "text", "reasons"),
    [
        (5, "5", ["a number became text"]),
        (True, "true", ["true or false became text"]),
        (["ä", 1], '["ä", 1]', ["a list became text"]),
        ({"a": None}, '{"a": null}', ["an object became text"]),
        (math.inf, "Infinity", ["Infinity is no JSON number and became text"]),
        (b"bytes", "bytes", ["bytes became text"]),
        ("\ud800", "\ufffd", ["NUL and lone surrogates were replaced"]),
    ],
)
def test_other_values_become_text(field: str, value: object, text: str, reasons: list[str]) -> None:
    alert = read(**{field: value})
    assert getattr(alert, "class_" if field == "class" else field) == text
    assert repairs_of(alert) == [(field, reason) for reason in reasons]


# --- unknown fields and details --------------------------------------------------------------


def test_unknown_fields_move_into_the_details() -> None:
    alert = read(runbook="https://r", class_="x", repairs=[1], details={"used": 1})
    assert alert.details == {"used": 1, "runbook": "https://r", "class_": "x", "repairs": (1,)}
    moved = "not a field of an alert; moved into its details"
    assert repairs_of(alert) == [("runbook", moved), ("class_", moved), ("repairs", moved)]


def test_moved_field_never_overwrites_a_detail() -> None:
    alert = read(x=1, **{"alert.x": 2}, details={"x": 3, "alert.x": 4, "alert.alert.x": 5})
    assert alert.details == {
        "x": 3,
        "alert.x": 4,
        "alert.alert.x": 5,
        "alert.x (2)": 1,
        "alert.alert.x (2)": 2,
    }


def test_moved_field_is_normalised() -> None:
    alert = Alert.read({"key": "k", "summary": "s", "severity": "info", "\ud800": math.nan, 5: {1}})
    assert alert.details == {"\ufffd": "NaN", "5": (1,)}
    assert {repair.field for repair in alert.repairs} == {
        "\ufffd",
        "5",
        "details",
        *(("details.\ufffd", "details.5")),
    }


@pytest.mark.parametrize(
    ("details", "kind"), [("text", "text"), ([1], "a list"), (False, "true or false")]
)
@pytest.mark.parametrize("unknown", [{}, {"odd": 1}])
def test_details_of_another_type_are_kept(
    details: object, kind: str, unknown: dict[str, object]
) -> None:
    alert = read(details=details, **unknown)
    kept = tuple(details) if isinstance(details, list) else details
    assert alert.details == {"details": kept} | unknown
    assert repairs_of(alert)[0] == (
        "details",
        f"{kind} where an object belongs; kept under 'details'",
    )


def test_empty_details_are_accepted() -> None:
    assert Alert("k", "s", severity="info", details=None).details == {}


# --- labels ----------------------------------------------------------------------------------


def test_labels_become_texts() -> None:
    alert = read(labels={"a": "x", "n": 1, "t": True, "z": None, "l": [1]})
    assert alert.labels == {"a": "x", "n": "1", "t": "true", "z": "", "l": "[1]"}
    assert repairs_of(alert) == [
        ("labels.n", "a number became text"),
        ("labels.t", "true or false became text"),
        ("labels.z", "null became text"),
        ("labels.l", "a list became text"),
    ]


def test_labels_of_another_type_move_into_the_details() -> None:
    alert = read(labels=["a"], details={"labels": 1, "alert.labels": 2})
    assert alert.labels == {}
    assert alert.details == {"labels": 1, "alert.labels": 2, "alert.labels (2)": ("a",)}
    assert repairs_of(alert) == [("labels", "a list where an object belongs; kept in the details")]


# --- links and images ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("links", "read_as", "repairs"),
    [
        ([], (), []),
        ([{"href": "h"}], (Link("h"),), []),
        ([{"href": "h", "text": None}], (Link("h"),), []),
        (["h"], (Link("h"),), [("links[0]", "text where an object belongs; taken as its href")]),
        (
            "h",
            (Link("h"),),
            [
                ("links", "text where a list belongs; taken as a list of one"),
                ("links[0]", "text where an object belongs; taken as its href"),
            ],
        ),
        (
            {"href": "h", "text": "t"},
            (Link("h", "t"),),
            [("links", "an object where a list belongs; taken as a list of one")],
        ),
        (
            [{"text": "t"}, {"href": " "}, {"href": "h"}],
            (Link("h"),),
            [
                ("links[0]", 'has no href; dropped: {"text": "t"}'),
                ("links[1]", 'has no href; dropped: {"href": " "}'),
            ],
        ),
        (
            [{"href": 5, "colour": 1, 7: 2}],
            (Link("5"),),
            [
                ("links[0]", "the key '7' (int) became text"),
                ("links[0].href", "a number became text"),
                ("links[0].colour", "unknown; dropped"),
                ("links[0].7", "unknown; dropped"),
            ],
        ),
        (
            [None, 5, ["h"]],
            (),
            [
                ("links[0]", "null where an object belongs; dropped"),
                ("links[1]", "a number where an object belongs; dropped"),
                ("links[2]", "a list where an object belongs; dropped"),
            ],
        ),
        (5, (), [("links", "a number where a list belongs; dropped")]),
        (b"h", (), [("links", "bytes where a list belongs; dropped")]),
        ({"h"}, (), [("links", "a set where a list belongs; dropped")]),
    ],
)
def test_links_are_read(
    links: object, read_as: tuple[Link, ...], repairs: list[tuple[str, str]]
) -> None:
    alert = read(links=links)
    assert alert.links == read_as
    assert repairs_of(alert) == repairs


def test_images_are_read() -> None:
    alert = read(images=["s", {"src": "s", "href": "h", "alt": "a"}, {"href": "h"}])
    assert alert.images == (Image("s"), Image("s", "h", "a"))
    assert repairs_of(alert) == [
        ("images[0]", "text where an object belongs; taken as its src"),
        ("images[2]", 'has no src; dropped: {"href": "h"}'),
    ]


def test_credentials_in_addresses_are_removed() -> None:
    secret = "https://user:hunter2@host.example/x?a=b@c"
    alert = read(
        url=secret, links=[secret], images=[{"src": "s", "href": secret}, {"href": secret}]
    )
    assert alert.url == alert.links[0].href == alert.images[0].href
    assert alert.url == "https://host.example/x?a=b@c"
    assert "hunter2" not in str(alert)
    removed = "the user name and password in the URL were removed"
    assert repairs_of(alert)[0] == ("url", removed)
    assert ("links[0].href", removed) in repairs_of(alert)


def test_links_and_images_may_be_objects_of_their_classes() -> None:
    one = Link("h\ud800")
    alert = Alert("k", "s", severity="info", links=[one], images=Image("s"))  # type: ignore[arg-type]
    assert alert.links == (Link("h\ufffd"),)
    assert alert.images == (Image("s"),)
    assert repairs_of(alert) == [
        ("links[0].href", "NUL and lone surrogates were replaced"),
        ("images", "a Image where a list belongs; taken as a list of one"),
    ]
    assert Alert("k", "s", links=None).links == ()  # type: ignore[arg-type]


# --- times -----------------------------------------------------------------------------------

NO_ZONE = "has no time zone; taken as UTC"


class Odd(dt.tzinfo):
    """A time zone without an offset."""


class Unset(dt.datetime):
    """An unset time of a library."""

    def isoformat(self, *_args: Any) -> str:
        return "NaT"


class Extended(dt.datetime):
    pass


@pytest.mark.parametrize(
    ("given", "moment", "reasons"),
    [
        ("2026-11-23T03:14:00Z", MOMENT, []),
        (" 2026-11-23T03:14:00z ", MOMENT, []),
        ("2026-11-23T04:14:00+01:00", MOMENT, []),
        ("2026-11-22T22:14:00-0500", MOMENT, []),
        ("20261123T031400Z", MOMENT, []),
        ("2026-11-23 03:14:00+00", MOMENT, []),
        ("2026-11-23T03:14:00", MOMENT, [NO_ZONE]),
        ("2026-11-23", MOMENT.replace(hour=0, minute=0), [NO_ZONE]),
        ("20261123", MOMENT.replace(hour=0, minute=0), [NO_ZONE]),
        # a datetime holds microseconds; a responder needs no finer time
        ("2026-11-23T03:14:00.123456789Z", MOMENT.replace(microsecond=123456), []),
        ("2026-11-23 04:14:00.088827563 +0100 CET", MOMENT.replace(microsecond=88827), []),
        ("2026-11-23 03:14:00 +0000 UTC", MOMENT, []),
        ("2026-11-23 03:14:00 +0000 UTC m=+0.001", MOMENT, []),
        ("2026-11-23 06:14:00.5 +0300 +03 m=-1.5", MOMENT.replace(microsecond=500_000), []),
        ("2026-11-22 22:14:00 -0500", MOMENT, []),
        ("9999-12-31T23:59:59.999999Z", dt.datetime.max.replace(tzinfo=UTC), []),
        (MOMENT, MOMENT, []),
        (MOMENT.astimezone(dt.timezone(dt.timedelta(hours=-5))), MOMENT, []),
        (MOMENT.replace(tzinfo=None), MOMENT, [NO_ZONE]),
        (dt.date(2026, 11, 23), MOMENT.replace(hour=0, minute=0), [NO_ZONE]),
        (Extended(2026, 11, 23, 3, 14, tzinfo=UTC), MOMENT, []),
        (1, EPOCH.replace(second=1), ["the number 1 was read as seconds since 1970"]),
        ("1970-01-01T00:00:01Z", EPOCH.replace(second=1), []),
        (1795403640, MOMENT, ["the number 1795403640 was read as seconds since 1970"]),
        (
            1795403640.5,
            MOMENT.replace(microsecond=500_000),
            ["the number 1795403640.5 was read as seconds since 1970"],
        ),
        (1795403640000, MOMENT, ["the number 1795403640000 was read as milliseconds since 1970"]),
        ("1795403640", MOMENT, ["the number 1795403640 was read as seconds since 1970"]),
        ("1795403640000", MOMENT, ["the number 1795403640000 was read as milliseconds since 1970"]),
        # read as ISO 8601, Python would take this for January 10th, 1801
        (
            "1801011012345",
            dt.datetime(2027, 1, 27, 0, 50, 12, 345000, tzinfo=UTC),
            ["the number 1801011012345 was read as milliseconds since 1970"],
        ),
        (None, None, []),
        ("", None, []),
        ("  ", None, []),
        ("\u200b", None, []),
    ],
    ids=repr,
)
@pytest.mark.parametrize("field", ["started_at", "updated_at"])
def test_times_are_read(
    field: str, given: object, moment: dt.datetime | None, reasons: list[str]
) -> None:
    alert = read(**{field: given})
    found = getattr(alert, field)
    assert found == moment
    if moment is not None:
        assert type(found) is dt.datetime
        assert found.tzinfo is UTC
    assert repairs_of(alert) == [(field, reason) for reason in reasons]
    assert alert.details == {}


@pytest.mark.parametrize(
    "given",
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00",
        "0001-01-01T00:00:00+01:00",
        "0001-01-01T00:53:28+00:53:28",
        "0000-12-31T19:03:58-04:56",
        "0000-12-31T18:00:00-06:00",
        "0001-01-01 00:00:00 +0000 UTC",
        "0000-12-31 19:03:58 -0456 LMT",
        "00010101T000000Z",
        dt.datetime(1, 1, 1),  # noqa: DTZ001
        dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=9))),
        dt.date.min,
        -62135596800,
        -62135596800000,
        0,
        0.0,
        "0",
        " 0.0 ",
        "-0",
        "000000000",
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00",
        "1970-01-01T01:00:00+01:00",
        "1970-01-01 00:00:00 +0000 UTC",
        EPOCH,
    ],
    ids=repr,
)
@pytest.mark.parametrize("field", ["started_at", "updated_at"])
def test_unset_times_become_none(field: str, given: object) -> None:
    """Go's zero time in any zone, the smallest time of Python and .NET, and the epoch."""
    alert = read(**{field: given})
    assert getattr(alert, field) is None
    assert alert.details == {}
    ((repaired, reason),) = repairs_of(alert)
    assert repaired == field
    assert reason.endswith(" is a time that was never set; taken as missing")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("yesterday", "yesterday"),
        ("2026-13-01", "2026-13-01"),
        ("9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59-01:00"),
        ("012345678901", "012345678901"),
        (True, True),
        ([2026], (2026,)),
        (10**18, 10**18),
        (-(10**18), -(10**18)),
        (10**400, hex(10**400)),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (dt.time(3, 14), "03:14:00"),
        (dt.datetime(2026, 11, 23, tzinfo=Odd()), "(datetime)"),
        (Unset(2026, 11, 23), "NaT"),
        ("9" * 5000, "9" * 5000),
    ],
    ids=lambda value: repr(value)[:20] if value != 10**400 else "10**400",
)
def test_unreadable_time_moves_into_the_details(given: object, kept: object) -> None:
    alert = read(started_at=given, details={"started_at": 1, "alert.started_at": 2})
    assert alert.started_at is None
    assert alert.details == {"started_at": 1, "alert.started_at": 2, "alert.started_at (2)": kept}
    field, reason = repairs_of(alert)[-1]
    assert field == "started_at"
    assert reason.endswith(" is not an ISO 8601 time; kept in the details")
    assert len(reason) < 120


# --- text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "garbage",
        "{",
        '{"key": "k"',
        '{"key": "k"} {"key": "l"}',
        "{'key': 'k'}",
        '{"key": undefined}',
        '"key"',
        "[]",
        "null",
        "5",
        "\x00",
        "\ufeff{}",
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"key": "k", "details": ' + "[" * 100_000 + "}",
    ],
    ids=lambda text: text[:30],
)
def test_text_that_is_not_json_is_rejected(text: str) -> None:
    with pytest.raises(FaultyAlertError) as raised:
        Alert.read_text(text)
    (fault,) = raised.value.faults
    assert fault.path == ""
    assert fault.reason.startswith("not a JSON object")


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_deeply_nested_alert_is_accepted(opening: str) -> None:
    levels = 50_000
    closing = "}" if opening.startswith("{") else "]"
    deep = opening * levels + '"\\"[{"' + closing * levels
    alert = Alert.read_text(
        f'{{"key": "k", "summary": "s", "severity": "info", "details": {deep}, "url": "u"}}'
    )
    assert (alert.key, alert.url) == ("k", "u")
    assert "(nested too deeply)" in json.dumps(alert.details)
    assert "nesting deeper than 64 levels was cut" in [reason for _, reason in repairs_of(alert)]


def test_cutting_depths_keeps_shallow_values() -> None:
    deep = "[" * 200 + "1" + "]" * 200
    for text in (json.dumps(WHOLE), '{"a": "}][{\\"", "b": [1, {}]}', "[]", '"["'):
        cut = "[" * 126 + "null" + "]" * 126
        assert parse_json(f"[{text}, {deep}, 2]") == json.loads(f"[{text}, {cut}, 2]")
    for text in ('"[', "]]"):
        with pytest.raises(json.JSONDecodeError):
            parse_json(f"[{deep}, 2{text}")


@pytest.mark.parametrize("digits", [640, 641, 5000])
def test_alert_with_a_long_numeral_is_accepted(digits: int) -> None:
    """Python refuses to read integers beyond a limit that may be set as low as 640 digits."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        alert = Alert.read_text(
            '{"key": "k", "summary": "s", "severity": "info", "details": {"n": %s}}'
            % ("7" * digits)
        )
    finally:
        sys.set_int_max_str_digits(before)
    (repair,) = alert.repairs
    assert repair.field == "details.n"
    number = alert.details["n"]
    assert isinstance(number, str)
    assert number == "7" * digits or int(number, 16) == int("7" * digits)


def test_numbers_that_json_lacks_are_reported() -> None:
    alert = Alert.read_text('{"key": "k", "details": {"a": NaN, "b": 1e999, "c": -Infinity}}')
    assert alert.details == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}
    assert {"details.a", "details.b", "details.c"} <= {repair.field for repair in alert.repairs}


# --- properties ------------------------------------------------------------------------------

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["firing", "warn", "2026-11-23T03:14:00", "1795403640", 1795403640000]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["href", "src", "alt", "text", "a", "\ud800"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)
_FIELDS = (
    *("summary", "severity", "scope", "source", "component", "group", "class"),
    *("started_at", "updated_at", "labels", "details", "url", "links", "images"),
)
_UNKNOWN = ("odd", "alert.odd", "class_", "repairs", "\ud800", "")
_objects = st.fixed_dictionaries({}, optional=dict.fromkeys((*_FIELDS, *_UNKNOWN), _json))


@given(
    _objects,
    st.text(min_size=1).filter(lambda text: not is_blank(text)) | st.integers() | st.booleans(),
    st.sampled_from(Status),
)
def test_any_object_with_a_key_and_a_known_status_is_accepted(
    fields: dict[str, object], key: object, status: Status
) -> None:
    alert = Alert.read_text(json.dumps(fields | {"key": key, "status": status}))
    assert alert.key.strip()
    assert alert.summary.strip()
    assert alert.status is status
    assert isinstance(alert.severity, Severity)
    json.dumps([alert.details, alert.labels, repairs_of(alert)], allow_nan=False).encode()
    hash(alert)
    # an alert that is read again needs no further repair
    again = attrs.evolve(alert)
    assert again == alert


@given(_objects)
def test_every_change_is_reported(fields: dict[str, Any]) -> None:
    """Each value is in the alert unchanged, or a repair reports the change."""
    alert = Alert.read({"key": "k"} | fields)
    reported = [repair.field for repair in alert.repairs]
    for name, value in fields.items():
        told_of = any(
            field == name or field.startswith((f"{name}.", f"{name}[")) for field in reported
        )
        if name in _UNKNOWN:
            assert told_of or name == "\ud800"
        elif value is not None:
            assert told_of or _stands(name, value, alert), (name, value)


def _stands(name: str, value: Any, alert: Alert) -> bool:
    held = _plain(attrs.asdict(alert)["class_" if name == "class" else name])
    if name == "severity":
        return Severity.understand(value) is held
    if name in ("started_at", "updated_at"):
        return held is None and is_blank(value)  # all others become UTC, with a repair
    if name == "details":  # to which unknown fields may have come
        return value.items() <= held.items()
    if name in ("links", "images"):  # in which an empty field is as good as none
        value = [{key: text for key, text in entry.items() if text} for entry in value]
        held = [{key: text for key, text in entry.items() if text} for entry in held]
    return bool(held == value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


@given(st.text(st.characters()) | _json.map(json.dumps))
def test_any_text_is_accepted_or_rejected(text: str) -> None:
    try:
        understood = bool(Alert.read_text(text).key.strip())
    except FaultyAlertError as error:
        understood = all(isinstance(fault, Fault) for fault in error.faults)
    assert understood


def test_earlier_repairs_stay_first() -> None:
    before = Repair("x", "was odd")
    assert Alert("k", "", severity="info", repairs=[before]).repairs[0] == before


@pytest.mark.parametrize("status", ["acknowledged", "resolved"])
def test_only_repairs_of_sent_fields_are_reported(status: str) -> None:
    """An acknowledge or resolve only identifies its problem."""
    given = {"key": 5, "severity": "loud", "links": ["x"], "odd": 1, "updated_at": "2026-11-23"}
    alert = Alert.read(given | {"status": status})
    assert [repair.field for repair in alert.reported_repairs] == ["key", "updated_at"]
    assert {"severity", "summary", "links[0]", "odd"} <= {repair.field for repair in alert.repairs}
    firing = Alert.read(given)
    assert firing.reported_repairs == firing.repairs
