"""A tiny HTTP server on loopback, in the place of the provider's service: proper or misbehaving."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

import attrs

HOST: Final = "127.0.0.1"

_LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""Makes closing a connection reset it."""


@attrs.frozen
class Service:
    """Something that stands in the place of the provider's service.

    Attributes:
        url: where it is, without a slash at its end.
        received: gives the messages that arrived, each as text.
    """

    url: str
    received: Callable[[], Sequence[str]]


@attrs.frozen
class Answer:
    """An HTTP answer.

    Attributes:
        status: the code.
        body: the bytes.
        content_type: of the body.
    """

    status: int = 200
    body: bytes = b"ok"
    content_type: str = "text/plain"

    def encode(self) -> bytes:
        """Return the bytes that go over the wire; the connection closes after them."""
        head = (
            f"HTTP/1.1 {self.status} Conformance\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        return head.encode() + self.body


@attrs.frozen
class Connection:
    """What a reaction is given: one connection whose request was read.

    Attributes:
        socket: to answer on, or not to.
        request: the request's bytes.
        stopping: is set when the server stops.
    """

    socket: socket.socket
    request: bytes
    stopping: threading.Event


Reaction: TypeAlias = Callable[[Connection], None]


def answering(answer: Answer) -> Reaction:
    """Answer every request alike."""
    return lambda connection: connection.socket.sendall(answer.encode())


def echoing(connection: Connection) -> None:
    """Refuse, and quote the whole request, as services do that want to be helpful."""
    connection.socket.sendall(Answer(400, b"cannot take " + connection.request).encode())


def resetting(connection: Connection) -> None:
    """Reset the connection."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)


def silent(connection: Connection) -> None:
    """Say nothing until the server stops."""
    connection.stopping.wait()


def garbling(connection: Connection) -> None:
    """Answer with bytes that are no HTTP."""
    connection.socket.sendall(b"\x16\x03\x01\x02\x00 this is no HTTP \xff\xfe\r\n\r\n")


@contextlib.contextmanager
def serving(react: Reaction) -> Iterator[Service]:
    """Run a service on a free port of loopback that reacts to each request in one way."""
    with _Server(react) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Service(f"http://{HOST}:{server.server_address[1]}", lambda: tuple(server.bodies))
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def refusing() -> Iterator[Service]:
    """Keep a port on which nothing listens, so that connections are refused."""
    with socket.socket() as kept:
        kept.bind((HOST, 0))
        yield Service(f"http://{HOST}:{kept.getsockname()[1]}", tuple)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, react: Reaction) -> None:
        self.react = react
        self.bodies: list[str] = []
        self.stopping = threading.Event()
        super().__init__((HOST, 0), _Handler)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n"))
        body = self.rfile.read(_length(head))
        self.server.bodies.append(body.decode(errors="replace"))
        # whoever asked may have gone
        with contextlib.suppress(OSError):
            self.server.react(Connection(self.connection, head + body, self.server.stopping))

    def finish(self) -> None:
        """Close without a shutdown, which would say a proper end before a reset."""
        self.connection.close()


def _length(head: bytes) -> int:
    for line in head.splitlines():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
