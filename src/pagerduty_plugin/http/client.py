"""The HTTP client: sends events, and calls the REST API."""

from __future__ import annotations

import datetime as dt
import os
import ssl
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from hostspec import Outcome
from pagerduty_plugin.http import deadline
from pagerduty_plugin.http.failures import causes, no_reply
from pagerduty_plugin.http.network import NetworkEnvironment, find_proxy
from pagerduty_plugin.http.responses import (
    NoReply,
    Reply,
    classify,
    mask_reply,
    proxy_secrets,
    read_retry_after,
)
from pagerduty_plugin.http.transport import CLOSE, make_adapter, read_text, send, user_agent
from pagerduty_plugin.settings import NetworkSettings
from pagerduty_plugin.truncate import encode

if TYPE_CHECKING:
    import requests

LARGEST_PAGE: Final = 32_000_000
"""Bytes that are read of a page of the REST API, which lists up to a hundred services."""

LONGEST_WAIT: Final = 60.0
"""Seconds that a call waits at most for the REST API's rate limit, whose window is as long."""

DEFAULT_WAIT: Final = 10.0
"""Seconds that it waits if PagerDuty names no time."""

_NO_QUERY: Final[Mapping[str, str]] = types.MappingProxyType({})
_DISCONNECTS: Final = (
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    ssl.SSLEOFError,
)
_DEFAULT: Final = NetworkSettings()


class Client:
    """Posts events over connections that are kept alive; thread-safe.

    Follows no redirect and verifies TLS. For proxies and CA bundle that the settings leave open,
    it uses the environment at the time of its creation. Threads do not wait for each other: it
    keeps as many connections as were ever in use at the same time.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = NetworkEnvironment.read(environment)
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._routes: dict[tuple[str, NetworkSettings], _Route] = {}

    def enqueue(  # noqa: PLR0913 -- each has a name
        self,
        url: str,
        event: Mapping[str, Any],
        *,
        routing_key: str,
        network: NetworkSettings,
        now: dt.datetime | None,
        idempotent: bool = True,
    ) -> Outcome:
        """Post an event once, and return the outcome; never raises.

        Args:
            url: the address.
            event: the body, with the routing key.
            routing_key: the key in it, which is masked in the reply.
            network: proxy, TLS and timeouts.
            now: the start of the attempt, for a Retry-After with a date.
            idempotent: whether sending the event twice is harmless.
        """
        reply = self.post(
            url, encode(event), secrets=[routing_key], network=network, idempotent=idempotent
        )
        return classify(reply, now or dt.datetime.now(dt.UTC), idempotent=idempotent)

    def post(
        self,
        url: str,
        body: bytes,
        *,
        secrets: Iterable[str] = (),
        network: NetworkSettings = _DEFAULT,
        idempotent: bool = True,
    ) -> Reply | NoReply:
        """Post a JSON body; never raises.

        It takes at most the settings' timeout, apart from the look-up of the host's name.

        Args:
            url: the address.
            body: the bytes.
            secrets: the secrets in the body, which are masked in the reply.
            network: proxy, TLS and timeouts.
            idempotent: whether the body may be posted twice. If not, the connection is closed
                after the reply: when a kept connection breaks on reuse, it is uncertain whether
                the body was read.
        """
        if self._process != os.getpid():
            # after a fork, sharing the parent's connections would mix up events
            self._start()
        deadline.begin(network.timeout)
        handled = sys.exception()
        proxy = ""
        reply: Reply | NoReply
        try:
            proxy = find_proxy(url, network, self._environment)
            reply = self._route(url, network, proxy).post(body, idempotent=idempotent)
        except Exception as error:  # noqa: BLE001 -- every failure of HTTP is an outcome
            reply = no_reply(error, handled, network)
        return mask_reply(reply, (*secrets, *proxy_secrets(proxy)))

    def _route(self, url: str, network: NetworkSettings, proxy: str) -> _Route:
        with self._lock:
            route = self._routes.get((url, network))
            if route is None or route.proxy != proxy:  # its password may have been changed
                route = _Route(url, network, self._environment, proxy)
                self._routes[url, network] = route
            return route


class _Route:
    """The connections to one URL, and all that stays the same from one post to the next."""

    def __init__(
        self, url: str, network: NetworkSettings, environment: NetworkEnvironment, proxy: str
    ) -> None:
        # importing requests takes a tenth of a second, which only a sender should pay
        import requests

        self.proxy = proxy
        self._network = network
        self._adapter = make_adapter(network, environment)
        self._template = requests.Request(
            "POST",
            url,
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": user_agent(),
            },
        ).prepare()
        self._reused = False

    def post(self, body: bytes, *, idempotent: bool) -> Reply:
        request = self._template.copy()
        request.body = body
        if not idempotent:
            request.headers.update([CLOSE])
        request.headers["Content-Length"] = str(len(body))
        response = self._send(request) if idempotent else self._send_once(request)
        try:
            return Reply(
                response.status_code,
                read_text(response),
                response.headers.get("Retry-After", ""),
                response.headers.get("Location", ""),
            )
        finally:
            response.close()

    def _send(self, request: requests.PreparedRequest) -> requests.Response:
        """Send a request; repeat it once if the server closed a kept connection.

        It may do so at the moment of reuse. The dedup key makes the repeat harmless.
        """
        try:
            response = self._send_once(request)
        except OSError as error:
            if not (self._reused and any(isinstance(each, _DISCONNECTS) for each in causes(error))):
                raise
            try:
                response = self._send_once(request)
            except OSError:
                self._reused = False
                raise
        self._reused = True
        return response

    def _send_once(self, request: requests.PreparedRequest) -> requests.Response:
        return send(self._adapter, request, self._network, self.proxy)


class RestApi:
    """Calls PagerDuty's REST API v2 with one token, over one connection; not thread-safe.

    Args:
        base_url: of the REST API.
        authorization: the header of that name.
        network: proxy, TLS and timeouts.
        environment: as for `Client`.
        sleep: called with the seconds to wait.
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
        self._environment = NetworkEnvironment.read(environment)
        self._headers = {
            "Accept": "application/vnd.pagerduty+json;version=2",
            "Authorization": authorization,
            "User-Agent": user_agent(),
        }
        self._sleep = sleep
        self._adapter = make_adapter(network, self._environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._adapter.close()

    def call(
        self, method: str, path: str, query: Mapping[str, str] = _NO_QUERY, body: object = None
    ) -> Reply | NoReply:
        """Make a call; never raises.

        A call that is rejected for the rate limit is repeated once, after the pause that PagerDuty
        asks for, unless that is longer than `LONGEST_WAIT`.

        Args:
            method: the HTTP method.
            path: below the base URL.
            query: the parameters, not encoded.
            body: the JSON body; None for none.
        """
        reply = self._call(method, path, query, body)
        if isinstance(reply, Reply) and reply.status == 429:  # noqa: PLR2004 -- HTTP's number
            pause = read_retry_after(reply.retry_after, dt.datetime.now(dt.UTC))
            if pause is None or pause <= LONGEST_WAIT:
                self._sleep(DEFAULT_WAIT if pause is None else pause)
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
        reply: Reply | NoReply
        try:
            proxy = find_proxy(url, self._network, self._environment)
            request = requests.Request(method, url, self._headers, params=query, json=body)
            response = send(self._adapter, request.prepare(), self._network, proxy)
            try:
                if response.status_code < 300:  # noqa: PLR2004 -- HTTP's successes
                    # unmasked, as it contains integration keys and is never shown
                    return Reply(response.status_code, read_text(response, LARGEST_PAGE))
                headers = response.headers
                pause = headers.get("Retry-After") or headers.get("ratelimit-reset", "")
                location = headers.get("Location", "")
                reply = Reply(response.status_code, read_text(response), pause, location)
            finally:
                response.close()
        except Exception as error:  # noqa: BLE001 -- every failure of HTTP is an outcome
            reply = no_reply(error, handled, self._network)
        token = self._headers["Authorization"].partition(" ")[2].removeprefix("token=")
        return mask_reply(reply, (token, *proxy_secrets(proxy)))
