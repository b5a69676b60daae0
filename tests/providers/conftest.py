"""A receiver for the webhook's posts."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs
import pytest


@attrs.frozen
class Receiver:
    """A server on loopback: received posts, and the next responses (200 when empty).

    A status of 0 closes the connection without an answer.
    """

    url: str
    posts: list[Any]
    answers: deque[int]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Yield a receiver that runs while the test does."""
    posts: list[Any] = []
    answers: deque[int] = deque()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            posts.append((self.headers["Content-Type"], json.loads(self.rfile.read(length))))
            status = answers.popleft() if answers else 200
            if status:
                self.send_response(status)
                self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Receiver(f"http://127.0.0.1:{server.server_port}/hook", posts, answers)
    server.shutdown()
    thread.join()
    server.server_close()
