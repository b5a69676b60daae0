"""What the threads of the fake share, behind one lock: account, request log and scripts."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, Final

import attrs

from pagerduty_plugin.testing import (
    answers,
    install_page,
    misbehaviour,
    page,
    read_api,
    rest_api,
    rules,
)
from pagerduty_plugin.testing.log import Request

if TYPE_CHECKING:
    from pagerduty_plugin.testing.account import Account
    from pagerduty_plugin.testing.rest_api import RestApi

ALERTS: Final = "/v2/enqueue"
CHANGES: Final = "/v2/change/enqueue"
_CHARSETS: Final = frozenset({"", "charset=utf-8", 'charset="utf-8"'})


@attrs.define(eq=False)
class Backend:
    """Answers requests, logs them, and knows which of them to mistreat.

    Attributes:
        account: The account; use it while holding ``changed``.
        rest_api: Its REST API; use it while holding ``changed``.
        changed: Guards everything here, and is notified whenever a request arrives, is answered
            or changes the account.
        requests: The log; use it while holding ``changed``.
        apps: What may be installed, by app id; use it while holding ``changed``.
        stopping: Set while the server stops: nothing waits any longer.
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
        """Number a new connection."""
        return next(self._connections)

    def arrived(
        self, *, connection: int, method: str, path: str, headers: tuple[tuple[str, str], ...]
    ) -> Request:
        """Log a request whose headers have arrived."""
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

    def note(self, request: Request, **what: Any) -> Request:
        """Log what else became of a request."""
        request = attrs.evolve(request, **what)
        with self.changed:
            self.requests[request.number - 1] = request
            self.changed.notify_all()
        return request

    def take(self, request: Request) -> answers.Answer:
        """Answer a request properly."""
        if request.path.startswith(rest_api.SERVICES):
            with self.changed:
                answer = self.rest_api.take(request)
                self.changed.notify_all()
            return answer
        if refusal := _refusal(request):
            return refusal
        with self.changed:
            if request.path == ALERTS:
                answer = self.account.take_alert(request.body)
            else:
                answer = self.account.take_change(request.body)
            self.changed.notify_all()
        return answer

    def read(self, path: str) -> answers.Answer:
        """Answer a request for the page or the read API."""
        with self.changed:
            match path:
                case "/":
                    return page.show(self.account)
                case "/incidents":
                    return read_api.show_incidents(self.account)
                case "/changes":
                    return read_api.show_changes(self.account)
                case "/requests":
                    return read_api.show_requests(self.account, self.requests)
                case _:
                    return answers.Answer(404, b"Not found")

    def install(self, method: str, query: str, body: bytes) -> answers.Answer:
        """Answer a request for the install page, or the form it sends."""
        with self.changed:
            match method:
                case "GET":
                    return install_page.show(self.account, self.apps, query)
                case "POST":
                    answer = install_page.grant(self.account, self.apps, body.decode("latin-1"))
                    self.changed.notify_all()
                    return answer
                case _:
                    return answers.Answer(405, headers=(("Allow", "GET, POST"),))

    def misbehave(self, script: misbehaviour.Script) -> None:
        """Add a script behind the others."""
        with self.changed:
            self._scripts.append(script)

    def behave(self) -> None:
        """Clear every script."""
        with self.changed:
            for script in self._scripts:
                script.clear()

    def choose_unread(self, request: Request) -> misbehaviour.Misbehaviour | None:
        """Choose how to mistreat a request whose body is not read yet."""
        with self.changed:
            return misbehaviour.next_unread(self._scripts, request.path)

    def choose(self, request: Request) -> misbehaviour.Misbehaviour | None:
        """Choose how to mistreat a request whose body is read."""
        key = rules.routing_key_of(request.body)
        with self.changed:
            return misbehaviour.next_read(self._scripts, request.path, key)

    def wait(self, how: misbehaviour.Misbehaviour) -> None:
        """Wait as a misbehaviour says, or until the server stops."""
        # `stop` sets `stopping` before it opens the gates it knows: one it does not know yet
        # belongs to a script that was added later, and is never waited for.
        if how.gate is not None and not self.stopping.is_set():
            how.gate.wait()
        self.stopping.wait(how.seconds)

    def stop(self) -> None:
        """End every waiting."""
        self.stopping.set()
        with self.changed:
            gates = [script.misbehaviour.gate for script in self._scripts]
        for gate in gates:
            if gate is not None:
                gate.open()


def _refusal(request: Request) -> answers.Answer | None:
    """Refuse what is wrong with a request apart from its event."""
    media_type, _, parameters = (request.header("Content-Type") or "").lower().partition(";")
    if request.path not in {ALERTS, CHANGES}:
        return answers.invalid([f"only {ALERTS} and {CHANGES} take events"], status=404)
    if request.method != "POST":
        refusal = answers.invalid(["only POST sends an event"], status=405)
        return attrs.evolve(refusal, headers=(("Allow", "POST"),))
    if media_type.strip() != "application/json" or parameters.strip() not in _CHARSETS:
        return answers.invalid(["'Content-Type' must be application/json"], status=415)
    if request.header("Content-Encoding") is not None:
        return answers.invalid(["'Content-Encoding' is not supported"], status=415)
    if len(request.body) > rules.MAX_BODY_BYTES:
        fault = f"the event is too large (maximum is {rules.MAX_BODY_BYTES} bytes)"
        return answers.invalid([fault], status=413)
    return None
