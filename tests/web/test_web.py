"""Failed requests of real applications, under real servers, become alerts."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from scripted import Scripted
from webserving import SERVERS, Served

PROBLEMS = {
    "django_shop": "ValueError at orders/<int:number>/",
    "django_shop, asynchronous": "ValueError at orders/<int:number>/",
    "flask_shop": "ValueError at /orders/<int:number>/",
    "wsgi_shop": "ValueError in wsgi_shop.order",
    "starlette_shop": "ValueError at /orders/{number:int}/",
}


@pytest.fixture(params=SERVERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def served(name: str, server: Scripted) -> Iterator[Served]:
    with Served(SERVERS[name], ALERTHOST_URL=server.url, WINDOW=300) as served:
        yield served
        served.signal(signal.SIGTERM)
        served.end()


def alerts(server: Scripted) -> list[dict[str, Any]]:
    return server.alerts


def test_a_failed_request_fires(name: str, served: Served, server: Scripted) -> None:
    assert served.get("/orders/7/?token=secret").status == 500
    server.wait_for(lambda seen: seen.accepted)
    (alert,) = alerts(server)
    app = name.partition(",")[0]
    assert alert["key"] == f"{app}/{PROBLEMS[name]}"
    route = "/orders/7/" if app == "wsgi_shop" else PROBLEMS[name].partition(" at ")[2]
    assert alert["summary"] == f"{app}: GET {route}: ValueError: order 7"
    assert (alert["details"]["method"], alert["details"]["path"]) == ("GET", "/orders/7/")
    assert 'raise ValueError(f"order {number}")' in alert["details"]["traceback"]
    assert "secret" not in json.dumps(alert)
    quiet = datetime.fromisoformat(alert["expires_at"]) - datetime.fromisoformat(
        alert["started_at"]
    )
    assert round(quiet.total_seconds()) == 900


def test_only_failures_fire(name: str, served: Served, server: Scripted) -> None:
    assert served.get("/orders/0/").body == b"fine"
    assert served.get("/orders/404/").status == 404
    assert served.get("/robots.txt").status == 500
    served.get("/orders/8/")
    server.wait_for(lambda seen: any("ValueError" in key for key in seen.accepted))
    summaries = [alert["summary"].rpartition(": ")[2] for alert in alerts(server)]
    assert sorted(summaries) == ["no robots", "order 8"]


def test_repeats_within_a_window_fire_once(server: Scripted) -> None:
    command = [*SERVERS["flask_shop"], "--workers", "1"]
    with Served(command, ALERTHOST_URL=server.url, WINDOW=300) as served:
        for number in (1, 2, 3):
            served.get(f"/orders/{number}/")
        served.get("/robots.txt")
        server.wait_for(lambda seen: len(seen.accepted) == 2)
        served.signal(signal.SIGTERM)
        served.end()
    assert [alert["summary"].rpartition(": ")[2] for alert in alerts(server)] == [
        "order 1",
        "no robots",
    ]
