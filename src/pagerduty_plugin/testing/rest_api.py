"""The part of the REST API v2 that lists services and creates integrations.

Sources: PagerDuty's guides to the REST API (authentication, pagination, errors, rate limits) and
its OpenAPI schema. The scopes are those of scoped OAuth; an account's token that may only read has
no other. Requests that PagerDuty leaves undefined are refused: an unknown parameter or member, a
missing ``Accept``, a page of more than 100. The texts in ``errors`` are the fake's own.
"""

from __future__ import annotations

import math
import re
import secrets
import urllib.parse
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from pagerduty_plugin.testing import responses, rules
from pagerduty_plugin.testing.account import (
    E_MAIL,
    TYPES,
    Account,
    Integration,
    RateWindow,
    Service,
)

if TYPE_CHECKING:
    from pagerduty_plugin.testing.backend import Request

SERVICES: Final = "/services"
READ: Final = "services.read"
WRITE: Final = "services.write"
SCOPES: Final = (READ, WRITE)
RATE_LIMIT: Final = 960
MAX_PAGE: Final = 100
MAX_ENTRIES: Final = 10_000
_DEFAULT_PAGE: Final = 25
_MEDIA_TYPE: Final = "application/vnd.pagerduty+json;version=2"

_ACCOUNT_TOKEN: Final = re.compile(r"[A-Za-z0-9+_-]{20}")
_OAUTH_TOKEN: Final = re.compile(r"pd(us|eu)\+_[A-Za-z0-9+_-]{20,200}")
_AUTHORIZATION: Final = re.compile(r"(Token token=|Bearer )(\S+)")


_NOT_FOUND: Final = responses.rest_error(404, 2100, "Not Found")

_Query = Mapping[str, Sequence[str]]


class _RefusedError(Exception):
    """A call is refused with a response."""

    def __init__(self, response: responses.Response) -> None:
        super().__init__()
        self.response = response


@attrs.define(eq=False)
class RestApi:
    """The REST API of an account; not safe for several threads at once.

    Attributes:
        window: Of calls, per token.
    """

    account: Account
    window: RateWindow
    # token -> scopes
    _tokens: dict[str, frozenset[str]] = attrs.field(factory=dict, init=False, repr=False)

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
        if not self.window.limit:
            return self._answer(request, self._tokens[token])
        now = self.account.clock()
        if self.window.accept(token, now):
            response = self._answer(request, self._tokens[token])
        else:
            response = responses.rest_error(429, 2020, "Rate Limit Exceeded")
        reset = math.ceil((self.window.reset_at(token) - now).total_seconds())
        headers = (
            ("ratelimit-limit", str(self.window.limit)),
            ("ratelimit-remaining", str(self.window.remaining(token))),
            ("ratelimit-reset", str(reset)),
        )
        return attrs.evolve(response, headers=(*response.headers, *headers))

    def _token(self, request: Request) -> str | None:
        """Return the token of a request, if it is known and matches its scheme."""
        match = _AUTHORIZATION.fullmatch(request.header("Authorization") or "")
        if match is None or match[2] not in self._tokens:
            return None
        form = _OAUTH_TOKEN if match[1] == "Bearer " else _ACCOUNT_TOKEN
        return match[2] if form.fullmatch(match[2]) else None

    def _answer(self, request: Request, scopes: Collection[str]) -> responses.Response:
        path, _, text = request.path.partition("?")
        names = path.removeprefix(SERVICES).split("/")[1:]
        try:
            match request.method, names:
                case "GET", []:
                    return self._list(_authorize(request, scopes, READ, text))
                case "GET", [service_id]:
                    return self._show(_authorize(request, scopes, READ, text), service_id)
                case "POST", [service_id, "integrations"]:
                    query = _authorize(request, scopes, WRITE, text)
                    return self._create(query, service_id, request.body)
                case "GET", [service_id, "integrations", integration_id]:
                    query = _authorize(request, scopes, READ, text)
                    return self._show_integration(query, service_id, integration_id)
        except _RefusedError as refused:
            return refused.response
        return _NOT_FOUND

    def _list(self, query: _Query) -> responses.Response:
        faults = [
            *_unknown(query, {"query", "name", "include[]", "limit", "offset", "total"}),
            *_include_faults(query),
        ]
        numbers = []
        for name, default in (("limit", _DEFAULT_PAGE), ("offset", 0)):
            given = _last(query, name, str(default))
            if not (given.isascii() and given.isdecimal()):
                faults.append(f"'{name}' must be a whole number")
            else:
                numbers.append(int(given))
        if query.get("total", ["false"]) not in (["true"], ["false"]):
            faults.append("'total' must be true or false")
        _refuse(faults)
        limit, offset = numbers
        if not 1 <= limit <= MAX_PAGE:
            _refuse([f"'limit' must be from 1 to {MAX_PAGE}"])
        if offset + limit > MAX_ENTRIES:
            _refuse([f"'offset' and 'limit' reach beyond {MAX_ENTRIES}"])
        part, name = _last(query, "query").casefold(), _last(query, "name")
        found = [
            each
            for each in self.account.services.values()
            if part in each.name.casefold() and name in {"", each.name}
        ]
        found.sort(key=lambda service: service.name.casefold())
        return responses.json_response(
            200,
            services=[self._service(each, query) for each in found[offset : offset + limit]],
            limit=limit,
            offset=offset,
            more=len(found) > offset + limit,
            total=len(found) if query.get("total") == ["true"] else None,
        )

    def _show(self, query: _Query, service_id: str) -> responses.Response:
        _refuse([*_unknown(query, {"include[]"}), *_include_faults(query)])
        return responses.json_response(200, service=self._service(self._find(service_id), query))

    def _show_integration(
        self, query: _Query, service_id: str, integration_id: str
    ) -> responses.Response:
        _refuse([*_unknown(query, set())])
        service = self._find(service_id)
        for each in service.integrations:
            if each.id == integration_id:
                return responses.json_response(200, integration=self._integration(service, each))
        return _NOT_FOUND

    def _create(self, query: _Query, service_id: str, body: bytes) -> responses.Response:
        service = self._find(service_id)
        try:
            members = rules.read_event(body)
        except rules.UnreadableBodyError:
            raise _invalid(["the body must be one JSON object"]) from None
        _refuse([*_unknown(query, set()), *_creation_faults(members, service_id)])
        asked = members["integration"]
        made = self.account.add_integration(service.name, asked["type"], name=asked["name"])
        return responses.json_response(201, integration=self._integration(service, made))

    def _find(self, service_id: str) -> Service:
        for service in self.account.services.values():
            if service.id == service_id:
                return service
        raise _RefusedError(_NOT_FOUND)

    def _service(self, service: Service, query: _Query) -> dict[str, object]:
        included = "include[]" in query
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
        if integration.type == E_MAIL:
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


def _authorize(
    request: Request, scopes: Collection[str], scope: str, text: str
) -> Mapping[str, Sequence[str]]:
    """Check the scope and the headers of a call, and return its query."""
    if scope not in scopes:
        raise _RefusedError(
            responses.rest_error(403, 2010, "Access Denied", [f"needs the scope {scope}"])
        )
    try:
        query = urllib.parse.parse_qs(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict"
        )
    except ValueError:
        raise _invalid(["the query cannot be read"]) from None
    faults = []
    if (request.header("Accept") or "").replace(" ", "") != _MEDIA_TYPE:
        faults.append(f"'Accept' must be {_MEDIA_TYPE}")
    if request.method == "POST" and request.header("Content-Type") != "application/json":
        faults.append("'Content-Type' must be application/json")
    _refuse(faults)
    return query


def _invalid(faults: Sequence[str]) -> _RefusedError:
    return _RefusedError(responses.rest_error(400, 2001, "Invalid Input Provided", faults))


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise _invalid(faults)


def _last(query: _Query, name: str, default: str = "") -> str:
    return query.get(name, [default])[-1]


def _unknown(query: _Query, known: set[str]) -> Iterator[str]:
    for name in query.keys() - known:
        yield f"'{name}' is not a known parameter"


def _include_faults(query: _Query) -> Iterator[str]:
    if query.get("include[]", ["integrations"]) != ["integrations"]:
        yield "'include[]' must be integrations, the only one known here"


def _creation_faults(body: Mapping[str, Any], service_id: str) -> Iterator[str]:
    asked = body.get("integration")
    if set(body) != {"integration"} or not isinstance(asked, dict):
        yield "'integration' must be the only member, and an object"
        return
    for name in asked.keys() - {"type", "name", "service"}:
        yield f"'integration.{name}' is not known here"
    creatable = [each for each in TYPES if each != E_MAIL]
    if asked.get("type") not in creatable:
        yield f"'integration.type' must be one of {', '.join(creatable)}"
    name = asked.get("name")
    if not isinstance(name, str) or not name.strip():
        yield "'integration.name' is missing or blank"
    reference = {"id": service_id, "type": "service_reference"}
    if asked.get("service", reference) != reference:
        yield "'integration.service' must be a reference to the service in the path"
