"""Alertmanager's API: Prometheus, vmalert, rulers and Grafana post their alerts to it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response

from alerthost.config.durations import parse_duration
from alerthost.http.request import JSON, authenticate
from alerthost.ingest.alertmanager_api import parse_posted
from alerthost.ingest.json_alerts import ParsedAlert, decode, not_json
from hostspec.alert import parse_json

if TYPE_CHECKING:
    from starlette.requests import Request

    from alerthost.http.app import HttpApp
    from alerthost.outbox.engine import Engine

API: Final = "/api/"
V1: Final = f"{API}v1/alerts"
V2: Final = f"{API}v2/alerts"
STATUS: Final = f"{API}v2/status"
PATHS: Final = (V1, V2, STATUS)


def renew(engine: Engine, valid: Sequence[ParsedAlert]) -> list[ParsedAlert]:
    """Renew the expiry of repeats, which most alerts of these senders are; return the others."""
    alerts = [each.alert for each in valid if each.alert is not None]
    repeated = engine.renew(alerts, [each.expires_at for each in valid])
    return [each for each, is_repeat in zip(valid, repeated, strict=True) if not is_repeat]


class AlertmanagerApi:
    """The endpoints of Alertmanager's API that senders use."""

    def __init__(self, app: HttpApp) -> None:
        self._app = app
        self._started = dt.datetime.now(dt.UTC)

    async def alerts(self, request: Request) -> Response:
        """Accept the alerts of a sender, which repeats all that fire every minute or so."""
        scope = request.query_params.get("scope", "")
        timeout = parse_duration(self._app.backend.table.resolve_timeout)

        def parse_alerts(body: bytes, _media_type: str, most: int) -> Sequence[ParsedAlert]:
            try:
                payload = parse_json(decode(body))
            except json.JSONDecodeError as error:
                return (not_json(error),)
            now = dt.datetime.now(dt.UTC)
            return parse_posted(payload, now=now, resolve_timeout=timeout, scope=scope, most=most)

        path = request.url.path.rstrip("/")
        await self._app.post(request, path, (JSON,), parse_alerts)
        return JSONResponse({"status": "success"})  # vmalert takes no other status than 200

    async def status(self, request: Request) -> Response:
        """Return the status, by which Grafana tests a data source."""
        table = self._app.backend.table
        await self._app.threads.check(lambda: authenticate(request, table))
        return JSONResponse(
            {
                "cluster": {"status": "disabled"},
                "config": {"original": ""},
                "uptime": self._started.isoformat(),
                "versionInfo": {"version": f"alerthost {version('alerthost')}"},
            }
        )
