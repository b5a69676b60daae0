"""The documented state machine, the services and the rate window."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagerduty_plugin.testing import FakePagerDuty
from pagerduty_plugin.testing.account import Account

from .conftest import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., dict[str, Any]]
    Connect = Callable[[FakePagerDuty], Any]

OTHER_KEY = "f" * 32


def test_a_trigger_opens_an_incident(
    sender: Any, fake: FakePagerDuty, trigger: Make, key: str
) -> None:
    """The response is exactly PagerDuty's, and the log omits the key."""
    event = trigger(client="host", payload={"custom_details": {"used": 0.98}})
    response = sender.send(event)

    assert response.status == 202
    assert (
        response.body == b'{"status":"success","message":"Event processed","dedup_key":"db-1/disk"}'
    )
    (incident,) = fake.incidents
    assert (
        incident.number,
        incident.service,
        incident.region,
        incident.dedup_key,
    ) == (1, "service 1", "us", "db-1/disk")
    assert (
        incident.state,
        incident.severity,
        incident.summary,
    ) == ("triggered", "critical", "Disk full")
    assert (incident.events, incident.notifications) == (1, 1)
    del event["routing_key"]
    assert incident.log == (event,)
    assert key not in repr(fake.incidents)


def test_a_trigger_without_dedup_key_gets_a_new_one_each_time(
    sender: Any, fake: FakePagerDuty, trigger: Make
) -> None:
    """The generated key is a UUID in hexadecimal, and is returned in the response."""
    keys = [sender.send(trigger(None)).json()["dedup_key"] for _ in range(2)]

    assert keys == [incident.dedup_key for incident in fake.incidents]
    assert keys == [uuid.UUID(each).hex for each in keys]
    assert len(set(keys)) == 2


def test_an_incident_is_acknowledged_and_resolved(
    sender: Any, fake: FakePagerDuty, trigger: Make, follow_up: Make
) -> None:
    """Each event is counted and gets the same response."""
    states = []
    for event in (trigger(), follow_up("acknowledge"), follow_up("resolve")):
        assert sender.send(event).status == 202
        states.append(fake.incidents[0].state)

    assert states == ["triggered", "acknowledged", "resolved"]
    assert fake.incidents[0].events == 3


def test_a_trigger_on_an_open_incident_is_appended(
    sender: Any, fake: FakePagerDuty, trigger: Make, follow_up: Make
) -> None:
    """It shows the last summary and severity, stays acknowledged and does not notify again."""
    sender.send(trigger())
    sender.send(trigger(payload={"summary": "Disk fuller", "severity": "error"}))
    assert fake.incidents[0].state == "triggered"
    sender.send(follow_up("acknowledge"))
    sender.send(trigger(payload={"summary": "Disk fullest", "severity": "info"}))

    (incident,) = fake.incidents
    assert (
        incident.state,
        incident.summary,
        incident.severity,
    ) == ("acknowledged", "Disk fullest", "info")
    assert (incident.events, incident.notifications) == (4, 1)
    assert [event["event_action"] for event in incident.log] == [
        "trigger",
        "trigger",
        "acknowledge",
        "trigger",
    ]


def test_a_trigger_after_a_resolve_opens_a_new_incident(
    sender: Any, fake: FakePagerDuty, trigger: Make, follow_up: Make
) -> None:
    """The resolved one stays unchanged; follow-ups apply to the new one."""
    for event in (trigger(), follow_up("resolve"), trigger(), follow_up("acknowledge")):
        sender.send(event)

    assert [(incident.number, incident.state, incident.events) for incident in fake.incidents] == [
        (1, "resolved", 2),
        (2, "acknowledged", 2),
    ]


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_an_unmatched_follow_up_gets_202_and_is_dropped(
    sender: Any, fake: FakePagerDuty, trigger: Make, follow_up: Make, action: str
) -> None:
    """Holds if there never was an incident, and if it is resolved."""
    assert sender.send(follow_up(action)).status == 202
    assert fake.incidents == ()

    sender.send(trigger())
    sender.send(follow_up("resolve"))
    resolved = fake.incidents
    assert sender.send(follow_up(action)).status == 202
    assert fake.incidents == resolved


def test_each_integration_key_has_its_own_dedup_keys(
    sender: Any, fake: FakePagerDuty, trigger: Make, follow_up: Make
) -> None:
    """Holds if both integrations belong to one service."""
    key = fake.add_service("checkout")
    other = fake.add_service("checkout")
    sender.send(trigger(routing_key=key))
    sender.send(follow_up("resolve", key=other))
    assert [incident.state for incident in fake.incidents] == ["triggered"]

    sender.send(trigger(routing_key=other))
    sender.send(follow_up("resolve", key=key))
    assert [(incident.service, incident.state) for incident in fake.incidents] == [
        ("checkout", "resolved"),
        ("checkout", "triggered"),
    ]


def test_unnamed_keys_are_numbered_until_a_service_is_named(
    sender: Any, fake: FakePagerDuty, trigger: Make, key: str
) -> None:
    """Afterwards a well-formed key of no service is refused, in plain text."""
    for each in (key, OTHER_KEY, key):
        sender.send(trigger(None, routing_key=each))
    assert [incident.service for incident in fake.incidents] == [
        "service 1",
        "service 2",
        "service 1",
    ]

    fake.add_service("checkout")
    response = sender.send(trigger(routing_key=key))
    assert (response.status, response.body) == (400, b"Invalid routing key")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_key_of_one_region_is_unknown_in_the_other(
    connect: Connect, trigger: Make, key: str
) -> None:
    """Regions share nothing."""
    with (
        FakePagerDuty(services={"checkout": key}) as us,
        FakePagerDuty(region="eu", services={"search": OTHER_KEY}) as eu,
    ):
        assert [
            connect(us).send(trigger()).status,
            connect(eu).send(trigger()).status,
        ] == [202, 400]
        assert (us.region, eu.region) == ("us", "eu")
        connect(eu).send(trigger(routing_key=OTHER_KEY))
        assert [incident.region for incident in eu.incidents] == ["eu"]


def test_an_unknown_region_is_refused() -> None:
    """PagerDuty has two regions."""
    with pytest.raises(ValueError, match="unknown region 'ap'; PagerDuty has us and eu"):
        FakePagerDuty(region="ap")


@pytest.mark.parametrize(
    ("name", "key", "why"),
    [
        (" ", OTHER_KEY, "a service needs a name"),
        ("a", "f" * 31, "the integration key of service 'a' is not 32 letters and digits"),
        ("a", "f" * 31 + "-", "the integration key of service 'a' is not 32 letters and digits"),
    ],
)
def test_an_invalid_service_is_rejected(name: str, key: str, why: str) -> None:
    """The reason never shows the key."""
    with pytest.raises(ValueError, match=f"^{why}$"):
        FakePagerDuty(services={name: key})


def test_one_key_has_one_service(fake: FakePagerDuty, key: str) -> None:
    """A key cannot have two services."""
    assert fake.add_service("a", key) == key
    with pytest.raises(
        ValueError, match=r"^the integration key of service 'b' already belongs to 'a'$"
    ):
        fake.add_service("b", key)


def test_a_change_event_is_kept_and_does_not_notify(
    sender: Any, fake: FakePagerDuty, key: str
) -> None:
    """It opens no incident and has no dedup key."""
    event = {
        "payload": {
            "summary": "Deployed 1.2",
            "source": "ci",
            "timestamp": "2026-11-23T03:14:00Z",
            "custom_details": {"build": 7},
        },
        "links": [{"href": "https://ci.example/7", "text": "Build"}],
    }
    response = sender.change(event | {"routing_key": key})

    assert (
        response.status,
        response.body,
    ) == (202, b'{"status":"success","message":"Change event processed"}')
    (change,) = fake.changes
    assert (
        change.service,
        change.region,
        change.summary,
        change.event,
    ) == ("service 1", "us", "Deployed 1.2", event)
    assert fake.incidents == ()


def test_ruleset_keys_take_no_change_events(sender: Any, trigger: Make) -> None:
    """They start with R and accept alerts."""
    key = "R" + "0" * 31
    change = sender.change({"routing_key": key, "payload": {"summary": "s"}})

    assert (change.status, change.body) == (400, b"Invalid routing key")
    assert sender.send(trigger(routing_key=key)).status == 202


def test_the_rate_window_slides(connect: Connect, trigger: Make, key: str) -> None:
    """An event beyond 120 in any 60 seconds is refused; each key has a limit of its own."""
    clock = Clock()
    with FakePagerDuty(clock=clock) as fake:
        sender = connect(fake)
        assert sender.send(trigger()).status == 202
        clock.advance(30)
        for _ in range(118):
            sender.send(trigger())
        assert sender.change({"routing_key": key, "payload": {"summary": "s"}}).status == 202
        clock.advance(29.9)

        refused = sender.send(trigger("other"))
        assert refused.status == 429
        assert refused.json() == {
            "status": "throttle exceeded",
            "message": "Requests for this service are arriving too quickly.  Please retry later.",
        }
        assert "Retry-After" not in refused.headers
        assert len(fake.incidents) == 1
        assert sender.send(trigger(routing_key=OTHER_KEY)).status == 202

        clock.advance(0.1)
        assert [sender.send(trigger("other")).status for _ in range(2)] == [202, 429]
        assert len(fake.incidents) == 3


def test_events_that_are_refused_leave_room_in_the_window(connect: Connect, trigger: Make) -> None:
    """Only accepted events count."""
    with FakePagerDuty(rate_limit=1) as fake:
        sender = connect(fake)
        statuses = [
            sender.send(event).status
            for event in (trigger(severity=1), trigger(), trigger(severity=1), trigger())
        ]

    assert statuses == [400, 202, 400, 429]


def test_the_rate_limit_can_be_disabled(connect: Connect, trigger: Make) -> None:
    """Zero means no limit."""
    with FakePagerDuty(rate_limit=0) as fake:
        sender = connect(fake)
        assert {sender.send(trigger()).status for _ in range(130)} == {202}


def test_incidents_have_times(connect: Connect, trigger: Make, follow_up: Make) -> None:
    """They come from the clock of the account."""
    clock = Clock()
    opened = clock.now
    with FakePagerDuty(clock=clock) as fake:
        sender = connect(fake)
        sender.send(trigger())
        clock.advance(61)
        sender.send(follow_up("resolve"))

    (incident,) = fake.incidents
    assert (incident.opened_at, incident.updated_at) == (opened, clock.now)


def expected(events: list[tuple[str, str, str]]) -> list[tuple[str, str, str, int]]:
    """Compute the incidents of a history independently, by episode and key."""
    episodes: list[tuple[tuple[str, str], list[str]]] = []
    for key, action, dedup_key in events:
        mine = [actions for scope, actions in episodes if scope == (key, dedup_key)]
        if mine and "resolve" not in mine[-1]:
            mine[-1].append(action)
        elif action == "trigger":
            episodes.append(((key, dedup_key), [action]))
    return [
        (
            *scope,
            "resolved"
            if "resolve" in actions
            else "acknowledged"
            if "acknowledge" in actions
            else "triggered",
            len(actions),
        )
        for scope, actions in episodes
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(["trigger", "acknowledge", "resolve"]),
            st.sampled_from(["x", "y"]),
        ),
        max_size=30,
    )
)
def test_any_history_leads_to_the_expected_incidents(events: list[tuple[str, str, str]]) -> None:
    """Checked against a second implementation of the documentation."""
    account = Account()
    account.add_integration("a", key="a" * 32)
    account.add_integration("b", key="b" * 32)
    for key, action, dedup_key in events:
        answer = account.process_alert(
            (
                f'{{"routing_key": "{key * 32}", "event_action": "{action}", '
                f'"dedup_key": "{dedup_key}", '
                '"payload": {"summary": "s", "source": "s", "severity": "info"}}'
            ).encode()
        )
        assert answer.status == 202

    assert [
        (incident.service, incident.dedup_key, incident.state, incident.events)
        for incident in account.incidents
    ] == expected(events)
