"""Processes requests: the account, request log and scripts that all threads share."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any, Final

import attrs

from pagerduty_plugin.testing import misbehaviour, pages, responses, rest_api, rules
from pagerduty_plugin.testing.account import Account

ALERTS: Final = "/v2/enqueue"
CHANGES: Final = "/v2/change/enqueue"
_CHARSETS: Final = frozenset({"", "charset=utf-8", 'charset="utf-8"'})


@attrs.frozen(kw_only=True)
class Request:
    """One request as it arrived; ``repr`` hides headers and body, which contain the key.

    Attributes:
        number: Its number in the order of arrival, from 1.
        connection: The number of its TCP connection, from 1.
        path: The path as sent, with its query.
        headers: Pairs of name and value in the order sent.
        body: The body; empty until it was read, or if it never was.
        arrived_at: When its headers arrived.
        status: The status of the response; None without a response.
        misbehaviour: The name of the misbehaviour applied to it, if any.
    """

    number: int
    connection: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    arrived_at: dt.datetime
    status: int | None = None
    misbehaviour: str | None = None

    def header(self, name: str) -> str | None:
        """Return the first value of a header; names are case-insensitive."""
        for sent, value in self.headers:
            if sent.lower() == name.lower():
                return value
        return None

    def json(self) -> Any:
        """Return the body, parsed as JSON.

        Raises:
            ValueError: the body is not valid JSON.
        """
        return json.loads(self.body)


@attrs.define(eq=False)
class Backend:
    """Processes and logs requests, and selects their misbehaviours.

    Attributes:
        changed: Guards all else here; notified when a request arrives, is answered or changes
            the account.
        connections: The numbers of new connections.
        stopping: Set while the server stops, so that all waiting ends.
    """

    account: Account
    rest_api: rest_api.RestApi
    changed: threading.Condition = attrs.field(factory=threading.Condition, init=False)
    requests: list[Request] = attrs.field(factory=list, init=False)
    apps: dict[str, pages.App] = attrs.field(factory=dict, init=False)
    scripts: list[misbehaviour.Script] = attrs.field(factory=list, init=False)
    connections: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False)
    stopping: threading.Event = attrs.field(factory=threading.Event, init=False)

    def arrived(
        self, *, connection: int, method: str, path: str, headers: tuple[tuple[str, str], ...]
    ) -> Request:
        """Log a request whose headers arrived."""
        with self.changed:
            request = Request(
                number=len(self.requests) + 1,
                connection=connection,
                method=method,
                path=path,
                headers=headers,
                arrived_at=self.account.clock(),
            )
            self.requests.append(request)
            self.changed.notify_all()
        return request

    def update(self, request: Request, **changes: Any) -> Request:
        """Replace fields of a request in the log."""
        request = attrs.evolve(request, **changes)
        with self.changed:
            self.requests[request.number - 1] = request
            self.changed.notify_all()
        return request

    def process(self, request: Request) -> responses.Response:
        """Process a request, and return the proper response."""
        with self.changed:
            if request.path.startswith(rest_api.SERVICES):
                response = self.rest_api.respond(request)
            elif refusal := _refusal(request):
                return refusal
            elif request.path == ALERTS:
                response = self.account.process_alert(request.body)
            else:
                response = self.account.process_change(request.body)
            self.changed.notify_all()
        return response

    def read(self, path: str) -> responses.Response:
        """Answer a request to the page or the read API."""
        with self.changed:
            return pages.show(path, self.account, self.requests)

    def install(self, method: str, query: str, body: bytes) -> responses.Response:
        """Answer a request to the install page, or its form."""
        with self.changed:
            response = pages.install(self.account, self.apps, method, query, body)
            self.changed.notify_all()
        return response

    def select(self, request: Request, *, is_read: bool) -> misbehaviour.Misbehaviour | None:
        """Return the misbehaviour for a request whose body is or is not read yet, or None."""
        key = rules.routing_key_of(request.body)
        with self.changed:
            for script in self.scripts:
                if script.applies_to(request.number, request.path, key if is_read else None):
                    unread = script.misbehaviour.wire == "unread reset"
                    return script.use() if is_read or unread else None
        return None

    def wait(self, how: misbehaviour.Misbehaviour) -> None:
        """Wait for the gate and the seconds of a misbehaviour, or until the server stops."""
        # `stop` sets `stopping` before it opens the gates, so that a script added later, whose
        # gate it does not know, is not waited for
        if how.gate is not None and not self.stopping.is_set():
            how.gate.wait()
        self.stopping.wait(how.seconds)

    def stop(self) -> None:
        """End all waiting."""
        self.stopping.set()
        with self.changed:
            gates = [script.misbehaviour.gate for script in self.scripts]
        for gate in gates:
            if gate is not None:
                gate.open()


def _refusal(request: Request) -> responses.Response | None:
    """Return the response to a request that is faulty apart from its event, or None."""
    media_type, _, parameters = (request.header("Content-Type") or "").lower().partition(";")
    if request.path not in {ALERTS, CHANGES}:
        return responses.invalid([f"only {ALERTS} and {CHANGES} take events"], status=404)
    if request.method != "POST":
        refusal = responses.invalid(["only POST sends an event"], status=405)
        return attrs.evolve(refusal, headers=(("Allow", "POST"),))
    if media_type.strip() != "application/json" or parameters.strip() not in _CHARSETS:
        return responses.invalid(["'Content-Type' must be application/json"], status=415)
    if request.header("Content-Encoding") is not None:
        return responses.invalid(["'Content-Encoding' is not supported"], status=415)
    if len(request.body) > rules.MAX_BODY_BYTES:
        fault = f"the event is too large (maximum is {rules.MAX_BODY_BYTES} bytes)"
        return responses.invalid([fault], status=413)
    return None
