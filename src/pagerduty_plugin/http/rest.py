"""The calls of PagerDuty's REST API v2 that list services and create integrations.

Sources: PagerDuty's guides "Pagination", "Errors" and "Rate Limits", and its OpenAPI schema.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn, Self
from urllib.parse import urlsplit

import attrs

from hostspec import Secret
from hostspec.text import shorten
from pagerduty_plugin.http import transport
from pagerduty_plugin.http.client import DEFAULT_NETWORK, attempt
from pagerduty_plugin.http.network import NetworkEnvironment
from pagerduty_plugin.http.responses import (
    NoReply,
    Reply,
    mask_reply,
    one_line,
    parse_object,
    read_retry_after,
    text_member,
)
from pagerduty_plugin.settings import NetworkSettings

PAGE: Final = 100
"""Services to a page: PagerDuty's maximum."""

MOST_SERVICES: Final = 10_000
"""Services that PagerDuty lists at most."""

MOST_INTEGRATIONS: Final = 100
"""Integrations of a service that are read; each may take a separate call."""

LONGEST_NAME: Final = 255
"""Characters of a name that are read: PagerDuty accepts no longer ones."""

LONGEST_ERROR: Final = 300
"""Characters of PagerDuty's error that are shown."""

LARGEST_PAGE: Final = 32_000_000
"""Bytes that are read of a page, which lists up to a hundred services."""

LONGEST_WAIT: Final = 60.0
"""Seconds that a call waits at most for the rate limit, whose window is as long."""

DEFAULT_WAIT: Final = 10.0
"""Seconds that it waits if PagerDuty names no time."""

EVENTS_API_V2: Final = "events_api_v2_inbound_integration"
"""The type of integrations with a key for the Events API v2; no other type is documented."""

_ID: Final = re.compile(r"[A-Za-z0-9]{1,64}")
_SECRET: Final = re.compile(r"[A-Za-z0-9+_-]{20,}")
"""Texts in PagerDuty's error that may be a token or key."""

_HOST: Final = re.compile(r"(?P<subdomain>[a-z0-9-]+)(?P<eu>\.eu)?\.pagerduty\.com")
"""The host of an account's web pages."""


class RestError(Exception):
    """A call failed; the message contains no secrets. The status is 0 without a response."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


@attrs.frozen
class Integration:
    """An integration of a service; `key` is None if PagerDuty did not show it."""

    id: str
    type: str
    name: str
    vendor: bool
    key: Secret | None


@attrs.frozen
class Service:
    """A service at PagerDuty; subdomain and region are those of its web page, empty if unknown."""

    id: str
    name: str
    status: str
    subdomain: str
    region: str
    integrations: tuple[Integration, ...]


class RestApi:
    """Calls the REST API with one token, over one connection; not thread-safe.

    A call that is rejected for the rate limit is repeated once, after the pause that PagerDuty
    asks for, unless that is longer than `LONGEST_WAIT`.

    `authorization` is the header of that name; `sleep` is called with the seconds to wait.
    """

    def __init__(
        self,
        base_url: str,
        authorization: str,
        *,
        network: NetworkSettings = DEFAULT_NETWORK,
        environment: Mapping[str, str] = os.environ,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._base_url = base_url
        self._network = network
        self._environment = NetworkEnvironment.read(environment)
        self._headers = {
            "Accept": "application/vnd.pagerduty+json;version=2",
            "Authorization": authorization,
            "User-Agent": transport.user_agent(),
        }
        self._sleep = sleep
        self._adapter = transport.make_adapter(network, self._environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._adapter.close()

    def services(self, query: str = "") -> Iterator[Service]:
        """Yield services whose name contains `query`, with their integrations, page by page.

        Raises:
            RestError: a call failed, or there are more than `MOST_SERVICES`.
        """
        parameters = {"include[]": "integrations", "limit": str(PAGE)}
        if query:
            parameters["query"] = query
        for offset in range(0, MOST_SERVICES, PAGE):
            page = self._call("GET", "/services", {**parameters, "offset": str(offset)})
            services = _member(page, "services", list)
            if len(services) > PAGE:
                _malformed("services")
            yield from map(_service, services)
            if page.get("more") is not True:
                return
        reason = f"PagerDuty lists at most {MOST_SERVICES} services, and there are more; use query"
        raise RestError(reason)

    def service(self, service_id: str) -> Service:
        """Return one service with its integrations.

        Raises:
            RestError: the call failed; with status 404 if there is no such service.
        """
        if not _ID.fullmatch(service_id):
            reason = "no service has such an id"
            raise RestError(reason, 404)
        page = self._call("GET", f"/services/{service_id}", {"include[]": "integrations"})
        return _service(_member(page, "service", dict))

    def integration(self, service: Service, integration: Integration) -> Integration:
        """Return one integration completely, as the list of a service may omit its key.

        Raises:
            RestError: the call failed.
        """
        page = self._call("GET", f"/services/{service.id}/integrations/{integration.id}")
        return _integration(_member(page, "integration", dict))

    def create_integration(self, service: Service, name: str) -> Integration:
        """Create an Events API v2 integration.

        Raises:
            RestError: the call failed; without an answer, it may have been created.
        """
        integration = {
            "type": EVENTS_API_V2,
            "name": name,
            "service": {"id": service.id, "type": "service_reference"},
        }
        path = f"/services/{service.id}/integrations"
        page = self._call("POST", path, body={"integration": integration})
        return _integration(_member(page, "integration", dict))

    def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None
    ) -> Mapping[str, Any]:
        reply = self._send(method, path, query, body)
        if isinstance(reply, Reply) and reply.status == 429:  # noqa: PLR2004 -- HTTP's number
            pause = read_retry_after(reply.retry_after, dt.datetime.now(dt.UTC))
            if pause is None or pause <= LONGEST_WAIT:
                self._sleep(DEFAULT_WAIT if pause is None else pause)
                reply = self._send(method, path, query, body)
        if isinstance(reply, NoReply):
            reason = f"PagerDuty was not reached: {reply.reason}"
            raise RestError(reason)
        parsed = parse_object(reply.text)
        if not 200 <= reply.status < 300:  # noqa: PLR2004 -- HTTP's successes
            error = _error_text(parsed)
            reason = f"PagerDuty answered {reply.status}" + (f": {error}" if error else "")
            if 300 <= reply.status < 400:  # noqa: PLR2004 -- HTTP's redirects
                reason = f"The reply is not PagerDuty's: {reply.redirect}"
            raise RestError(reason, reply.status)
        if parsed is None:
            reason = f"The reply is not PagerDuty's: {reply.status}, without JSON"
            raise RestError(reason)
        return parsed

    def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: object
    ) -> Reply | NoReply:
        import requests

        url = f"{self._base_url}{path}"

        def call(proxy: str) -> Reply:
            request = requests.Request(method, url, self._headers, params=query, json=body)
            response = transport.send(self._adapter, request.prepare(), self._network, proxy)
            try:
                if response.status_code < 300:  # noqa: PLR2004 -- HTTP's successes
                    return Reply(response.status_code, transport.read_text(response, LARGEST_PAGE))
                headers, text = response.headers, transport.read_text(response)
                pause = headers.get("Retry-After") or headers.get("ratelimit-reset", "")
                return Reply(response.status_code, text, pause, headers.get("Location", ""))
            finally:
                response.close()

        reply, secrets = attempt(url, self._network, self._environment, call)
        if isinstance(reply, Reply) and reply.status < 300:  # noqa: PLR2004
            return reply  # unmasked, as it contains integration keys and is never shown
        token = self._headers["Authorization"].partition(" ")[2].removeprefix("token=")
        return mask_reply(reply, (token, *secrets))


def _error_text(parsed: Mapping[str, Any] | None) -> str:
    """Return PagerDuty's error text, whose form differs from its guide in practice."""
    error = (parsed or {}).get("error")
    parts: list[object] = [error]
    if isinstance(error, Mapping):
        more = error.get("errors")
        parts = [error.get("message"), *(more if isinstance(more, list) else [more])]
    text = "; ".join(one_line(each) for each in parts if isinstance(each, str))
    return shorten(_SECRET.sub("…", text), LONGEST_ERROR)


def _member(page: Mapping[str, Any], name: str, kind: type) -> Any:
    member = page.get(name)
    if not isinstance(member, kind):
        _malformed(name)
    return member


def _malformed(name: str) -> NoReturn:
    reason = f"PagerDuty's answer has no {name} of the documented shape"
    raise RestError(reason)


def _service(given: object) -> Service:
    if not (isinstance(given, Mapping) and _ID.fullmatch(_text(given, "id"))):
        _malformed("service")
    integrations = given.get("integrations")
    if not isinstance(integrations, list):
        integrations = []
    page = _page(_text(given, "html_url"))
    return Service(
        id=given["id"],
        name=_text(given, "name") or _text(given, "summary") or given["id"],
        status=_text(given, "status"),
        subdomain=page["subdomain"] if page else "",
        region="" if not page else "eu" if page["eu"] else "us",
        integrations=tuple(map(_integration, integrations[:MOST_INTEGRATIONS])),
    )


def _page(url: str) -> re.Match[str] | None:
    try:
        return _HOST.fullmatch(urlsplit(url).hostname or "")
    except ValueError:
        return None


def _integration(given: object) -> Integration:
    if not (isinstance(given, Mapping) and _ID.fullmatch(_text(given, "id"))):
        _malformed("integration")
    key = _text(given, "integration_key")
    return Integration(
        id=given["id"],
        type=_text(given, "type").removesuffix("_reference"),
        name=_text(given, "name") or _text(given, "summary") or given["id"],
        vendor=given.get("vendor") is not None,
        key=Secret(key) if key else None,
    )


def _text(members: Mapping[str, Any], name: str) -> str:
    text = text_member(members, name)
    return text if len(text) <= LONGEST_NAME else shorten(text, LONGEST_NAME - 1)
