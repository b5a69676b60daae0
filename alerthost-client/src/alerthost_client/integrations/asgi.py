"""An ASGI middleware that fires an alert for each request that fails."""

from __future__ import annotations

import sys
from typing import Any

from alerthost_client.client import Client
from alerthost_client.integrations.reporter import Reporter
from alerthost_client.integrations.web import report


class AlertMiddleware:
    """Fires for exceptions that leave the application, and for answers with the status 500.

    It has to be the outermost middleware. The alert is fired before the answer is sent, so that an
    answer which was seen has its alert.

    Args:
        app: the application.
        client: hands the alerts over.
        name: of the application, with which its keys begin.
        options: ``repeat_after``, ``resolve_after`` and ``labels``, as ``Reporter`` takes them.
    """

    def __init__(self, app: Any, client: Client, name: str, **options: Any) -> None:
        self._app = app
        self._name = name
        self._reporter = Reporter(client, **options)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application."""
        if scope["type"] == "lifespan":  # an application without one raises, as servers expect
            await self._app(scope, receive, send)
            return
        is_reported = False

        async def send_on(message: Any) -> None:
            nonlocal is_reported
            if message.get("status") == 500 and not is_reported:  # noqa: PLR2004 -- of HTTP
                is_reported = True
                self._report(scope, sys.exc_info()[1])
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:
            if not is_reported:
                self._report(scope, error)
            raise

    def _report(self, scope: Any, error: BaseException | None) -> None:
        report(
            self._reporter,
            self._name,
            error,
            method=scope.get("method", scope["type"]),
            path=scope["path"],
            route=getattr(scope.get("route"), "path", None),
        )
