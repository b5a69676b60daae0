"""Process requests: the account, request log and scripts that all threads share."""

from __future__ import annotations

import itertools
import json
import threading
from typing import TYPE_CHECKING, Any, Final

import attrs

from pagerduty_plugin.testing import (
    install_page,
    misbehaviour,
    responses,
    rest_api,
    rules,
    views,
)

if TYPE_CHECKING:
    import datetime as dt

    from pagerduty_plugin.testing.account import Account
    from pagerduty_plugin.testing.rest_api import RestApi

ALERTS: Final = "/v2/enqueue"
CHANGES: Final = "/v2/change/enqueue"
_CHARSETS: Final = frozenset({"", "charset=utf-8", 'charset="utf-8"'})


@attrs.frozen(kw_only=True)
class Request:
    """One request as it arrived; ``repr`` hides headers and body, which contain the key.

    Attributes:
        number: Its number in the order of arrival, from 1.
        connection: The number of its TCP connection, from 1.
        method: The HTTP method.
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
    """Process and log requests, and select their misbehaviours.

    Attributes:
        account: The account; like all else here guarded by ``changed``.
        rest_api: Its REST API.
        changed: Notified when a request arrives, is answered or changes the account.
        requests: The request log.
        apps: The registered apps by id.
        stopping: Set while the server stops, so that all waiting ends.
    """

    account: Account
    rest_api: RestApi
    changed: threading.Condition = attrs.field(factory=threading.Condition, init=False)
    requests: list[Request] = attrs.field(factory=list, init=False)
    apps: dict[str, install_page.App] = attrs.field(factory=dict, init=False)
    stopping: threading.Event = attrs.field(factory=threading.Event, init=False)
    _scripts: list[misbehaviour.Script] = attrs.field(factory=list, init=False)
    _connections: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1), init=False)

    def connected(self) -> int:
        """Return the number of a new connection."""
        return next(self._connections)

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
        if request.path.startswith(rest_api.SERVICES):
            with self.changed:
                response = self.rest_api.respond(request)
                self.changed.notify_all()
            return response
        if refusal := _refusal(request):
            return refusal
        with self.changed:
            if request.path == ALERTS:
                response = self.account.process_alert(request.body)
            else:
                response = self.account.process_change(request.body)
            self.changed.notify_all()
        return response

    def read(self, path: str) -> responses.Response:
        """Answer a request to the page or the read API."""
        with self.changed:
            match path:
                case "/":
                    return views.show_page(self.account)
                case "/incidents":
                    return views.show_incidents(self.account)
                case "/changes":
                    return views.show_changes(self.account)
                case "/requests":
                    return views.show_requests(self.account, self.requests)
                case _:
                    return responses.Response(404, b"Not found")

    def install(self, method: str, query: str, body: bytes) -> responses.Response:
        """Answer a request to the install page, or its form."""
        with self.changed:
            match method:
                case "GET":
                    return install_page.show(self.account, self.apps, query)
                case "POST":
                    response = install_page.grant(self.account, self.apps, body.decode("latin-1"))
                    self.changed.notify_all()
                    return response
                case _:
                    return responses.Response(405, headers=(("Allow", "GET, POST"),))

    def misbehave(self, script: misbehaviour.Script) -> None:
        """Add a script after the others."""
        with self.changed:
            self._scripts.append(script)

    def behave(self) -> None:
        """Clear every script."""
        with self.changed:
            for script in self._scripts:
                script.clear()

    def select_unread(self, request: Request) -> misbehaviour.Misbehaviour | None:
        """Return the misbehaviour for a request whose body is not read yet, or None."""
        with self.changed:
            for script in self._scripts:
                if script.applies_to(request.path) and script.key is None:
                    return script.use() if script.misbehaviour.wire == "unread reset" else None
        return None

    def select(self, request: Request) -> misbehaviour.Misbehaviour | None:
        """Return the misbehaviour for a request whose body is read, or None."""
        key = rules.routing_key_of(request.body)
        with self.changed:
            for script in self._scripts:
                if script.applies_to(request.path) and script.key in {None, key}:
                    return script.use()
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
            gates = [script.misbehaviour.gate for script in self._scripts]
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
