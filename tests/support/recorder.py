"""A provider that records its deliveries, and returns outcomes that a test sets."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from hostspec import (
    Action,
    Alert,
    AnyAction,
    Capabilities,
    Delivery,
    Destination,
    DurableAction,
    Handle,
    Incident,
    IncidentRef,
    Installation,
    Operation,
    Outcome,
    OutcomeKind,
    Provider,
    SendContext,
    Status,
    hookimpl,
)
from hostspec.inprocess import Host
from hostspec.plugins import Plugins, Rule, load

IDEMPOTENT = Capabilities(acknowledge=True, resolve=True, idempotent=True, coalesce=True)
"""Like a pager: a repeat has the same effect."""

UPDATING = Capabilities(acknowledge=True, resolve=True, update=True)
"""Like a ticket system: a repeat would open another ticket."""

SILENT = Capabilities()
"""Like an e-mail: it has no follow-up."""

DELIVERED = Outcome(OutcomeKind.DELIVERED)

_OPERATIONS = {
    Status.FIRING: Operation.TRIGGER,
    Status.ACKNOWLEDGED: Operation.ACKNOWLEDGE,
    Status.RESOLVED: Operation.RESOLVE,
}


@attrs.frozen
class AccountSettings:
    """No settings."""


@attrs.frozen
class PageSettings:
    """The teams that a rule pages."""

    teams: tuple[str, ...] = ("all",)


class Pager(Provider[AccountSettings]):
    """A provider without a service."""

    name = "pager"
    label = "Pager"
    settings = AccountSettings

    def destinations(self, installation: Installation[AccountSettings]) -> Sequence[Destination]:
        return [Destination("all", "Everybody")]


@attrs.frozen
class Sent:
    """One attempt."""

    operation: Operation
    destination: str
    key: str
    handle: Handle | None


def firing(key: str = "disk", **fields: Any) -> Alert:
    return Alert(key, **fields)


def acknowledged(key: str = "disk", **fields: Any) -> Alert:
    return Alert(key, status="acknowledged", **fields)


def resolved(key: str = "disk", **fields: Any) -> Alert:
    return Alert(key, status="resolved", **fields)


def of_key(alert: Alert) -> str:
    return alert.key


class Page(Action[PageSettings, AccountSettings], DurableAction[AccountSettings]):
    """An action that records attempts; `outcomes` and `behaviour` set its results."""

    name = "pager.page"
    label = "Page a team"
    provider = "pager"
    settings = PageSettings

    def __init__(
        self,
        capabilities: Capabilities = IDEMPOTENT,
        *,
        correlate: Callable[[Alert], str] = of_key,
    ) -> None:
        self.capabilities = capabilities  # type: ignore[misc]
        self.correlate = correlate
        self.sent: list[Sent] = []
        self.outcomes: deque[Any] = deque()
        self.behaviour: dict[str, Callable[..., Any]] = {}
        self._lock = threading.Lock()

    def plan(
        self,
        alert: Alert,
        settings: PageSettings,
        installation: Installation[AccountSettings],
        *,
        rule: str = "",
    ) -> Sequence[Delivery]:
        if "plan" in self.behaviour:
            return self.behaviour["plan"](alert)
        return [
            Delivery(
                _OPERATIONS[alert.status],
                IncidentRef(self.name, installation.name, team, self.correlate(alert)),
                alert.identity,
                alert.severity,
                {"text": alert.summary},
                rules=(rule,),
            )
            for team in settings.teams
        ]

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        if "follow_up" in self.behaviour:
            return self.behaviour["follow_up"](incident, alert)
        can = self.capabilities
        match alert.status:
            case Status.FIRING if can.update:
                operation = Operation.UPDATE
            case Status.ACKNOWLEDGED if can.acknowledge:
                operation = Operation.ACKNOWLEDGE
            case Status.RESOLVED if can.resolve:
                operation = Operation.RESOLVE
            case _:
                return None
        return Delivery(
            operation, incident.ref, alert.identity, incident.severity, rules=incident.rules
        )

    def send(
        self,
        delivery: Delivery,
        installation: Installation[AccountSettings],
        context: SendContext,
    ) -> Outcome:
        place = delivery.ref
        with self._lock:
            self.sent.append(
                Sent(delivery.operation, place.destination, place.correlation_key, context.handle)
            )
            outcome = self.outcomes.popleft() if self.outcomes else OutcomeKind.DELIVERED
        if "send" in self.behaviour:
            return self.behaviour["send"](delivery)
        if isinstance(outcome, BaseException):
            raise outcome
        return Outcome(outcome) if isinstance(outcome, OutcomeKind) else outcome

    @property
    def operations(self) -> list[str]:
        """The operations that were sent."""
        return [str(sent.operation) for sent in self.sent]


class Hanging:
    """Makes the attempts of an action hang until they are released."""

    def __init__(
        self,
        page: Page,
        hangs: Callable[[Delivery], bool] = lambda _: True,
        outcome: Outcome = DELIVERED,
    ) -> None:
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.entered = 0
        self._hangs = hangs
        self._outcome = outcome
        page.behaviour["send"] = self._send

    def _send(self, delivery: Delivery) -> Outcome:
        if not self._hangs(delivery):
            return DELIVERED
        self.entered += 1
        self.inside.set()
        assert self.go_on.wait(60)
        return self._outcome


class PagerPlugin:
    """A plugin that offers the provider and these actions."""

    def __init__(self, *actions: AnyAction) -> None:
        self.actions = actions

    @hookimpl
    def hostspec_providers(self) -> Sequence[Provider[Any]]:
        return [Pager()]

    @hookimpl
    def hostspec_actions(self) -> Sequence[AnyAction]:
        return self.actions


def plugins_of(action: AnyAction, **own: object) -> Plugins:
    """Load the pager with this action, and other plugins of the program."""
    return load([], own={"pager": PagerPlugin(action), **own})


def rule_of(
    plugins: Plugins,
    name: str = "Pages",
    matches: Callable[[Alert], bool] = lambda _: True,
    account: str = "acme",
    **settings: object,
) -> Rule:
    """Return a rule that pages."""
    installation = plugins.installation("pager", account, {})
    return Rule(name, [plugins.rule_action("pager.page", installation, settings)], matches)


def host_of(action: AnyAction, **own: object) -> Host:
    """Return a host with one rule that matches every alert."""
    plugins = plugins_of(action, **own)
    return Host(plugins, [rule_of(plugins)])
