"""The documented limits and error texts: exact bodies of responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pagerduty_plugin.testing import rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from pagerduty_plugin.testing import FakePagerDuty

    Make = Callable[..., dict[str, Any]]

SEVERITY = (
    "'payload.severity' is invalid (must be one of the following: "
    "'critical', 'warning', 'error' or 'info')"
)
ACTION = (
    "'event_action' is invalid (must be one of the following: "
    "'trigger', 'acknowledge' or 'resolve')"
)
TIMESTAMP = "'payload.timestamp' is invalid (must be an ISO 8601 date and time with its offset)"


def without(event: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an event without one of its members."""
    return {each: value for each, value in event.items() if each != name}


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"routing_key": None}, ["'routing_key' is missing or blank"]),
        ({"routing_key": 7}, ["'routing_key' must be a string"]),
        (
            {"routing_key": "a" * 31},
            ["Length of 'routing_key' is incorrect (should be 32 characters)"],
        ),
        (
            {"routing_key": "a" * 33},
            ["Length of 'routing_key' is incorrect (should be 32 characters)"],
        ),
        (
            {"routing_key": "a" * 31 + "+"},
            ["'routing_key' cannot contain non-alphanumeric characters."],
        ),
        (
            {"routing_key": "é" * 32},
            ["'routing_key' cannot contain non-alphanumeric characters."],
        ),
        (
            {"routing_key": "u+_-"},
            [
                "Length of 'routing_key' is incorrect (should be 32 characters)",
                "'routing_key' cannot contain non-alphanumeric characters.",
            ],
        ),
        ({"event_action": ""}, ["'event_action' is missing or blank"]),
        ({"event_action": "Trigger"}, [ACTION]),
        ({"event_action": ["trigger"]}, ["'event_action' must be a string"]),
        ({"dedup_key": None}, ["'dedup_key' is missing or blank"]),
        ({"dedup_key": ""}, ["'dedup_key' is missing or blank"]),
        ({"dedup_key": 1}, ["'dedup_key' must be a string"]),
        (
            {"dedup_key": "k" * 256},
            ["'dedup_key' is too long (maiximum is 255 characters)"],
        ),
        ({"payload": {"summary": " \n"}}, ["'payload.summary' is missing or blank"]),
        (
            {"payload": {"summary": "s" * 1025}},
            ["'summary' is too long (maiximum is 1024 characters)"],
        ),
        ({"payload": {"source": None}}, ["'payload.source' is missing or blank"]),
        ({"payload": {"source": {}}}, ["'payload.source' must be a string"]),
        ({"payload": {"severity": ""}}, ["'payload.severity' is missing or blank"]),
        ({"payload": {"severity": "Critical"}}, [SEVERITY]),
        ({"payload": {"severity": "page"}}, [SEVERITY]),
        ({"payload": {"component": None}}, ["'payload.component' is missing or blank"]),
        ({"payload": {"group": ""}}, ["'payload.group' is missing or blank"]),
        ({"payload": {"class": 1}}, ["'payload.class' must be a string"]),
        ({"payload": {"timestamp": None}}, [TIMESTAMP]),
        ({"payload": {"timestamp": "2021-10-22 5:01:32"}}, [TIMESTAMP]),
        ({"payload": {"timestamp": "2021-10-22T5:01:32Z"}}, [TIMESTAMP]),
        ({"payload": {"timestamp": "2021-10-22 05:01:32Z"}}, [TIMESTAMP]),
        ({"payload": {"timestamp": "2021-10-22T05:01:32"}}, [TIMESTAMP]),
        ({"payload": {"timestamp": "2021-02-29T05:01:32Z"}}, [TIMESTAMP]),
        ({"payload": {"timestamp": "2021-02-28T24:01:32Z"}}, [TIMESTAMP]),
        ({"payload": {"timestamp": "2021-02-28T14:01:32+00:00Z"}}, [TIMESTAMP]),
        ({"payload": {"timestamp": 1634878892}}, [TIMESTAMP]),
        (
            {"payload": {"custom_details": "text"}},
            ["'payload.custom_details' must be an object"],
        ),
        (
            {"payload": {"custom_details": [1]}},
            ["'payload.custom_details' must be an object"],
        ),
        (
            {"payload": {"custom_details": None}},
            ["'payload.custom_details' is missing or blank"],
        ),
        ({"payload": {"links": []}}, ["'payload.links' is not a known field"]),
        ({"payload": {"images": []}}, ["'payload.images' is not a known field"]),
        ({"severity": "info"}, ["'severity' is not a known field"]),
        ({"client": None}, ["'client' is missing or blank"]),
        ({"client_url": ""}, ["'client_url' is missing or blank"]),
        ({"links": None}, ["'links' must be an array"]),
        ({"links": {}}, ["'links' must be an array"]),
        ({"links": ["https://a"]}, ["'links[0]' must be an object"]),
        ({"links": [None]}, ["'links[0]' must be an object"]),
        ({"links": [{"text": "t"}]}, ["'links[0].href' is missing or blank"]),
        (
            {"links": [{"href": "https://a"}, {"href": " ", "text": None}]},
            ["'links[1].href' is missing or blank", "'links[1].text' must be a string"],
        ),
        (
            {"links": [{"href": "https://a", "alt": "x"}]},
            ["'links[0].alt' is not a known field"],
        ),
        ({"images": [{"alt": "graph"}]}, ["'images[0].src' is missing or blank"]),
        (
            {"images": [{"src": "http://a/b.png"}]},
            ["'images[0].src' is invalid (must be an HTTPS URL)"],
        ),
        (
            {"images": [{"src": "https://a", "href": None, "alt": 3, "text": "t"}]},
            [
                "'images[0].text' is not a known field",
                "'images[0].href' must be a string",
                "'images[0].alt' must be a string",
            ],
        ),
        (
            {"payload": {"summary": "", "source": "", "severity": None}},
            [
                "'payload.summary' is missing or blank",
                "'payload.source' is missing or blank",
                "'payload.severity' is missing or blank",
            ],
        ),
    ],
)
def test_an_invalid_alert_is_refused_with_every_fault_named(
    sender: Any, fake: FakePagerDuty, trigger: Make, changes: Any, faults: list[str]
) -> None:
    """The body is PagerDuty's, and the event is not processed."""
    response = sender.send(trigger(**changes))

    assert (
        response.status,
        response.headers["Content-Type"],
    ) == (400, "application/json; charset=utf-8")
    assert response.json() == {
        "status": "invalid event",
        "message": "Event object is invalid",
        "errors": faults,
    }
    assert fake.incidents == ()


def test_an_action_of_the_wrong_type_is_invalid(sender: Any, trigger: Make) -> None:
    response = sender.send(trigger(None, event_action=["trigger"]))

    assert response.json()["errors"] == ["'event_action' must be a string"]


@pytest.mark.parametrize("name", ["routing_key", "event_action", "payload"])
def test_a_trigger_without_a_required_field_is_invalid(
    sender: Any, trigger: Make, name: str
) -> None:
    """A missing member is reported like a blank one."""
    response = sender.send(without(trigger(), name))

    # without its action the event is not known to be a trigger
    assert response.json()["errors"] == [f"'{name}' is missing or blank"]


@pytest.mark.parametrize("payload", [[], "text", 1])
def test_a_payload_is_an_object(sender: Any, trigger: Make, payload: object) -> None:
    """Anything else is refused."""
    event = trigger() | {"payload": payload}

    assert sender.send(event).json()["errors"] == ["'payload' must be an object"]


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_a_follow_up_needs_its_dedup_key(sender: Any, follow_up: Make, action: str) -> None:
    """Only a trigger may omit it."""
    response = sender.send(without(follow_up(action), "dedup_key"))

    assert response.json()["errors"] == ["'dedup_key' is missing or blank"]


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_a_follow_up_may_carry_a_payload_if_it_is_valid(
    sender: Any, trigger: Make, action: str
) -> None:
    """Alertmanager resolves with the whole event of the trigger."""
    assert sender.send(trigger(event_action=action)).status == 202

    faulty = trigger(event_action=action, payload={"severity": "fatal"})
    assert sender.send(faulty).json()["errors"] == [SEVERITY]


@pytest.mark.parametrize(
    "changes",
    [
        {"dedup_key": "k" * 255},
        {"dedup_key": "srv01/mysql"},
        {"payload": {"summary": "s" * 1024}},
        {"payload": {"summary": "\N{FIRE}" * 1024}},
        *(
            {"payload": {"timestamp": timestamp}}
            for timestamp in (
                "2015-07-17T08:42:58.315+0000",
                "2015-07-17T08:42:58Z",
                "2015-07-17T08:42:58.123456789+05:30",
            )
        ),
        *({"payload": {"severity": each}} for each in ("critical", "error", "warning", "info")),
        {"payload": {"component": "postgres", "group": "storage", "class": "disk"}},
        {"payload": {"custom_details": {"free": 0.75, "deep": [{"none": None}], "blank": ""}}},
        {"links": [], "images": []},
        {"links": [{"href": "https://a", "text": ""}, {"href": "https://b"}]},
        {"images": [{"src": "https://a", "href": "", "alt": ""}, {"src": "https://b"}]},
        {"client": "Sample Monitoring Service", "client_url": "https://monitoring.example"},
    ],
)
def test_documented_events_are_accepted(
    sender: Any, fake: FakePagerDuty, trigger: Make, changes: Any
) -> None:
    """Limits are inclusive."""
    response = sender.send(trigger(**changes))

    assert response.status == 202, response.body
    assert len(fake.incidents) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"event"',
        b"null",
        b"{'routing_key': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": "\\ud83d"}',
        b'{"\\udc00": 1}',
        b'{"a": "\xff"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": "é"}'.encode("latin-1"),
        '{"a": 1}'.encode("utf-16"),
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_only_a_strict_json_object_is_recognized(sender: Any, body: bytes) -> None:
    """The body is the one PagerDuty's schema gives as its example."""
    response = sender.post(body)

    assert response.status == 400
    assert response.json() == {
        "status": "Unrecognized object",
        "message": "Event object format is unrecognized",
        "errors": ["JSON parse error"],
    }


def test_a_surrogate_pair_is_accepted(sender: Any, fake: FakePagerDuty, trigger: Make) -> None:
    """Escaped or not, an emoji arrives as one character."""
    assert sender.send(trigger(payload={"summary": "\N{FIRE} down"})).status == 202

    assert fake.incidents[0].summary == "\N{FIRE} down"


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"routing_key": "short"}, None),
        ({"payload": None}, ["'payload' is missing or blank"]),
        ({"payload": [1]}, ["'payload' must be an object"]),
        ({"payload": {}}, ["'payload.summary' is missing or blank"]),
        (
            {"payload": {"summary": "s" * 1025}},
            ["'summary' is too long (maiximum is 1024 characters)"],
        ),
        (
            {"payload": {"summary": "s", "source": None}},
            ["'payload.source' is missing or blank"],
        ),
        (
            {"payload": {"summary": "s", "severity": "info"}},
            ["'payload.severity' is not a known field"],
        ),
        ({"payload": {"summary": "s", "timestamp": "now"}}, [TIMESTAMP]),
        (
            {"payload": {"summary": "s", "custom_details": "d"}},
            ["'payload.custom_details' must be an object"],
        ),
        ({"links": [{}]}, ["'links[0].href' is missing or blank"]),
        ({"images": []}, ["'images' is not a known field"]),
        ({"event_action": "trigger"}, ["'event_action' is not a known field"]),
        ({"dedup_key": "k"}, ["'dedup_key' is not a known field"]),
    ],
)
def test_an_invalid_change_event_is_refused(
    sender: Any, fake: FakePagerDuty, key: str, changes: Any, faults: list[str] | None
) -> None:
    """Change events have rules of their own."""
    response = sender.change({"routing_key": key, "payload": {"summary": "Deployed"}} | changes)

    assert response.status == 400
    length = ["Length of 'routing_key' is incorrect (should be 32 characters)"]
    assert (response.json()["errors"]) == length if faults is None else faults
    assert fake.changes == ()


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"routing_key": "abc"}', "abc"),
        (b'{"routing_key": 1}', None),
        (b"{}", None),
        (b"no json", None),
    ],
)
def test_the_key_of_a_readable_body_is_found(body: bytes, key: str | None) -> None:
    """Scripts for one key apply to its requests."""
    assert rules.routing_key_of(body) == key
