"""PagerDuty's REST API v2: how services are asked for, and what the answers mean.

Sources: PagerDuty's guides "Pagination", "Errors" and "Rate Limits", and its OpenAPI schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn, Protocol
from urllib.parse import urlsplit

import attrs

from hostspec import Secret
from hostspec.text import clean_text, shorten
from pagerduty_plugin.http.responses import NoReply, Reply

PAGE: Final = 100
"""Services to a page: PagerDuty's most."""

MOST_SERVICES: Final = 10_000
"""Services that PagerDuty lists at most, page by page."""

MOST_INTEGRATIONS: Final = 100
"""Integrations of a service that are read; each may cost a call of its own."""

LONGEST_NAME: Final = 255
"""Characters of a name that are read: PagerDuty takes no longer ones."""

LONGEST_WORDS: Final = 300
"""Characters of PagerDuty's own words that are told."""

EVENTS_API_V2: Final = "events_api_v2_inbound_integration"
"""The type of the integrations whose key the Events API v2 takes; nothing says so of another."""

_ID: Final = re.compile(r"[A-Za-z0-9]{1,64}")
_SECRET: Final = re.compile(r"[A-Za-z0-9+_-]{20,}")
"""What might be a token or key in PagerDuty's words."""

_HOST: Final = re.compile(r"(?P<subdomain>[a-z0-9-]+)(?P<eu>\.eu)?\.pagerduty\.com")
"""Where the pages of an account are."""


class Api(Protocol):
    """What makes a call (`pagerduty_plugin.http.client.RestApi`)."""

    def call(
        self, method: str, path: str, query: Mapping[str, str] = ..., body: object = None
    ) -> Reply | NoReply:
        """Make a call; never raises for what the network does."""
        ...


class RestError(Exception):
    """A call that PagerDuty did not answer as it should; the message says how, without secrets.

    Attributes:
        status: the HTTP status; 0 where there was none.
    """

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


@attrs.frozen
class Integration:
    """An integration of a service.

    Attributes:
        id: what PagerDuty calls it among machines.
        type: PagerDuty's word for its kind.
        name: what people call it.
        vendor: it was made for the product of a vendor.
        key: its integration key; None where PagerDuty did not tell it.
    """

    id: str
    type: str
    name: str
    vendor: bool
    key: Secret | None


@attrs.frozen
class Service:
    """A service, as PagerDuty shows it.

    Attributes:
        id: what PagerDuty calls it among machines.
        name: what people call it.
        status: PagerDuty's word for its state.
        subdomain: of the account; empty where PagerDuty did not say.
        region: where the pages of the account are; empty where PagerDuty did not say.
        integrations: all of them.
    """

    id: str
    name: str
    status: str
    subdomain: str
    region: str
    integrations: tuple[Integration, ...]


def list_services(api: Api, query: str = "") -> Iterator[Service]:
    """List services with their integrations, page by page.

    Args:
        api: makes the calls.
        query: what their names hold; empty for all.

    Raises:
        RestError: a call failed, or there are more than PagerDuty lists.
    """
    parameters = {"include[]": "integrations", "limit": str(PAGE)}
    if query:
        parameters["query"] = query
    for offset in range(0, MOST_SERVICES, PAGE):
        page = _ask(api, "GET", "/services", parameters | {"offset": str(offset)})
        services = _member(page, "services", list)
        if len(services) > PAGE:
            _misshapen("services")
        yield from map(_service, services)
        if page.get("more") is not True:
            return
    reason = f"There are more than {MOST_SERVICES} services, and PagerDuty lists no more; use query"
    raise RestError(reason)


def read_service(api: Api, service_id: str) -> Service:
    """Read one service with its integrations.

    Raises:
        RestError: the call failed; with status 404 where there is no such service.
    """
    if not _ID.fullmatch(service_id):
        reason = "no service has such an id"
        raise RestError(reason, 404)
    page = _ask(api, "GET", f"/services/{service_id}", {"include[]": "integrations"})
    return _service(_member(page, "service", dict))


def read_integration(api: Api, service: Service, integration: Integration) -> Integration:
    """Read one integration, of which the service may have told less.

    Raises:
        RestError: the call failed.
    """
    page = _ask(api, "GET", f"/services/{service.id}/integrations/{integration.id}")
    return _integration(_member(page, "integration", dict))


def create_integration(api: Api, service: Service, name: str) -> Integration:
    """Create an Events API v2 integration.

    Raises:
        RestError: the call failed; where there was no answer, it may have been created.
    """
    asked = {
        "type": EVENTS_API_V2,
        "name": name,
        "service": {"id": service.id, "type": "service_reference"},
    }
    path = f"/services/{service.id}/integrations"
    page = _ask(api, "POST", path, body={"integration": asked})
    return _integration(_member(page, "integration", dict))


def _ask(
    api: Api, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None
) -> Mapping[str, Any]:
    reply = api.call(method, path, query or {}, body)
    if isinstance(reply, NoReply):
        reason = f"PagerDuty was not reached: {reply.reason}"
        raise RestError(reason)
    parsed = _json(reply.text)
    if not 200 <= reply.status < 300:  # noqa: PLR2004 -- HTTP's successes
        words = _words(parsed)
        reason = f"PagerDuty answered {reply.status}" + (f": {words}" if words else "")
        if 300 <= reply.status < 400:  # noqa: PLR2004 -- HTTP's redirects
            reason = f"What answered is not PagerDuty: {reply.redirect}"
        raise RestError(reason, reply.status)
    if parsed is None:
        reason = f"What answered is not PagerDuty: {reply.status}, without JSON"
        raise RestError(reason)
    return parsed


def _json(text: str) -> Mapping[str, Any] | None:
    """Read a JSON object; None where it is none. Its error would hold the text, and so keys."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, Mapping) else None


def _words(parsed: Mapping[str, Any] | None) -> str:
    """Return PagerDuty's own words of an error: of one form by its guide, of others in practice."""
    error = (parsed or {}).get("error")
    told: list[object] = [error]
    if isinstance(error, Mapping):
        more = error.get("errors")
        told = [error.get("message"), *(more if isinstance(more, list) else [more])]
    words = "; ".join(" ".join(clean_text(each).split()) for each in told if isinstance(each, str))
    words = _SECRET.sub("…", words)
    return shorten(words, LONGEST_WORDS)


def _member(page: Mapping[str, Any], name: str, kind: type) -> Any:
    member = page.get(name)
    if not isinstance(member, kind):
        _misshapen(name)
    return member


def _misshapen(name: str) -> NoReturn:
    reason = f"PagerDuty's answer has no {name} of the documented shape"
    raise RestError(reason)


def _service(given: object) -> Service:
    if not (isinstance(given, Mapping) and _ID.fullmatch(_text(given, "id"))):
        _misshapen("service")
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
        _misshapen("integration")
    key = _text(given, "integration_key")
    return Integration(
        id=given["id"],
        type=_text(given, "type").removesuffix("_reference"),
        name=_text(given, "name") or _text(given, "summary") or given["id"],
        vendor=given.get("vendor") is not None,
        key=Secret(key) if key else None,
    )


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        return ""
    text = " ".join(clean_text(value).split())
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
