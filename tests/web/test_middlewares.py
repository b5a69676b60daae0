"""What a WSGI or ASGI application may do, and what its server gets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest
from scripted import Scripted

from alerthost_client import Client
from alerthost_client.integrations import asgi, wsgi


@pytest.fixture
def client(server: Scripted) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def fired(client: Client, server: Scripted) -> list[tuple[str, str]]:
    assert client.flush(60)
    alerts = server.alerts
    return [(alert["key"], alert["summary"]) for alert in alerts]


def call(app: Any, client: Client) -> Any:
    environ = {
        "PATH_INFO": "/caf\xc3\xa9",
        "SCRIPT_NAME": "/shop",
        "wsgi.file_wrapper": FileWrapper,
    }
    setup_testing_defaults(environ)
    middleware = wsgi.AlertMiddleware(app, client, "shop", labels={"team": "web"})
    return middleware(environ, lambda *_: None)


def test_an_answer_with_500_fires(client: Client, server: Scripted) -> None:
    def app(_environ: Any, start: Any) -> Any:
        start("500 Oops", [])
        return [b""]

    call(app, client)
    assert fired(client, server) == [("shop/500", "shop: GET /shop/café: answered with 500")]
    (alert,) = server.posts[0].alerts
    assert alert["labels"] == {"team": "web"}
    assert "traceback" not in alert["details"]


def test_an_answer_with_an_exception_fires_with_it(client: Client, server: Scripted) -> None:
    def app(_environ: Any, start: Any) -> Any:
        try:
            int("broken")
        except ValueError:
            start("500 Oops", [], sys.exc_info())
        return [b""]

    call(app, client)
    assert (
        fired(client, server)[0][1]
        == "shop: GET /shop/café: ValueError: invalid literal for int() with base 10: 'broken'"
    )


def test_an_exception_in_the_middle_of_a_body_fires(client: Client, server: Scripted) -> None:
    class Body:
        is_closed = False

        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            raise ValueError("broken")

        def close(self) -> None:
            self.is_closed = True

    own = Body()

    def app(_environ: Any, start: Any) -> Any:
        start("200 OK", [])
        return own

    body = call(app, client)
    assert fired(client, server) == []
    chunks = iter(body)
    assert next(chunks) == b"one"
    with pytest.raises(ValueError, match="broken"):
        next(chunks)
    body.close()
    assert own.is_closed
    assert fired(client, server)[0][0].startswith("shop/ValueError in ")


def test_bodies_reach_the_server_as_they_are(client: Client, server: Scripted) -> None:
    with Path(__file__).open("rb") as file:
        for body in ([b"one"], (b"one",), FileWrapper(file)):
            assert call(lambda *_, body=body: body, client) is body
    others = call(lambda *_: iter([b"one"]), client)
    assert list(others) == [b"one"]
    others.close()  # which an iterator of a list has not
    assert fired(client, server) == []


def run(app: Any, client: Client, scope: dict[str, Any]) -> list[Any]:
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any: ...

    asyncio.run(asgi.AlertMiddleware(app, client, "shop", repeat_after=0)(scope, receive, send))
    return sent


def test_an_asgi_answer_with_500_fires(client: Client, server: Scripted) -> None:
    messages = [{"type": "http.response.start", "status": 500}, {"type": "http.response.body"}]

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    scope = {"type": "http", "method": "POST", "path": "/pay"}
    assert run(app, client, scope) == messages
    assert fired(client, server) == [("shop/500", "shop: POST /pay: answered with 500")]


def test_a_websocket_that_fails_fires(client: Client, server: Scripted) -> None:
    async def app(*_: Any) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run(app, client, {"type": "websocket", "path": "/chat"})
    assert fired(client, server)[0][1] == "shop: websocket /chat: ValueError: broken"


def test_an_exception_after_its_answer_fires_once(client: Client, server: Scripted) -> None:
    """Before the answer: this is how Starlette answers."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        try:
            int("broken")
        except ValueError:
            await send({"type": "http.response.start", "status": 500})
            raise

    with pytest.raises(ValueError, match="broken"):
        run(app, client, {"type": "http", "method": "GET", "path": "/"})
    ((key, summary),) = fired(client, server)
    assert key.startswith("shop/ValueError in ")
    assert summary.startswith("shop: GET /: ValueError: invalid literal")


def test_a_lifespan_passes(client: Client, server: Scripted) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})

    assert run(app, client, {"type": "lifespan"}) == [{"type": "lifespan.startup.complete"}]


def test_an_application_without_a_lifespan_fires_nothing(client: Client, server: Scripted) -> None:
    async def app(*_: Any) -> None:
        raise RuntimeError("no lifespan")

    with pytest.raises(RuntimeError, match="no lifespan"):
        run(app, client, {"type": "lifespan"})
    assert fired(client, server) == []
