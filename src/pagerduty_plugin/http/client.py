"""Speaks HTTP, and is alone in that: posts events, and calls the REST API."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import os
import platform
import re
import socket
import ssl
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from pagerduty_plugin.http import deadline
from pagerduty_plugin.http.masking import mask, proxy_secrets
from pagerduty_plugin.http.network import (
    NetworkSettingError,
    Surroundings,
    find_proxy,
    load_authorities,
    load_client,
)
from pagerduty_plugin.http.responses import NoReply, Reply, Trouble, read_pause
from pagerduty_plugin.settings import NetworkSettings

if TYPE_CHECKING:
    import requests
    import requests.adapters

MOST_READ: Final = 65_536
"""Bytes of a reply that are read."""

MOST_LISTED: Final = 32_000_000
"""Bytes of a page of the REST API that are read; it holds up to a hundred services."""

LONGEST_WAIT: Final = 60.0
"""Seconds that a call of the REST API waits for its rate limit, which counts over as many."""

UNTOLD_WAIT: Final = 10.0
"""Seconds that it waits where PagerDuty names none."""

_NOTHING: Final[Mapping[str, str]] = types.MappingProxyType({})
_CLOSE: Final = ("Connection", "close")
_TUNNEL: Final = re.compile(r"Tunnel connection failed: (?P<words>(?P<kind>\d)\d\d.{,100}).*")
"""What `http.client` says where a proxy does not connect."""
_CERTIFICATE_REFUSED: Final = re.compile(r"ALERT.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE)")
"""What a server says to a client certificate that it does not take, or that is missing."""
_NO_HTTP: Final = "the reply is not HTTP"
_HUNG_UP: Final = (
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    ssl.SSLEOFError,
)


_DEFAULT: Final = NetworkSettings()


class Client:
    """Keeps connections alive, as many as were in use at the same time.

    No redirect is followed, TLS is verified, and where the settings say nothing of them, proxies
    and CA bundle are those of the environment when the client was made. Safe to use from several
    threads: none waits for another. Whoever needs an order posts in that order.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._surroundings = Surroundings.read(environment)
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._roads: dict[tuple[str, NetworkSettings], _Road] = {}

    def post(
        self,
        url: str,
        body: bytes,
        *,
        secrets: Iterable[str] = (),
        network: NetworkSettings = _DEFAULT,
        idempotent: bool = True,
    ) -> Reply | NoReply:
        """Post a JSON body; never raises for what the network does.

        It takes no longer than the settings' timeout, the look-up of the host's name aside.

        Args:
            url: where to.
            body: the bytes.
            secrets: the secrets in the body, to be masked in the reply.
            network: the way out, and how long it may take.
            idempotent: whether the body may be posted twice. Without it, the connection is
                announced to close and closed after the reply: one that breaks when it is used
                again leaves open whether the body was read.
        """
        if self._process != os.getpid():
            # a child that spoke on its parent's connections would mix up their events
            self._start()
        deadline.begin(network.timeout)
        handled = sys.exception()
        proxy = ""
        reply: Reply | NoReply
        try:
            proxy = find_proxy(url, network, self._surroundings)
            reply = self._road(url, network, proxy).post(body, idempotent=idempotent)
        except Exception as error:  # noqa: BLE001 -- whatever HTTP does, it is an answer
            causes = tuple(_causes(error, handled))
            reply = attrs.evolve(_no_reply(error, causes, network), sent=_may_be_sent(causes))
        return _masked(reply, (*secrets, *proxy_secrets(proxy)))

    def _road(self, url: str, network: NetworkSettings, proxy: str) -> _Road:
        with self._lock:
            road = self._roads.get((url, network))
            if road is None or road.proxy != proxy:  # a secret may have been renewed
                road = _Road(url, network, self._surroundings, proxy)
                self._roads[url, network] = road
            return road


def _masked(reply: Reply | NoReply, secrets: Sequence[str]) -> Reply | NoReply:
    if isinstance(reply, NoReply):
        return attrs.evolve(reply, reason=mask(reply.reason, secrets))
    text, location = mask(reply.text, secrets), mask(reply.location, secrets)
    return attrs.evolve(reply, text=text, location=location)


class _Road:
    """The way to one URL: all that does not change from one post to the next."""

    def __init__(
        self, url: str, network: NetworkSettings, surroundings: Surroundings, proxy: str
    ) -> None:
        # requests costs a tenth of a second to import, which is paid at the first send
        import requests

        self.proxy = proxy
        self._adapter = _adapter(network, surroundings)
        self._template = requests.Request(
            "POST",
            url,
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": _user_agent(),
            },
        ).prepare()
        self._options: dict[str, Any] = {
            "stream": True,
            "timeout": (network.connect_timeout, network.timeout),
            "proxies": {"all": proxy} if proxy else {},
        }
        self._kept = False

    def post(self, body: bytes, *, idempotent: bool) -> Reply:
        request = self._template.copy()
        request.body = body
        if not idempotent:
            request.headers.update([_CLOSE])
        request.headers["Content-Length"] = str(len(body))
        response = self._send(request) if idempotent else self._send_once(request)
        try:
            return Reply(
                response.status_code,
                _text(response),
                response.headers.get("Retry-After", ""),
                response.headers.get("Location", ""),
            )
        finally:
            response.close()

    def _send(self, request: requests.PreparedRequest) -> requests.Response:
        """Send once; again only where the other side hung up on a kept connection.

        It may close a connection it kept at the very moment it is used again. The dedup key
        makes the repeat harmless, should the first have been read.
        """
        try:
            response = self._send_once(request)
        except OSError as error:
            if not (self._kept and any(isinstance(each, _HUNG_UP) for each in _causes(error))):
                raise
            try:
                response = self._send_once(request)
            except OSError:
                self._kept = False
                raise
        self._kept = True
        return response

    def _send_once(self, request: requests.PreparedRequest) -> requests.Response:
        return self._adapter.send(request, **self._options)


def _adapter(network: NetworkSettings, surroundings: Surroundings) -> requests.adapters.HTTPAdapter:
    """Make an adapter for one URL: it looks up proxy and pool once, not always.

    That look-up is what TLS adds to each post. Its connections keep to the deadline, and read
    the files of TLS again each time they are made. All methods are there to be overridden but
    ``_new_conn``, in whose place urllib3 has nothing public.
    """
    from requests.adapters import HTTPAdapter
    from requests.utils import DEFAULT_CA_BUNDLE_PATH
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.util.ssl_ import create_urllib3_context

    def tls() -> ssl.SSLContext:
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
        context.sslsocket_class = deadline.TLSSocket
        load_authorities(context, network, surroundings, DEFAULT_CA_BUNDLE_PATH)
        return context

    class Connection(HTTPConnection):
        says_close = False

        def _new_conn(self) -> socket.socket:
            return _connect(self)

        def putheader(self, header: Any, *values: Any) -> None:
            super().putheader(header, *values)
            self.says_close = self.says_close or (header, *values) == _CLOSE

        def getresponse(self) -> Any:
            """Read the head of a response; leave the socket to it where either side closes.

            Neither side sends anything after ``Connection: close`` (RFC 9112, 9.6). http.client
            heeds the header of a response, but only the first of that name.
            """
            response = super().getresponse()
            said = response.headers.get("Connection", "").lower()
            if self.sock is not None and (self.says_close or "close" in said):
                self.sock.close()  # closed once the response is read
                self.sock = None
            self.says_close = False
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
            """Leave the files of TLS to the connections."""

    return OnePool(pool_maxsize=1024, max_retries=0)


def _connect(connection: Any) -> deadline.Socket:
    """Make a urllib3 connection's socket; raise what urllib3 would."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    try:
        return deadline.connect(
            connection.host, connection.port, connection.timeout, connection.socket_options
        )
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "too late") from error
    except OSError as error:
        raise NewConnectionError(connection, "no connection") from error


def _text(response: requests.Response, most: int = MOST_READ) -> str:
    """Read a body; one that breaks off does not undo the status that came before it."""
    chunks, length = [], 0
    with contextlib.suppress(Exception):
        for chunk in response.iter_content(MOST_READ):
            chunks.append(chunk)
            length += len(chunk)
            if length >= most:
                break
    return b"".join(chunks)[:most].decode(errors="replace")


def _user_agent() -> str:
    python = platform.python_version()
    plugin = version("pagerduty-plugin")
    return f"pagerduty-plugin/{plugin} hostspec/{version('hostspec')} python/{python}"


def _no_reply(
    error: Exception, causes: tuple[BaseException, ...], network: NetworkSettings
) -> NoReply:
    """Return the reason why there is no reply.

    Neither in an exception's words, which may hold an address, nor by its class, which means
    nothing to an operator.
    """
    import requests.exceptions as trouble

    if isinstance(error, NetworkSettingError):
        return NoReply(Trouble.CONFIGURATION, str(error))
    if deadline.over():
        return NoReply(Trouble.NETWORK, f"no reply within {network.timeout:g} s")
    cause = _reason(causes)
    if any(isinstance(each, TimeoutError) and not each.strerror for each in causes):
        cause = f"no connection within {network.connect_timeout:g} s"
    kind = Trouble.CONFIGURATION if any(map(_is_distrust, causes)) else Trouble.NETWORK
    if isinstance(error, trouble.ProxyError):
        answer = next(filter(None, (_TUNNEL.fullmatch(str(each)) for each in causes)), None)
        if answer is None:
            return NoReply(kind, f"no proxy: {cause}")
        kind = Trouble.CONFIGURATION if answer["kind"] == "4" else Trouble.NETWORK
        return NoReply(kind, f"the proxy answered {answer['words'].strip()}")
    if isinstance(error, trouble.SSLError):
        return NoReply(kind, f"TLS failed: {cause}")
    if isinstance(error, trouble.ConnectTimeout):
        return NoReply(Trouble.NETWORK, f"no connection within {network.connect_timeout:g} s")
    if isinstance(error, trouble.ConnectionError):
        return NoReply(Trouble.NETWORK, cause if cause == _NO_HTTP else f"no connection: {cause}")
    if isinstance(error, ValueError):
        reason = "cannot be sent: the address is not a valid URL; check base_url"
        return NoReply(Trouble.CONFIGURATION, reason)
    return NoReply(Trouble.CONFIGURATION, f"cannot be sent: {cause}")


def _may_be_sent(causes: tuple[BaseException, ...]) -> bool:
    """Check whether a connection was there, on which the body may have gone out."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    never = (ConnectTimeoutError, NewConnectionError)
    return not any(isinstance(each, never) for each in causes)


def _causes(error: BaseException, handled: BaseException | None = None) -> Iterator[BaseException]:
    """Yield the exception that requests raised, and those that led to it.

    Args:
        error: the exception.
        handled: the exception that the caller was handling before: Python chains it to every
            exception raised meanwhile, but it says nothing about this attempt.
    """
    seen = {id(handled)}
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [getattr(each, "reason", None), *each.args, each.__cause__, each.__context__]


def _is_distrust(error: BaseException) -> bool:
    """Check whether one side does not take the other's certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    refused = isinstance(error, ssl.SSLError) and _CERTIFICATE_REFUSED.search(error.reason or "")
    return bool(refused)


def _reason(causes: tuple[BaseException, ...]) -> str:
    """Return what happened, in the system's words or our own."""
    for each in causes:
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message or "the certificate is not trusted"
    for each in causes:
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    for each in causes:
        if isinstance(each, ConnectionError):
            return "the other side closed the connection without a reply"
        if isinstance(each, http.client.HTTPException):
            return _NO_HTTP
    return f"unexpected error at {_place(causes[0])}"


def _place(error: BaseException) -> str:
    """Return the file and line that raised an error."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return f"{PurePath(frame.f_code.co_filename).name}:{line}"


class RestApi:
    """Calls PagerDuty's REST API v2 with one token, over one connection; not thread-safe.

    Args:
        base_url: of the REST API.
        authorization: the header of that name.
        network: the way out, and how long a call may take.
        environment: as for `Client`.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        base_url: str,
        authorization: str,
        *,
        network: NetworkSettings = _DEFAULT,
        environment: Mapping[str, str] = os.environ,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._base_url = base_url
        self._network = network
        self._surroundings = Surroundings.read(environment)
        self._headers = {
            "Accept": "application/vnd.pagerduty+json;version=2",
            "Authorization": authorization,
            "User-Agent": _user_agent(),
        }
        self._sleep = sleep
        self._adapter = _adapter(network, self._surroundings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._adapter.close()

    def call(
        self, method: str, path: str, query: Mapping[str, str] = _NOTHING, body: object = None
    ) -> Reply | NoReply:
        """Make a call; never raises for what the network does.

        A call that is refused for the rate limit is made again, after the pause that
        PagerDuty asks for, if it is no longer than `LONGEST_WAIT`.

        Args:
            method: the HTTP method.
            path: below the base URL.
            query: the parameters, not encoded.
            body: what to send as JSON; None for no body.
        """
        reply = self._call(method, path, query, body)
        if isinstance(reply, Reply) and reply.status == 429:  # noqa: PLR2004 -- HTTP's number
            pause = read_pause(reply.retry_after, dt.datetime.now(dt.UTC))
            if pause is None or pause <= LONGEST_WAIT:
                self._sleep(UNTOLD_WAIT if pause is None else pause)
                reply = self._call(method, path, query, body)
        return reply

    def _call(
        self, method: str, path: str, query: Mapping[str, str], body: object
    ) -> Reply | NoReply:
        import requests

        deadline.begin(self._network.timeout)
        handled = sys.exception()
        url = f"{self._base_url}{path}"
        proxy = ""
        try:
            proxy = find_proxy(url, self._network, self._surroundings)
            request = requests.Request(
                method, url, self._headers, params=query, json=body
            ).prepare()
            response = self._adapter.send(
                request,
                stream=True,
                timeout=(self._network.connect_timeout, self._network.timeout),
                proxies={"all": proxy} if proxy else {},
            )
            try:
                if response.status_code < 300:  # noqa: PLR2004 -- HTTP's successes
                    return Reply(response.status_code, _text(response, MOST_LISTED))
                pause = response.headers.get("Retry-After") or response.headers.get(
                    "ratelimit-reset", ""
                )
                location = response.headers.get("Location", "")
                reply: Reply | NoReply = Reply(
                    response.status_code, _text(response), pause, location
                )
            finally:
                response.close()
        except Exception as error:  # noqa: BLE001 -- whatever HTTP does, it is an answer
            reply = _no_reply(error, tuple(_causes(error, handled)), self._network)
        token = self._headers["Authorization"].rpartition(" ")[2].rpartition("=")[2]
        return _masked(reply, (token, *proxy_secrets(proxy)))
