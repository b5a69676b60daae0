"""A chat server for the examples of the documentation."""

from __future__ import annotations

import http.server
import json
from typing import Any


class ChatRoom(http.server.ThreadingHTTPServer):
    """A chat server that answers ``ok``, and records the posts."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ChatHandler)
        self.posts: list[Any] = []
        self.status = 200
        self.answer = b"ok"
        self.url = f"http://127.0.0.1:{self.server_port}/hooks/secret"


class _ChatHandler(http.server.BaseHTTPRequestHandler):
    server: ChatRoom

    def do_POST(self) -> None:
        self.server.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: object) -> None:
        pass
