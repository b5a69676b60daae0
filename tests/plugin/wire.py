"""An event, and scripted servers, for the tests of the HTTP client."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from hostspec import OutcomeKind
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.http.responses import NoReply, Reply
from pagerduty_plugin.settings import NetworkSettings

KEYS = {
    "checkout": "0123456789abcdef0123456789abcdef",
    "platform": "PLATFORMplatformPLATFORMplatform",
}
KEY = KEYS["checkout"]
EVENT = (
    b'{"routing_key":"%s","event_action":"trigger","dedup_key":"k",'
    b'"payload":{"summary":"Down","source":"s","severity":"error"}}' % KEY.encode()
)
ACCEPTED = '{"status":"success","message":"Event processed","dedup_key":"k"}'
HTTP_ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"


def post(client: Client, url: str, **network: Any) -> Reply | NoReply:
    settings = NetworkSettings(**network)
    return client.post(f"{url}/v2/enqueue", EVENT, network=settings)


def network(reason: str) -> NoReply:
    return NoReply(OutcomeKind.UNREACHABLE, reason)


def unsent(reason: str) -> NoReply:
    return NoReply(OutcomeKind.UNREACHABLE, reason, sent=False)


def configuration(reason: str) -> NoReply:
    return NoReply(OutcomeKind.MISCONFIGURED, reason)


def read_request(connection: socket.socket) -> bytes:
    """Read one request with its body; empty if the other side closed."""
    request = b""
    while b"\r\n\r\n" not in request:
        received = connection.recv(65536)
        if not received:
            return b""
        request += received
    length = re.search(rb"content-length: (\d+)", request, re.IGNORECASE)
    whole = request.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
    while len(request) < whole:
        request += connection.recv(65536)
    return request


class Listener:
    """A server that handles each connection with a function, one after the other."""

    def __init__(
        self, *treatments: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None
    ) -> None:
        self._tls = tls
        self.connections = 0
        self.closed = threading.Semaphore(0)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open = self._socket
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, args=(treatments,), daemon=True)
        self._thread.start()

    def _serve(self, treatments: tuple[Callable[[socket.socket], None], ...]) -> None:
        for treat in treatments:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            if self._tls:  # shaken hands with the first bytes
                connection = self._tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
            self._open = connection
            with connection, contextlib.suppress(OSError):
                treat(connection)
            self.closed.release()

    def close(self) -> None:
        for each in (self._socket, self._open):
            with contextlib.suppress(OSError):
                # an SSLSocket's own method would pull the session from under its thread
                socket.socket.shutdown(each, socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


class Responder(Listener):
    """A server that answers the requests of each connection in order, then closes it."""

    def __init__(self, *connections: tuple[bytes, ...]) -> None:
        self.requests: list[bytes] = []
        super().__init__(*(self._answering(answers) for answers in connections))

    def _answering(self, answers: tuple[bytes, ...]) -> Callable[[socket.socket], None]:
        def treat(connection: socket.socket) -> None:
            for answer in answers:
                self.requests.append(read_request(connection))
                connection.sendall(answer)

        return treat


class Proxy:
    """A small proxy that connects, or sends a scripted response."""

    def __init__(
        self, target: tuple[str, int], answer: bytes = b"", tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[bytes] = []
        self._target = target
        self._answer = answer
        self._listener = Listener(*[self._treat] * 3, tls=tls)
        self.address = f"user:proxy-secret@127.0.0.1:{self._listener.port}"

    def _treat(self, connection: socket.socket) -> None:
        self.requests.append(read_request(connection))
        if self._answer:
            connection.sendall(self._answer)
            return
        with socket.create_connection(self._target) as there:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            shuttle(connection, there)

    def close(self) -> None:
        self._listener.close()


def shuttle(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side has no more."""
    while True:
        for source in select.select((one, other), (), ())[0]:
            received = source.recv(65536)
            if not received:
                return
            (other if source is one else one).sendall(received)
