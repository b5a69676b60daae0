"""The action: triggers, acknowledges and resolves incidents in one or several services."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from hostspec import (
    Action,
    Alert,
    Capabilities,
    Delivery,
    Fault,
    Incident,
    Installation,
    Json,
    Limit,
    Operation,
    Outcome,
    OutcomeKind,
    Place,
    Preview,
    SecretUnavailableError,
    SendContext,
    Severity,
    Status,
)
from pagerduty_plugin import event
from pagerduty_plugin.client import Client
from pagerduty_plugin.fit import encode
from pagerduty_plugin.reply import NoReply, Reply, judge
from pagerduty_plugin.settings import (
    DEFAULT_SEVERITY,
    InstallationSettings,
    ServiceSettings,
    TriggerSettings,
)

PATH: Final = "/v2/enqueue"
"""Where the Events API v2 takes alert events."""

EVENTS_PER_WINDOW: Final = 120
"""Events an integration key takes in a window (guide "Rate Limits", "about 120 a minute")."""

WINDOW: Final = 60.0
"""Seconds of PagerDuty's sliding window."""

_OPERATIONS: Final[Mapping[Status, Operation]] = {
    Status.FIRING: Operation.TRIGGER,
    Status.ACKNOWLEDGED: Operation.ACKNOWLEDGE,
    Status.RESOLVED: Operation.RESOLVE,
}


class Trigger(Action[TriggerSettings, InstallationSettings]):
    """Sends an alert to PagerDuty services as trigger, acknowledge or resolve."""

    name = "pagerduty.trigger"
    label = "Send a notification to PagerDuty"
    provider = "pagerduty"
    settings = TriggerSettings
    capabilities = Capabilities(acknowledge=True, resolve=True, idempotent=True, collapse=True)

    def __init__(self, client: Client | None = None) -> None:
        self._client = client or Client()

    def check(
        self, settings: TriggerSettings, installation: Installation[InstallationSettings]
    ) -> Sequence[Fault]:
        """Refuse services that the account does not have."""
        known = ", ".join(service.name for service in installation.settings.services)
        return [
            Fault(
                f"services[{index}]",
                f'the service "{name}" has not been granted access in the '
                f"{installation.name} PagerDuty account; it has {known}",
            )
            for index, name in enumerate(settings.services)
            if installation.settings.service(name) is None
        ]

    def plan(
        self,
        alert: Alert,
        settings: TriggerSettings,
        installation: Installation[InstallationSettings],
        *,
        rule: str = "",
    ) -> Sequence[Delivery]:
        """Make one delivery for each service, by the alert's status."""
        severity = (
            alert.severity if settings.severity == DEFAULT_SEVERITY else Severity(settings.severity)
        )
        key, repairs = event.dedup_key(alert.identity)
        message: Mapping[str, Json] = {}
        if alert.status is Status.FIRING:
            built = event.build(alert, severity=severity, key=key)
            message = built.message
            repairs = (*repairs, *built.repairs)
        return [
            Delivery(
                operation=_OPERATIONS[alert.status],
                place=Place(self.name, installation.name, service, key),
                alert=alert.identity,
                severity=severity,
                message=message,
                rules=(rule,) if rule else (),
                repairs=(*alert.repairs, *repairs),
            )
            for service in dict.fromkeys(settings.services)
        ]

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        """Make the acknowledge or resolve of an incident; a repeat is a trigger of its own."""
        if alert.status is Status.FIRING:
            return None
        return Delivery(
            operation=_OPERATIONS[alert.status],
            place=incident.place,
            alert=alert.identity,
            severity=incident.severity,
            rules=incident.rules,
        )

    def send(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        context: SendContext,
    ) -> Outcome:
        """Post the event once."""
        service = installation.settings.service(delivery.place.destination)
        if service is None:
            return _misconfigured(delivery, "is not in the installation any more")
        try:
            routing_key = service.integration_key.reveal()
        except SecretUnavailableError as error:
            return _misconfigured(delivery, f"has no key: {error}")
        fault = event.routing_key_fault(routing_key)
        if fault:
            return _misconfigured(delivery, f"has a key that {fault}")
        fingerprint = _fingerprint(routing_key)
        handle = context.handle or {"key": fingerprint, "url": installation.settings.events_url}
        if handle.get("key") != fingerprint:
            return _misconfigured(delivery, "does not hold the key that opened the incident")
        body = event.body(
            delivery.operation,
            delivery.place.correlation_key,
            delivery.message,
            routing_key=routing_key,
            context=context,
        )
        reply = self._client.post(f"{handle['url']}{PATH}", encode(body), destination=fingerprint)
        outcome = judge(_without(routing_key, reply), context.now or dt.datetime.now(dt.UTC))
        return attrs.evolve(outcome, handle=handle)

    def limits(
        self, delivery: Delivery, installation: Installation[InstallationSettings]
    ) -> Sequence[Limit]:
        """Give the limit that the service's integration key has."""
        service = installation.settings.service(delivery.place.destination)
        if service is None:
            return ()
        budget = f"pagerduty:{_fingerprint(service.integration_key.reveal())}"
        return (Limit(budget, EVENTS_PER_WINDOW, WINDOW),)

    def preview(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        context: SendContext,
    ) -> Preview:
        """Show the body, with the key's reference in the key's place."""
        service = installation.settings.service(delivery.place.destination)
        url = (context.handle or {}).get("url", installation.settings.events_url)
        body = event.body(
            delivery.operation,
            delivery.place.correlation_key,
            delivery.message,
            routing_key=_masked(service),
            context=context,
        )
        return Preview(f"POST {url}{PATH}", body)


def _masked(service: ServiceSettings | None) -> str:
    reference = service.integration_key.reference if service else None
    return f"******** ({reference})" if reference else "********"


def _without(routing_key: str, reply: Reply | NoReply) -> Reply | NoReply:
    """Take the key out of a reply that repeats it, before any of it is told or cut."""
    if isinstance(reply, NoReply):
        return reply
    text = re.sub(routing_key, "********", reply.text, flags=re.IGNORECASE)
    return attrs.evolve(reply, text=text)


def _fingerprint(routing_key: str) -> str:
    """Name a key without telling it: keys are random, so that a hash cannot be undone."""
    return hashlib.sha256(routing_key.encode()).hexdigest()[:16]


def _misconfigured(delivery: Delivery, reason: str) -> Outcome:
    return Outcome(OutcomeKind.MISCONFIGURED, f"service {delivery.place.destination!r} {reason}")
