"""One deadline for all socket calls of an attempt.

A socket's own timeout applies to one call, and restarts with each byte of a slow reply. The sockets
of this module limit each call to the remaining time of their thread's attempt.
"""

from __future__ import annotations

import math
import socket
import ssl
import threading
from time import monotonic
from typing import Any


class _Attempt(threading.local):
    ends = 0.0


_attempt = _Attempt()


def begin(seconds: float) -> None:
    """Start an attempt of this thread, which may take so many seconds."""
    _attempt.ends = monotonic() + seconds


def left() -> float:
    """Return the remaining seconds of this thread's attempt.

    Raises:
        TimeoutError: its time is up.
    """
    seconds = _attempt.ends - monotonic()
    if seconds <= 0:
        message = "the attempt took too long"
        raise TimeoutError(message)
    return seconds


def over() -> bool:
    """Check whether the time of this thread's attempt is up."""
    return monotonic() >= _attempt.ends


class Socket(socket.socket):
    """A socket whose calls end with the attempt."""

    def settimeout(self, value: float | None) -> None:
        """Do nothing: each call sets its own timeout."""

    def _hurry(self, most: float = math.inf) -> None:
        super().settimeout(min(left(), most))

    def reach(self, address: Any, most: float) -> None:
        """Connect within so many seconds."""
        self._hurry(most)
        self.connect(address)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive bytes."""
        self._hurry()
        return super().recv(buflen, flags)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive bytes into a buffer."""
        self._hurry()
        return super().recv_into(buffer, nbytes or 0, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some bytes."""
        self._hurry()
        return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all bytes."""
        self._hurry()
        super().sendall(data, flags)


class TLSSocket(Socket, ssl.SSLSocket):
    """The same over TLS."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 -- ssl's signature
        """Shake hands."""
        self._hurry()
        super().do_handshake(block)


def connect(host: str, port: int, timeout: float, options: Any = ()) -> Socket:
    """Connect to the first address of a host that accepts it.

    The look-up of the name is not limited.

    Args:
        host: a name or an address.
        port: the port.
        timeout: seconds for one address.
        options: for `socket.socket.setsockopt`.

    Raises:
        OSError: no address accepts; a TimeoutError if the last one timed out.
    """
    trouble = OSError(0, "the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        made = Socket(family, kind, protocol)
        try:
            for option in options:
                made.setsockopt(*option)
            made.reach(address, timeout)
        except OSError as error:
            made.close()
            trouble = error
        else:
            return made
    raise trouble
