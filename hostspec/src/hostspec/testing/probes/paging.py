"""The plugin ``conformance-paging``: writes into the journal what a host sends.

It adds the hook ``conformance_mark``, and asks it while it plans. An alert's label ``outcome``
says how the attempt ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import attrs
import pluggy

from hostspec import (
    Action,
    Alert,
    AnyAction,
    Capabilities,
    Delivery,
    Destination,
    Hooks,
    Incident,
    IncidentRef,
    Installation,
    Json,
    Operation,
    Outcome,
    OutcomeKind,
    Provider,
    SendContext,
    Status,
    hookimpl,
    hookspec,
    to_json,
)
from hostspec.testing.probes import journal

_OPERATIONS = {
    Status.FIRING: Operation.TRIGGER,
    Status.ACKNOWLEDGED: Operation.ACKNOWLEDGE,
    Status.RESOLVED: Operation.RESOLVE,
}


@attrs.frozen(kw_only=True)
class NoSettings:
    """Nothing can be set."""


class Paging(Provider[NoSettings]):
    """A provider without a service."""

    name = "conformance-paging"
    label = "Conformance"
    settings = NoSettings

    def destinations(self, installation: Installation[NoSettings]) -> Sequence[Destination]:  # noqa: ARG002
        """Return the one."""
        return [Destination("all", "Everybody")]


class Page(Action[NoSettings, NoSettings]):
    """Writes into the journal."""

    name = "conformance-paging.page"
    label = "Page"
    provider = "conformance-paging"
    settings = NoSettings
    capabilities = Capabilities(acknowledge=True, resolve=True, idempotent=True, coalesce=True)

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def plan(
        self,
        alert: Alert,
        settings: NoSettings,  # noqa: ARG002
        installation: Installation[NoSettings],
        *,
        rule: str = "",
    ) -> Sequence[Delivery]:
        """Open, or say by the rule's settings what the alert's status is."""
        answers = self._hooks.each("conformance_mark", alert=alert)
        marks: list[Json] = [answer.value for answer in answers if not answer.failure]
        message = {"marks": marks, "outcome": alert.labels.get("outcome", "delivered")}
        return [
            Delivery(
                operation=_OPERATIONS[alert.status],
                ref=IncidentRef(
                    self.name, installation.name, "all", json.dumps([alert.scope, alert.key])
                ),
                alert=alert.identity,
                severity=alert.severity,
                message=message,
                rules=(rule,),
                notes=tuple(answer.failure for answer in answers if answer.failure),
            )
        ]

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        """Say the alert's status; a repeat is a trigger of its own."""
        if alert.status is Status.FIRING:
            return None
        operation = _OPERATIONS[alert.status]
        return Delivery(
            operation, incident.ref, alert.identity, incident.severity, rules=incident.rules
        )

    def send(
        self,
        delivery: Delivery,
        installation: Installation[NoSettings],
        context: SendContext,
    ) -> Outcome:
        """Write it down; the handle tells the installation that opened."""
        journal.write(
            "sent",
            operation=delivery.operation,
            installation=installation.name,
            key=delivery.alert.key,
            marks=to_json(delivery)["message"].get("marks"),
            notes=len(delivery.notes),
            handle=dict(context.handle) if context.handle is not None else None,
        )
        kind = OutcomeKind(str(delivery.message.get("outcome", "delivered")))
        return Outcome(kind, handle={"opened": installation.name})


@hookspec
def conformance_mark(alert: Alert) -> str | None:
    """Return a mark for an alert; None for no opinion."""


@hookimpl
def hostspec_addhooks(pluginmanager: pluggy.PluginManager) -> None:
    """Add ``conformance_mark``."""
    pluginmanager.add_hookspecs(sys.modules[__name__])


@hookimpl
def hostspec_providers() -> Sequence[Provider[Any]]:
    """Offer the provider."""
    return [Paging()]


@hookimpl
def hostspec_actions(hooks: Hooks) -> Sequence[AnyAction]:
    """Offer the action."""
    return [Page(hooks)]
