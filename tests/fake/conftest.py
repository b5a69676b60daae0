"""Senders for the tests of the fake PagerDuty, on the standard library's HTTP client."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pagerduty_plugin.testing import FakePagerDuty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "0123456789abcdefABCDEF0123456789"


@attrs.frozen
class Response:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Read the body as JSON."""
        return json.loads(self.body)


@attrs.define
class Sender:
    """Sends over one connection, which it keeps alive."""

    connection: http.client.HTTPConnection

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Send a request as given."""
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        return Response(response.status, dict(response.getheaders()), response.read())

    def post(self, body: bytes, path: str = "/v2/enqueue", **headers: str) -> Response:
        """Post bytes as JSON."""
        sent = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.request("POST", path, body, sent)

    def send(self, event: object, path: str = "/v2/enqueue") -> Response:
        """Post an event."""
        return self.post(json.dumps(event).encode(), path)

    def change(self, event: object) -> Response:
        """Post a change event."""
        return self.send(event, "/v2/change/enqueue")


@attrs.define
class Clock:
    """A clock that the test sets."""

    now: dt.datetime = dt.datetime(2026, 11, 23, 3, 14, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance the time."""
        self.now += dt.timedelta(seconds=seconds)


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    """Return a running fake that accepts any well-formed key."""
    with FakePagerDuty() as fake:
        yield fake


@pytest.fixture
def connect() -> Iterator[Callable[[FakePagerDuty], Sender]]:
    """Return a function that connects to a fake."""
    with contextlib.ExitStack() as stack:

        def connect(fake: FakePagerDuty) -> Sender:
            connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=60)
            stack.callback(connection.close)
            return Sender(connection)

        yield connect


@pytest.fixture
def sender(fake: FakePagerDuty, connect: Callable[[FakePagerDuty], Sender]) -> Sender:
    """Return a sender to the fake."""
    return connect(fake)


@pytest.fixture
def key() -> str:
    """Return a well-formed integration key."""
    return KEY


@pytest.fixture
def trigger() -> Callable[..., dict[str, Any]]:
    """Return a function that builds a valid trigger with changed members."""

    def trigger(dedup_key: str | None = "db-1/disk", /, **changes: object) -> dict[str, Any]:
        payload = {"summary": "Disk full", "source": "db-1", "severity": "critical"}
        event: dict[str, Any] = {
            "routing_key": KEY,
            "event_action": "trigger",
            "payload": payload | changes.pop("payload", {}),  # type: ignore[operator]
        }
        return event | ({} if dedup_key is None else {"dedup_key": dedup_key}) | changes

    return trigger


@pytest.fixture
def follow_up() -> Callable[..., dict[str, Any]]:
    """Return a function that builds an acknowledge or resolve."""

    def follow_up(action: str, dedup_key: str = "db-1/disk", key: str = KEY) -> dict[str, Any]:
        return {"routing_key": key, "event_action": action, "dedup_key": dedup_key}

    return follow_up
