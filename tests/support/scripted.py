"""An HTTP server in the place of alerthost: records posts, and answers as a script says."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self

import attrs

LONGEST = 60.0


@attrs.frozen
class Answer:
    """A scripted response.

    Attributes:
        status: 0 closes the connection without a response.
        gate: the response waits until it is set.
        raw: sent instead of a response, and the connection is kept open.
    """

    status: int = 202
    body: str = "{}"
    headers: Mapping[str, str] = attrs.field(factory=dict)
    gate: threading.Event | None = None
    raw: bytes = b""


NOW = {"Retry-After": "0"}


def later(status: int, seconds: int = 0, error: str = "not now") -> Answer:
    """Return an answer that asks to retry after some seconds."""
    return Answer(status, json.dumps({"error": error}), {"Retry-After": str(seconds)})


@attrs.frozen
class Post:
    """A received request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The Idempotency-Key."""
        return self.headers["idempotency-key"]

    @property
    def lines(self) -> list[tuple[int, bytes]]:
        """The lines of the body that are not blank, with their numbers."""
        return [(n, each) for n, each in enumerate(self.body.split(b"\n"), 1) if each.strip()]

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The alerts of the body."""
        return [json.loads(line) for _, line in self.lines]

    @property
    def keys(self) -> list[str]:
        """The keys of the alerts."""
        return [alert["key"] for alert in self.alerts]


class Scripted(http.server.ThreadingHTTPServer):
    """Answers with the script, then with 202 to all.

    Attributes:
        script: the next answers.
        posts: all requests, in order.
        refuses: returns the answer to a request with these keys; None for the usual one.
        full_for: keys that do not fit now; the others of their request are accepted.
        accepted: keys of accepted alerts, without repeated ones.
    """

    daemon_threads = True

    def __init__(self, *script: Answer, port: int = 0) -> None:
        self.script = deque(script)
        self.refuses: Callable[[list[str]], Answer | None] = lambda _keys: None
        self.full_for: frozenset[str] = frozenset()
        self.posts: list[Post] = []
        self.accepted: list[str] = []
        self._seen: set[tuple[str, int, bytes]] = set()
        self._changed = threading.Condition()
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The alerts of all requests, without those of repeated requests."""
        lines = dict.fromkeys((post.key, *line) for post in self.posts for line in post.lines)
        return [json.loads(line) for _, _, line in lines]

    def wait_for(self, holds: Callable[[Scripted], bool]) -> None:
        """Wait until a condition holds."""
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self), LONGEST), self.posts

    def received(self, post: Post) -> Answer:
        """Record a request; return its answer."""
        with self._changed:
            self.posts.append(post)
            answer = self.script.popleft() if self.script else self.refuses(post.keys) or Answer()
            if answer.status == 202:
                answer = self._accept(post, answer)
            self._changed.notify_all()
        return answer

    def _accept(self, post: Post, answer: Answer) -> Answer:
        content = json.loads(answer.body) if answer.body.startswith("{") else {}
        refused = {*content.get("retry", {}).get("lines", ())}
        faulty = {each["line"] for each in content.get("faulty", ())}
        for number, line in post.lines:
            key = json.loads(line)["key"]
            if key in self.full_for:
                refused.add(number)
            elif number not in refused | faulty and (post.key, number, line) not in self._seen:
                self._seen.add((post.key, number, line))
                self.accepted.append(key)
        if not refused or content:
            return answer
        return Answer(202, json.dumps({"retry": {"lines": [*refused], "reason": "full"}}), NOW)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.received(Post(self.path, headers, body))
        if answer.gate:
            answer.gate.wait(LONGEST)
        if answer.raw:
            self.wfile.write(answer.raw)
            self.rfile.read(1)  # until the client closes
        elif not answer.status:
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body.encode())
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Write no log."""
