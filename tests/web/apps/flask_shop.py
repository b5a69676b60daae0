"""A shop of Flask."""

from __future__ import annotations

import os

from flask import Flask, abort, request

from alerthost_client import Client
from alerthost_client.integrations import flask as alerts

app = Flask("flask_shop")
alerts.init_app(app, Client.from_env(), repeat_after=float(os.environ["WINDOW"]), resolve_after=600)


@app.get("/orders/<int:number>/")
def order(number: int) -> str:
    if number == 404:
        abort(404)
    if number:
        raise ValueError(f"order {number}")
    return "fine"


@app.before_request
def refuse_robots() -> None:
    if request.path == "/robots.txt":
        raise LookupError("no robots")
