"""Requests of web applications with an integration, against the same applications without.

Each runs in a process of its own, without a server, so that only the integration differs. Requests
succeed, or all fail as one problem; then the first one fires an alert, with a spool. alerthost is
silent, which is worse than no server. The time of a request that fires: see `handing_over`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from wsgiref.util import setup_testing_defaults

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import path
from figures import Figure, main
from flask import Flask
from measuring import alone, seconds
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from alerthost_client import Client
from alerthost_client.integrations import asgi, flask, wsgi

REQUESTS = 300
ROUNDS = 3
MOST_ADDED = 0.005
"""Seconds."""

PATHS = {"succeed": "/0", "fail": "/1"}


def divide(number: int) -> str:
    return str(1 // (1 - number))


def django_app(client: Client | None) -> Any:
    urls = ModuleType("urls")
    urls.urlpatterns = [path("<int:number>", lambda _, number: HttpResponse(divide(number)))]  # type: ignore[attr-defined]
    sys.modules["urls"] = urls
    middleware = ["alerthost_client.integrations.django.alert_middleware"]
    settings.configure(
        ROOT_URLCONF="urls",
        ALLOWED_HOSTS=["*"],
        ALERTHOST={"flush_within": 0},
        MIDDLEWARE=middleware if client else [],
    )
    django.setup()
    return WSGIHandler()


def flask_app(client: Client | None) -> Any:
    app = Flask("shop")
    app.add_url_rule("/<int:number>", view_func=divide)
    if client:
        flask.init_app(app, client)
    return app


def wsgi_app(client: Client | None) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        text = divide(int(environ["PATH_INFO"][1:]))
        start_response("200 OK", [])
        return [text.encode()]

    return wsgi.AlertMiddleware(app, client, "shop") if client else app


def asgi_app(client: Client | None) -> Any:
    async def view(request: Any) -> PlainTextResponse:
        return PlainTextResponse(divide(request.path_params["number"]))

    app = Starlette(routes=[Route("/{number:int}", view)])
    return asgi.AlertMiddleware(app, client, "shop") if client else app


APPS = {"Django": django_app, "Flask": flask_app, "WSGI": wsgi_app, "Starlette": asgi_app}


def wsgi_caller(app: Any, path: str) -> Callable[[], None]:
    def call() -> None:
        environ: dict[str, Any] = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        with contextlib.suppress(ZeroDivisionError):
            body = app(environ, lambda *_: None)
            b"".join(body)
            getattr(body, "close", lambda: None)()

    return call


def asgi_caller(app: Any, path: str) -> Callable[[], None]:
    loop = asyncio.new_event_loop()
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}

    async def ask() -> None:
        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(_message: Any) -> None: ...

        with contextlib.suppress(ZeroDivisionError):
            await app(dict(scope), receive, send)

    return lambda: loop.run_until_complete(ask())


def medians(name: str, url: str, spool: str | None, requests: int) -> dict[str, float]:
    """Return the median seconds of requests, by their kind; without a spool, without alerts."""
    logging.disable()
    if spool:
        os.environ |= {"ALERTHOST_URL": url, "ALERTHOST_SPOOL": spool}
    app = APPS[name](Client.from_env(flush_within=0) if spool else None)
    caller = asgi_caller if name == "Starlette" else wsgi_caller
    found = {}
    for kind, where in PATHS.items():
        call = caller(app, where)
        call()
        found[kind] = statistics.median(seconds(call) for _ in range(requests))
    return found


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    requests, rounds = (5, 1) if quick else (REQUESTS, ROUNDS)
    with tempfile.TemporaryDirectory(dir=".") as folder, socket.create_server(("", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name in APPS:
            without, together = [], []
            for number in range(rounds):
                spool = str(Path(folder) / f"{name}-{number}")
                without.append(alone(medians, name, url, None, requests))
                together.append(alone(medians, name, url, spool, requests))
            for kind in PATHS:
                before, after = (
                    statistics.median(each[kind] for each in found) for found in (without, together)
                )
                text = f"seconds of a request, {name}, {kind}"
                yield Figure(f"{text}: with alerts, without", after, before)
                yield Figure(f"{text}: added", after - before, at_most=MOST_ADDED)


if __name__ == "__main__":
    main(measure)
