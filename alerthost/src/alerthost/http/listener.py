"""Listens at an address, and serves a web application there."""

from __future__ import annotations

import socket
import threading
from typing import Any, Final

from alerthost.config.http_table import Address
from alerthost.http.connections import ConnectionConfig, Refused, Server, most_connections

ANSWER_WITHIN: Final = 5
"""Seconds in which requests are answered that are there when it closes."""


class Listener:
    """Listens at an address, and serves an application there in a thread of its own.

    Args:
        address: where.
        app: an ASGI application.
        most: connections that are open at once.
        refused: reports what no application sees.

    Attributes:
        url: where it is reached.

    Raises:
        OSError: nobody can listen there.
    """

    def __init__(self, address: Address, app: Any, *, most: int, refused: Refused) -> None:
        self._socket = socket.create_server(
            (address.host, address.port),
            family=socket.AF_INET6 if address.is_of_ip_6 else socket.AF_INET,
            dualstack_ipv6=address.host == "::" and socket.has_dualstack_ipv6(),
        )
        self.url = address.url(self._socket.getsockname()[1])
        self._config = ConnectionConfig(
            app,
            most=most_connections(most),
            refused=refused,
            timeout_graceful_shutdown=ANSWER_WITHIN,
        )
        self._server = Server(self._config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="hostspec http", daemon=True
        )
        self._is_started = False

    def limit(self, most: int) -> None:
        """Change how many connections are open at once."""
        self._config.most = most_connections(most)

    def start(self) -> None:
        """Serve, unless it does; who connected before is served as well."""
        if not self._is_started:
            self._is_started = True
            self._thread.start()

    def close(self) -> None:
        """Take no more requests; those that are there are answered."""
        self._server.should_exit = True

    def close_unless_started(self) -> None:
        """Let the address go again, if nothing was served there."""
        if not self._is_started:
            self._socket.close()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until all is answered; say whether it came to that."""
        self._thread.join(timeout)
        return not self._thread.is_alive()
