"""The connections of the HTTP server: how many, and for how long each may wait for its client.

uvicorn bounds neither. Its ``limit_concurrency`` refuses requests but keeps their connections, its
``timeout_keep_alive`` is restarted by each byte, and a client that sends no whole request is
never disconnected. Each connection is a file descriptor, which the store and the senders need too.
"""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from alerthost.http.refusals import COME_AGAIN

_log = logging.getLogger("hostspec.http")
_log.setLevel(logging.ERROR)

KEPT_BACK: Final = 80
"""File descriptors that are kept back for the store, the senders and connections being refused."""

FEWEST: Final = 4
"""Connections that are served whatever the limit of file descriptors is."""

ACCEPTED_AT_ONCE: Final = 8
"""Connections that are accepted before those over the limit are closed."""

KEPT_ALIVE: Final = 75
"""Seconds for which an idle connection is kept; balancers keep theirs for 60."""

_TLS: Final = b"\x16\x03"
"""How a client begins a handshake (RFC 8446, 5.1)."""

_HEAD, _BUSY, _REST, _IDLE = "head", "busy", "rest", "idle"

WITHIN: Final = {_HEAD: 10.0, _BUSY: 120.0, _REST: 10.0, _IDLE: KEPT_ALIVE + 5.0}
"""Seconds in which each phase of a connection has to end.

head: no whole head of a request yet, from the first byte on or from the beginning.
busy: a request is being answered; its body and its work have shorter bounds of their own.
rest: the request is answered, and the rest of its body comes.
idle: between two requests.
"""

Refused = Callable[[str, int, str, str], None]
"""Is called with the client, the status, the cause and the reason."""


def most_connections(wanted: int) -> int:
    """Return how many connections are served at once, with room for other files."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(FEWEST, limit - KEPT_BACK))


class ConnectionConfig(uvicorn.Config):
    """What connections need to know.

    Args:
        app: an ASGI application.
        most: connections that are open at once.
        refused: reports what no application sees.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        app: Any,
        *,
        most: int,
        refused: Refused,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(
            app,
            access_log=False,
            backlog=ACCEPTED_AT_ONCE,
            http=Connection,
            lifespan="off",
            log_config=None,
            loop="asyncio",
            server_header=False,
            timeout_keep_alive=KEPT_ALIVE,
            ws="none",
            **options,
        )
        self.most = most
        self.refused = refused
        self.clock = clock


class Connection(H11Protocol):
    """One connection, which notes since when it is in its phase."""

    config: ConnectionConfig

    def __init__(self, config: ConnectionConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.logger = _log  # without uvicorn's warnings: strangers may cause any number
        self._phase: tuple[str, object] = (_HEAD, None)
        self.since = config.clock()

    def connection_made(self, transport: Any) -> None:
        """Take the connection; where there are too many, the one that is idle longest goes."""
        super().connection_made(transport)
        if len(self.connections) <= self.config.most:
            return
        waiting = [each for each in self._others() if not each.is_busy]
        if waiting:
            longest = min(waiting, key=lambda each: each.since)
            longest.turn_away("closed while it was idle")
        else:
            self.turn_away("refused")

    def data_received(self, data: bytes) -> None:
        """Take bytes; a client that begins with TLS learns that this is the wrong scheme."""
        if data.startswith(_TLS) and self.cycle is None and not self.conn.trailing_data[0]:
            self.send_400_response("TLS is not served here: use http://, or a reverse proxy")
            return
        super().data_received(data)
        self._look()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a whole request, though its client will send nothing more.

        The client may wait for the answer still, and an alert that is here as a whole is taken even
        from one that does not.
        """
        if self.is_busy and self.conn.their_state is not h11.SEND_BODY:
            self.cycle.keep_alive = False
            return True
        return False

    def on_response_complete(self) -> None:
        """Go on after an answer."""
        super().on_response_complete()
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP."""
        self._report(400, "http", msg)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # the request is answered already
            self.transport.abort()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self._phase[0] == _BUSY

    def turn_away(self, what: str) -> None:
        """Close the connection, for there are too many."""
        self.connections.discard(self)
        most = self.config.most
        self._report(503, "connections", f"{what}: {most} connections are open (most_connections)")
        if self._phase[0] == _HEAD:
            self._answer("503 Service Unavailable", f"Retry-After: {COME_AGAIN}\r\n")
        self._close()

    def expire(self) -> None:
        """Close the connection if its phase has lasted too long."""
        phase, _ = self._phase
        if self.config.clock() - self.since <= WITHIN[phase]:
            return
        if self.conn.trailing_data[0] and phase == _HEAD:
            reason = f"no whole request was here after {WITHIN[_HEAD]:.0f} s"
            self._report(408, "head_timeout", reason)
            self._answer("408 Request Timeout")
        self._close()

    def _look(self) -> None:
        phase = self._current_phase()
        if phase != self._phase:
            self._phase = phase
            self.since = self.config.clock()

    def _current_phase(self) -> tuple[str, object]:
        if self.cycle is None:
            return (_HEAD, None)
        if not self.cycle.response_complete:
            return (_BUSY, self.cycle)
        if self.conn.their_state is h11.SEND_BODY:
            return (_REST, self.cycle)
        return (_HEAD if self.conn.trailing_data[0] else _IDLE, self.cycle)

    def _others(self) -> list[Connection]:
        return [each for each in self.connections if isinstance(each, Connection) and each != self]

    def _report(self, status: int, cause: str, reason: str) -> None:
        self.config.refused(self.client[0] if self.client else "unknown", status, cause, reason)

    def _answer(self, status: str, header: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n"
        self.transport.write(head.encode())

    def _close(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # the client does not read
        else:
            self.transport.close()


class Server(uvicorn.Server):
    """Looks once a second for connections whose phase lasts too long."""

    async def startup(self, sockets: Any = None) -> None:
        """Listen; asyncio accepts as many at once as may wait in the queue, which is too many."""
        await super().startup(sockets)
        for each in sockets:
            each.listen()

    async def on_tick(self, counter: int) -> bool:
        """Expire connections once a second; a tick is a tenth of one."""
        for each in list(self.server_state.connections) if counter % 10 == 0 else ():
            assert isinstance(each, Connection)  # noqa: S101 -- the configuration says so
            each.expire()
        return await super().on_tick(counter)
