"""Runs ``alerthost run``, as a process or in this one, and sends it HTTP requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
from programs import Program
from prometheus_client.parser import text_string_to_metric_families
from workspace import Workspace

from alerthost.cli.server import Server

JSON = {"Content-Type": "application/json"}
TOKEN = "open-sesame"

LISTENING = re.compile(r"listening on (http://\S+?),? ")


Start = Callable[..., Server]
"""Runs a configuration in this process, with changes; see the fixture."""


@attrs.frozen
class Reply:
    """An HTTP response.

    Attributes:
        status: its number.
        headers: by name, in lower case.
        body: as it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)


def ask(
    url: str,
    method: str,
    path: str,
    body: bytes | str | Iterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send a request on a connection of its own."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=60)
    try:
        content = body.encode() if isinstance(body, str) else body
        connection.request(method, path, content, dict(headers or {}))
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, named, answer.read())
    finally:
        connection.close()


@contextmanager
def connected(url: str, sent: bytes = b"") -> Iterator[socket.socket]:
    """Connect, and send some bytes."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(sent)
        yield client


def answer(client: socket.socket) -> bytes:
    """Return all bytes of the response until the connection is closed."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while more := client.recv(65536):
            found += more
    return found


def post(url: str, content: object, path: str = "/alerts", **headers: str) -> Reply:
    """Post JSON; names of headers have a ``_`` for each ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = content if isinstance(content, (str, bytes)) else json.dumps(content)
    return ask(url, "POST", path, body, {**JSON, **named})


def measured(url: str, **headers: str) -> dict[tuple[str, ...], float]:
    """Return the metrics: values by name and by labels, sorted by the labels' names."""
    reply = ask(url, "GET", "/metrics", headers=headers)
    assert reply.status == 200, reply
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


Measured = dict[tuple[str, ...], float]


def measured_when(url: str, holds: Callable[[Measured], bool]) -> Measured:
    """Return the metrics once a condition holds, or those after half a minute."""
    deadline = time.monotonic() + 30
    while True:
        found = measured(url)
        if holds(found) or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


class Process(Program):
    """A running ``alerthost run``."""

    def __init__(self, workspace: Workspace, *arguments: str, **env: str | None) -> None:
        workspace.migrate()
        super().__init__(
            [sys.executable, "-m", "alerthost", "run", *arguments],
            workspace.folder,
            workspace.environment({"PYTHONFAULTHANDLER": "1", **env}),
        )

    def listens(self) -> str:
        """Wait until it listens; return its URL."""
        match = LISTENING.search(self.wait_for("listening on") + " ")
        assert match
        return match[1]


@contextmanager
def run(workspace: Workspace, *arguments: str, **env: str | None) -> Iterator[tuple[Process, str]]:
    """Run it in this block, and stop it; yield it, and its URL."""
    with Process(workspace, *arguments, **env) as process:
        yield process, process.listens()
        if process.popen.poll() is None:
            process.signal(signal.SIGTERM)
            process.end()


@contextmanager
def serving_provider(workspace: Workspace, plugin: str) -> Iterator[Server]:
    """Run with the plugin of another provider, and without an account."""
    workspace.configure_bare('\n[http]\nlisten = "127.0.0.1:0"\n')
    file = workspace.folder / "alerthost.toml"
    text = file.read_text(encoding="utf-8").replace('"pagerduty"', f'"{plugin}"')
    file.write_text(text, encoding="utf-8")
    server = Server(file, works=False)
    try:
        yield server
    finally:
        server.stop()
