"""The code of a provider's author, for type checkers. Never run."""

# ruff: noqa: ARG002 -- unused arguments have types, too

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, assert_type

import attrs
import pluggy

from hostspec import (
    Action,
    Alert,
    Answer,
    AnyAction,
    Capabilities,
    Delivery,
    Destination,
    DurableAction,
    Fault,
    Handle,
    Hooks,
    Incident,
    IncidentRef,
    IncidentState,
    Installation,
    Json,
    Limit,
    Operation,
    Outcome,
    OutcomeKind,
    Preview,
    Provider,
    Receipt,
    Secret,
    SendContext,
    Severity,
    hookimpl,
    hookspec,
    json_schema,
    setting,
    structure,
)
from hostspec.provider import Demo


@attrs.frozen(kw_only=True)
class Account:
    token: Secret = setting("Token")
    region: str = setting("Region", default="us", choices=("us", "eu"))


@attrs.frozen(kw_only=True)
class Paging:
    teams: tuple[str, ...] = setting("Teams", least_items=1)
    volume: int | None = setting("Volume", default=None, minimum=1, maximum=11)


class Pager(Provider[Account]):
    name = "pager"
    label = "Pager"
    settings = Account

    def destinations(self, installation: Installation[Account]) -> Sequence[Destination]:
        assert_type(installation.settings, Account)
        assert_type(installation.settings.token, Secret)
        assert_type(installation.settings.token.reveal(), str)
        return [Destination("all", "Everybody")]

    def check(self, installation: Installation[Account]) -> Sequence[Fault]:
        return [*super().check(installation), Fault("region", "is far away")]

    def demo(self) -> Demo | None:
        return None


class Page(Action[Paging, Account], DurableAction[Account]):
    name = "pager.page"
    label = "Page teams"
    provider = "pager"
    settings = Paging
    capabilities = Capabilities(acknowledge=True, resolve=True, idempotent=True)

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def check(self, settings: Paging, installation: Installation[Account]) -> Sequence[Fault]:
        assert_type(settings.teams, tuple[str, ...])
        assert_type(settings.volume, int | None)
        assert_type(installation.settings.region, str)
        return ()

    def plan(
        self, alert: Alert, settings: Paging, installation: Installation[Account], *, rule: str = ""
    ) -> Sequence[Delivery]:
        assert_type(alert.severity, Severity)
        assert_type(alert.labels, Mapping[str, str])
        assert_type(alert.details, Mapping[str, Json])
        severity = alert.severity
        for answer in self._hooks.each("pager_severity", alert=alert):
            assert_type(answer, Answer)
            if isinstance(answer.value, Severity):
                severity = answer.value
        return [
            Delivery(
                operation=Operation.TRIGGER,
                ref=IncidentRef(self.name, installation.name, team, alert.key),
                alert=alert.identity,
                severity=severity,
                message={"text": alert.summary, "volume": settings.volume},
                rules=(rule,),
            )
            for team in settings.teams
        ]

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        assert_type(incident.handle, Handle | None)
        assert_type(incident.state, IncidentState)
        return Delivery(Operation.RESOLVE, incident.ref, alert.identity, incident.severity)

    def send(
        self, delivery: Delivery, installation: Installation[Account], context: SendContext
    ) -> Outcome:
        assert_type(delivery.message, Mapping[str, Json])
        assert_type(context.handle, Handle | None)
        if delivery.operation is Operation.TRIGGER:
            return Outcome(OutcomeKind.DELIVERED, handle={"id": "P1", "tries": context.attempt})
        return Outcome(OutcomeKind.THROTTLED, "too much at once", retry_after=3.5)

    def limits(
        self, delivery: Delivery, installation: Installation[Account], handle: Handle | None = None
    ) -> Sequence[Limit]:
        return [Limit("pager", 120, 60.0)]

    def preview(
        self, delivery: Delivery, installation: Installation[Account], context: SendContext
    ) -> Preview:
        return Preview("POST https://pager.example", delivery.message)


@hookspec
def pager_severity(alert: Alert) -> Severity | None:
    """Decide an alert's severity; None for no opinion."""


@hookimpl
def hostspec_addhooks(pluginmanager: pluggy.PluginManager) -> None:
    pluginmanager.add_hookspecs(sys.modules[__name__])


@hookimpl
def hostspec_providers() -> Sequence[Provider[Any]]:
    return [Pager()]


@hookimpl
def hostspec_actions(hooks: Hooks) -> Sequence[AnyAction]:
    return [Page(hooks)]


@hookimpl(trylast=True)
def hostspec_undelivered(receipt: Receipt) -> None:
    assert_type(receipt.outcome, Outcome | None)
    assert_type(receipt.delivery.ref.destination, str)


class Extension:
    """Another plugin, which decides for the pager."""

    @hookimpl
    def pager_severity(self, alert: Alert) -> Severity | None:
        return Severity.CRITICAL if alert.labels.get("tier") == "gold" else None


# markers keep the type of a function, and structuring that of a class
assert_type(hostspec_providers(), Sequence[Provider[Any]])
assert_type(structure(Paging, {"teams": ["data"]}), Paging)
assert_type(json_schema(Paging), dict[str, Any])
assert_type(Pager().installation("acme", {"token": "env:TOKEN"}), Installation[Account])
