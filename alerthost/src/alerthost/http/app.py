"""The HTTP application of ``alerthost run``: accepts alerts, and reports health and metrics.

Blocking work (the store, secrets) runs in threads, so that one slow request delays no other.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from alerthost.config.configuration import Configuration
from alerthost.config.plugins import LaneNames
from alerthost.config.tables import HttpTable
from alerthost.http import alertmanager_api, responses
from alerthost.http.alertmanager_api import AlertmanagerApi
from alerthost.http.backpressure import Backpressure
from alerthost.http.metrics import Metrics
from alerthost.http.partial import find_unfit, parse_each_line
from alerthost.http.readiness import Readiness
from alerthost.http.request import (
    JSON,
    JSON_LINES,
    WorkerThreads,
    authenticate,
    check_body,
    received,
)
from alerthost.http.responses import RETRY_AFTER, Rejection, first_fault, kind_of, shortened
from alerthost.ingest.alertmanager import parse_webhook, truncated_alerts
from alerthost.ingest.json_alerts import (
    ParsedAlert,
    TooManyAlertsError,
    decode,
    not_json,
    parse_body,
)
from alerthost.outbox.engine import Engine
from hostspec.alert import parse_json
from hostspec.plugins.limited_log import LimitedLog

ALERTS: Final = "/alerts"
INGEST: Final = "/ingest/"
ALERTMANAGER: Final = f"{INGEST}alertmanager"
GRAFANA: Final = f"{INGEST}grafana"
HEARTBEATS: Final = "/heartbeats"
HEALTHZ: Final = "/healthz"
READYZ: Final = "/readyz"
METRICS: Final = "/metrics"
PATHS: Final = (ALERTS, ALERTMANAGER, GRAFANA, HEALTHZ, READYZ, METRICS, *alertmanager_api.PATHS)
"""The paths that exist."""

_OTHER: Final = "other"
_TOO_LARGE: Final = 413

Endpoint = Callable[[Request], Awaitable[Response]]
Present = Callable[[Request, Rejection, int], Response]
"""Builds the response to a rejected request, with a status."""
Parse = Callable[[bytes, str, int], Sequence[ParsedAlert]]
"""Parses a body, by its content type and with a limit of alerts."""
Accept = Callable[["Backend", bytes, str], Response]
"""Accepts a body, by its content type."""


def _as_json(_request: Request, rejection: Rejection, status: int) -> Response:
    return responses.rejected(rejection, status)


@attrs.frozen(eq=False)
class Backend:
    """The objects that requests use; a reload replaces them."""

    engine: Engine
    table: HttpTable
    backpressure: Backpressure
    configuration: Configuration


class HttpApp:
    """The ASGI application (``app``) with its state.

    Attributes:
        backend: used by new requests; a reload replaces it.
        stopping: the process will stop soon, so it is not ready.
        reload_errors: of the last reload; empty if it succeeded.
        threads: for work that blocks.
    """

    def __init__(self, backend: Backend, metrics: Metrics, *, works: bool = True) -> None:
        self.backend = backend
        self.stopping = False
        self.reload_errors: Sequence[str] = ()
        self._readiness = Readiness(works=works)
        self._metrics = metrics
        self._rejections = LimitedLog(logging.getLogger("hostspec"))
        self.threads = WorkerThreads()
        api = AlertmanagerApi(self)
        self.app = Starlette(
            routes=[
                *self._routes(ALERTS, self._alerts, "POST"),
                *self._routes(ALERTMANAGER, self._webhook, "POST"),
                *self._routes(GRAFANA, self._webhook, "POST"),
                *self._routes(alertmanager_api.V2, api.alerts, "POST"),
                *self._routes(alertmanager_api.V1, api.alerts, "POST"),
                *self._routes(alertmanager_api.STATUS, api.status, "GET"),
                *self._routes(HEALTHZ, self._healthz, "GET"),
                *self._routes(READYZ, self._readyz, "GET"),
                *self._routes(METRICS, self._metrics_page, "GET"),
            ],
            exception_handlers={HTTPException: self._no_route},
        )
        # some senders treat a redirect as success, and their alert would be lost
        self.app.router.redirect_slashes = False

    @property
    def lanes(self) -> LaneNames:
        """The names of lanes."""
        return self._metrics.lanes

    def add(self, routes: Iterable[BaseRoute]) -> None:
        """Serve more routes; their endpoints are `counted`."""
        self.app.router.routes.extend(routes)

    def close(self) -> None:
        """End the threads, and log the number of rejected requests that were not logged."""
        self.threads.close()
        self._rejections.flush(everything=True)

    def rejected_connection(self, client: str, status: int, cause: str, reason: str) -> None:
        """Log and count a connection that is rejected before its request is read."""
        self._metrics.count("requests", _OTHER, str(status))
        self._metrics.count("rejected_requests", _OTHER, str(status), cause)
        self._rejections.write(client, cause, f"connection from {client}: {status}: {reason}")

    def _routes(self, path: str, endpoint: Endpoint, method: str) -> Sequence[Route]:
        counted = self.counted(path, endpoint)
        return [Route(each, counted, methods=[method]) for each in (path, f"{path}/")]

    def counted(
        self,
        path: str,
        endpoint: Endpoint,
        present: Present = _as_json,
    ) -> Endpoint:
        """Return an endpoint that counts its requests, and answers, logs and counts rejections.

        Args:
            path: in metrics and in the log.
            endpoint: may raise Rejection, and anything else by a fault of alerthost.
            present: builds the response to a rejected request.
        """

        def reject(request: Request, rejection: Rejection) -> Response:
            return self._reject(request, path, rejection, present)

        async def counted(request: Request) -> Response:
            self._rejections.flush()
            try:
                response = await endpoint(request)
            except Rejection as rejection:
                return reject(request, rejection)
            except asyncio.CancelledError:  # uvicorn, at the end of its graceful shutdown
                stopping = Rejection(503, "stopping", "alerthost is stopping; retry", retry=True)
                return reject(request, stopping)
            except ClientDisconnect:
                reason = "the connection was closed before the end of the body"
                return reject(request, Rejection(400, "disconnected", reason))
            except Exception as error:  # noqa: BLE001 -- a bug of alerthost, which must be logged
                client, text = client_of(request), f"a request to {path} failed"
                self._rejections.write(client, text, text, logging.ERROR, error=error)
                failed = Rejection(500, "failure", "internal error; see alerthost's log")
                return reject(request, failed)
            self._metrics.count("requests", path, str(response.status_code))
            return response

        return counted

    async def _no_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 -- it handles no other
        path = request.url.path.rstrip("/")
        if path in PATHS or path.startswith(f"{HEARTBEATS}/"):
            allowed = (error.headers or {}).get("Allow", "")
            reason = f"method {shortened(request.method)} is not allowed; use {allowed}"
            rejection = Rejection(error.status_code, "method", reason, headers=error.headers)
            return self._reject(request, path, rejection)
        reason = f"not found; post alerts to {ALERTS} or {ALERTMANAGER}"
        return self._reject(request, _OTHER, Rejection(error.status_code, "path", reason))

    def _reject(
        self,
        request: Request,
        path: str,
        rejection: Rejection,
        present: Present = _as_json,
    ) -> Response:
        """Log and count a rejected request, and build its response."""
        status, cause = rejection.status, rejection.cause
        if rejection.retry and path.startswith(INGEST):
            status = 503  # Alertmanager retries after 5xx only
        self._metrics.count("requests", path, str(status))
        self._metrics.count("rejected_requests", path, str(status), cause)
        client = client_of(request)
        text = f"{shortened(request.method)} {shortened(request.url.path)} from {client}: {status}"
        kind = kind_of(rejection.reason, rejection.faults)
        self._rejections.write(
            client, f"{path} {cause}", f"rejected {text}: {rejection}", kind=kind
        )
        error = rejection.error
        if status == _TOO_LARGE and path.startswith(INGEST):
            error = (
                f"{rejection}; this group of alerts is lost: raise http.largest_body or "
                "http.most_alerts, or set Alertmanager's max_alerts"
            )
        if error:
            line = f"{error} ({text})"
            self._rejections.write(client, f"{path} {cause} error", line, logging.ERROR)
        return present(request, rejection, status)

    async def _healthz(self, _request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def _readyz(self, _request: Request) -> Response:
        if self.stopping:
            return JSONResponse({"ready": False, "reasons": ["alerthost is stopping"]}, 503)
        engine, lanes = self.backend.engine, self._metrics.lanes
        state = await self.threads.check(lambda: self._readiness.check(engine, lanes))
        return JSONResponse(state, 200 if state["ready"] else 503)

    async def _metrics_page(self, request: Request) -> Response:
        table, accept = self.backend.table, request.headers.get("accept", "")
        await self.threads.check(lambda: authenticate(request, table))
        page, media_type = await self.threads.check(lambda: self._metrics.page(accept))
        return Response(page, headers={"Content-Type": media_type})

    async def _alerts(self, request: Request) -> Response:
        def parse_alerts(body: bytes, media_type: str, most: int) -> Sequence[ParsedAlert]:
            return parse_body(body, lines=media_type in JSON_LINES, most=most)

        match request.query_params.get("partial"):
            case None:
                return await self.post(request, ALERTS, (JSON, *JSON_LINES), parse_alerts)
            case "true":
                return await self._post_lines(request)
            case other:
                reason = (
                    f"partial: {shortened(other)} is unknown; use partial=true, or leave it out"
                )
                raise Rejection(400, "partial", reason)

    async def _webhook(self, request: Request) -> Response:
        scope = request.query_params.get("scope", "")
        client = client_of(request)

        def parse_group(body: bytes, _media_type: str, most: int) -> Sequence[ParsedAlert]:
            try:
                payload = parse_json(decode(body))
            except json.JSONDecodeError as error:
                return (not_json(error),)
            if count := truncated_alerts(payload):
                text = f"Alertmanager left {count} alerts out of a group: raise its max_alerts"
                self._rejections.write(client, "truncated", text, logging.ERROR)
            return parse_webhook(payload, scope=scope, most=most)

        path = request.url.path.rstrip("/")
        return await self.post(request, path, (JSON,), parse_group)

    async def post(
        self, request: Request, path: str, content_types: Sequence[str], parse_alerts: Parse
    ) -> Response:
        """Accept the alerts of a request; raise a Rejection if nothing was accepted."""

        def accept(backend: Backend, body: bytes, media_type: str) -> Response:
            parsed = parse_alerts(body, media_type, backend.table.most_alerts)
            return self._accept(backend, request, path, body, parsed)

        return await self._receive(request, content_types, accept)

    async def _post_lines(self, request: Request) -> Response:
        def accept(backend: Backend, body: bytes, _media_type: str) -> Response:
            return self._accept_lines(backend, request, body)

        return await self._receive(request, JSON_LINES, accept)

    async def _receive(
        self, request: Request, content_types: Sequence[str], accept: Accept
    ) -> Response:
        backend = self.backend
        table = backend.table
        await self.threads.work(0, lambda: authenticate(request, table))
        reading = received(request, content_types, self.threads, table.largest_body)
        async with reading as (body, media_type):

            def work() -> Response:
                check_body(body)
                try:
                    return accept(backend, body, media_type)
                except TooManyAlertsError as error:
                    reason = f"{error} (http.most_alerts)"
                    raise Rejection(_TOO_LARGE, "too_many_alerts", reason) from None

            return await self.threads.work(len(body), work)

    def _accept(
        self,
        backend: Backend,
        request: Request,
        path: str,
        body: bytes,
        parsed: Sequence[ParsedAlert],
    ) -> Response:
        """Store the alerts of a request; of a group, the valid ones though others are faulty."""
        faults = responses.faults_of(parsed)
        now = dt.datetime.now(dt.UTC)
        valid = [each.as_of(now) for each in parsed if each.alert is not None]
        alerts = [each.alert for each in valid if each.alert is not None]
        if faults and not (alerts and path.startswith((INGEST, alertmanager_api.API))):
            raise Rejection(400, "faulty", "nothing was accepted", faults=faults)
        key = request.headers.get("idempotency-key")
        ids = _submission_ids(key, body, len(alerts)) if key else None
        faulty = len(parsed) - len(alerts)
        with responses.store_failures():
            if path.startswith(alertmanager_api.API):
                valid = alertmanager_api.renew(backend.engine, valid)
                self._metrics.count("repeated", path, by=len(alerts) - len(valid))
                alerts = [each.alert for each in valid if each.alert is not None]
            if (full := backend.backpressure.admit(alerts)) is not None:
                reason = f"{full}; retry after {RETRY_AFTER} s"
                raise Rejection(429, "backlog_full", reason, retry=True)
            expires_at = [each.expires_at for each in valid]
            accepted = backend.engine.accept_many(alerts, submission_ids=ids, expires_at=expires_at)
        self._metrics.count("accepted", path, by=len(alerts))
        self._note_faulty(request, path, faults, faulty, len(parsed))
        return responses.accepted(accepted, alerts, faults)

    def _accept_lines(self, backend: Backend, request: Request, body: bytes) -> Response:
        """Store the alerts of the lines that are valid and fit now."""
        key = request.headers.get("idempotency-key") or secrets.token_hex(16)
        lines = parse_each_line(body, key, backend.table.most_alerts)
        now = dt.datetime.now(dt.UTC)
        with responses.store_failures():
            unfit = find_unfit(lines, backend.backpressure.admit)
            fit = [each for each in lines if each.parsed.alert and each.number not in unfit]
            valid = [each.parsed.as_of(now) for each in fit]
            backend.engine.accept_many(
                [each.alert for each in valid if each.alert is not None],
                submission_ids=[each.submission_id for each in fit],
                expires_at=[each.expires_at for each in valid],
            )
        self._metrics.count("accepted", ALERTS, by=len(fit))
        faulty = [each for each in lines if each.parsed.alert is None]
        faults = responses.faults_of([each.parsed for each in faulty])
        self._note_faulty(request, ALERTS, faults, len(faulty), len(lines))
        if unfit:
            self._metrics.count("refused_alerts", ALERTS, by=len(unfit))
            client, reason = client_of(request), next(iter(unfit.values()))
            text = f"refused {len(unfit)} alerts of {len(lines)} posted to {ALERTS} from {client}"
            line = f"{text}, until they are posted again: {reason}"
            self._rejections.write(
                client, f"{ALERTS} refused alerts", line, kind=kind_of(reason, ())
            )
        return responses.accepted_in_part(len(fit), unfit, faulty)

    def _note_faulty(
        self, request: Request, path: str, faults: responses.Faults, number: int, total: int
    ) -> None:
        """Log and count faulty alerts of a request whose other alerts were accepted."""
        if number:
            self._metrics.count("faulty_alerts", path, by=number)
            client = client_of(request)
            text = f"skipped {number} faulty alerts of {total} posted to {path}"
            line = f"{text} from {client}: {first_fault(faults)}"
            kind = kind_of("", faults)
            self._rejections.write(client, f"{path} faulty alerts", line, kind=kind)


def client_of(request: Request) -> str:
    """Return the client's address; a reverse proxy on this machine forwards it in a header."""
    return shortened(request.client.host) if request.client else "unknown"


def _submission_ids(key: str, body: bytes, count: int) -> Sequence[str]:
    """Return ids that repeat for the same key and body only, so that a new body is no repeat."""
    digest = hashlib.sha256(f"{key}\n".encode() + body).hexdigest()[:32]
    return [f"{digest}-{number}" for number in range(1, count + 1)]
