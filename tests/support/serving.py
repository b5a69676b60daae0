"""Runs ``alerthost run``, as a process or in this one, and sends it HTTP requests."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import attrs
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


class Process:
    """A running process, whose log is read continuously."""

    def __init__(self, workspace: Workspace, *arguments: str, **env: str | None) -> None:
        workspace.migrate()
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "alerthost", "run", *arguments],
            cwd=workspace.folder,
            env=workspace.environment({"PYTHONFAULTHANDLER": "1", **env}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._read = 0
        self._reader = threading.Thread(target=self._follow)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.end()

    @property
    def log(self) -> str:
        """The log so far."""
        return "\n".join(self.lines)

    def wait_for(self, text: str) -> str:
        """Wait for the next line with a text; return it."""

        def found() -> bool:
            return self._ended or any(text in line for line in self.lines[self._read :])

        with self._changed:
            assert self._changed.wait_for(found, 60), f"{text!r} was never said:\n{self.log}"
            for number in range(self._read, len(self.lines)):
                if text in self.lines[number]:
                    self._read = number + 1
                    return self.lines[number]
        raise AssertionError(f"it ended without saying {text!r}:\n{self.log}")

    def listens(self) -> str:
        """Wait until it listens; return its URL."""
        match = LISTENING.search(self.wait_for("listening on") + " ")
        assert match
        return match[1]

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        self.popen.send_signal(number)

    def end(self) -> int:
        """Wait for its end; return the exit code."""
        try:
            code = self.popen.wait(60)
        except subprocess.TimeoutExpired:
            self.popen.send_signal(signal.SIGABRT)  # where its threads are, at the log's end
            self.popen.wait(60)
            self._reader.join()
            raise AssertionError(self.log) from None
        self._reader.join()
        assert self.popen.stdout
        self.popen.stdout.close()
        return code

    def _follow(self) -> None:
        assert self.popen.stderr
        with self.popen.stderr as file:
            for line in file:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextmanager
def run(workspace: Workspace, *arguments: str, **env: str | None) -> Iterator[tuple[Process, str]]:
    """Run it in this block, and stop it; yield it, and its URL."""
    with Process(workspace, *arguments, **env) as process:
        yield process, process.listens()
        if process.popen.poll() is None:
            process.signal(signal.SIGTERM)
            process.end()
