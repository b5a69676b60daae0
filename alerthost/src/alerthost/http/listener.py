"""Serve the application at an address, with a bound on connections and on idle time.

uvicorn bounds neither: its ``limit_concurrency`` rejects requests but keeps their connections, each
byte restarts its ``timeout_keep_alive``, and a client that never sends a whole request is never
disconnected. Connections are file descriptors, which the store and the senders need too.
"""

from __future__ import annotations

import logging
import resource
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from alerthost.config.tables import Address
from alerthost.http.responses import RETRY_AFTER

_log = logging.getLogger("hostspec.http")
_log.setLevel(logging.ERROR)

ANSWER_WITHIN: Final = 5
"""Seconds for answering the pending requests when the listener closes."""

RESERVED_FILES: Final = 80
"""File descriptors reserved for the store, the senders and connections being rejected."""

FEWEST: Final = 4
"""Connections that are served at any limit of file descriptors."""

ACCEPTED_AT_ONCE: Final = 8
"""Connections that are accepted before those over the limit are closed."""

KEPT_ALIVE: Final = 75
"""Seconds for which an idle connection is kept; load balancers keep theirs for 60."""

_TLS: Final = b"\x16\x03"
"""First bytes of a TLS handshake (RFC 8446, 5.1)."""

_HEAD, _BUSY, _REST, _IDLE = "head", "busy", "rest", "idle"

PHASE_TIMEOUTS: Final = {_HEAD: 10.0, _BUSY: 120.0, _REST: 10.0, _IDLE: KEPT_ALIVE + 5.0}
"""Seconds after which a connection is closed, by phase.

head: from the first byte, or the connection's start, to a whole head of a request.
busy: while a request is answered; its body and its work have shorter timeouts of their own.
rest: the request is answered, and the rest of its body still arrives.
idle: between two requests.
"""

Rejected = Callable[[str, int, str, str], None]
"""Reports a rejected connection: the client, the status, the cause and the reason."""


def connection_limit(most: int) -> int:
    """Return how many connections are served at once, with file descriptors left for others."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return most
    return min(most, max(FEWEST, limit - RESERVED_FILES))


class Listener:
    """Serves an ASGI application at an address (``url``), in a thread of its own.

    Args:
        address: to listen on.
        app: the application.
        most: limit of open connections.
        rejected: reports connections that are closed before the application sees a request.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(self, address: Address, app: Any, *, most: int, rejected: Rejected) -> None:
        self._socket = socket.create_server(
            (address.host, address.port),
            family=socket.AF_INET6 if address.is_ipv6 else socket.AF_INET,
            dualstack_ipv6=address.host == "::" and socket.has_dualstack_ipv6(),
        )
        self.url = address.url(self._socket.getsockname()[1])
        self._config = ConnectionConfig(
            app,
            most=connection_limit(most),
            rejected=rejected,
            timeout_graceful_shutdown=ANSWER_WITHIN,
        )
        self._server = Server(self._config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="hostspec http", daemon=True
        )

    def limit(self, most: int) -> None:
        """Change the limit of open connections."""
        self._config.most = connection_limit(most)

    def start(self) -> None:
        """Start serving if not started; earlier connections are served too."""
        if not self._is_started:
            self._thread.start()

    @property
    def _is_started(self) -> bool:
        return self._thread.ident is not None

    def close(self) -> None:
        """Stop accepting requests; pending ones are answered."""
        self._server.should_exit = True

    def close_unless_started(self) -> None:
        """Release the address if serving has not started."""
        if not self._is_started:
            self._socket.close()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until pending requests are answered; return False on timeout."""
        self._thread.join(timeout)
        return not self._thread.is_alive()


class ConnectionConfig(uvicorn.Config):
    """The settings of the server and its connections; the clock returns monotonic seconds."""

    def __init__(
        self,
        app: Any,
        *,
        most: int,
        rejected: Rejected,
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
        self.rejected = rejected
        self.clock = clock


class Connection(H11Protocol):
    """One connection, with the phase it is in and since when."""

    config: ConnectionConfig

    def __init__(self, config: ConnectionConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.logger = _log  # without uvicorn's warnings: any client could flood the log
        self._phase: tuple[str, object] = (_HEAD, None)
        self.since = config.clock()

    def connection_made(self, transport: Any) -> None:
        """Accept the connection; over the limit, close the one that is idle longest."""
        super().connection_made(transport)
        if len(self.connections) <= self.config.most:
            return
        others = [each for each in self.connections if isinstance(each, Connection)]
        idle = [each for each in others if each is not self and not each.is_busy]
        if idle:
            min(idle, key=lambda each: each.since).evict("closed while idle")
        else:
            self.evict("rejected")

    def data_received(self, data: bytes) -> None:
        """Process bytes; answer a TLS handshake with an error that names the remedy."""
        if data.startswith(_TLS) and self.cycle is None and not self.conn.trailing_data[0]:
            self.send_400_response("TLS is not served here: use http://, or a reverse proxy")
            return
        super().data_received(data)
        self._update_phase()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a complete request though its client sends nothing more.

        The client may still wait for the response, and a complete alert is accepted in any case.
        """
        if self.is_busy and self.conn.their_state is not h11.SEND_BODY:
            self.cycle.keep_alive = False
            return True
        return False

    def on_response_complete(self) -> None:
        """Update the phase after a response."""
        super().on_response_complete()
        self._update_phase()

    def send_400_response(self, msg: str) -> None:
        """Reject bytes that are not HTTP."""
        self._report(400, "http", msg)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:  # the request is answered already
            self.transport.abort()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self._phase[0] == _BUSY

    def evict(self, action: str) -> None:
        """Close the connection because the limit is reached."""
        self.connections.discard(self)
        most = self.config.most
        reason = f"{action}: {most} connections are open (http.most_connections)"
        self._report(503, "connections", reason)
        if self._phase[0] == _HEAD:
            self._respond("503 Service Unavailable", f"Retry-After: {RETRY_AFTER}\r\n")
        self._close()

    def expire(self) -> None:
        """Close the connection if its phase has timed out."""
        phase, _ = self._phase
        timeout = PHASE_TIMEOUTS[phase]
        if self.config.clock() - self.since <= timeout:
            return
        if self.conn.trailing_data[0] and phase == _HEAD:
            self._report(408, "head_timeout", f"no complete request head within {timeout:.0f} s")
            self._respond("408 Request Timeout")
        self._close()

    def _update_phase(self) -> None:
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

    def _report(self, status: int, cause: str, reason: str) -> None:
        self.config.rejected(self.client[0] if self.client else "unknown", status, cause, reason)

    def _respond(self, status: str, header: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n"
        self.transport.write(head.encode())

    def _close(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # the client does not read
        else:
            self.transport.close()


class Server(uvicorn.Server):
    """Closes connections whose phase has timed out."""

    async def startup(self, sockets: Any = None) -> None:
        """Listen with the default queue; asyncio listens with the limit of accepts at once."""
        await super().startup(sockets)
        for each in sockets:
            each.listen()

    async def on_tick(self, counter: int) -> bool:
        """Expire connections once a second; a tick is a tenth of one."""
        for each in list(self.server_state.connections) if counter % 10 == 0 else ():
            assert isinstance(each, Connection)  # noqa: S101 -- the configuration says so
            each.expire()
        return await super().on_tick(counter)
