"""A shop of Starlette."""

from __future__ import annotations

import os
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from alerthost_client import Client
from alerthost_client.integrations.asgi import AlertMiddleware


async def order(request: Request) -> Response:
    number = request.path_params["number"]
    if number == 404:
        raise HTTPException(404)
    if number:
        raise ValueError(f"order {number}")
    return PlainTextResponse("fine")


def refuse_robots(shop: Any) -> Any:
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") == "/robots.txt":
            raise LookupError("no robots")
        await shop(scope, receive, send)

    return middleware


shop = Starlette(routes=[Route("/orders/{number:int}/", order)])
shop.add_middleware(refuse_robots)
app = AlertMiddleware(
    shop,
    Client.from_env(),
    "starlette_shop",
    repeat_after=float(os.environ["WINDOW"]),
    resolve_after=600,
)
