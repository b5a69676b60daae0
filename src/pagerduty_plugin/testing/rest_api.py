"""The part of the REST API v2 that lists services and creates integrations; pure but for the clock.

Sources: PagerDuty's guides to the REST API (authentication, pagination, errors, rate limits) and
its OpenAPI schema. The scopes are those of scoped OAuth; an account's token that may only read has
no other. Requests that PagerDuty leaves undefined are refused: an unknown parameter or member, a
missing ``Accept``, a page of more than 100. The texts in ``errors`` are the fake's own.
"""

from __future__ import annotations

import collections
import datetime as dt
import math
import re
import secrets
import urllib.parse
from typing import TYPE_CHECKING, Final, cast

import attrs

from pagerduty_plugin.testing import responses, rules, service_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from pagerduty_plugin.testing.account import Account
    from pagerduty_plugin.testing.backend import Request
    from pagerduty_plugin.testing.service_directory import Integration, Service

SERVICES: Final = "/services"
READ: Final = "services.read"
WRITE: Final = "services.write"
SCOPES: Final = (READ, WRITE)
RATE_LIMIT: Final = 960
MAX_PAGE: Final = 100
MAX_ENTRIES: Final = 10_000
_DEFAULT_PAGE: Final = 25
_WINDOW: Final = dt.timedelta(seconds=60)
_MEDIA_TYPE: Final = "application/vnd.pagerduty+json;version=2"

_ACCOUNT_TOKEN: Final = re.compile(r"[A-Za-z0-9+_-]{20}")
_OAUTH_TOKEN: Final = re.compile(r"pd(us|eu)\+_[A-Za-z0-9+_-]{20,200}")
_AUTHORIZATION: Final = re.compile(r"(Token token=|Bearer )(\S+)")


@attrs.frozen
class _Call:
    """An authorized call."""

    query: Mapping[str, Sequence[str]]
    body: bytes


@attrs.define(eq=False)
class RestApi:
    """The REST API of an account; not safe for several threads at once.

    Attributes:
        account: The account.
        rate_limit: Calls per token in any 60 seconds; 0 for no limit.
    """

    account: Account
    rate_limit: int = RATE_LIMIT
    # token -> scopes
    _tokens: dict[str, frozenset[str]] = attrs.field(factory=dict, init=False, repr=False)
    _called_at: dict[str, collections.deque[dt.datetime]] = attrs.field(
        factory=lambda: collections.defaultdict(collections.deque), init=False, repr=False
    )

    def add_token(self, token: str | None, scopes: Collection[str]) -> str:
        """Accept a token with these scopes, which replace those of a known token.

        Raises:
            ValueError: the token is malformed, or a scope is unknown.
        """
        token = secrets.token_hex(10) if token is None else token
        if not (_ACCOUNT_TOKEN.fullmatch(token) or _OAUTH_TOKEN.fullmatch(token)):
            msg = (
                "an account's token is 20 letters, digits, +, _ and -; an OAuth token begins with "
                "pdus+_ or pdeu+_"
            )
            raise ValueError(msg)
        if unknown := set(scopes) - set(SCOPES):
            msg = f"unknown scope {min(unknown)!r}; known are {' and '.join(SCOPES)}"
            raise ValueError(msg)
        self._tokens[token] = frozenset(scopes)
        return token

    def respond(self, request: Request) -> responses.Response:
        """Answer a call."""
        token = self._token(request)
        if token is None:
            return responses.rest_error(401, 2006, "Authentication failed")
        throttled, headers = self._count(token)
        if throttled:
            response = responses.rest_error(429, 2020, "Rate Limit Exceeded")
        else:
            response = self._answer(request, self._tokens[token])
        return attrs.evolve(response, headers=(*response.headers, *headers))

    def _token(self, request: Request) -> str | None:
        """Return the token of a request, if it is known and matches its scheme."""
        match = _AUTHORIZATION.fullmatch(request.header("Authorization") or "")
        if match is None or match[2] not in self._tokens:
            return None
        form = _OAUTH_TOKEN if match[1] == "Bearer " else _ACCOUNT_TOKEN
        return match[2] if form.fullmatch(match[2]) else None

    def _count(self, token: str) -> tuple[bool, tuple[tuple[str, str], ...]]:
        """Check the sliding window of a token; count the call unless the window is full."""
        if not self.rate_limit:
            return False, ()
        now, called_at = self.account.clock(), self._called_at[token]
        while called_at and now - called_at[0] >= _WINDOW:
            called_at.popleft()
        throttled = len(called_at) >= self.rate_limit
        if not throttled:
            called_at.append(now)
        reset = math.ceil((called_at[0] + _WINDOW - now).total_seconds())
        return throttled, (
            ("ratelimit-limit", str(self.rate_limit)),
            ("ratelimit-remaining", str(self.rate_limit - len(called_at))),
            ("ratelimit-reset", str(reset)),
        )

    def _answer(self, request: Request, scopes: Collection[str]) -> responses.Response:
        path, _, text = request.path.partition("?")
        route = self._route(request.method, path.removeprefix(SERVICES).split("/")[1:])
        if route is None:
            return _not_found()
        scope, handler = route
        if scope not in scopes:
            return responses.rest_error(403, 2010, "Access Denied", [f"needs the scope {scope}"])
        try:
            query = urllib.parse.parse_qs(
                text, keep_blank_values=True, strict_parsing=bool(text), errors="strict"
            )
        except ValueError:
            return _invalid(["the query cannot be read"])
        if faults := tuple(_header_faults(request)):
            return _invalid(faults)
        return handler(_Call(query, request.body))

    def _route(
        self, method: str, names: Sequence[str]
    ) -> tuple[str, Callable[[_Call], responses.Response]] | None:
        """Return the scope that a call needs, and its handler."""
        match method, names:
            case "GET", []:
                return READ, self._list
            case "GET", [service_id]:
                return READ, lambda call: self._show(call, service_id)
            case "POST", [service_id, "integrations"]:
                return WRITE, lambda call: self._create(call, service_id)
            case "GET", [service_id, "integrations", integration_id]:
                return READ, lambda call: self._show_integration(call, service_id, integration_id)
            case _:
                return None

    def _list(self, call: _Call) -> responses.Response:
        faults = [
            *_unknown(call.query, {"query", "name", "include[]", "limit", "offset", "total"}),
            *_include_faults(call),
        ]
        numbers = []
        for name, default in (("limit", _DEFAULT_PAGE), ("offset", 0)):
            (given,) = call.query.get(name, [str(default)])[-1:]
            if not (given.isascii() and given.isdecimal()):
                faults.append(f"'{name}' must be a whole number")
            else:
                numbers.append(int(given))
        if call.query.get("total", ["false"]) not in (["true"], ["false"]):
            faults.append("'total' must be true or false")
        if faults:
            return _invalid(faults)
        limit, offset = numbers
        if not 1 <= limit <= MAX_PAGE:
            return _invalid([f"'limit' must be from 1 to {MAX_PAGE}"])
        if offset + limit > MAX_ENTRIES:
            return _invalid([f"'offset' and 'limit' reach beyond {MAX_ENTRIES}"])
        found = sorted(self._found(call), key=lambda service: service.name.casefold())
        return responses.rest(
            200,
            services=[self._service(each, call) for each in found[offset : offset + limit]],
            limit=limit,
            offset=offset,
            more=len(found) > offset + limit,
            total=len(found) if call.query.get("total") == ["true"] else None,
        )

    def _found(self, call: _Call) -> Iterator[Service]:
        (part,) = call.query.get("query", [""])[-1:]
        (name,) = call.query.get("name", [""])[-1:]
        for service in self.account.directory.services:
            if part.casefold() in service.name.casefold() and name in ("", service.name):
                yield service

    def _show(self, call: _Call, service_id: str) -> responses.Response:
        if faults := [*_unknown(call.query, {"include[]"}), *_include_faults(call)]:
            return _invalid(faults)
        service = self.account.directory.find(service_id)
        if service is None:
            return _not_found()
        return responses.rest(200, service=self._service(service, call))

    def _show_integration(
        self, call: _Call, service_id: str, integration_id: str
    ) -> responses.Response:
        if faults := tuple(_unknown(call.query, set())):
            return _invalid(faults)
        service = self.account.directory.find(service_id)
        for integration in service.integrations if service else ():
            if service and integration.id == integration_id:
                return responses.rest(200, integration=self._integration(service, integration))
        return _not_found()

    def _create(self, call: _Call, service_id: str) -> responses.Response:
        service = self.account.directory.find(service_id)
        if service is None:
            return _not_found()
        try:
            body = rules.read_event(call.body)
        except rules.UnreadableBodyError:
            return _invalid(["the body must be one JSON object"])
        faults = (*_unknown(call.query, set()), *_creation_faults(body, service_id))
        if faults:
            return _invalid(faults)
        asked = cast("dict[str, str]", body["integration"])
        integration = self.account.directory.add_integration(
            service.name, asked["type"], name=asked["name"]
        )
        return responses.rest(201, integration=self._integration(service, integration))

    def _service(self, service: Service, call: _Call) -> dict[str, object]:
        included = "include[]" in call.query
        return {
            **self._reference(SERVICES, service.id, service.name, "service"),
            "name": service.name,
            "description": None,
            "status": service.status,
            "integrations": [
                self._integration(service, each, listed=True)
                if included
                else self._integration_reference(service, each)
                for each in service.integrations
            ],
        }

    def _integration(
        self, service: Service, integration: Integration, *, listed: bool = False
    ) -> dict[str, object]:
        members: dict[str, object] = {
            **self._integration_reference(service, integration),
            "type": integration.type,
            "name": integration.name,
            "service": self._reference(SERVICES, service.id, service.name, "service_reference"),
            "vendor": {"id": integration.vendor, "type": "vendor_reference"}
            if integration.vendor
            else None,
        }
        if integration.type == service_directory.E_MAIL:
            host = f"{self.account.subdomain}.pagerduty.com"
            return members | {"integration_email": f"{integration.id.lower()}@{host}"}
        shown = {"everywhere"} if listed else {"everywhere", "alone"}
        return members | (
            {"integration_key": integration.key} if integration.key_shown in shown else {}
        )

    def _integration_reference(
        self, service: Service, integration: Integration
    ) -> dict[str, object]:
        path = f"{SERVICES}/{service.id}/integrations"
        return self._reference(
            path, integration.id, integration.name, f"{integration.type}_reference"
        )

    def _reference(self, path: str, identifier: str, summary: str, kind: str) -> dict[str, object]:
        region = "eu." if self.account.region == "eu" else ""
        shown = path.replace(SERVICES, "/service-directory")
        return {
            "id": identifier,
            "type": kind,
            "summary": summary,
            "self": f"https://api.{region}pagerduty.com{path}/{identifier}",
            "html_url": f"https://{self.account.subdomain}.{region}pagerduty.com{shown}/{identifier}",
        }


def _header_faults(request: Request) -> Iterator[str]:
    if (request.header("Accept") or "").replace(" ", "") != _MEDIA_TYPE:
        yield f"'Accept' must be {_MEDIA_TYPE}"
    if request.method == "POST" and request.header("Content-Type") != "application/json":
        yield "'Content-Type' must be application/json"


def _unknown(query: Mapping[str, object], known: set[str]) -> Iterator[str]:
    for name in query.keys() - known:
        yield f"'{name}' is not a known parameter"


def _include_faults(call: _Call) -> Iterator[str]:
    if call.query.get("include[]", ["integrations"]) != ["integrations"]:
        yield "'include[]' must be integrations, the only one known here"


def _creation_faults(body: Mapping[str, object], service_id: str) -> Iterator[str]:
    asked = body.get("integration")
    if set(body) != {"integration"} or not isinstance(asked, dict):
        yield "'integration' must be the only member, and an object"
        return
    for name in asked.keys() - {"type", "name", "service"}:
        yield f"'integration.{name}' is not known here"
    creatable = [each for each in service_directory.TYPES if each != service_directory.E_MAIL]
    if asked.get("type") not in creatable:
        yield f"'integration.type' must be one of {', '.join(creatable)}"
    name = asked.get("name")
    if not isinstance(name, str) or not name.strip():
        yield "'integration.name' is missing or blank"
    reference = {"id": service_id, "type": "service_reference"}
    if asked.get("service", reference) != reference:
        yield "'integration.service' must be a reference to the service in the path"


def _invalid(errors: Sequence[str]) -> responses.Response:
    return responses.rest_error(400, 2001, "Invalid Input Provided", errors)


def _not_found() -> responses.Response:
    return responses.rest_error(404, 2100, "Not Found")
