"""The HTTP front of ``alerthost run``: takes alerts, and tells how it goes.

What blocks (the store, secrets) runs in threads, so that one slow request delays no other.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hostspec.alert import Alert
from hostspec.delivery.engine import Engine
from hostspec.host import alertmanager, bodies
from hostspec.host.backpressure import Backpressure
from hostspec.host.http_table import Address, HttpTable, is_loopback
from hostspec.host.metrics import Metrics
from hostspec.host.statements import Statement
from hostspec.reading import parse
from hostspec.secret import SecretUnavailableError
from hostspec.store.errors import StoreError
from hostspec.values import to_json

_log = logging.getLogger("hostspec")

BODY_WITHIN: Final = 30.0
"""Seconds in which the body of a request has to be here."""

COME_AGAIN: Final = 10
"""Seconds after which a client that was turned away may come again (Retry-After)."""

ALERTS: Final = "/alerts"
ALERTMANAGER: Final = "/ingest/alertmanager"
HEALTHZ: Final = "/healthz"
READYZ: Final = "/readyz"
METRICS: Final = "/metrics"
PATHS: Final = (ALERTS, ALERTMANAGER, HEALTHZ, READYZ, METRICS)
"""All addresses that are answered."""

_JSON: Final = "application/json"
_JSON_LINES: Final = (
    "application/jsonl",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonlines",
    "application/x-jsonlines",
)

Answer = Callable[[Request], Awaitable[Response]]


@attrs.frozen(eq=False)
class Serving:
    """What requests are served with; a reload puts another one in its place.

    Attributes:
        engine: takes the alerts.
        table: who may post, and how much.
        backpressure: decides whether a request fits into the backlog.
    """

    engine: Engine
    table: HttpTable
    backpressure: Backpressure


class Front:
    """Answers requests.

    Args:
        serving: what to serve with now.
        metrics: where to count.
        works: workers run in this process, or it is not ready.

    Attributes:
        serving: changed by a reload.
        stopping: nothing new is taken on soon, so that it is not ready any more.
        app: the ASGI application.
    """

    def __init__(self, serving: Serving, metrics: Metrics, *, works: bool = True) -> None:
        self.serving = serving
        self._works = works
        self.stopping = False
        self._metrics = metrics
        self.app = Starlette(
            routes=[
                self._route(ALERTS, self._alerts, "POST"),
                self._route(ALERTMANAGER, self._alertmanager, "POST"),
                self._route(HEALTHZ, self._healthz, "GET"),
                self._route(READYZ, self._readyz, "GET"),
                self._route(METRICS, self._page_of_metrics, "GET"),
            ],
            exception_handlers={HTTPException: _told},
        )

    def _route(self, path: str, answer: Answer, method: str) -> Route:
        async def counted(request: Request) -> Response:
            try:
                response = await answer(request)
            except HTTPException as error:
                response = await _told(request, error)
            except asyncio.CancelledError:  # uvicorn, when there is no time left
                response = _refused(503, "alerthost stops; post it again", retry_after=COME_AGAIN)
            except ClientDisconnect:
                return Response(status_code=400)  # which nobody reads
            self._metrics.answered(path, response.status_code)
            return response

        return Route(path, counted, methods=[method])

    async def _healthz(self, _request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def _readyz(self, _request: Request) -> Response:
        reasons = await run_in_threadpool(self._unready)
        if reasons:
            return JSONResponse({"ready": False, "reasons": reasons}, 503)
        return JSONResponse({"ready": True})

    def _unready(self) -> Sequence[str]:
        engine = self.serving.engine
        if self.stopping:
            return ["alerthost stops"]
        reasons = ["the workers do not run"] if self._works and not engine.working else []
        try:
            engine.desk.deliveries(most=1)
        except StoreError:
            reasons.append("the store cannot be read")  # strangers need not know where it is
        else:
            reasons += ["the store fails"] if engine.trouble else []
        return reasons

    async def _page_of_metrics(self, request: Request) -> Response:
        await self._check_caller(request, self.serving.table)
        accept = request.headers.get("accept", "")
        page, content_type = await run_in_threadpool(self._metrics.page, accept)
        return Response(page, headers={"Content-Type": content_type})

    async def _alerts(self, request: Request) -> Response:
        serving = self.serving
        await self._check_caller(request, serving.table)
        kind = _content_type(request, (_JSON, *_JSON_LINES))

        def read(body: bytes) -> Sequence[Statement]:
            return bodies.read(body, lines=kind in _JSON_LINES)

        return await self._take(request, serving, read)

    async def _alertmanager(self, request: Request) -> Response:
        serving = self.serving
        await self._check_caller(request, serving.table)
        _content_type(request, (_JSON,))
        scope = request.query_params.get("scope", "")

        def read(body: bytes) -> Sequence[Statement]:
            try:
                payload = parse(bodies.text_of(body))
            except json.JSONDecodeError as error:
                return (bodies.not_json(error),)
            if left_out := alertmanager.truncated(payload):
                _log.error(
                    "Alertmanager left %s alerts out of a group: raise its max_alerts", left_out
                )
            return alertmanager.read(payload, scope=scope)

        return await self._take(request, serving, read)

    async def _check_caller(self, request: Request, table: HttpTable) -> None:
        """Let in who knows the token; without one, who is on this machine.

        Raises:
            HTTPException: it is somebody else.
        """
        if table.token is None:
            # a page in a browser on this machine may name a host that leads here
            if not _names_loopback(request.headers.get("host", "")):
                stranger = "without a token, only this machine may be named as host"
                raise HTTPException(403, stranger)
            return
        try:
            token = await run_in_threadpool(table.token.reveal)
        except SecretUnavailableError as error:
            _log.error("http.token: %s", error)
            unreadable = "the token cannot be read here"
            raise HTTPException(503, unreadable, {"Retry-After": str(COME_AGAIN)}) from None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
        if scheme.casefold() != "bearer" or not right:
            unknown = "send the token as Authorization: Bearer TOKEN"
            raise HTTPException(401, unknown, {"WWW-Authenticate": "Bearer"})

    async def _take(
        self,
        request: Request,
        serving: Serving,
        read: Callable[[bytes], Sequence[Statement]],
    ) -> Response:
        body = await _body(request, serving.table.largest_body)
        repeatable = request.headers.get("idempotency-key")
        path = request.url.path
        return await run_in_threadpool(self._accept, serving, path, body, read, repeatable)

    def _accept(
        self,
        serving: Serving,
        path: str,
        body: bytes,
        read: Callable[[bytes], Sequence[Statement]],
        repeatable: str | None,
    ) -> Response:
        if not body.strip():
            return _refused(400, "there is no alert in the body")
        statements = read(body)
        faulty = [each for each in statements if each.alert is None]
        if faulty:
            faults = [
                {"place": each.place, **to_json(fault)} for each in faulty for fault in each.faults
            ]
            return _refused(400, "nothing was accepted", faults=faults)
        alerts = [each.alert for each in statements if each.alert is not None]
        try:
            if (reason := serving.backpressure.admit(alerts)) is not None:
                return _refused(429, f"{reason}; nothing was accepted", retry_after=COME_AGAIN)
            ids = _names(repeatable, body, len(alerts)) if repeatable else None
            taken = serving.engine.accept_many(alerts, statement_ids=ids)
        except StoreError as error:
            _log.error("the store fails: %s", error)
            return _refused(503, f"nothing was accepted: {error}", retry_after=COME_AGAIN)
        self._metrics.accepted(path, len(alerts))
        accepted = [_shown(name, alert) for name, alert in zip(taken, alerts, strict=True)]
        return JSONResponse({"statements": accepted}, 202)


def _names(repeatable: str, body: bytes, count: int) -> Sequence[str]:
    """Name the statements of a request that may be repeated: the same body has the same names.

    Another body has others, whatever its key: what differs is never taken for a repeat.
    """
    digest = hashlib.sha256(f"{repeatable}\n".encode() + body).hexdigest()[:32]
    return [f"{digest}-{number}" for number in range(1, count + 1)]


def _shown(name: str, alert: Alert) -> Mapping[str, Any]:
    return {
        "id": name,
        "scope": alert.scope,
        "key": alert.key,
        "status": alert.status,
        "repairs": to_json(list(alert.repairs)),
    }


def _content_type(request: Request, known: Sequence[str]) -> str:
    """Give what a body is said to be.

    A page in a browser may post anything but these to this machine without being asked.

    Raises:
        HTTPException: it is none of those that are known.
    """
    said = request.headers.get("content-type", "")
    kind = said.partition(";")[0].strip().casefold()
    if kind not in known:
        raise HTTPException(415, f"say what it is: Content-Type: {' or '.join(known[:3])}")
    if request.headers.get("content-encoding", "identity").casefold() != "identity":
        raise HTTPException(415, "send it as it is, without a Content-Encoding")
    return kind


async def _body(request: Request, largest: int) -> bytes:
    """Read the body, no further than it may go.

    Raises:
        HTTPException: it is too large, or too slow.
    """
    too_large = HTTPException(413, f"a body may have {largest} bytes at most")
    length = request.headers.get("content-length", "0")
    if int(length) > largest:  # h11 takes digits only
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > largest:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, "the body did not come in time") from None
    return bytes(body)


def _names_loopback(host: str) -> bool:
    address = Address.read(host) or Address.read(f"{host}:80")
    return address is not None and is_loopback(address.host)


async def _told(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- it handles no other
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _refused(
    status: int,
    error: str,
    *,
    faults: Sequence[Mapping[str, Any]] = (),
    retry_after: int | None = None,
) -> Response:
    content: dict[str, Any] = {"error": error}
    if faults:
        content["faults"] = faults
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse(content, status, headers=headers)
