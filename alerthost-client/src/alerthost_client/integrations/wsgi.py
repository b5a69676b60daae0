"""A WSGI middleware that fires an alert for each request that fails."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from alerthost_client.client import Client
from alerthost_client.integrations.reporter import Reporter
from alerthost_client.integrations.web import report


class AlertMiddleware:
    """Fires for exceptions that leave the application, and for answers with the status 500.

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

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Call the application."""

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            if status.startswith("500"):
                self.report(environ, (exc_info or sys.exc_info())[1])
            return start_response(status, headers, exc_info)

        try:
            body: Iterable[bytes] = self._app(environ, start)
        except Exception as error:
            self.report(environ, error)
            raise
        # lists raise nothing, and a server may send a file without reading it here
        if isinstance(body, (list, tuple)) or type(body) is environ.get("wsgi.file_wrapper"):
            return body
        return _Body(body, lambda error: self.report(environ, error))

    def report(self, environ: dict[str, Any], error: BaseException | None) -> None:
        """Fire for a failed request; without an exception, it was answered with 500."""
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        report(
            self._reporter,
            self._name,
            error,
            method=environ["REQUEST_METHOD"],
            path=path.encode("latin-1").decode("utf-8", "replace"),
            route=None,
        )


class _Body:
    """A body that is made while it is sent."""

    def __init__(self, body: Iterable[bytes], report: Callable[[Exception], None]) -> None:
        self._body = body
        self._report = report

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except Exception as error:
            self._report(error)
            raise

    def close(self) -> None:
        """Close the body, as the server asks."""
        if close := getattr(self._body, "close", None):
            close()
