"""The HTTP front of ``alerthost run``: takes alerts, and tells how it goes.

What blocks (the store, secrets) runs in threads, so that one slow request delays no other.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alerthost.config.http_table import HttpTable
from alerthost.http import alertmanager, parsing, request_body, responses
from alerthost.http.authentication import check_caller
from alerthost.http.backpressure import Backpressure
from alerthost.http.json_alerts import Submission
from alerthost.http.metrics import Metrics
from alerthost.http.parsing import TooManyAlertsError
from alerthost.http.readiness import Readiness
from alerthost.http.refusals import COME_AGAIN, Refusal, first_of, kind_of, shortened
from alerthost.http.request_body import JSON, JSON_LINES
from alerthost.http.worker_threads import Workload
from alerthost.outbox.engine import Engine
from alerthost.store.errors import LostCommitError, StoreError, UnknownCommitError
from hostspec.alert import parse_json
from hostspec.plugins.limited_log import LimitedLog

ALERTS: Final = "/alerts"
INGEST: Final = "/ingest/"
ALERTMANAGER: Final = f"{INGEST}alertmanager"
GRAFANA: Final = f"{INGEST}grafana"
HEALTHZ: Final = "/healthz"
READYZ: Final = "/readyz"
METRICS: Final = "/metrics"
PATHS: Final = (ALERTS, ALERTMANAGER, GRAFANA, HEALTHZ, READYZ, METRICS)
"""All addresses that are answered."""

_OTHER: Final = "other"
_TOO_LARGE: Final = 413
_SMALLER_GROUPS: Final = (
    "raise http.largest_body or http.most_alerts, or set Alertmanager's max_alerts"
)
_UNWRITABLE: Final = "nothing was accepted: the store cannot be written"
_UNKNOWN: Final = (
    "it is not known whether the alert was accepted: the connection to the store was lost; post it"
    " again, with the same Idempotency-Key if it had one"
)
_MAYBE_LOST: Final = "the alert may be lost: the store was deleted or replaced; post it again"

Answer = Callable[[Request], Awaitable[Response]]


@attrs.frozen
class _Post:
    """A request with alerts.

    Attributes:
        path: where it was posted.
        client: the sender's address.
        body: in UTF-8.
        name: the request's own, under which it may be repeated.
        is_group: of Alertmanager, whose good alerts are accepted though others are faulty.
    """

    path: str
    client: str
    body: bytes
    name: str | None
    is_group: bool


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
        self._readiness = Readiness(works=works)
        self.stopping = False
        self._metrics = metrics
        self._refusals = LimitedLog(logging.getLogger("hostspec"))
        self._workload = Workload()
        self.app = Starlette(
            routes=[
                *self._routes(ALERTS, self._alerts, "POST"),
                *self._routes(ALERTMANAGER, self._alertmanager, "POST"),
                *self._routes(GRAFANA, self._alertmanager, "POST"),
                *self._routes(HEALTHZ, self._healthz, "GET"),
                *self._routes(READYZ, self._readyz, "GET"),
                *self._routes(METRICS, self._page_of_metrics, "GET"),
            ],
            exception_handlers={HTTPException: self._no_route},
        )
        # a sender takes a redirect for success, and its alert is lost
        self.app.router.redirect_slashes = False

    def close(self) -> None:
        """End the threads, and log how many refused requests were not logged one by one."""
        self._workload.close()
        self._refusals.flush(everything=True)

    def refused_connection(self, client: str, status: int, cause: str, reason: str) -> None:
        """Log and count a connection that is refused before its request is read."""
        self._metrics.answered(_OTHER, status)
        self._metrics.refused_request(_OTHER, status, cause)
        self._refusals.write(client, cause, f"connection from {client}: {status}: {reason}")

    def _routes(self, path: str, answer: Answer, method: str) -> Sequence[Route]:
        async def counted(request: Request) -> Response:
            self._refusals.flush()
            try:
                response = await answer(request)
            except Refusal as refusal:
                return self._refuse(request, path, refusal)
            except asyncio.CancelledError:  # uvicorn, when there is no time left
                stops = Refusal(503, "stopping", "alerthost stops; post it again", again=True)
                return self._refuse(request, path, stops)
            except ClientDisconnect:
                left = "the connection ended before the whole body was here"
                return self._refuse(request, path, Refusal(400, "disconnected", left))
            except Exception as error:  # noqa: BLE001 -- a mistake of ours, which has to be seen
                client, text = _client(request), f"a request to {path} failed"
                self._refusals.write(client, text, text, logging.ERROR, error=error)
                failed = Refusal(500, "failure", "alerthost failed; its log says why")
                return self._refuse(request, path, failed)
            self._metrics.answered(path, response.status_code)
            return response

        return [Route(each, counted, methods=[method]) for each in (path, f"{path}/")]

    async def _no_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 -- it handles no other
        path = request.url.path.rstrip("/")
        if path in PATHS:
            allowed = (error.headers or {}).get("Allow", "")
            reason = f"{shortened(request.method)} is not understood here; send {allowed}"
            refusal = Refusal(error.status_code, "method", reason, headers=error.headers)
            return self._refuse(request, path, refusal)
        reason = f"there is nothing here; alerts go to {ALERTS} or {ALERTMANAGER}"
        return self._refuse(request, _OTHER, Refusal(error.status_code, "path", reason))

    def _refuse(self, request: Request, path: str, refusal: Refusal) -> Response:
        """Answer a request that is refused, log it and count it."""
        status = refusal.status
        if refusal.again and path.startswith(INGEST):
            status = 503  # Alertmanager posts again after 5xx alone
        self._metrics.answered(path, status)
        self._metrics.refused_request(path, status, refusal.cause)
        client = _client(request)
        text = f"{shortened(request.method)} {shortened(request.url.path)} from {client}: {status}"
        refused = f"refused {text}: {refusal}"
        self._refusals.write(client, f"{path} {refusal.cause}", refused, kind=refusal.kind)
        error = refusal.error
        if status == _TOO_LARGE and path.startswith(INGEST):
            error = f"{refusal}, and this group of alerts is lost: {_SMALLER_GROUPS}"
        if error:
            error = f"{error} ({text})"
            self._refusals.write(client, f"{path} {refusal.cause} error", error, logging.ERROR)
        return responses.refused(refusal, status)

    async def _healthz(self, _request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def _readyz(self, _request: Request) -> Response:
        reasons, warnings = await self._workload.check(self._state)
        content: dict[str, Any] = {"ready": not reasons}
        if reasons:
            content["reasons"] = reasons
        if warnings:
            content["warnings"] = warnings
        return JSONResponse(content, 503 if reasons else 200)

    def _state(self) -> tuple[Sequence[str], Sequence[str]]:
        if self.stopping:
            return ["alerthost stops"], ()
        return self._readiness.check(self.serving.engine, self._metrics.lanes)

    async def _page_of_metrics(self, request: Request) -> Response:
        await self._workload.check(check_caller, request, self.serving.table)
        accept = request.headers.get("accept", "")
        page, content_type = await self._workload.check(self._metrics.page, accept)
        return Response(page, headers={"Content-Type": content_type})

    async def _alerts(self, request: Request) -> Response:
        def read(body: bytes, kind: str, most: int) -> Sequence[Submission]:
            return parsing.read(body, lines=kind in JSON_LINES, most=most)

        return await self._take(request, ALERTS, (JSON, *JSON_LINES), read)

    async def _alertmanager(self, request: Request) -> Response:
        scope = request.query_params.get("scope", "")
        client = _client(request)

        def read(body: bytes, _kind: str, most: int) -> Sequence[Submission]:
            try:
                payload = parse_json(parsing.text_of(body))
            except json.JSONDecodeError as error:
                return (parsing.not_json(error),)
            if left_out := alertmanager.truncated(payload):
                text = f"Alertmanager left {left_out} alerts out of a group: raise its max_alerts"
                self._refusals.write(client, "truncated", text, logging.ERROR)
            return alertmanager.read(payload, scope=scope, most=most)

        path = request.url.path.rstrip("/")
        return await self._take(request, path, (JSON,), read, is_group=True)

    async def _take(
        self,
        request: Request,
        path: str,
        known: Sequence[str],
        read: Callable[[bytes, str, int], Sequence[Submission]],
        *,
        is_group: bool = False,
    ) -> Response:
        serving = self.serving
        table = serving.table
        await self._workload.work(0, lambda: check_caller(request, table))
        kind, codec = request_body.content_type(request, known)
        with self._workload.room() as room:
            body = await request_body.read(request, table, codec, room)
            name = request.headers.get("idempotency-key")
            post = _Post(path, _client(request), body, name, is_group)

            def submissions() -> Sequence[Submission]:
                return read(body, kind, table.most_alerts)

            return await self._workload.work(
                len(body), lambda: self._accept(serving, post, submissions)
            )

    def _accept(
        self, serving: Serving, post: _Post, read: Callable[[], Sequence[Submission]]
    ) -> Response:
        if not post.body.strip():
            raise Refusal(400, "empty", "there is no alert in the body")
        request_body.check_values(post.body)
        try:
            submissions = read()
        except TooManyAlertsError as error:
            reason = f"{error} (http.most_alerts)"
            raise Refusal(413, "too_many_alerts", reason) from None
        faults = responses.faults_of(submissions)
        now = dt.datetime.now(dt.UTC)
        alerts = [each.alert.as_of(now) for each in submissions if each.alert is not None]
        if faults and not (alerts and post.is_group):
            raise Refusal(400, "faulty", "nothing was accepted", faults=faults)
        try:
            if (why := serving.backpressure.admit(alerts)) is not None:
                full = f"{why}; nothing was accepted, retry after {COME_AGAIN} s"
                raise Refusal(429, "backlog_full", full, again=True)
            ids = _names(post.name, post.body, len(alerts)) if post.name else None
            taken = serving.engine.accept_many(alerts, submission_ids=ids)
        except StoreError as error:
            cause = f"the store fails: {error}"
            raise Refusal(503, "store_fails", _told(error), again=True, error=cause) from error
        self._metrics.accepted(post.path, len(alerts))
        if faulty := len(submissions) - len(alerts):
            self._metrics.left_out(post.path, faulty)
            text = f"left out {faulty} of {len(submissions)} alerts posted to {post.path}"
            self._refusals.write(
                post.client,
                f"{post.path} left out",
                f"{text} from {post.client}: {first_of(faults)}",
                kind=kind_of("", faults),
            )
        return responses.accepted(taken, alerts, faults)


def _told(error: StoreError) -> str:
    """Check whether alerts were accepted that the store failed on."""
    if isinstance(error, LostCommitError):
        return _MAYBE_LOST
    return _UNKNOWN if isinstance(error, UnknownCommitError) else _UNWRITABLE


def _client(request: Request) -> str:
    """Return the sender's address; a reverse proxy on this machine forwards it in a header."""
    return shortened(request.client.host) if request.client else "unknown"


def _names(repeatable: str, body: bytes, count: int) -> Sequence[str]:
    """Name the statements of a request that may be repeated: the same body has the same names.

    Another body has others, whatever its key: what differs is never taken for a repeat.
    """
    digest = hashlib.sha256(f"{repeatable}\n".encode() + body).hexdigest()[:32]
    return [f"{digest}-{number}" for number in range(1, count + 1)]
