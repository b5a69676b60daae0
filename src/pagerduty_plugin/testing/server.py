"""The HTTP server: HTTP/1.1 with kept-alive connections, one thread for each, on loopback."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import struct
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, cast

from pagerduty_plugin.testing import answers, install_page, misbehaviour, rest_api

if TYPE_CHECKING:
    import ssl

    from pagerduty_plugin.testing.backend import Backend
    from pagerduty_plugin.testing.log import Request

HOST: Final = "127.0.0.1"
# How soon the accepting thread notices that it shall stop.
_POLL_SECONDS: Final = 0.02
# With this linger, closing a socket sends RST in place of FIN.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_PROPERLY: Final = misbehaviour.Misbehaviour(name="properly", taken="at once")


class Server(http.server.ThreadingHTTPServer):
    """Listens on loopback; `start` it, and `stop` it for good.

    Raises:
        OSError: the port cannot be had.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, backend: Backend, port: int, ssl_context: ssl.SSLContext | None) -> None:
        """Bind the port (0 takes a free one) and start to listen."""
        self.backend = backend
        self._ssl_context = ssl_context
        self._lock = threading.Lock()
        self._open: dict[Any, threading.Thread] = {}
        self._accepting = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name="fake PagerDuty", daemon=True
        )
        super().__init__((HOST, port), _Handler)

    def start(self) -> None:
        """Answer, on threads of its own."""
        self._accepting.start()

    def stop(self) -> None:
        """Refuse connections, break those that are open, and wait for every thread to end."""
        self.shutdown()
        self.server_close()
        with self._lock:
            still_open = dict(self._open)
        for connection, thread in still_open.items():
            with contextlib.suppress(OSError):
                # An SSLSocket's own method would pull the session from under its thread.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            thread.join()
        self._accepting.join()

    def server_bind(self) -> None:
        """Bind without looking up this machine's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; a TLS handshake is left to the connection's own thread."""
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
        """Say nothing about connections that broke; that is what senders are tested with."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A response leaves in one piece and at once. Otherwise Nagle's algorithm and the delayed
    # acknowledgement of the other side cost some 40 ms each.
    disable_nagle_algorithm = True
    wbufsize = 65536

    def setup(self) -> None:
        super().setup()
        self._backend = cast("Server", self.server).backend
        self._connection = self._backend.connected()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet: the fake has a log of its own."""

    def _respond(self) -> None:
        path, _, query = self.path.partition("?")
        if path == install_page.PATH:
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
        if how := self._backend.choose_unread(request):
            self._backend.note(request, misbehaviour=how.name)
            self._reset()
            return
        length = self._length()
        if isinstance(length, answers.Answer):
            self.close_connection = True
            self._backend.note(request, status=length.status)
            self._write(length)
            return
        body = self.rfile.read(length)
        request = self._backend.note(request, body=body)
        if len(body) < length:
            self.close_connection = True
            return
        how = self._backend.choose(request)
        if how is not None:
            request = self._backend.note(request, misbehaviour=how.name)
        self._treat(request, how or _PROPERLY)

    do_DELETE = do_GET = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = _respond  # noqa: N815

    def _install(self, query: str) -> None:
        length = self._length()
        if isinstance(length, answers.Answer):
            self.close_connection = True
            self._write(length)
            return
        self._write(self._backend.install(self.command, query, self.rfile.read(length)))

    def _length(self) -> int | answers.Answer:
        length = self.headers.get("Content-Length", None if self.command == "POST" else "0")
        if length is None or "Transfer-Encoding" in self.headers:
            return answers.invalid(["'Content-Length' is missing"], status=411)
        if not (length.isascii() and length.isdecimal()):
            return answers.invalid(["'Content-Length' is invalid"])
        return int(length)

    def _treat(self, request: Request, how: misbehaviour.Misbehaviour) -> None:
        answer = None
        if how.taken == "at once" and how.waits:
            answer = self._backend.take(request)
        self._backend.wait(how)
        if self._backend.stopping.is_set():
            self.close_connection = True
            return
        # In one step, so that whoever waits for the event sees its status, too.
        with self._backend.changed:
            if answer is None and how.taken != "never":
                answer = self._backend.take(request)
            answer = how.answer or answer
            if how.needs_answer and answer is not None:
                self._backend.note(request, status=answer.status)
        self._send(how, answer)

    def _send(self, how: misbehaviour.Misbehaviour, answer: answers.Answer | None) -> None:
        match how.wire, answer:
            case "garbage", _:
                self.close_connection = True
                self.wfile.write(misbehaviour.GARBAGE)
            case "closing", answers.Answer():
                self._write(answer)
                self.close_connection = True
            case "announced closing", answers.Answer():
                self.close_connection = True
                self._write(answer)
                self.wfile.flush()
                if self.rfile.read(1):
                    self._reset()
            case "truncated", answers.Answer():
                self.close_connection = True
                whole = answer.encode()
                self.wfile.write(whole[: -max(1, len(answer.body) // 2)])
            case "dripping", answers.Answer():
                self._drip(answer, how.seconds)
            case "whole", answers.Answer():
                self._write(answer)
            case _:
                self._reset()

    def _write(self, answer: answers.Answer) -> None:
        self.wfile.write(
            answer.encode(close=self.close_connection, with_body=self.command != "HEAD")
        )

    def _drip(self, answer: answers.Answer, seconds: float) -> None:
        for byte in answer.encode(close=self.close_connection):
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self._backend.stopping.wait(seconds):
                self.close_connection = True
                return

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        # The socket is closed for real when the files over it are, before the server could send
        # a FIN.
        self.connection.close()
