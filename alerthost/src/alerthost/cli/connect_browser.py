"""``alerthost connect --install-flow``: connects an account at the provider, in a browser."""

from __future__ import annotations

import html
import http
import http.server
import queue
import threading
import webbrowser
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import attrs

from alerthost.cli.output import Screen
from alerthost.config.accounts import Accounts
from alerthost.config.document import ConfigurationError
from alerthost.store.errors import StoreError
from hostspec.connect import (
    CALLBACK_HEADERS,
    Connected,
    InstallError,
    InstallFlow,
    InstallProblem,
)

HOST: Final = "127.0.0.1"
PATH: Final = "/callback"

_SHOWN_WITHIN: Final = 5.0
"""Seconds for the browser to fetch the last page."""

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
    """A page for the browser; each has its own path."""

    path: str
    title: str
    text: str


_CLOSE: Final = "You may close this window and return to the terminal."
_CONNECTED: Final = Page("/connected", "Connected", _CLOSE)
_FAILED: Final = Page("/failed", "Not connected", _CLOSE)
_IGNORED: Final = Page("/ignored", "Nothing happened", "This request belongs to another attempt.")


def connect_in_browser(  # noqa: PLR0913 -- one argument for each option
    accounts: Accounts,
    flow: InstallFlow[Any, Any],
    settings: Any,
    screen: Screen,
    *,
    name: str,
    port: int,
    opens: bool,
) -> Connected[Any]:
    """Send the operator's browser to the provider, wait for its return, and store the account.

    Args:
        accounts: stores the account.
        flow: of the provider.
        settings: of the flow.
        screen: shows the address to open.
        name: for a new account; empty for the one that the provider suggests.
        port: on loopback, for the callback; 0 for a free one.
        opens: open the browser, instead of only printing the address.

    Raises:
        InstallError: the provider's callback is wrong.
        OSError: the port cannot be listened on.
    """
    with CallbackServer(port) as server:
        request = flow.begin(server.url, settings)
        screen.print("Continue in your browser, at this address:")
        screen.print_unwrapped(request.url)
        if opens:
            # a browser in a terminal blocks until it is closed
            threading.Thread(target=webbrowser.open, args=(request.url,), daemon=True).start()
        screen.print("Waiting for the browser to return; Ctrl-C to cancel.", "dim")
        while True:
            callback = server.callbacks.get()

            def finish(parameters: dict[str, str] = callback.parameters) -> Connected[Any]:
                others = accounts.installations()
                return flow.finish(parameters, request.pending, installations=others)

            try:
                connected = accounts.connect(finish, name)
            except (InstallError, ConfigurationError, StoreError) as error:
                if isinstance(error, InstallError) and error.problem is InstallProblem.WRONG_STATE:
                    callback.answer.put(_IGNORED)
                    screen.warn(f"ignored a request: {error.reason}")
                    continue
                server.finish(callback, _FAILED)
                raise
            server.finish(callback, _CONNECTED)
            return connected


@attrs.frozen(eq=False)
class Callback:
    """A request of the browser that waits for a page."""

    parameters: dict[str, str] = attrs.field(repr=False)
    answer: queue.SimpleQueue[Page] = attrs.field(factory=queue.SimpleQueue)


class CallbackServer(http.server.ThreadingHTTPServer):
    """A web server on loopback that receives callbacks at `url`.

    A callback's address holds secrets: it is not logged, and is answered by a redirect to a page
    without a query.
    """

    daemon_threads = True  # browsers keep idle connections open

    def __init__(self, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.url = f"http://{HOST}:{self.server_port}{PATH}"
        self.callbacks: queue.SimpleQueue[Callback] = queue.SimpleQueue()
        self.pages: dict[str, Page] = {}
        self.last: Page | None = None
        self.shown = threading.Event()  # set when the last page was fetched
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def finish(self, callback: Callback, page: Page) -> None:
        """Answer the last callback, and wait until the browser has its page."""
        self.last = page
        callback.answer.put(page)
        self.shown.wait(_SHOWN_WITHIN)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a browser that went away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Any  # a `CallbackServer`; typeshed declares its base class

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == PATH:
            callback = Callback(dict(parse_qsl(parts.query, keep_blank_values=True)))
            self.server.callbacks.put(callback)
            page = callback.answer.get()
            self.server.pages[page.path] = page
            self._answer(http.HTTPStatus.SEE_OTHER, "", {"Location": page.path})
        elif page := self.server.pages.get(parts.path):
            text = _PAGE.format(title=html.escape(page.title), text=html.escape(page.text))
            self._answer(http.HTTPStatus.OK, text)
            if page is self.server.last:
                self.server.shown.set()
        else:
            self._answer(http.HTTPStatus.NOT_FOUND, "Not found")

    def _answer(
        self, status: http.HTTPStatus, text: str, headers: Mapping[str, str] | None = None
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
