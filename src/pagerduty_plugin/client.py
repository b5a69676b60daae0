"""Posts bodies over HTTP: the only module that does."""

from __future__ import annotations

import contextlib
import http.client
import os
import platform
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs

from hostspec.web import is_loopback
from pagerduty_plugin.reply import NoReply, Reply, Trouble

if TYPE_CHECKING:
    import requests
    import requests.adapters

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for a connection to be made."""

READ_TIMEOUT: Final = 15.0
"""Seconds for bytes to come; PagerDuty names no number, its own clients wait up to 60."""

MOST_READ: Final = 65_536
"""Bytes of a reply that are read."""

_PROXY_VARIABLES: Final = {"http_proxy": "http", "https_proxy": "https", "all_proxy": "all"}
_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_TUNNEL: Final = re.compile(r"Tunnel connection failed: (?P<words>(?P<kind>\d)\d\d.{,100}).*")
"""What `http.client` says where a proxy does not connect."""
_HUNG_UP: Final = (
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    ssl.SSLEOFError,
)


@attrs.frozen(repr=False)
class Surroundings:
    """What the environment says of the way out; a proxy's address may hold a password.

    Attributes:
        proxies: addresses by scheme.
        no_proxy: hosts that are reached without.
        ca_bundle: a file or folder of certificates; empty for the built-in ones.
    """

    proxies: Mapping[str, str]
    no_proxy: str
    ca_bundle: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Surroundings:
        """Read the variables that curl and requests read."""
        lower = {name.lower(): value for name, value in environment.items() if value}
        # as in curl, the lower-case spelling wins where both are there
        lower |= {name: value for name, value in environment.items() if name.islower() and value}
        return cls(
            {scheme: lower[name] for name, scheme in _PROXY_VARIABLES.items() if name in lower},
            lower.get("no_proxy", ""),
            next((environment[name] for name in _CA_VARIABLES if environment.get(name)), ""),
        )


class Client:
    """Keeps connections alive, one at the most for each destination.

    No redirect is followed, TLS is verified, and proxies and CA bundle are read from the
    environment when the client is made. Safe to use from several threads: what goes to one
    destination goes one after the other.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._surroundings = Surroundings.read(environment)
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._roads: dict[str, _Road] = {}

    def post(
        self, url: str, body: bytes, *, destination: str, idempotent: bool = True
    ) -> Reply | NoReply:
        """Post a JSON body; never raises for what the network does.

        Args:
            url: where to.
            body: the bytes.
            destination: whose turn it is; one post at a time for each.
            idempotent: whether the body may be posted twice. Without it no connection is kept:
                one that breaks as it is used again would leave open whether the body was read.
        """
        if self._process != os.getpid():
            # a child that spoke on its parent's connections would mix up their events
            self._start()
        with self._lock:
            turn = self._turns.setdefault(destination, threading.Lock())
        with turn:
            try:
                return self._road(url).post(body, idempotent=idempotent)
            except Exception as error:  # noqa: BLE001 -- whatever HTTP does, it is an answer
                return attrs.evolve(_no_reply(error), sent=_may_be_sent(error))

    def _road(self, url: str) -> _Road:
        with self._lock:
            if url not in self._roads:
                self._roads[url] = _Road(url, self._surroundings)
            return self._roads[url]


class _Road:
    """The way to one URL: all that does not change from one post to the next."""

    def __init__(self, url: str, surroundings: Surroundings) -> None:
        # requests costs a tenth of a second to import, which is paid at the first send
        import requests

        self._adapter = _adapter()
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
            "timeout": (CONNECT_TIMEOUT, READ_TIMEOUT),
            "verify": surroundings.ca_bundle or True,
            "proxies": _proxies(url, surroundings),
        }
        self._kept = False

    def post(self, body: bytes, *, idempotent: bool) -> Reply:
        request = self._template.copy()
        request.body = body
        if not idempotent:
            request.headers["Connection"] = "close"
        request.headers["Content-Length"] = str(len(body))
        response = self._send(request) if idempotent else self._send_once(request)
        try:
            return Reply(
                response.status_code,
                _text(response),
                response.headers.get("Retry-After", ""),
            )
        finally:
            response.close()

    def _send(self, request: requests.PreparedRequest) -> requests.Response:
        """Send once; again only where the other side hung up on a kept connection.

        It may close a connection it kept at the very moment it is used again. The dedup key
        makes the repeat harmless, should the first have been read.
        """
        kept, self._kept = self._kept, False
        try:
            response = self._send_once(request)
        except OSError as error:
            if not (kept and any(isinstance(each, _HUNG_UP) for each in _causes(error))):
                raise
            response = self._send_once(request)
        self._kept = True
        return response

    def _send_once(self, request: requests.PreparedRequest) -> requests.Response:
        return self._adapter.send(request, **self._options)


def _adapter() -> requests.adapters.HTTPAdapter:
    """Make an adapter for one URL: it looks up proxy, CA certificates and pool once, not always.

    That look-up is what TLS adds to each post; both methods are there to be overridden.
    """
    from requests.adapters import HTTPAdapter

    class OnePool(HTTPAdapter):
        pool: Any = None

        def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
            return self.pool or super().get_connection_with_tls_context(*args, **kwargs)

        def cert_verify(self, conn: Any, *args: Any, **kwargs: Any) -> None:
            if self.pool is None:
                super().cert_verify(conn, *args, **kwargs)  # type: ignore[no-untyped-call]
                self.pool = conn

    return OnePool(pool_maxsize=1024, max_retries=0)


def _text(response: requests.Response) -> str:
    """Read a body; one that breaks off does not undo the status that came before it."""
    content = b""
    with contextlib.suppress(Exception):
        for chunk in response.iter_content(MOST_READ):
            content += chunk
            if len(content) >= MOST_READ:
                break
    return content[:MOST_READ].decode(errors="replace")


def _proxies(url: str, surroundings: Surroundings) -> Mapping[str, str]:
    import requests.utils

    loopback = is_loopback(urlsplit(url).hostname or "")
    if loopback or requests.utils.should_bypass_proxies(url, surroundings.no_proxy):
        return {}
    return surroundings.proxies


def _user_agent() -> str:
    python = platform.python_version()
    plugin = version("pagerduty-plugin")
    return f"pagerduty-plugin/{plugin} hostspec/{version('hostspec')} python/{python}"


def _no_reply(error: Exception) -> NoReply:
    """Say why there is no reply, without the words of an exception: they may hold an address."""
    import requests.exceptions as trouble

    causes = tuple(_causes(error))
    cause = _told(causes)
    if isinstance(error, trouble.ProxyError):
        answer = next(filter(None, (_TUNNEL.fullmatch(str(each)) for each in causes)), None)
        if answer is None:
            return NoReply(Trouble.NETWORK, f"no proxy: {cause}")
        kind = Trouble.CONFIGURATION if answer["kind"] == "4" else Trouble.NETWORK
        return NoReply(kind, f"the proxy answered {answer['words'].strip()}")
    if isinstance(error, trouble.SSLError):
        wrong = any(isinstance(each, ssl.SSLCertVerificationError) for each in causes)
        kind = Trouble.CONFIGURATION if wrong else Trouble.NETWORK
        return NoReply(kind, f"TLS failed: {cause}")
    if isinstance(error, trouble.ConnectTimeout):
        return NoReply(Trouble.NETWORK, f"no connection within {CONNECT_TIMEOUT:g} s")
    if isinstance(error, trouble.Timeout):
        return NoReply(Trouble.NETWORK, f"no reply within {READ_TIMEOUT:g} s")
    if isinstance(error, trouble.ConnectionError):
        if cause == http.client.BadStatusLine.__name__:
            return NoReply(Trouble.NETWORK, "what came back is no HTTP")
        return NoReply(Trouble.NETWORK, f"no connection: {cause}")
    if isinstance(error, OSError) and not isinstance(error, trouble.RequestException):
        names = " or ".join(_CA_VARIABLES)
        return NoReply(Trouble.CONFIGURATION, f"the CA certificates are missing; check {names}")
    return NoReply(Trouble.CONFIGURATION, f"cannot be sent: {cause}")


def _may_be_sent(error: Exception) -> bool:
    """Say whether a connection was there, on which the body may have gone out."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    never = (ConnectTimeoutError, NewConnectionError)
    return not any(isinstance(each, never) for each in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from what requests raised down to what happened."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [getattr(each, "reason", None), *each.args, each.__cause__, each.__context__]


def _told(causes: tuple[BaseException, ...]) -> str:
    for each in causes:
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message or type(each).__name__
    for each in causes:
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    return type(causes[-1]).__name__
