"""Scripted misbehaviour, as a sender sees it."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pagerduty_plugin.testing import (
    FakePagerDuty,
    Gate,
    Misbehaviour,
    Response,
    accepting_without_json,
    captive_portal,
    closing,
    dripping,
    failing,
    garbage,
    late,
    redirecting,
    refusing,
    reset,
    reset_unread,
    throttling,
    truncated,
)
from pagerduty_plugin.testing.misbehaviour import GARBAGE, LOGIN_PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., dict[str, Any]]
    Connect = Callable[[FakePagerDuty], Any]

OTHER_KEY = "f" * 32


def start(sender: Any, event: dict[str, Any]) -> None:
    """Send a request without reading its response."""
    body = json.dumps(event).encode()
    sender.connection.request("POST", "/v2/enqueue", body, {"Content-Type": "application/json"})


def everything_from(fake: FakePagerDuty, event: dict[str, Any]) -> bytes:
    """Send an event over a socket and read until the fake closes it."""
    body = json.dumps(event).encode()
    with socket.create_connection(("127.0.0.1", fake.port), timeout=60) as connection:
        connection.sendall(
            b"POST /v2/enqueue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        with connection.makefile("rb") as stream:
            return stream.read()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (throttling(), (429, b"throttle exceeded", {})),
        (throttling(retry_after="7"), (429, b"throttle exceeded", {"Retry-After": "7"})),
        (failing(), (500, b"Internal Server Error", {})),
        (failing(503, b"<h1>Down</h1>"), (503, b"<h1>Down</h1>", {})),
        (failing(599), (599, b"", {})),
        (refusing(), (400, b"Invalid routing key", {"Content-Type": "text/plain; charset=utf-8"})),
        (captive_portal(), (200, LOGIN_PAGE, {"Content-Type": "text/html; charset=utf-8"})),
        (redirecting("https://e.example/"), (307, b"", {"Location": "https://e.example/"})),
        (redirecting("/", status=302), (302, b"", {"Location": "/"})),
    ],
)
def test_a_misbehaviour_replaces_the_response(
    fake: FakePagerDuty,
    sender: Any,
    trigger: Make,
    how: Misbehaviour,
    expected: tuple[int, bytes, dict[str, str]],
) -> None:
    """The event is not processed, the connection stays open, and the log names the misbehaviour."""
    status, body, headers = expected
    fake.misbehave(how, times=1)
    response = sender.send(trigger())

    assert response.status == status
    assert body in response.body
    assert headers.items() <= response.headers.items()
    assert fake.incidents == ()
    assert [(request.status, request.misbehaviour) for request in fake.requests] == [
        (status, how.name)
    ]
    assert sender.send(trigger()).status == 202
    assert {request.connection for request in fake.requests} == {1}


def test_an_event_may_be_processed_despite_a_failed_response(
    fake: FakePagerDuty, sender: Any, trigger: Make
) -> None:
    """A 500 or an odd 202 does not prove that the event was lost."""
    fake.misbehave(failing(500, processed="at once"), times=1)
    fake.misbehave(accepting_without_json(), times=1)
    responses = [sender.send(trigger()) for _ in range(2)]

    assert [(response.status, response.body) for response in responses] == [
        (500, b"Internal Server Error"),
        (202, b"Accepted"),
    ]
    assert fake.incidents[0].events == 2


def test_a_reset_before_reading(fake: FakePagerDuty, sender: Any, trigger: Make) -> None:
    """The event is lost, and its body never read."""
    fake.misbehave(reset_unread(), times=1)
    with pytest.raises(ConnectionResetError):
        sender.send(trigger())

    assert [(request.body, request.status, request.misbehaviour) for request in fake.requests] == [
        (b"", None, "reset unread")
    ]
    assert fake.incidents == ()


@pytest.mark.parametrize("taken", ["at once", "late", "never"])
def test_a_reset_after_reading(fake: FakePagerDuty, sender: Any, trigger: Make, taken: Any) -> None:
    """The event may have been processed."""
    fake.misbehave(reset(processed=taken), times=1)
    event = trigger()
    with pytest.raises(ConnectionResetError) as caught:
        sender.send(event)

    # A connection that merely closes raises a subclass of it.
    assert caught.type is ConnectionResetError

    assert [request.json() for request in fake.requests] == [event]
    assert [request.status for request in fake.requests] == [None]
    assert (taken != "never") == (len(fake.incidents) == 1)


@pytest.mark.parametrize("taken", ["at once", "never"])
def test_garbage(fake: FakePagerDuty, sender: Any, trigger: Make, taken: Any) -> None:
    """The response is not HTTP."""
    fake.misbehave(garbage(processed=taken), times=2)
    with pytest.raises(http.client.BadStatusLine):
        sender.send(trigger())

    assert everything_from(fake, trigger()) == GARBAGE
    assert (taken != "never") == (len(fake.incidents) == 1)


@pytest.mark.parametrize(
    "how",
    [
        truncated(),
        attrs.evolve(truncated(), response=Response(202, b"x")),
    ],
)
def test_a_truncated_body(
    fake: FakePagerDuty, sender: Any, trigger: Make, how: Misbehaviour
) -> None:
    """The event is processed, but the response never ends."""
    fake.misbehave(how, times=1)
    with pytest.raises(http.client.IncompleteRead):
        sender.send(trigger())

    assert [request.status for request in fake.requests] == [202]
    assert len(fake.incidents) == 1


def test_a_response_byte_by_byte(fake: FakePagerDuty, sender: Any, trigger: Make) -> None:
    """It is complete in the end, and the connection stays open."""
    fake.misbehave(dripping(seconds=0), times=1)

    assert sender.send(trigger()).json()["dedup_key"] == "db-1/disk"
    assert sender.send(trigger()).status == 202
    assert {request.connection for request in fake.requests} == {1}


def test_a_drip_ends_when_the_fake_stops(fake: FakePagerDuty, sender: Any, trigger: Make) -> None:
    """Holds for any delay."""
    fake.misbehave(dripping(seconds=3600), times=1)
    start(sender, trigger())
    # A drip waits before its first byte, too.
    fake.wait_for(lambda fake: fake.incidents)
    fake.stop()

    assert sender.connection.sock.recv(1) == b""


def test_a_drip_that_has_begun_ends_when_the_fake_stops(
    fake: FakePagerDuty, sender: Any, trigger: Make
) -> None:
    """The response is not complete."""
    fake.misbehave(dripping(seconds=0.05), times=1)
    start(sender, trigger())
    assert sender.connection.sock.recv(1) == b"H"
    fake.stop()

    assert [request.status for request in fake.requests] == [202]


def test_a_connection_closes_without_notice(
    fake: FakePagerDuty, sender: Any, trigger: Make
) -> None:
    """The response is whole; the next request fails."""
    fake.misbehave(closing(), times=1)
    start(sender, trigger())
    socket_ = sender.connection.sock
    response = sender.connection.getresponse()

    assert (response.status, response.getheader("Connection")) == (202, None)
    assert json.loads(response.read())["dedup_key"] == "db-1/disk"
    assert socket_.recv(1) == b""
    sender.connection.close()
    sender.send(trigger())
    assert [request.connection for request in fake.requests] == [1, 2]


def test_a_connection_closes_with_notice(fake: FakePagerDuty, sender: Any, trigger: Make) -> None:
    """The sender closes it; another request over it is reset."""
    fake.misbehave(closing(announced=True), times=1)
    start(sender, trigger())
    with sender.connection.sock.dup() as socket_:
        response = sender.connection.getresponse()

        assert (response.status, response.getheader("Connection")) == (202, "close")
        assert response.read()
        assert sender.connection.sock is None
        socket_.sendall(b"POST ")
        with pytest.raises(ConnectionResetError):
            socket_.recv(1)


@pytest.mark.parametrize("taken", ["at once", "late"])
def test_a_gate_delays_the_response(
    fake: FakePagerDuty, sender: Any, connect: Connect, trigger: Make, taken: Any
) -> None:
    """Other requests pass meanwhile; the event is processed at once or late."""
    gate = Gate()
    fake.misbehave(late(gate, processed=taken), times=1)
    start(sender, trigger("held"))
    fake.wait_for(lambda fake: fake.requests and fake.requests[0].misbehaviour == "late")
    assert connect(fake).send(trigger("free")).status == 202
    fake.wait_for(lambda fake: len(fake.incidents) == (2 if taken == "at once" else 1))
    assert [request.status for request in fake.requests] == [None, 202]

    gate.open()
    assert sender.connection.getresponse().status == 202
    assert {incident.dedup_key for incident in fake.incidents} == {"held", "free"}


def test_an_event_can_be_processed_after_its_sender_disconnected(
    fake: FakePagerDuty, sender: Any, connect: Connect, trigger: Make, follow_up: Make
) -> None:
    """So an old trigger may open an incident after the resolve that followed it."""
    gate = Gate()
    fake.misbehave(late(gate, processed="late"), times=1)
    start(sender, trigger())
    fake.wait_for(lambda fake: fake.requests and fake.requests[0].misbehaviour)
    sender.connection.close()
    connect(fake).send(follow_up("resolve"))

    gate.open()
    fake.wait_for(lambda fake: fake.incidents)
    assert fake.incidents[0].state == "triggered"


def test_latency_can_be_given_in_seconds(fake: FakePagerDuty, sender: Any, trigger: Make) -> None:
    """The answer is the proper one."""
    fake.misbehave(late(seconds=0.001), times=1)

    assert sender.send(trigger()).status == 202


def test_scripts_are_used_up_in_order(fake: FakePagerDuty, sender: Any, trigger: Make) -> None:
    """Each applies to its number of requests; later requests are answered properly."""
    fake.misbehave(failing(503), times=2)
    fake.misbehave(throttling(), times=1)

    assert [sender.send(trigger()).status for _ in range(4)] == [503, 503, 429, 202]


def test_a_reset_before_reading_waits_for_its_turn(
    fake: FakePagerDuty, sender: Any, trigger: Make
) -> None:
    """It follows a script that is not used up."""
    fake.misbehave(failing(503), times=1)
    fake.misbehave(reset_unread(), times=1)

    assert sender.send(trigger()).status == 503
    with pytest.raises(ConnectionResetError):
        sender.send(trigger())


def test_a_script_lasts_until_it_is_cleared(
    fake: FakePagerDuty, sender: Any, trigger: Make
) -> None:
    """It is cleared alone, or with all others."""
    script = fake.misbehave(failing(500))
    fake.misbehave(failing(502))
    statuses = [sender.send(trigger()).status for _ in range(2)]
    script.clear()
    statuses.append(sender.send(trigger()).status)
    fake.behave()
    statuses.append(sender.send(trigger()).status)

    assert statuses == [500, 500, 502, 202]


def test_a_script_can_be_for_one_key(
    fake: FakePagerDuty, sender: Any, trigger: Make, key: str
) -> None:
    """Requests of other services succeed."""
    script = fake.misbehave(failing(500), key=key)

    assert [sender.send(trigger(routing_key=each)).status for each in (key, OTHER_KEY, key)] == [
        500,
        202,
        500,
    ]
    assert key not in repr(script)


def test_a_script_needs_at_least_one_request(fake: FakePagerDuty) -> None:
    """Zero is rejected."""
    with pytest.raises(ValueError, match="at least one request"):
        fake.misbehave(failing(), times=0)


def test_a_reset_before_reading_cannot_be_for_one_key(fake: FakePagerDuty, key: str) -> None:
    """The key of the request is not known yet."""
    with pytest.raises(ValueError, match="never reads"):
        fake.misbehave(reset_unread(), key=key)


def test_a_proper_response_needs_a_processed_event() -> None:
    """Only a processed event has a response of its own."""
    with pytest.raises(ValueError, match="late: an event that is never processed needs"):
        late(processed="never")
