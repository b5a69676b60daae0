"""A stub HTTP service on loopback in place of the provider's, and the network faults."""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, TypeAlias

import attrs

from hostspec.delivery import OutcomeKind

_HOST: Final = "127.0.0.1"

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""The option `SO_LINGER` with a time of 0: closing the socket resets the connection."""


@attrs.frozen
class Service:
    """A running stand-in for the provider's service.

    ``url`` has no slash at the end; ``received`` returns the messages that arrived, each as text.
    """

    url: str
    received: Callable[[], Sequence[str]]


@attrs.frozen
class Answer:
    """An HTTP response."""

    status: int = 200
    body: bytes = b"ok"
    content_type: str = "text/plain"

    def encode(self) -> bytes:
        """Return the bytes on the wire; the connection closes after them."""
        head = (
            f"HTTP/1.1 {self.status} Conformance\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        return head.encode() + self.body


@attrs.frozen
class Connection:
    """One connection whose request was read; ``stopping`` is set when the server stops."""

    socket: socket.socket
    request: bytes
    stopping: threading.Event


Reaction: TypeAlias = Callable[[Connection], None]


def answering(answer: Answer) -> Reaction:
    """Return a reaction that gives every request the same response."""
    return lambda connection: connection.socket.sendall(answer.encode())


def quoting(connection: Connection) -> None:
    """Reject the request, and quote all of it, as some services do."""
    connection.socket.sendall(Answer(400, b"cannot take " + connection.request).encode())


def _reset(connection: Connection) -> None:
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def _stay_silent(connection: Connection) -> None:
    connection.stopping.wait()


def _send_garbage(connection: Connection) -> None:
    connection.socket.sendall(b"\x16\x03\x01\x02\x00 this is no HTTP \xff\xfe\r\n\r\n")


@contextlib.contextmanager
def serving(react: Reaction) -> Iterator[Service]:
    """Run a service on a free port of loopback that reacts to each request in one way."""
    with _Server(react) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Service(
                f"http://{_HOST}:{server.server_address[1]}", lambda: tuple(server.bodies)
            )
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def _refusing_connections() -> Iterator[Service]:
    with socket.socket() as kept:  # bound, but not listening
        kept.bind((_HOST, 0))
        yield Service(f"http://{_HOST}:{kept.getsockname()[1]}", tuple)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, react: Reaction) -> None:
        self.react = react
        self.bodies: list[str] = []
        self.stopping = threading.Event()
        super().__init__((_HOST, 0), _Handler)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def handle(self) -> None:
        head = b"".join(itertools.takewhile(bool, iter(self.rfile.readline, b"\r\n")))
        if not head:  # the client hung up without a request
            return
        body = self.rfile.read(_length(head))
        self.server.bodies.append(body.decode(errors="replace"))
        with contextlib.suppress(OSError):  # the client may have hung up
            self.server.react(Connection(self.connection, head + body, self.server.stopping))

    def finish(self) -> None:
        """Close without a shutdown, which would end the connection properly before a reset."""
        self.connection.close()


def _length(head: bytes) -> int:
    for line in head.splitlines():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


@attrs.frozen
class NetworkFault:
    """A fault between the provider and its service.

    ``start`` starts a service with the fault; ``allowed`` are the outcomes that a provider may
    return.
    """

    name: str
    start: Callable[[], AbstractContextManager[Service]]
    allowed: frozenset[OutcomeKind]


_LOGIN_PAGE: Final = Answer(
    200, b"<!doctype html><title>Guest network</title><p>Please log in.", "text/html"
)
_OTHER_SERVICE: Final = Answer(202, b'{"queued": true}', "application/json")


def network_faults(*, idempotent: bool) -> tuple[NetworkFault, ...]:
    """Return the faults that every provider must turn into an outcome.

    Args:
        idempotent: whether repeats of the action are. Without it, the outcome of a message that
            may have arrived is *uncertain*, and nothing else: a host would send it again.
    """
    kinds = OutcomeKind
    failed = {kinds.FAULTED if idempotent else kinds.UNCERTAIN}
    broken = failed | ({kinds.UNREACHABLE} if idempotent else set())
    misled = failed | {kinds.UNREACHABLE, kinds.MISCONFIGURED}
    reactions: list[tuple[str, Reaction, set[OutcomeKind]]] = [
        ("reset", _reset, broken),
        ("timeout", _stay_silent, broken),
        ("garbage", _send_garbage, broken),
        ("500", answering(Answer(500, b"Internal Server Error")), failed),
        ("429", answering(Answer(429, b"Too Many Requests")), {kinds.THROTTLED}),
        ("400", answering(Answer(400, b"Bad Request")), {kinds.REJECTED, kinds.MISCONFIGURED}),
        ("another 202", answering(_OTHER_SERVICE), misled),
        ("captive portal", answering(_LOGIN_PAGE), misled),
    ]
    refused = {kinds.UNREACHABLE} if idempotent else {kinds.UNREACHABLE, kinds.UNCERTAIN}
    return (
        NetworkFault("refused port", _refusing_connections, frozenset(refused)),
        *(
            NetworkFault(name, functools.partial(serving, react), frozenset(allowed))
            for name, react, allowed in reactions
        ),
    )
