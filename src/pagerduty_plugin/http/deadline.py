"""One deadline for all that an attempt does at its sockets.

A socket's own timeout is for one call, and starts again with each byte of a reply that drips.
Sockets of this module give each call what is left of the attempt that their thread makes.
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
    """Begin an attempt of this thread: it ends so many seconds from now."""
    _attempt.ends = monotonic() + seconds


def left() -> float:
    """Return the seconds that are left of this thread's attempt.

    Raises:
        TimeoutError: none.
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
    """A socket that waits no longer than the attempt lasts."""

    def settimeout(self, value: float | None) -> None:
        """Do nothing: each call has what is left, and setting a timeout is a system call."""

    def _hurry(self, most: float = math.inf) -> None:
        super().settimeout(min(left(), most))

    def reach(self, address: Any, most: float) -> None:
        """Connect, within so many seconds at most."""
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
    """Connect to the first address of a host that takes it.

    How long the look-up of the name takes is the resolver's affair.

    Args:
        host: a name or an address.
        port: where.
        timeout: seconds for one address.
        options: for `socket.socket.setsockopt`.

    Raises:
        OSError: none does; a TimeoutError where the last one did not in time.
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
