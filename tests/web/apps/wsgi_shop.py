"""A shop of WSGI alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from alerthost_client import Client
from alerthost_client.integrations.wsgi import AlertMiddleware


def shop(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/robots.txt":
        raise LookupError("no robots")
    return order(int(environ["PATH_INFO"].split("/")[2]), start_response)


def order(number: int, start_response: Any) -> Iterable[bytes]:
    if number == 404:
        start_response("404 Not Found", [])
        return []
    if number:
        raise ValueError(f"order {number}")
    start_response("200 OK", [])
    return [b"fine"]


app = AlertMiddleware(
    shop,
    Client.from_env(),
    "wsgi_shop",
    repeat_after=float(os.environ["WINDOW"]),
    resolve_after=600,
)
