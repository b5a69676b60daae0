"""The HTTP client: one attempt to reach PagerDuty, and the posts of events."""

from __future__ import annotations

import datetime as dt
import os
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from hostspec import Outcome
from pagerduty_plugin.http import transport
from pagerduty_plugin.http.network import NetworkEnvironment, find_proxy
from pagerduty_plugin.http.responses import (
    NoReply,
    Reply,
    causes,
    classify,
    mask_reply,
    no_reply,
    proxy_secrets,
)
from pagerduty_plugin.settings import NetworkSettings
from pagerduty_plugin.truncate import encode

if TYPE_CHECKING:
    import requests

_DISCONNECTS: Final = (
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    ssl.SSLEOFError,
)
DEFAULT_NETWORK: Final = NetworkSettings()


def attempt(
    url: str,
    network: NetworkSettings,
    environment: NetworkEnvironment,
    call: Callable[[str], Reply],
) -> tuple[Reply | NoReply, tuple[str, ...]]:
    """Make a call with the proxy for a URL, before the deadline; never raises.

    Returns:
        the reply, and the secrets of the proxy that it may contain.
    """
    transport.begin(network.timeout)
    handled = sys.exception()
    proxy = ""
    try:
        proxy = find_proxy(url, network, environment)
        return call(proxy), proxy_secrets(proxy)
    except Exception as error:  # noqa: BLE001 -- every failure of HTTP is an outcome
        return no_reply(error, handled, network), proxy_secrets(proxy)


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

    def enqueue(
        self,
        url: str,
        event: Mapping[str, Any],
        *,
        network: NetworkSettings,
        now: dt.datetime | None = None,
        idempotent: bool = True,
    ) -> Outcome:
        """Post an event once, and return the outcome; never raises.

        The routing key is masked in the reply. An event is idempotent if sending it twice is
        harmless. The start of the attempt is needed for a Retry-After with a date.
        """
        secrets = [event["routing_key"]]
        reply = self.post(
            url, encode(event), secrets=secrets, network=network, idempotent=idempotent
        )
        return classify(reply, now or dt.datetime.now(dt.UTC), idempotent=idempotent)

    def post(
        self,
        url: str,
        body: bytes,
        *,
        secrets: Iterable[str] = (),
        network: NetworkSettings = DEFAULT_NETWORK,
        idempotent: bool = True,
    ) -> Reply | NoReply:
        """Post a JSON body; never raises.

        It takes at most the settings' timeout, apart from the look-up of the host's name. A body
        that must not be posted twice closes its connection after the reply: when a kept connection
        breaks on reuse, it is uncertain whether the body was read.
        """
        if self._process != os.getpid():
            # after a fork, sharing the parent's connections would mix up events
            self._start()

        def call(proxy: str) -> Reply:
            return self._route(url, network, proxy).post(body, idempotent=idempotent)

        reply, more_secrets = attempt(url, network, self._environment, call)
        return mask_reply(reply, (*secrets, *more_secrets))

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
        self._adapter = transport.make_adapter(network, environment)
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": transport.user_agent(),
        }
        self._template = requests.Request("POST", url, headers=headers).prepare()
        self._reused = False

    def post(self, body: bytes, *, idempotent: bool) -> Reply:
        request = self._template.copy()
        request.body = body
        if not idempotent:
            request.headers.update([transport.CLOSE])
        request.headers["Content-Length"] = str(len(body))
        response = self._send(request) if idempotent else self._send_once(request)
        try:
            headers = response.headers
            text = transport.read_text(response)
            pause, location = headers.get("Retry-After", ""), headers.get("Location", "")
            return Reply(response.status_code, text, pause, location)
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
        return transport.send(self._adapter, request, self._network, self.proxy)
