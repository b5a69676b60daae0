"""An HTTP/1.1 server on loopback, with one thread per kept-alive connection."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import ssl
import struct
import sys
import threading
from typing import Any, Final, cast

from pagerduty_plugin.testing import misbehaviour, pages, responses, rest_api
from pagerduty_plugin.testing.backend import Backend, Request

HOST: Final = "127.0.0.1"
# how soon the accepting thread notices a stop
_POLL_SECONDS: Final = 0.02
# with this linger, closing a socket sends RST instead of FIN
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_PROPERLY: Final = misbehaviour.Misbehaviour(name="properly", processed="at once")


class Server(http.server.ThreadingHTTPServer):
    """Listens on loopback; cannot be started again.

    Raises:
        OSError: the port is not available.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, backend: Backend, port: int, ssl_context: ssl.SSLContext | None) -> None:
        """Bind the port (0 for a free one) and listen."""
        self.backend = backend
        self._ssl_context = ssl_context
        self._lock = threading.Lock()
        self._open: dict[Any, threading.Thread] = {}
        self._accepting = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name="fake PagerDuty", daemon=True
        )
        super().__init__((HOST, port), _Handler)

    def start(self) -> None:
        """Serve on threads of its own."""
        self._accepting.start()

    def stop(self) -> None:
        """Refuse new connections, break open ones, and wait for all threads."""
        self.shutdown()
        self.server_close()
        with self._lock:
            still_open = dict(self._open)
        for connection, thread in still_open.items():
            with contextlib.suppress(OSError):
                # an SSLSocket's own method would end the session that its thread uses
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            thread.join()
        self._accepting.join()

    def server_bind(self) -> None:
        """Bind without looking up the name of this machine, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; its own thread does the TLS handshake."""
        connection, address = super().get_request()
        if self._ssl_context is not None:
            connection = self._ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on a thread that `stop` can wait for."""
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="fake PagerDuty connection",
            daemon=True,
        )
        with self._lock:
            self._open[request] = thread
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection until it closes."""
        super().process_request_thread(request, client_address)
        with self._lock:
            del self._open[request]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore broken connections, which tests cause on purpose."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # send a response in one piece and at once: Nagle's algorithm and delayed acknowledgements
    # would cost some 40 ms each
    disable_nagle_algorithm = True
    wbufsize = 65536

    def setup(self) -> None:
        super().setup()
        self._backend = cast("Server", self.server).backend
        self._connection = next(self._backend.connections)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: the fake has a request log."""

    def _respond(self) -> None:
        path, _, query = self.path.partition("?")
        if path == pages.INSTALL_PATH:
            self._install(query)
            return
        if self.command == "GET" and not path.startswith(("/v2/", rest_api.SERVICES)):
            self._write(self._backend.read(path))
            return
        request = self._backend.arrived(
            connection=self._connection,
            method=self.command,
            path=self.path,
            headers=tuple(self.headers.items()),
        )
        if how := self._backend.select(request, is_read=False):
            self._backend.update(request, misbehaviour=how.name)
            self._reset()
            return
        length = self._length()
        if isinstance(length, responses.Response):
            self._backend.update(request, status=length.status)
            self._write(length)
            return
        body = self.rfile.read(length)
        request = self._backend.update(request, body=body)
        if len(body) < length:
            self.close_connection = True
            return
        how = self._backend.select(request, is_read=True)
        if how is not None:
            request = self._backend.update(request, misbehaviour=how.name)
        self._treat(request, how or _PROPERLY)

    do_DELETE = do_GET = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = _respond  # noqa: N815

    def _install(self, query: str) -> None:
        length = self._length()
        if isinstance(length, int):
            length = self._backend.install(self.command, query, self.rfile.read(length))
        self._write(length)

    def _length(self) -> int | responses.Response:
        """Return the length of the body, or the response that refuses the request."""
        length = self.headers.get("Content-Length", None if self.command == "POST" else "0")
        if length is None or "Transfer-Encoding" in self.headers:
            refusal = responses.invalid(["'Content-Length' is missing"], status=411)
        elif not (length.isascii() and length.isdecimal()):
            refusal = responses.invalid(["'Content-Length' is invalid"])
        else:
            return int(length)
        self.close_connection = True
        return refusal

    def _treat(self, request: Request, how: misbehaviour.Misbehaviour) -> None:
        response = None
        if how.processed == "at once" and (how.gate or how.seconds):
            response = self._backend.process(request)
        self._backend.wait(how)
        if self._backend.stopping.is_set():
            self.close_connection = True
            return
        # in one step, so that a thread that waits for the event sees its status as well
        with self._backend.changed:
            if response is None and how.processed != "never":
                response = self._backend.process(request)
            response = how.response or response
            if how.needs_response and response is not None:
                self._backend.update(request, status=response.status)
        self._send(how, response)

    def _send(self, how: misbehaviour.Misbehaviour, response: responses.Response | None) -> None:
        match how.wire, response:
            case "garbage", _:
                self.close_connection = True
                self.wfile.write(misbehaviour.GARBAGE)
            case "closing", responses.Response():
                self._write(response)
                self.close_connection = True
            case "announced closing", responses.Response():
                self.close_connection = True
                self._write(response)
                self.wfile.flush()
                if self.rfile.read(1):
                    self._reset()
            case "truncated", responses.Response():
                self.close_connection = True
                whole = response.encode()
                self.wfile.write(whole[: -max(1, len(response.body) // 2)])
            case "dripping", responses.Response():
                self._drip(response, how.seconds)
            case "whole", responses.Response():
                self._write(response)
            case _:
                self._reset()

    def _write(self, response: responses.Response) -> None:
        self.wfile.write(
            response.encode(close=self.close_connection, with_body=self.command != "HEAD")
        )

    def _drip(self, response: responses.Response, seconds: float) -> None:
        for byte in response.encode(close=self.close_connection):
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self._backend.stopping.wait(seconds):
                self.close_connection = True
                return

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        # the socket closes with the files that use it, before the server could send a FIN
        self.connection.close()
