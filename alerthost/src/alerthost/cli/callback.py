"""A web server on loopback that catches the callback of a browser. Whoever uses it judges it.

The address of a callback holds secrets: it is not logged, and every answer to it is a redirect to
a page without a query.
"""

from __future__ import annotations

import html
import http
import http.server
import queue
import threading
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import attrs

from hostspec.connect.install_flow import CALLBACK_HEADERS

HOST: Final = "127.0.0.1"
PATH: Final = "/callback"

_SHOWN_WITHIN: Final = 5.0
"""Seconds that a browser has to fetch the page that it was sent to."""

_HEADERS: Final = {
    **CALLBACK_HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Content-Type": "text/html; charset=utf-8",
}
_PAGE: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0 auto; padding: 3rem 1.25rem; max-width: 36rem;
  font: 1rem/1.5 system-ui, sans-serif; }}
</style></head><body><h1>{title}</h1><p>{text}</p></body></html>
"""


@attrs.frozen
class Page:
    """What a browser is shown in the end.

    Attributes:
        path: where; its own for each page.
        title: its heading.
        text: the rest.
    """

    path: str
    title: str
    text: str


@attrs.frozen(eq=False)
class Callback:
    """A callback that waits for its answer.

    Attributes:
        parameters: decoded.
    """

    parameters: dict[str, str] = attrs.field(repr=False)
    _answers: queue.SimpleQueue[Page] = attrs.field(factory=queue.SimpleQueue)

    def show(self, page: Page) -> None:
        """Send the browser to a page."""
        self._answers.put(page)

    def answer(self) -> Page:
        """Wait for the page."""
        return self._answers.get()


class CallbackServer:
    """Catches callbacks at `url` while it is open.

    Args:
        port: to listen on; 0 takes a free one.

    Raises:
        OSError: the port cannot be had.
    """

    def __init__(self, port: int) -> None:
        self._server = _Server((HOST, port), _Handler)
        self.url = f"http://{HOST}:{self._server.server_port}{PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next(self) -> Callback:
        """Wait for the next callback."""
        return self._server.callbacks.get()

    def finish(self, callback: Callback, page: Page) -> None:
        """Answer the last callback, and wait until the browser has its page."""
        self._server.last = page
        callback.show(page)
        self._server.shown.wait(_SHOWN_WITHIN)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True  # a browser keeps connections open that nothing comes over

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.callbacks: queue.SimpleQueue[Callback] = queue.SimpleQueue()
        self.pages: dict[str, Page] = {}
        self.last: Page | None = None
        self.shown = threading.Event()  # the last page was

    def handle_error(self, request: object, client_address: object) -> None:
        """Tell nobody of a browser that went away: whoever waits here waits on."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Any  # a `_Server`, which its base does not know

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == PATH:
            callback = Callback(dict(parse_qsl(parts.query, keep_blank_values=True)))
            self.server.callbacks.put(callback)
            answer = callback.answer()
            self.server.pages[answer.path] = answer
            self._answer(http.HTTPStatus.SEE_OTHER, "", {"Location": answer.path})
            return
        page = self.server.pages.get(parts.path)
        if page is None:
            self._answer(http.HTTPStatus.NOT_FOUND, "There is nothing here.")
            return
        text = _PAGE.format(title=html.escape(page.title), text=html.escape(page.text))
        self._answer(http.HTTPStatus.OK, text)
        if page is self.server.last:
            self.server.shown.set()

    def _answer(
        self, status: http.HTTPStatus, text: str, headers: dict[str, str] | None = None
    ) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**_HEADERS, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: the address holds secrets."""
