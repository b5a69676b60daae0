"""The endpoint that other programs send their signs of life to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alerthost.http.app import HEARTBEATS, HttpApp
from alerthost.http.request import authenticate
from alerthost.http.responses import Rejection
from alerthost.outbox.acceptance import UnknownHeartbeatError
from alerthost.outbox.engine import Engine
from alerthost.store.errors import StoreError

_KEY: Final = "key"


def heartbeat_routes(app: HttpApp) -> Sequence[Route]:
    """Return the routes of ``POST /heartbeats/KEY``; the body does not matter."""

    async def hear(request: Request) -> Response:
        backend = app.backend

        def check_and_hear() -> Response:
            authenticate(request, backend.table)
            if "origin" in request.headers:  # a web page may post without asking first
                raise Rejection(403, "origin", "a web page cannot send a heartbeat")
            return _hear(backend.engine, request.path_params[_KEY])

        return await app.threads.work(0, check_and_hear)

    counted = app.counted(HEARTBEATS, hear)
    path = f"{HEARTBEATS}/{{{_KEY}}}"
    return [Route(each, counted, methods=["POST"]) for each in (path, f"{path}/")]


def _hear(engine: Engine, key: str) -> Response:
    try:
        due = engine.hear(key)
    except UnknownHeartbeatError as error:
        raise Rejection(404, "heartbeat", str(error)) from None
    except StoreError as error:
        reason = "nothing was recorded: the store cannot be written"
        log = f"the store fails: {error}"
        raise Rejection(503, "store_fails", reason, retry=True, error=log) from error
    return JSONResponse({"key": key, "due": dt.datetime.fromtimestamp(due, dt.UTC).isoformat()})
