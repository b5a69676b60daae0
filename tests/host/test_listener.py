"""Connections to ``alerthost run``: idle ones do not stop delivery."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import resource
import socket
from typing import Any

import pytest
import uvicorn
from serving import JSON, TOKEN, Process, Start, answer, connected, measured, post
from workspace import Workspace

from alerthost.http import listener
from alerthost.http.listener import PHASE_TIMEOUTS, RESERVED_FILES, connection_limit

WITH_TOKEN = 'token = "env:ALERTHOST_TOKEN"'
BEARER = f"Bearer {TOKEN}"
HEAD = (
    b"POST /alerts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 12\r\n\r\n"
)
BODY = b'{"key": "a"}'


def read_response(client: socket.socket) -> bytes:
    """Return the response, which is one JSON object."""
    found = b""
    while not found.endswith(b"}"):
        found += client.recv(65536)
    return found


def rejected_connections(url: str, **headers: str) -> dict[tuple[str, str], float]:
    """Return the number of rejected connections by cause and status."""
    return {
        (name[2], name[3]): value
        for name, value in measured(url, **headers).items()
        if name[:2] == ("alerthost_rejected_requests_total", "other")
    }


def test_idle_connections_are_replaced(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    url = start(http=f"most_connections = 4\n{WITH_TOKEN}").url
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(connected(url, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
        assert read_response(kept).endswith(b'{"alive":true}')
        idle = [stack.enter_context(connected(url)) for _ in range(10)]
        for _ in range(3):
            assert post(url, {"key": "a"}, Authorization=BEARER).status == 202
        assert answer(kept) == b""
        first = answer(idle[0])
    assert first.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 10\r\n" in first
    assert rejected_connections(url, Authorization=BEARER)["connections", "503"] >= 7
    lines = [each for each in caplog.messages if "4 connections are open" in each]
    assert lines == [
        "connection from 127.0.0.1: 503: closed while idle: "
        "4 connections are open (http.most_connections)"
    ]


@pytest.mark.proof
def test_idle_connections_do_not_stop_delivery(workspace: Workspace) -> None:
    """There are more connections than the process may open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    workspace.configure_http(http=WITH_TOKEN)
    alert = {"key": "db-1/disk", "severity": "critical", "labels": {"team": "data"}}
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        process = Process(workspace, ALERTHOST_TOKEN=TOKEN)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with process, contextlib.ExitStack() as stack:
        url = process.listens()
        for _ in range(300):
            stack.enter_context(connected(url))
        assert post(url, alert, Authorization=BEARER).status == 202
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 60)
        assert "Too many open files" not in process.log


def test_running_requests_are_not_cut(start: Start) -> None:
    url = start(http="most_connections = 4").url
    expecting = HEAD.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(connected(url, expecting)) for _ in range(4)]
        for client in busy:
            assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
        assert answer(stack.enter_context(connected(url))).startswith(b"HTTP/1.1 503 ")
        for client in busy:
            client.sendall(BODY)
            assert read_response(client).startswith(b"HTTP/1.1 202 ")


def test_slow_head_is_rejected(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = start().url
    monkeypatch.setitem(PHASE_TIMEOUTS, "head", 0.0)
    with connected(url) as silent, connected(url, b"POST /alerts HTTP/1.1\r\nHost: x") as slow:
        assert answer(silent) == b""
        assert answer(slow).startswith(b"HTTP/1.1 408 ")
    assert "408: no complete request head within 0 s" in caplog.text
    monkeypatch.undo()
    assert rejected_connections(url) == {("head_timeout", "408"): 1}


def test_slow_head_of_a_second_request_is_rejected(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = start().url
    with connected(url, HEAD + BODY) as client:
        assert read_response(client).startswith(b"HTTP/1.1 202 ")
        monkeypatch.setitem(PHASE_TIMEOUTS, "head", 0.0)
        client.sendall(b"POST /ale")
        assert answer(client).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("phase", ["rest", "busy"])
def test_unfinished_body_is_disconnected(
    start: Start, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """The body belongs to a request that is already rejected, or is still being read."""
    url = start(http=WITH_TOKEN if phase == "rest" else "").url
    monkeypatch.setitem(PHASE_TIMEOUTS, phase, 0.0)
    with connected(url, HEAD + b"{") as client:
        found = answer(client)
    assert found.startswith(b"HTTP/1.1 401 ") if phase == "rest" else found == b""


def test_rest_of_a_rejected_body_may_arrive(start: Start) -> None:
    url = start(http=WITH_TOKEN).url
    with connected(url, HEAD + BODY[:4]) as client:
        for rest in (BODY[4:] + HEAD + BODY[:4], BODY[4:]):
            assert read_response(client).startswith(b"HTTP/1.1 401 ")
            client.sendall(rest)


@pytest.mark.parametrize("waits", [True, False])
def test_complete_request_before_an_end_of_file_is_accepted(
    start: Start, workspace: Workspace, *, waits: bool
) -> None:
    url = start((", 'team=\"data\"'", "")).url
    with connected(url, HEAD + BODY) as client:
        client.shutdown(socket.SHUT_WR)
        if waits:
            assert answer(client).startswith(b"HTTP/1.1 202 ")
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 60)
    assert rejected_connections(url) == {}


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + BODY[:4]])
def test_incomplete_request_before_an_end_of_file_is_disconnected(
    start: Start, sent: bytes
) -> None:
    url = start().url
    with connected(url, sent) as client:
        client.shutdown(socket.SHUT_WR)
        assert answer(client) == b""


def test_idle_connection_of_a_load_balancer_is_kept(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listener.KEPT_ALIVE > 60
    url = start().url
    client = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=60)
    with contextlib.closing(client):
        for key in "ab":
            client.request("POST", "/alerts", json.dumps({"key": key}), JSON)
            reply = client.getresponse()
            assert (reply.status, bool(reply.read())) == (202, True)
        monkeypatch.setitem(PHASE_TIMEOUTS, "idle", 0.0)
        assert client.sock.recv(1) == b""


def test_bytes_that_are_not_http_are_rejected_and_counted(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    url = start(http=WITH_TOKEN).url
    chunked = HEAD.replace(b"Content-Length: 12", b"Transfer-Encoding: chunked")
    with connected(url, b"\x16\x03\x01\x02\x00\x01") as client:
        assert answer(client).endswith(b"TLS is not served here: use http://, or a reverse proxy")
    with connected(url, b"hello\r\n\r\n") as client:
        assert answer(client).startswith(b"HTTP/1.1 400 ")
    with connected(url, chunked) as client:
        assert read_response(client).startswith(b"HTTP/1.1 401 ")
        client.sendall(b"no chunk\r\n")
        assert answer(client) == b""
    assert rejected_connections(url, Authorization=BEARER) == {("http", "400"): 3}
    assert [each.name for each in caplog.records if each.levelno > logging.INFO] == ["hostspec"] * 2


def test_file_descriptors_are_reserved_for_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(files: int) -> int:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
        return connection_limit(256)

    assert limited(128) == 128 - RESERVED_FILES
    assert limited(32) == listener.FEWEST
    assert limited(65536) == 256
    assert limited(resource.RLIM_INFINITY) == 256


class _Unread:
    """A transport whose client does not read."""

    aborted = False

    def get_write_buffer_size(self) -> int:
        return 1

    def abort(self) -> None:
        self.aborted = True


def test_client_that_does_not_read_is_disconnected() -> None:
    config = listener.ConnectionConfig(lambda: None, most=1, rejected=print, clock=lambda: 0.0)
    transport: Any = _Unread()
    with asyncio.Runner() as runner:
        state = uvicorn.server.ServerState()
        connection = listener.Connection(config, state, {}, _loop=runner.get_loop())
        connection.transport = transport
        connection.since = -1000.0
        connection.expire()
    assert transport.aborted


def test_reload_changes_the_limit_of_connections(start: Start) -> None:
    running = start(http="most_connections = 5")
    file = running._path
    file.write_text(file.read_text().replace("most_connections = 5", "most_connections = 6"))
    assert running._listener
    assert running._listener._config.most == 5
    assert running.reload()
    assert running._listener._config.most == 6
