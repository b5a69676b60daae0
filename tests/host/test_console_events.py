"""Server-sent events for open pages."""

from __future__ import annotations

import socket

import pytest
from browsing import Browser
from serving import TOKEN, Start, answer, ask, connected, post
from waiting import wait_until

from alerthost.console import events
from alerthost.outbox.admin_lists import AdminLists
from alerthost.store.errors import StoreError

REQUEST = b"GET /console/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
EVENT = b"data: changed"


def read_until(client: socket.socket, text: bytes) -> bytes:
    """Read a stream up to a text."""
    found = b""
    while text not in found:
        more = client.recv(65536)
        assert more, found
        found += more
    return found


def test_page_is_told_of_each_change(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVERY", 0.01)
    running = start(works=False)
    with connected(running.url, REQUEST) as client:
        head = read_until(client, EVENT)
        assert b"content-type: text/event-stream" in head
        assert b"cache-control: no-store" in head
        read_until(client, b":\n\n")
        assert post(running.url, {"key": "a"}).status == 202
        assert EVENT in read_until(client, EVENT)

        def fail(_: AdminLists) -> None:
            raise StoreError

        monkeypatch.setattr(AdminLists, "marker", fail)
        read_until(client, EVENT)
        assert running.reload()
        read_until(client, b"0\r\n\r\n")
    with connected(running.url, REQUEST) as client:
        read_until(client, EVENT)
        running.stop()
        assert answer(client).endswith(b"0\r\n\r\n")


def test_stream_ends_when_its_page_is_closed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST", 1)
    monkeypatch.setattr(events, "EVERY", 0.01)
    running = start(works=False)
    with connected(running.url, REQUEST) as client:
        read_until(client, EVENT)
        assert ask(running.url, "GET", "/console/events").status == 429

    def again() -> bool:
        with connected(running.url, REQUEST) as client:
            return b" 200 OK" in client.recv(100)

    wait_until(again, "there is room for a stream again")


def test_stream_needs_a_session(start: Start) -> None:
    url = start(http='token = "env:ALERTHOST_TOKEN"', works=False).url
    assert ask(url, "GET", "/console/events").status == 403
    browser = Browser(url)
    browser.sign_in(TOKEN)
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    request = REQUEST.replace(b"\r\n\r\n", f"\r\nCookie: {cookie}\r\n\r\n".encode())
    with connected(url, request) as client:
        read_until(client, EVENT)
