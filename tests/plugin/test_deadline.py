"""One deadline for a whole attempt, with slow, stalled and endless replies."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hostspec import Alert, OutcomeKind
from pagerduty_plugin.http import transport
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.http.responses import Reply
from pagerduty_plugin.settings import NetworkSettings
from pagerduty_plugin.testing import FakePagerDuty, Misbehaviour, dripping, late

from .conftest import Sender
from .wire import ACCEPTED, Listener, network, post, read_request, unsent

TOO_LATE = network("no reply within 0.2 s")
HEADERS = b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000000\r\n\r\n"


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Return a function that starts a listener, which ends with the test."""
    listeners: list[Listener] = []

    def listen(
        *treatments: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None
    ) -> Listener:
        listeners.append(Listener(*treatments, tls=tls))
        return listeners[-1]

    yield listen
    for each in listeners:
        each.close()


def drip(before: bytes) -> Callable[[socket.socket], None]:
    """Send some bytes at once, then one at a time forever."""

    def treat(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(before)
        while not threading.Event().wait(0.01):  # until the other side has had enough
            connection.sendall(b"x")

    return treat


@pytest.mark.parametrize(
    "before", [b"", b"HTTP/1.1 202 Accepted\r\n", b"HTTP/1.1 202 Accepted\r\nA: "]
)
def test_slow_headers_time_out(listen: Callable[..., Listener], before: bytes) -> None:
    assert post(Client({}), listen(drip(before)).url, timeout=0.2) == TOO_LATE


def test_a_status_with_a_slow_body_counts(listen: Callable[..., Listener]) -> None:
    assert post(Client({}), listen(drip(HEADERS)).url, timeout=0.2) == Reply(202, "")


def test_endless_interim_responses_time_out(listen: Callable[..., Listener]) -> None:
    """There is always something to read, so that no single read times out."""

    def flood(connection: socket.socket) -> None:
        read_request(connection)
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    assert post(Client({}), listen(flood).url, timeout=0.2) == TOO_LATE


def test_each_attempt_has_its_own_deadline(
    sender: Sender,
) -> None:
    hurried = sender.over(timeout=0.2)
    sender.fake.misbehave(dripping(seconds=0.1), times=1)
    outcome = hurried.send(Alert("k", "Down"))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.UNREACHABLE, TOO_LATE.reason)
    assert hurried.send(Alert("k", "Down")).delivered


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_unread_request_body_times_out(
    listen: Callable[..., Listener],
    server_context: ssl.SSLContext,
    trusting: dict[str, str],
    scheme: str,
) -> None:
    gate = threading.Event()

    def shut(connection: socket.socket) -> None:
        connection.recv(1)
        gate.wait()

    tls = server_context if scheme == "https" else None
    url = listen(shut, tls=tls).url.replace("http:", f"{scheme}:")
    body = b"x" * 30_000_000  # more than lies on the way
    settings = NetworkSettings(timeout=0.5)
    answer = Client(trusting).post(url, body, network=settings)
    assert answer == network("no reply within 0.5 s")
    gate.set()


def test_a_slow_tls_handshake_times_out(listen: Callable[..., Listener]) -> None:
    """The first bytes announce a long ServerHello."""
    url = listen(drip(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")).url
    reply = post(Client({}), url.replace("http:", "https:"), timeout=1)
    assert reply == network("no reply within 1 s")


def test_a_slow_proxy_times_out(listen: Callable[..., Listener]) -> None:
    client = Client({"https_proxy": listen(drip(b"HTTP/1.1 200 ")).url})
    assert post(client, "https://events.invalid", timeout=1) == network("no reply within 1 s")


def test_the_repeat_shares_the_deadline(sender: Sender) -> None:
    """Both connections together exceed the deadline; each alone would not."""
    hurried = sender.over(timeout=0.5)
    assert hurried.send(Alert("k", "Down")).delivered
    slow_reset = Misbehaviour(name="slow reset", wire="reset", seconds=0.3)
    sender.fake.misbehave(slow_reset, times=1)
    sender.fake.misbehave(late(seconds=0.3), times=1)
    outcome = hurried.send(Alert("k", "Down"))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.UNREACHABLE, "no reply within 0.5 s")


def test_unreachable_addresses_share_one_deadline(
    full_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each alone would be in time."""
    found = socket.getaddrinfo("127.0.0.1", int(full_url.rpartition(":")[2]))[:1]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found * 100)
    answer = post(Client({}), "http://events.invalid", connect_timeout=0.1, timeout=0.25)
    assert answer == unsent("no reply within 0.25 s")


def test_the_next_address_is_tried(
    fake: FakePagerDuty, full_url: str, unused_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = [int(url.rpartition(":")[2]) for url in (full_url, unused_url, fake.url)]
    found = [socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)[0] for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    answer = post(Client({}), "http://events.invalid", connect_timeout=0.1)
    assert answer == Reply(202, ACCEPTED)


def test_a_host_without_addresses_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    reported = unsent("no connection: the name has no address")
    assert post(Client({}), "http://events.invalid") == reported


def test_nothing_is_sent_after_a_slow_name_lookup(
    fake: FakePagerDuty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lookup itself cannot be interrupted."""
    clock = itertools.chain([0.0], itertools.repeat(21.0))
    monkeypatch.setattr(transport, "monotonic", lambda: next(clock))
    assert post(Client({}), fake.url) == unsent("no reply within 20 s")
    assert fake.requests == ()


def test_each_thread_has_its_own_deadline() -> None:
    transport.begin(60)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(transport.is_over).result()
        with pytest.raises(TimeoutError):
            pool.submit(transport.seconds_left).result()
    assert not transport.is_over()
    assert 0 < transport.seconds_left() <= 60


@pytest.mark.parametrize("call", [("recv", 1), ("recv_into", bytearray(1)), ("send", b"x"),
                                  ("sendall", b"x")])  # fmt: skip
def test_no_socket_call_starts_after_the_deadline(call: tuple[str, Any]) -> None:
    name, argument = call
    transport.begin(0)
    here, there = socket.socketpair()
    with here, there, transport.Socket(fileno=here.detach()) as late_one:
        there.sendall(b"waiting")
        with pytest.raises(TimeoutError):
            getattr(late_one, name)(argument)
