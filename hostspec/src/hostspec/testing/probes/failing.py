"""The plugin ``conformance-failing``: its action exits in `plan` or in `send`, as the key says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hostspec import (
    Action,
    Alert,
    AnyAction,
    Capabilities,
    Delivery,
    IncidentRef,
    Installation,
    Operation,
    Outcome,
    OutcomeKind,
    Provider,
    SendContext,
    hookimpl,
)
from hostspec.testing.probes import journal
from hostspec.testing.probes.paging import NoSettings, Paging


class Failing(Paging):
    """A provider of its own, without a service too."""

    name = "conformance-failing"
    label = "Conformance, failing"


class Fail(Action[NoSettings, NoSettings]):
    """Exits."""

    name = "conformance-failing.fail"
    label = "Fail"
    provider = "conformance-failing"
    settings = NoSettings
    capabilities = Capabilities(idempotent=True)

    def plan(
        self,
        alert: Alert,
        settings: NoSettings,  # noqa: ARG002
        installation: Installation[NoSettings],
        *,
        rule: str = "",
    ) -> Sequence[Delivery]:
        """Exit where the key says so."""
        journal.write("planning")
        if alert.key == "fail in plan":
            sys.exit("the plugin exits in plan")
        ref = IncidentRef(self.name, installation.name, "all", repr(alert.identity))
        operation = Operation.TRIGGER
        return [Delivery(operation, ref, alert.identity, alert.severity, rules=(rule,))]

    def send(
        self,
        delivery: Delivery,
        installation: Installation[NoSettings],  # noqa: ARG002
        context: SendContext,  # noqa: ARG002
    ) -> Outcome:
        """Exit where the key says so."""
        journal.write("sending")
        if delivery.alert.key == "fail in send":
            sys.exit("the plugin exits in send")
        return Outcome(OutcomeKind.DELIVERED)


@hookimpl
def hostspec_providers() -> Sequence[Provider[Any]]:
    """Offer the provider."""
    return [Failing()]


@hookimpl
def hostspec_actions() -> Sequence[AnyAction]:
    """Offer the action."""
    return [Fail()]
