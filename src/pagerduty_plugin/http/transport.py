"""The connections to PagerDuty: TLS, proxies, and one deadline for all socket calls of an attempt.

A socket's own timeout applies to one call, and restarts with each byte of a slow reply. The sockets
of this module limit each call to the remaining time of their thread's attempt.
"""

from __future__ import annotations

import contextlib
import functools
import math
import platform
import socket
import ssl
import threading
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from pagerduty_plugin.http.network import NetworkEnvironment, load_authorities, load_client
from pagerduty_plugin.settings import NetworkSettings

if TYPE_CHECKING:
    import requests
    import requests.adapters

CLOSE: Final = ("Connection", "close")
"""The header that announces the end of a connection."""

MOST_READ: Final = 65_536
"""Bytes that are read of a response."""


class _Attempt(threading.local):
    ends = 0.0


_attempt = _Attempt()


def begin(seconds: float) -> None:
    """Start an attempt of this thread, which may take so many seconds."""
    _attempt.ends = monotonic() + seconds


def seconds_left() -> float:
    """Return the remaining seconds of this thread's attempt.

    Raises:
        TimeoutError: its time is up.
    """
    seconds = _attempt.ends - monotonic()
    if seconds <= 0:
        message = "the attempt took too long"
        raise TimeoutError(message)
    return seconds


def is_over() -> bool:
    """Check whether the time of this thread's attempt is up."""
    return monotonic() >= _attempt.ends


class Socket(socket.socket):
    """A socket whose calls end with the attempt."""

    def settimeout(self, value: float | None) -> None:
        """Do nothing: each call sets its own timeout."""

    def _hurry(self, most: float = math.inf) -> None:
        super().settimeout(min(seconds_left(), most))

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


def import_requests() -> None:
    """Import requests, and read the versions that every request names.

    A program that does so at start delays no page, and loses none when its packages are upgraded
    or removed while it runs.

    Raises:
        ImportError: a package is missing or damaged.
    """
    import requests  # noqa: F401

    user_agent()


@functools.cache
def user_agent() -> str:
    """Return the User-Agent of every request."""
    python = platform.python_version()
    plugin = version("pagerduty-plugin")
    return f"pagerduty-plugin/{plugin} hostspec/{version('hostspec')} python/{python}"


def send(
    adapter: requests.adapters.HTTPAdapter,
    request: requests.PreparedRequest,
    network: NetworkSettings,
    proxy: str,
) -> requests.Response:
    """Send a request; the body of the response is read by `read_text`."""
    return adapter.send(
        request,
        stream=True,
        timeout=(network.connect_timeout, network.timeout),
        proxies={"all": proxy} if proxy else {},
    )


def read_text(response: requests.Response, most: int = MOST_READ) -> str:
    """Read at most so many bytes of a body; one that breaks off is returned as far as it came."""
    chunks, length = [], 0
    with contextlib.suppress(Exception):
        for chunk in response.iter_content(MOST_READ):
            chunks.append(chunk)
            length += len(chunk)
            if length >= most:
                break
    return b"".join(chunks)[:most].decode(errors="replace")


def make_adapter(
    network: NetworkSettings, environment: NetworkEnvironment
) -> requests.adapters.HTTPAdapter:
    """Build an adapter for one URL.

    It looks up the connection pool once, as that takes most of the time that TLS adds to a
    request. Its connections obey the attempt's deadline, and each new one reads the TLS files
    again. All overridden methods are public except ``_new_conn``: urllib3 offers no other way.
    """
    from requests.adapters import HTTPAdapter
    from requests.utils import DEFAULT_CA_BUNDLE_PATH
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.util.ssl_ import create_urllib3_context

    def tls() -> ssl.SSLContext:
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
        context.sslsocket_class = TLSSocket
        load_authorities(context, network, environment, DEFAULT_CA_BUNDLE_PATH)
        return context

    class Connection(HTTPConnection):
        announces_close = False

        def _new_conn(self) -> socket.socket:
            return _connect(self)

        def putheader(self, header: Any, *values: Any) -> None:
            super().putheader(header, *values)
            self.announces_close = self.announces_close or (header, *values) == CLOSE

        def getresponse(self) -> Any:
            """Read the head of a response; release the socket if either side closes it.

            Neither side sends anything after ``Connection: close`` (RFC 9112, 9.6). http.client
            reads only the first header of that name.
            """
            response = super().getresponse()
            value = response.headers.get("Connection", "").lower()
            if self.sock is not None and (self.announces_close or "close" in value):
                self.sock.close()  # closed once the response is read
                self.sock = None
            self.announces_close = False
            return response

    class SecureConnection(Connection, HTTPSConnection):
        def connect(self) -> None:
            self.ssl_context = tls()
            load_client(self.ssl_context, network)
            if self.proxy_config is not None:
                self.proxy_config = self.proxy_config._replace(ssl_context=self.ssl_context)
            super().connect()

    class Pool(HTTPConnectionPool):
        ConnectionCls: Any = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls: Any = SecureConnection

    pools = {"http": Pool, "https": SecurePool}

    class OnePool(HTTPAdapter):
        pool: Any = None

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            manager = super().proxy_manager_for(*args, **kwargs)
            manager.pool_classes_by_scheme = pools
            return manager

        def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
            self.pool = self.pool or super().get_connection_with_tls_context(*args, **kwargs)
            return self.pool

        def cert_verify(self, *args: Any, **kwargs: Any) -> None:
            """Do nothing: the connections load the TLS files."""

    return OnePool(pool_maxsize=1024, max_retries=0)


def _connect(connection: Any) -> Socket:
    """Connect to the first address of the host that accepts it, with urllib3's own errors.

    The look-up of the name is not limited.
    """
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    trouble = OSError(0, "the name has no address")
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            connection.host, connection.port, type=socket.SOCK_STREAM
        ):
            made = Socket(family, kind, protocol)
            try:
                for option in connection.socket_options:
                    made.setsockopt(*option)
                made.reach(address, connection.timeout)
            except OSError as error:
                made.close()
                trouble = error
            else:
                return made
        raise trouble
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "too late") from error
    except OSError as error:
        raise NewConnectionError(connection, "no connection") from error
