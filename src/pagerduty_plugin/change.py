"""The action: records a change, such as a deploy, with one or several services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hostspec import (
    Action,
    Alert,
    Capabilities,
    Delivery,
    Fault,
    Handle,
    Incident,
    IncidentRef,
    Installation,
    Limit,
    Outcome,
    Preview,
    SendContext,
    Status,
    Suppression,
)
from pagerduty_plugin import event, posting, routing
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.keys import change_key_fault
from pagerduty_plugin.settings import PROVIDER, ChangeSettings, InstallationSettings
from pagerduty_plugin.text_overrides import Speaker, Wording

PATH: Final = "/v2/change/enqueue"
"""Where the Events API v2 takes change events."""


class Change(Action[ChangeSettings, InstallationSettings]):
    """Records an alert as a change event, which notifies nobody (guide "Send a Change Event").

    A change event has no dedup key: the same one sent twice is two. Every firing is recorded.
    """

    name = "pagerduty.change"
    label = "Record a change at PagerDuty"
    provider = PROVIDER
    settings = ChangeSettings
    capabilities = Capabilities(acknowledge=True, resolve=True, record=True)

    def __init__(self, client: Client | None = None) -> None:
        self._client = client or Client()

    def check(
        self, settings: ChangeSettings, installation: Installation[InstallationSettings]
    ) -> Sequence[Fault]:
        """Refuse services that the account never had, and an action that reaches none any more."""
        return list(routing.faults(settings.services, installation))

    def describe(
        self, settings: ChangeSettings, installation: Installation[InstallationSettings] | None
    ) -> str:
        """Name account and services; what is gone is ``[removed]``."""
        account, services = routing.described(settings.services, installation)
        return f"Record a change at PagerDuty account {account} and services {services}"

    def plan(
        self,
        alert: Alert,
        settings: ChangeSettings,
        installation: Installation[InstallationSettings],
        *,
        rule: str = "",
    ) -> Sequence[Delivery | Suppression]:
        """Make one delivery for each service, where the rule records the alert's status."""
        if alert.status not in settings.statuses:
            return ()
        rules = (rule,) if rule else ()
        reached = routing.reach(settings.services, installation.settings)
        if not reached.services:
            reason = routing.nobody(settings.services, installation)
            return (Suppression(self.name, installation.name, reason, rules=rules),)
        key, _ = event.dedup_key(alert.identity)
        follow_ups = tuple(
            event.OPERATIONS[status]
            for status in (Status.ACKNOWLEDGED, Status.RESOLVED)
            if status in settings.statuses
        )
        deliveries = []
        for destination, service in reached.services.items():
            speaker = Speaker(alert, rule=rule, service=service, installation=installation.name)
            firing = alert.status is Status.FIRING
            wording = speaker.change(settings) if firing else _later(alert)
            built = event.build_change(alert, wording)
            deliveries.append(
                Delivery(
                    operation=event.OPERATIONS[alert.status],
                    ref=IncidentRef(self.name, installation.name, destination, key),
                    alert=alert.identity,
                    severity=alert.severity,
                    message=built.message,
                    rules=rules,
                    repairs=(*alert.repairs, *built.repairs),
                    notes=(*reached.notes, *speaker.notes),
                    follow_ups=follow_ups,
                )
            )
        return deliveries

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        """Make the record of what became of a change, in the alert's own words."""
        if alert.status is Status.FIRING:
            return None
        built = event.build_change(alert, _later(alert))
        return Delivery(
            operation=event.OPERATIONS[alert.status],
            ref=incident.ref,
            alert=alert.identity,
            severity=incident.severity,
            message=built.message,
            rules=incident.rules,
            repairs=(*alert.repairs, *built.repairs),
        )

    def send(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        context: SendContext,
    ) -> Outcome:
        """Post the event once."""
        service = installation.settings.service(delivery.ref.destination)
        if service is None:
            return posting.gone(delivery.ref.destination)
        routing_key, reason = posting.usable(service.keys[0], change_key_fault)
        if reason:
            return posting.misconfigured(service.name, reason)
        return posting.post(
            self._client,
            f"{installation.settings.events_url}{PATH}",
            event.change_body(
                delivery.message, routing_key=routing_key, context=context, over=delivery.over
            ),
            routing_key=routing_key,
            network=installation.settings.network,
            now=context.now,
            idempotent=False,
        )

    def limits(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        handle: Handle | None = None,  # noqa: ARG002
    ) -> Sequence[Limit]:
        """Return the limit of the newest integration key, for changes as for alerts.

        Raises:
            SecretUnavailableError: that key cannot be read.
        """
        return posting.limits(installation.settings, delivery.ref.destination)

    def preview(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        context: SendContext,
    ) -> Preview:
        """Show the body, with the key's reference in the key's place."""
        service = installation.settings.service(delivery.ref.destination)
        body = event.change_body(
            delivery.message,
            routing_key=posting.masked(service),
            context=context,
            over=delivery.over,
        )
        return Preview(f"POST {installation.settings.events_url}{PATH}", body)


def _later(alert: Alert) -> Wording:
    """Say of a change what became of it."""
    return Wording(summary=f"{alert.status.capitalize()}: {alert.summary}")
