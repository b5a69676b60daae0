"""The server: transport rules, the log of raw requests, starting, stopping and waiting."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from pagerduty_plugin.testing import FakePagerDuty, Gate, late

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., dict[str, Any]]
    Connect = Callable[[FakePagerDuty], Any]

pytest_plugins = ["pagerduty_plugin.testing.fixtures"]

JSON = {"Content-Type": "application/json"}


def test_the_fixture_returns_a_new_running_fake(
    fake_pagerduty: FakePagerDuty, trigger: Make
) -> None:
    """It is used as in other projects."""
    import requests

    assert fake_pagerduty.incidents == ()
    with requests.Session() as session:
        response = session.post(f"{fake_pagerduty.url}/v2/enqueue", json=trigger(), timeout=60)
    assert response.status_code == 202
    assert f"<FakePagerDuty us http://127.0.0.1:{fake_pagerduty.port}>" == repr(fake_pagerduty)


@pytest.mark.parametrize("path", ["/v2/enqueue/", "/v2/enqueue?x=1", "/enqueue", "/v2/Enqueue"])
def test_only_two_paths_accept_events(
    sender: Any, fake: FakePagerDuty, trigger: Make, path: str
) -> None:
    """Anything else is not found, and logged."""
    response = sender.send(trigger(), path)

    assert (
        response.status,
        response.json()["errors"],
    ) == (404, ["only /v2/enqueue and /v2/change/enqueue take events"])
    assert [(request.path, request.status) for request in fake.requests] == [(path, 404)]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_post_sends_an_event(
    sender: Any, fake: FakePagerDuty, trigger: Make, method: str
) -> None:
    """Other methods are refused, and the connection stays usable."""
    body = None if method == "GET" else json.dumps(trigger()).encode()
    response = sender.request(method, "/v2/enqueue", body, JSON)

    assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert response.json()["errors"] == ["only POST sends an event"]
    assert sender.send(trigger()).status == 202
    assert {request.connection for request in fake.requests} == {1}


def test_head_gets_no_body(fake: FakePagerDuty) -> None:
    """A body would be read as the next response."""
    with socket.create_connection(("127.0.0.1", fake.port), timeout=60) as connection:
        connection.sendall(b"HEAD /v2/enqueue HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as stream:
            response = stream.read()

    assert response.startswith(b"HTTP/1.1 405 ")
    assert response.endswith(b"Connection: close\r\n\r\n")


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"],
)
def test_an_event_is_sent_as_json(sender: Any, trigger: Make, media_type: str) -> None:
    """Another media type is refused."""
    response = sender.post(json.dumps(trigger()).encode(), Content_Type=media_type)

    assert (
        response.status,
        response.json()["errors"],
    ) == (415, ["'Content-Type' must be application/json"])


def test_an_event_without_media_type_is_refused(sender: Any, trigger: Make) -> None:
    """A missing header is as wrong as another media type."""
    response = sender.request("POST", "/v2/enqueue", json.dumps(trigger()).encode())

    assert response.status == 415


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"']
)
def test_the_charset_may_be_given(sender: Any, trigger: Make, media_type: str) -> None:
    """It must be that of JSON."""
    assert sender.post(json.dumps(trigger()).encode(), Content_Type=media_type).status == 202


def test_a_compressed_body_is_refused(sender: Any, trigger: Make) -> None:
    """PagerDuty documents no compression."""
    response = sender.post(json.dumps(trigger()).encode(), Content_Encoding="gzip")

    assert (
        response.status,
        response.json()["errors"],
    ) == (415, ["'Content-Encoding' is not supported"])


@pytest.mark.parametrize(("size", "status"), [(512_000, 202), (512_001, 413)])
def test_the_size_of_the_body_is_limited(
    sender: Any, fake: FakePagerDuty, trigger: Make, size: int, status: int
) -> None:
    """Measured in bytes as sent, the limit itself included."""
    event = trigger(payload={"custom_details": {"filler": ""}})
    event["payload"]["custom_details"]["filler"] = "x" * (size - len(json.dumps(event)))
    response = sender.send(event)

    assert response.status == status
    assert len(fake.requests[0].body) == size
    assert (len(fake.incidents) == 1) == (status == 202)
    if status == 413:
        assert response.json()["errors"] == ["the event is too large (maximum is 512000 bytes)"]


@pytest.mark.parametrize(
    ("header", "status", "fault"),
    [
        ("Transfer-Encoding: chunked", 411, "'Content-Length' is missing"),
        ("Accept: */*", 411, "'Content-Length' is missing"),
        ("Content-Length: -1", 400, "'Content-Length' is invalid"),
        ("Content-Length: ten", 400, "'Content-Length' is invalid"),
    ],
)
def test_the_length_of_the_body_is_required(
    fake: FakePagerDuty, header: str, status: int, fault: str
) -> None:
    """The connection closes, as the start of the next request is unknown."""
    with socket.create_connection(("127.0.0.1", fake.port), timeout=60) as connection:
        connection.sendall(f"POST /v2/enqueue HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        with connection.makefile("rb") as stream:
            head, _, body = stream.read().partition(b"\r\n\r\n")

    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close" in head
    assert [fault] == json.loads(body)["errors"]
    assert [request.status for request in fake.requests] == [status]


def test_a_truncated_request_is_logged_and_not_processed(
    fake: FakePagerDuty, trigger: Make
) -> None:
    """A truncated event is ignored, even if it is valid JSON."""
    body = json.dumps(trigger()).encode()
    with socket.create_connection(("127.0.0.1", fake.port), timeout=60) as connection:
        connection.sendall(
            b"POST /v2/enqueue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body) + 1, body)
        )
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""

    assert [(request.body, request.status) for request in fake.requests] == [(body, None)]
    assert fake.incidents == ()


def test_every_request_is_logged_unchanged(
    sender: Any, fake: FakePagerDuty, connect: Connect, key: str
) -> None:
    """Bytes, headers, order and connections; `repr` contains no key."""
    body = b'{"routing_key":  "%b"}' % key.encode()
    sender.post(body, X_Mark="one")
    sender.post(b"two")
    connect(fake).post(b"three", "/v2/change/enqueue")

    first, *_ = fake.requests
    assert [(request.number, request.connection) for request in fake.requests] == [
        (1, 1),
        (2, 1),
        (3, 2),
    ]
    assert [request.body for request in fake.requests] == [body, b"two", b"three"]
    assert (
        first.method,
        first.path,
        first.status,
        first.misbehaviour,
    ) == ("POST", "/v2/enqueue", 400, None)
    assert (first.header("x-mark"), first.header("X-Other")) == ("one", None)
    assert first.json() == {"routing_key": key}
    assert fake.requests[2].path == "/v2/change/enqueue"
    assert first.arrived_at <= fake.requests[2].arrived_at
    assert key not in repr(fake.requests)


def test_reading_is_not_logged(sender: Any, fake: FakePagerDuty) -> None:
    """Requests to the page do not change the log."""
    statuses = [
        sender.request("GET", path).status
        for path in ("/", "/incidents", "/changes", "/requests", "/?x", "/favicon.ico")
    ]

    assert statuses == [200, 200, 200, 200, 200, 404]
    assert fake.requests == ()


def test_the_read_api_shows_everything_except_keys(
    sender: Any, fake: FakePagerDuty, trigger: Make, key: str
) -> None:
    """As JSON, with keys reduced to their last four characters everywhere."""
    sender.send(trigger(payload={"custom_details": {"leak": f"<{key}>"}}))
    sender.change({"routing_key": key, "payload": {"summary": "Deployed"}})
    sender.post(b'{"routing_key" : "odd\\"key+", \xff', X_Key=key)

    documents = {
        name: sender.request("GET", f"/{name}") for name in ("incidents", "changes", "requests")
    }
    assert not any(key.encode() in each.body for each in documents.values())
    (incident,) = documents["incidents"].json()["incidents"]
    assert (
        incident["state"],
        incident["dedup_key"],
        incident["events"],
        incident["service"],
    ) == ("triggered", "db-1/disk", 1, "service 1")
    assert incident["log"][0]["payload"]["custom_details"]["leak"] == "<…6789>"
    (change,) = documents["changes"].json()["changes"]
    assert (
        change["summary"],
        change["event"],
    ) == ("Deployed", {"payload": {"summary": "Deployed"}})
    logged = documents["requests"].json()
    assert logged["region"] == "us"
    assert [request["status"] for request in logged["requests"]] == [202, 202, 400]
    assert logged["requests"][2]["body"] == '{"routing_key" : "…key+", \\xff'
    assert ["X-Key", "…6789"] in logged["requests"][2]["headers"]
    assert fake.incidents[0].opened_at.isoformat() == incident["opened_at"]


def test_the_fake_stops_at_once_with_open_connections(
    fake: FakePagerDuty, connect: Connect, trigger: Make
) -> None:
    """Kept-alive connections are closed, and all threads end."""

    def threads() -> list[str]:
        mine = [each for each in threading.enumerate() if each.name.startswith("fake PagerDuty")]
        assert all(thread.daemon for thread in mine)
        return sorted(thread.name for thread in mine)

    senders = [connect(fake) for _ in range(3)]
    for sender in senders:
        sender.send(trigger())
    assert threads() == ["fake PagerDuty", *["fake PagerDuty connection"] * 3]

    fake.stop()
    fake.stop()
    assert threads() == []
    for sender in senders:
        assert sender.connection.sock.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(fake).send(trigger())
    assert len(fake.incidents) == 1


def test_the_fake_can_start_again_on_its_port(
    fake: FakePagerDuty, connect: Connect, trigger: Make, follow_up: Make
) -> None:
    """An outage keeps the state; starting twice is a mistake."""
    connect(fake).send(trigger())
    url = fake.url
    fake.stop()
    fake.start()
    with pytest.raises(RuntimeError, match="is listening already"):
        fake.start()
    connect(fake).send(follow_up("resolve"))

    assert fake.url == url
    assert [incident.state for incident in fake.incidents] == ["resolved"]


def test_stopping_opens_the_gates(fake: FakePagerDuty, connect: Connect, trigger: Make) -> None:
    """A waiting request is aborted, and an event to be processed late is not processed."""
    fake.misbehave(late(Gate(), processed="late"))
    fake.misbehave(late())
    sender = connect(fake)
    sender.connection.request("POST", "/v2/enqueue", json.dumps(trigger()).encode(), JSON)
    fake.wait_for(lambda fake: fake.requests and fake.requests[0].misbehaviour)

    fake.stop()

    assert sender.connection.sock.recv(1) == b""
    assert [request.status for request in fake.requests] == [None]
    assert fake.incidents == ()


def test_a_port_in_use_is_an_error(fake: FakePagerDuty) -> None:
    """The error is the system's; stopping is not needed."""
    other = FakePagerDuty(port=fake.port)
    with pytest.raises(OSError, match="in use"):
        other.start()
    other.stop()


def test_waiting_ends_when_the_predicate_holds(
    fake: FakePagerDuty, connect: Connect, trigger: Make
) -> None:
    """Any thread may change it."""
    thread = threading.Thread(target=lambda: connect(fake).send(trigger()))
    thread.start()
    fake.wait_for(lambda fake: fake.incidents)
    thread.join()

    assert len(fake.incidents) == 1


def test_a_timeout_of_waiting_lists_requests_and_incidents(
    fake: FakePagerDuty, sender: Any, trigger: Make, key: str
) -> None:
    """The message contains no key."""
    sender.send(trigger())
    with pytest.raises(TimeoutError, match=r"still waiting after 0\.01 s; .*db-1/disk") as caught:
        fake.wait_for(lambda _: False, timeout=0.01)

    assert key not in str(caught.value)


def test_https_is_served_with_a_context(trigger: Make) -> None:
    """A sender without TLS, or one that disconnects, affects no other."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with FakePagerDuty(ssl_context=context) as fake:
        with socket.create_connection(("127.0.0.1", fake.port), timeout=60) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            plain.recv(1000)
        body = json.dumps(trigger()).encode()
        with (
            socket.create_connection(("127.0.0.1", fake.port), timeout=60) as raw,
            trusting.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(
                b"POST /v2/enqueue HTTP/1.0\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            assert connection.recv(1000).startswith(b"HTTP/1.1 202 Accepted\r\n")
        with (
            socket.create_connection(("127.0.0.1", fake.port), timeout=60) as raw,
            trusting.wrap_socket(raw, server_hostname="127.0.0.1"),
        ):
            assert fake.url.startswith("https://127.0.0.1:")
            fake.stop()

    assert [incident.state for incident in fake.incidents] == ["triggered"]


def test_an_internal_error_of_the_fake_is_shown(
    connect: Connect, trigger: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only broken connections are ignored."""

    def broken_clock() -> Any:
        raise ZeroDivisionError

    with FakePagerDuty(clock=broken_clock) as fake, pytest.raises(ConnectionError):
        connect(fake).send(trigger())

    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_fake_logs_nothing(
    fake: FakePagerDuty, sender: Any, trigger: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither requests nor broken connections are reported on standard error."""
    sender.send(trigger())
    sender.post(b"?")
    reset_on_close = struct.pack("ii", 1, 0)
    sender.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
    sender.connection.close()
    fake.stop()

    assert capsys.readouterr() == ("", "")
