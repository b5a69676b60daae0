"""The HTTP client over real sockets: connections, TLS, proxies and failures."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest

from hostspec import Alert, OutcomeKind
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.http.network import NetworkEnvironment
from pagerduty_plugin.http.responses import NoReply, Reply
from pagerduty_plugin.http.transport import MOST_READ
from pagerduty_plugin.testing import (
    FakePagerDuty,
    Gate,
    Misbehaviour,
    Response,
    closing,
    dripping,
    failing,
    garbage,
    late,
    redirecting,
    reset,
    reset_unread,
    truncated,
)
from pagerduty_plugin.trigger import Trigger

from .conftest import Sender, connect
from .wire import (
    ACCEPTED,
    EVENT,
    HTTP_ACCEPTED,
    KEY,
    Listener,
    Proxy,
    Responder,
    configuration,
    network,
    post,
    read_request,
    unsent,
)

# requests


def test_a_request_has_the_documented_headers(fake: FakePagerDuty) -> None:
    assert post(Client({}), fake.url) == Reply(202, ACCEPTED)
    (request,) = fake.requests
    assert (request.method, request.path, request.body) == ("POST", "/v2/enqueue", EVENT)
    headers = {name.lower(): value for name, value in request.headers}
    assert headers["user-agent"] == (
        f"pagerduty-plugin/{version('pagerduty-plugin')} hostspec/{version('hostspec')} "
        f"python/{'.'.join(map(str, sys.version_info[:3]))}"
    )
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(EVENT))
    assert headers.get("accept-encoding", "identity") == "identity"
    assert not {
        "authorization",
        "content-encoding",
        "cookie",
        "expect",
        "transfer-encoding",
        "x-routing-key",
    } & set(headers)


def test_a_body_is_sent_unchanged(fake: FakePagerDuty) -> None:
    body = EVENT.replace(b"Down", "Störung 🔥".encode())
    assert isinstance(Client({}).post(f"{fake.url}/v2/enqueue", body), Reply)
    assert fake.requests[0].body == body
    assert fake.incidents[0].summary == "Störung 🔥"


def test_cookies_are_not_kept(fake: FakePagerDuty) -> None:
    answer = Response(202, b"{}", headers=(("Set-Cookie", "a=b; Path=/"),))
    fake.misbehave(Misbehaviour(name="cookie", response=answer))
    client = Client({})
    post(client, fake.url)
    post(client, fake.url)
    assert fake.requests[1].header("Cookie") is None


# connections


def test_one_connection_serves_many_posts(fake: FakePagerDuty) -> None:
    client = Client({})
    assert {post(client, fake.url) for _ in range(50)} == {Reply(202, ACCEPTED)}
    assert {request.connection for request in fake.requests} == {1}


def test_one_connection_survives_every_status(fake: FakePagerDuty) -> None:
    client = Client({})
    answers = (
        failing(500),
        failing(400, b""),
        failing(429, b"x" * (MOST_READ - 1)),
        redirecting("http://127.0.0.1:1/"),
    )
    for how in answers:
        fake.misbehave(how, times=1)
        assert isinstance(post(client, fake.url), Reply)
    post(client, fake.url)
    assert {request.connection for request in fake.requests} == {1}


def test_one_connection_survives_chunked_responses(
    respond: Callable[..., Responder],
) -> None:
    chunked = (
        b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"8\r\nInvalid \r\nb\r\nrouting key\r\n0\r\n\r\n"
    )
    responder = respond((chunked, chunked))
    client = Client({})
    for _ in range(2):
        assert post(client, responder.url) == Reply(400, "Invalid routing key")
    assert responder.connections == 1


def test_no_post_waits_for_another(fake: FakePagerDuty) -> None:
    """Connections of simultaneous posts serve later posts."""
    client = Client({})
    gate = Gate()
    script = fake.misbehave(late(gate))
    with ThreadPoolExecutor(32) as pool:
        posts = [pool.submit(post, client, fake.url) for _ in range(32)]
        fake.wait_for(lambda fake: len(fake.requests) == 32)
        assert len({request.connection for request in fake.requests}) == 32
        script.clear()
        gate.open()
        assert {each.result() for each in posts} == {Reply(202, ACCEPTED)}
        assert set(pool.map(lambda _: post(client, fake.url), range(64))) == {Reply(202, ACCEPTED)}
    assert len({request.connection for request in fake.requests}) == 32


def test_a_connection_closed_while_idle_is_replaced(respond: Callable[..., Responder]) -> None:
    """The next post uses a new connection, and is sent once."""
    responder = respond((HTTP_ACCEPTED,), (HTTP_ACCEPTED,))
    client = Client({})
    assert post(client, responder.url) == Reply(202, "{}")
    assert responder.closed.acquire(timeout=60)
    assert post(client, responder.url) == Reply(202, "{}")
    assert (responder.connections, len(responder.requests)) == (2, 2)


def test_every_event_is_delivered_after_a_close(sender: Sender) -> None:
    """Holds for any timing of the close and the next post."""
    sender.fake.misbehave(closing())
    for number in range(100):
        assert sender.send(Alert(f"k{number}", "Down")).delivered
    assert len(sender.fake.incidents) == 100
    assert len({request.connection for request in sender.fake.requests}) >= 100


def test_an_error_handled_by_the_caller_is_ignored(
    fake: FakePagerDuty,
) -> None:
    """Python chains it to later errors; it says nothing about whether the event was sent."""
    fake.misbehave(garbage())
    from urllib3.exceptions import NewConnectionError

    def fail() -> None:
        raise NewConnectionError(None, "an earlier attempt")  # type: ignore[arg-type]

    try:
        fail()
    except NewConnectionError:
        reply = Client({}).post(f"{fake.url}/v2/enqueue", EVENT, idempotent=False)
    assert isinstance(reply, NoReply)
    assert reply.sent


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 2",
        "HTTP/1.1 202 Accepted\r\nConnection: Keep-Alive, Close\r\nContent-Length: 2",
        "HTTP/1.1 202 Accepted\r\nConnection: x\r\nConnection: close\r\nContent-Length: 2",
        "HTTP/1.1 202 Accepted\r\nConnection: close\r\nTransfer-Encoding: chunked",
        "HTTP/1.0 202 Accepted\r\nContent-Length: 2",
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 100000",
    ],
)
def test_an_announced_close_ends_the_connection(head: str, *, idempotent: bool) -> None:
    """Holds if the server leaves it open, and if a body was not read to its end."""
    assert _used_again(head, idempotent=idempotent) == [b"", b"", b""]


def test_a_close_by_the_client_ends_the_connection() -> None:
    """Holds whether or not the server announces the close, too."""
    head = "HTTP/1.1 202 Accepted\r\nContent-Length: 2"
    assert _used_again(head, idempotent=False) == [b"", b"", b""]


def _used_again(head: str, *, idempotent: bool) -> list[bytes]:
    """Post three times to a server that keeps connections open; return its requests after each."""
    body = b"2\r\n{}\r\n0\r\n\r\n" if "chunked" in head else b"{}" + b" " * MOST_READ
    if "Content-Length: 2" in head:
        body = b"{}"
    after: list[bytes] = []

    def treat(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        after.append(connection.recv(1))

    listener = Listener(treat, treat, treat)
    client = Client({})
    for _ in range(3):
        reply = client.post(listener.url, EVENT, idempotent=idempotent)
        assert isinstance(reply, Reply)
        assert listener.closed.acquire(timeout=60)
    listener.close()
    return after


@pytest.mark.parametrize("how", [reset(processed="at once"), reset(), reset_unread()])
def test_a_broken_kept_connection_is_replaced_once(sender: Sender, how: Misbehaviour) -> None:
    assert sender.send(Alert("k", "Down")).delivered
    sender.fake.misbehave(how, times=1)
    assert sender.send(Alert("k", "Down")).delivered
    assert [request.connection for request in sender.fake.requests] == [1, 1, 2]
    assert [incident.notifications for incident in sender.fake.incidents] == [1]


def test_a_second_break_is_reported(sender: Sender) -> None:
    assert sender.send(Alert("k", "Down")).delivered
    sender.fake.misbehave(reset())
    for tries in (3, 4):  # the first with its repeat, then one at a time
        outcome = sender.send(Alert("k", "Down"))
        assert outcome.kind is OutcomeKind.UNREACHABLE
        assert len(sender.fake.requests) == tries
    sender.fake.behave()
    assert sender.send(Alert("k", "Down")).delivered


def test_timeouts_and_garbage_are_not_repeated(sender: Sender) -> None:
    hurried = sender.over(timeout=0.2)
    gate = Gate()
    for at, how in ((hurried, late(gate)), (sender, garbage())):
        assert at.send(Alert("k", "Down")).delivered
        before = len(sender.fake.requests)
        sender.fake.misbehave(how, times=1)
        assert at.send(Alert("k", "Down")).kind is OutcomeKind.UNREACHABLE
        assert len(sender.fake.requests) == before + 1
    gate.open()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_makes_its_own_connections(fake: FakePagerDuty) -> None:
    client = Client({})
    url = f"{fake.url}/v2/enqueue"
    body = json.dumps(
        {"routing_key": "k" * 32, "event_action": "resolve", "dedup_key": "x"}
    ).encode()

    def post() -> bool:
        return isinstance(client.post(url, body), Reply)

    assert post()
    child = os.fork()
    if child == 0:
        os._exit(0 if post() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert post()

    client._process = 0  # as in a child, whose coverage is not measured
    assert post()

    parent, other, again, like_a_child = (request.connection for request in fake.requests)
    assert parent == again
    assert len({parent, other, like_a_child}) == 3


# failures


@pytest.mark.parametrize(
    ("how", "answer"),
    [
        (reset(), network("no connection: Connection reset by peer")),
        (garbage(), network("the reply is not HTTP")),
        (truncated(), Reply(202, "")),
        (closing(), Reply(202, ACCEPTED)),
        (dripping(seconds=0), Reply(202, ACCEPTED)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_broken_connection_is_reported(
    fake: FakePagerDuty, how: Misbehaviour, answer: Reply | NoReply
) -> None:
    fake.misbehave(how)
    assert post(Client({}), fake.url) == answer
    assert len(fake.requests) == 1


def test_a_close_without_a_reply_is_reported() -> None:
    listener = Listener(lambda connection: read_request(connection) and None)
    reason = "no connection: the other side closed the connection without a reply"
    assert post(Client({}), listener.url) == network(reason)
    listener.close()


def test_a_reset_during_the_body_is_reported(fake: FakePagerDuty) -> None:
    """The reason depends on how much had been sent."""
    fake.misbehave(reset_unread())
    assert post(Client({}), fake.url) in (
        network("no connection: Connection reset by peer"),
        network("no connection: the other side closed the connection without a reply"),
    )
    assert len(fake.requests) == 1


def test_a_202_with_a_truncated_body_is_delivered(sender: Sender) -> None:
    sender.fake.misbehave(truncated())
    outcome = sender.send(Alert("k", "Down"))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DELIVERED, "")


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"Transfer-Encoding: chunked\r\n\r\nno length\r\n",
        b"Content-Length: 100\r\n\r\nshort",
    ],
)
def test_an_unreadable_body_keeps_the_status(
    respond: Callable[..., Responder], body: bytes
) -> None:
    responder = respond((b"HTTP/1.1 202 Accepted\r\n" + body,))
    assert post(Client({}), responder.url) == Reply(202, "")


@pytest.mark.parametrize("headers", ["Content-Length: 200000\r\n", ""])
def test_a_long_body_is_read_in_part(respond: Callable[..., Responder], headers: str) -> None:
    answer = f"HTTP/1.1 502 Bad Gateway\r\n{headers}\r\n".encode()
    responder = respond((answer + b"x" * 200_000,))
    assert post(Client({}), responder.url) == Reply(502, "x" * MOST_READ)


def test_an_endless_body_is_abandoned() -> None:
    """A broken proxy must not block the lane forever."""
    endless = b"HTTP/1.1 502 Bad Gateway\r\n\r\n" + b"x" * MOST_READ

    def flood(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(endless)
        while True:  # until the other side has had enough
            connection.sendall(b"x" * MOST_READ)

    listener = Listener(flood)
    assert post(Client({}), listener.url) == Reply(502, "x" * MOST_READ)
    listener.close()


def test_a_late_reply_times_out(fake: FakePagerDuty) -> None:
    gate = Gate()
    fake.misbehave(late(gate), times=1)
    client = Client({})
    assert post(client, fake.url, timeout=0.2) == network("no reply within 0.2 s")
    gate.open()
    assert post(client, fake.url) == Reply(202, ACCEPTED)


def test_a_202_with_a_late_body_is_delivered() -> None:
    gate = threading.Event()

    def stall(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n")
        gate.wait()

    listener = Listener(stall)
    assert post(Client({}), listener.url, timeout=0.2) == Reply(202, "")
    gate.set()
    listener.close()


def test_a_slow_connection_times_out(full_url: str) -> None:
    answer = post(Client({}), full_url, connect_timeout=0.2)
    assert answer == unsent("no connection within 0.2 s")


def test_an_unreachable_proxy_is_reported(full_url: str) -> None:
    client = Client({"http_proxy": full_url})
    answer = post(client, "http://events.invalid", connect_timeout=0.2)
    assert answer == unsent("no proxy: no connection within 0.2 s")


def test_a_refused_connection_is_reported(unused_url: str) -> None:
    assert post(Client({}), unused_url) == unsent("no connection: Connection refused")


def test_an_unknown_host_is_reported() -> None:
    answer = post(Client({}), "https://events.invalid")
    assert isinstance(answer, NoReply)
    assert answer.kind is OutcomeKind.UNREACHABLE
    assert answer.reason.startswith("no connection: ")
    assert "Error" not in answer.reason


@pytest.mark.parametrize(
    "url",
    [
        "bad",
        "ftp://x.example",
        "https://[bad",
        "https://user:secret@a b",
        "https://*.example",
        "http://127.0.0.1:99999",
        f"https://{'a' * 64}.example",
    ],
)
def test_an_invalid_url_is_reported_and_not_quoted(url: str) -> None:
    reason = "cannot be sent: the address is not a valid URL; check base_url"
    assert post(Client({}), url) == configuration(reason)


@pytest.mark.parametrize(
    "error",
    [AssertionError, http.client.IncompleteRead(b""), KeyError("secret"), OSError],
)
def test_no_reason_contains_the_class_of_an_exception(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception] | Exception
) -> None:
    """The text of the exception is not shown either."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", fail)
    answer = post(Client({}), "http://127.0.0.1:1")
    assert isinstance(answer, NoReply)
    assert not re.search("Error|IncompleteRead|secret", answer.reason)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(fake: FakePagerDuty, status: int) -> None:
    with FakePagerDuty() as elsewhere:
        there = f"{elsewhere.url}/v2/enqueue"
        fake.misbehave(redirecting(there, status=status))
        assert post(Client({}), fake.url) == Reply(status, "", location=there)
        assert elsewhere.requests == ()


# TLS


def test_a_trusted_server_gets_the_event_over_one_connection(
    https_fake: FakePagerDuty, trusting: dict[str, str]
) -> None:
    client = Client(trusting)
    assert {post(client, https_fake.url) for _ in range(5)} == {Reply(202, ACCEPTED)}
    assert {request.connection for request in https_fake.requests} == {1}


def test_curl_ca_bundle_is_read_too(https_fake: FakePagerDuty, trusting: dict[str, str]) -> None:
    environment = {"CURL_CA_BUNDLE": trusting["REQUESTS_CA_BUNDLE"], "REQUESTS_CA_BUNDLE": ""}
    assert post(Client(environment), https_fake.url) == Reply(202, ACCEPTED)


def test_the_environment_is_read_once(
    https_fake: FakePagerDuty, trusting: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CA bundle and proxies are read when the client is created."""
    for name, value in trusting.items():
        monkeypatch.setenv(name, value)
    client = Client()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert post(client, https_fake.url) == Reply(202, ACCEPTED)


def test_an_untrusted_server_gets_no_event(https_fake: FakePagerDuty) -> None:
    reason = "TLS failed: unable to get local issuer certificate"
    assert post(Client({}), https_fake.url) == configuration(reason)
    sender = Sender(https_fake, Trigger(Client({})), connect(https_fake.url))
    assert sender.send(Alert("k", "Down")).kind is OutcomeKind.MISCONFIGURED
    assert https_fake.requests == ()


def test_a_server_with_another_name_gets_no_event(
    https_fake: FakePagerDuty, trusting: dict[str, str]
) -> None:
    url = https_fake.url.replace("127.0.0.1", "localhost")
    reason = "TLS failed: Hostname mismatch, certificate is not valid for 'localhost'."
    assert post(Client(trusting), url) == configuration(reason)
    assert https_fake.requests == ()


def test_a_missing_ca_bundle_is_reported(https_fake: FakePagerDuty, tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    client = Client({"REQUESTS_CA_BUNDLE": str(missing)})
    reason = (
        f"network.ca_bundle: REQUESTS_CA_BUNDLE: {missing} cannot be read: "
        "No such file or directory"
    )
    assert post(client, https_fake.url) == configuration(reason)


def test_a_server_without_tls_is_reported(fake: FakePagerDuty) -> None:
    answer = post(Client({}), fake.url.replace("http:", "https:"))
    assert isinstance(answer, NoReply)
    assert answer.kind is OutcomeKind.UNREACHABLE
    assert answer.reason.startswith("TLS failed: ")


# proxies


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_tls_is_tunnelled_through_a_proxy_of_the_environment(
    named_fake: FakePagerDuty,
    trusting: dict[str, str],
    proxy_for: Callable[..., Proxy],
    variable: str,
) -> None:
    proxy = proxy_for(named_fake.port)
    client = Client({**trusting, variable: f"http://{proxy.address}"})
    for _ in range(3):
        assert post(client, "https://events.invalid") == Reply(202, ACCEPTED)
    (request,) = proxy.requests
    assert request.startswith(b"CONNECT events.invalid:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic dXNlcjpwcm94eS1zZWNyZXQ=\r\n" in request
    assert KEY.encode() not in request
    assert [request.body for request in named_fake.requests] == [EVENT] * 3
    assert named_fake.requests[0].header("Proxy-Authorization") is None


def test_plain_http_is_forwarded_by_its_own_proxy_only(
    respond: Callable[..., Responder],
) -> None:
    responder = respond((HTTP_ACCEPTED,))
    client = Client({"http_proxy": responder.url, "https_proxy": "http://127.0.0.1:1"})
    assert post(client, "http://events.invalid") == Reply(202, "{}")
    assert responder.requests[0].startswith(b"POST http://events.invalid/v2/enqueue HTTP/1.1\r\n")


@pytest.mark.parametrize("around", ["", " ", "\n", "\r\n"])
def test_blanks_around_a_proxy_of_the_environment_are_stripped(
    respond: Callable[..., Responder], around: str
) -> None:
    responder = respond((HTTP_ACCEPTED,))
    client = Client({"HTTP_PROXY": f"{around}{responder.url}{around}", "http_proxy": around})
    assert post(client, "http://events.invalid") == Reply(202, "{}")


@pytest.mark.parametrize(
    ("no_proxy", "used"),
    [
        ("", True),
        ("other.invalid", True),
        ("events.invalid", False),
        ("other.invalid, .invalid", False),
        ("invalid", False),
        ("*", False),
    ],
)
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_no_proxy_is_respected(
    respond: Callable[..., Responder], variable: str, no_proxy: str, used: object
) -> None:
    responder = respond((HTTP_ACCEPTED,))
    client = Client({"http_proxy": responder.url, variable: no_proxy})
    assert isinstance(post(client, "http://events.invalid"), Reply) is used


def test_no_proxy_is_read_once(
    respond: Callable[..., Responder], monkeypatch: pytest.MonkeyPatch
) -> None:
    responder = respond((HTTP_ACCEPTED,))
    client = Client({"http_proxy": responder.url})
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("NO_PROXY", "*")
    assert isinstance(post(client, "http://events.invalid"), Reply)
    assert os.environ["no_proxy"] == "*"


def test_the_lower_case_spelling_wins() -> None:
    surroundings = NetworkEnvironment.read(
        {
            "https_proxy": "http://lower",
            "HTTPS_PROXY": "http://upper",
            "NO_PROXY": "upper",
            "no_proxy": "",
            "HTTP_PROXY": "",
        }
    )
    assert surroundings.proxies == {"https": ("https_proxy", "http://lower")}
    assert surroundings.no_proxy == ("upper",)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_loopback_is_never_proxied(fake: FakePagerDuty, host: str) -> None:
    dead = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:1")
    answer = post(Client(dead), f"http://{host}:{fake.port}")
    if host == "127.0.0.2":  # loopback too, but the fake does not listen there
        assert answer == unsent("no connection: Connection refused")
    else:
        assert answer == Reply(202, ACCEPTED)


def test_a_name_that_only_begins_like_loopback_is_proxied(
    respond: Callable[..., Responder],
) -> None:
    responder = respond((HTTP_ACCEPTED,))
    client = Client({"http_proxy": responder.url})
    assert post(client, "http://127.events.invalid") == Reply(202, "{}")


@pytest.mark.parametrize(
    ("answer", "reported"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            configuration("the proxy answered 407 Proxy Authentication Required"),
        ),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", configuration("the proxy answered 403 Forbidden")),
        (
            b"HTTP/1.1 403 " + b"x" * 1000 + b"\r\n\r\n",
            configuration("the proxy answered 403" + " " + "x" * 99),
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", network("the proxy answered 502 Bad Gateway")),
        (b"HTTP/1.1 503\r\n\r\n", network("the proxy answered 503")),
        (b"no HTTP\r\n\r\n", network("the reply is not HTTP")),
    ],
)
def test_a_refusing_proxy_is_reported(
    proxy_for: Callable[..., Proxy], answer: bytes, reported: NoReply
) -> None:
    proxy = proxy_for(0, answer)
    client = Client({"https_proxy": f"http://{proxy.address}"})
    assert post(client, "https://events.invalid") == reported


def test_a_refusing_proxy_of_plain_http_is_reported(respond: Callable[..., Responder]) -> None:
    responder = respond(
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",)
    )
    client = Client({"http_proxy": responder.url})
    assert post(client, "http://events.invalid") == Reply(407, "")


@pytest.mark.parametrize(
    ("proxy", "reported"),
    [
        ("http://user:secret@127.0.0.1:1", unsent("no proxy: Connection refused")),
        ("127.0.0.1:1", unsent("no proxy: Connection refused")),
    ],
)
def test_a_missing_proxy_is_reported_without_its_address(proxy: str, reported: NoReply) -> None:
    assert post(Client({"https_proxy": proxy}), "https://events.invalid") == reported


# secrets


def test_no_secret_is_logged_or_shown(
    sender: Sender,
    named_fake: FakePagerDuty,
    trusting: dict[str, str],
    proxy_for: Callable[..., Proxy],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Covers the integration key and the proxy's password, at DEBUG, for every failure."""
    caplog.set_level(logging.DEBUG)
    proxy = proxy_for(named_fake.port)
    client = Client({**trusting, "https_proxy": f"http://{proxy.address}"})
    shown = [client, client._environment, sender.action, sender.installation]
    reported = [
        post(client, "https://events.invalid"),
        post(client, "https://other.invalid", timeout=0.2),
    ]
    for how in (None, reset(), garbage(), truncated(), failing(500)):
        if how:
            sender.fake.misbehave(how, times=1)
        reported.append(sender.send(Alert("k", "Down")))
    assert "urllib3" in {record.name.partition(".")[0] for record in caplog.records}
    text = caplog.text + repr(reported) + repr(shown) + str(shown)
    assert KEY not in text
    assert "proxy-secret" not in text
