"""The action: triggers, acknowledges and resolves incidents in one or several services."""

from __future__ import annotations

import datetime as dt
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
    Handle,
    Hooks,
    Incident,
    Installation,
    Json,
    Limit,
    Operation,
    Outcome,
    OutcomeKind,
    Place,
    Preview,
    Secret,
    SecretUnavailableError,
    SendContext,
    Severity,
    Status,
    Suppression,
)
from pagerduty_plugin import event
from pagerduty_plugin.client import Client
from pagerduty_plugin.enrichment import enrich
from pagerduty_plugin.extensions import Decision, Question, Unextended, decide
from pagerduty_plugin.fit import encode
from pagerduty_plugin.keys import STARS, fingerprint, readable_fingerprint
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

    def __init__(self, client: Client | None = None, hooks: Hooks | None = None) -> None:
        self._client = client or Client()
        self._hooks = hooks or Unextended()

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
    ) -> Sequence[Delivery | Suppression]:
        """Make one delivery for each service, by the alert's status and what extensions say."""
        of = installation.settings
        question = Question(
            alert=alert,
            action=self.name,
            installation=installation.name,
            rule=rule,
            services=tuple(service.name for service in of.services),
        )
        wanted = Decision(
            severity=(
                alert.severity
                if settings.severity == DEFAULT_SEVERITY
                else Severity(settings.severity)
            ),
            dedup_key=event.dedup_key(alert.identity),
            services=tuple(dict.fromkeys(_name(of, named) for named in settings.services)),
        )
        decided = decide(self._hooks, question, wanted)
        if decided.suppression:
            return [decided.suppression]
        key, repairs = event.said_dedup_key(decided.dedup_key)
        message: Mapping[str, Json] = {}
        notes = decided.notes
        if alert.status is Status.FIRING:
            built = event.build(alert, severity=decided.severity, key=key)
            enriched = enrich(built.message, decided.additions, event.room_for_message(key))
            message = enriched.message
            repairs = (*repairs, *built.repairs, *enriched.repairs)
            notes = (*notes, *enriched.notes)
        return [
            Delivery(
                operation=_OPERATIONS[alert.status],
                place=Place(self.name, installation.name, _destination(of, service), key),
                alert=alert.identity,
                severity=decided.severity,
                message=message,
                rules=(rule,) if rule else (),
                repairs=(*alert.repairs, *repairs),
                notes=notes,
            )
            for service in decided.services
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
            return _misconfigured(delivery.place.destination, "is not in the installation any more")
        routing_key, reason = _routing_key(service, context.handle)
        if reason:
            return _misconfigured(service.name, reason)
        held = fingerprint(routing_key)
        handle = context.handle or {"key": held, "url": installation.settings.events_url}
        body = event.body(
            delivery.operation,
            delivery.place.correlation_key,
            delivery.message,
            routing_key=routing_key,
            context=context,
        )
        reply = self._client.post(f"{handle['url']}{PATH}", encode(body), destination=held)
        outcome = judge(_without(routing_key, reply), context.now or dt.datetime.now(dt.UTC))
        return attrs.evolve(outcome, handle=handle)

    def limits(
        self, delivery: Delivery, installation: Installation[InstallationSettings]
    ) -> Sequence[Limit]:
        """Give the limit that the service's integration key has; in a rotation, each key's.

        Raises:
            SecretUnavailableError: no key can be read.
        """
        service = installation.settings.service(delivery.place.destination)
        if service is None:
            return ()
        held = [name for key in service.keys if (name := readable_fingerprint(key))]
        names = held or [fingerprint(service.keys[0].reveal())]
        return tuple(Limit(f"pagerduty:{name}", EVENTS_PER_WINDOW, WINDOW) for name in names)

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
            routing_key=_masked(service, context.handle),
            context=context,
        )
        return Preview(f"POST {url}{PATH}", body)


def _routing_key(service: ServiceSettings, handle: Handle | None) -> tuple[str, str]:
    """Give the newest key, or the one that opened the incident; else why there is none."""
    if not handle:
        return _usable(service.keys[0])
    reasons = ["does not hold the key that opened the incident"]
    for key in service.keys:
        routing_key, reason = _usable(key)
        if reason:
            reasons.append(reason)
        elif fingerprint(routing_key) == handle.get("key"):
            return routing_key, ""
    return "", "; ".join(reasons)


def _usable(key: Secret) -> tuple[str, str]:
    """Read a key; give it, or else why it cannot be used."""
    try:
        routing_key = key.reveal()
    except SecretUnavailableError as error:
        return "", f"has no key: {error}"
    fault = event.routing_key_fault(routing_key)
    return ("", f"has a key that {fault}") if fault else (routing_key, "")


def _name(settings: InstallationSettings, named: str) -> str:
    """Name a service as people do; what is not there keeps the name it was asked by."""
    service = settings.service(named)
    return service.name if service else named


def _destination(settings: InstallationSettings, named: str) -> str:
    """Name a service for good; what is not there keeps the name it was asked by."""
    service = settings.service(named)
    return service.destination if service else named


def _masked(service: ServiceSettings | None, handle: Handle | None) -> str:
    """Show where the key comes from; which of several opened the incident, no one has read."""
    keys = service.keys if service else ()
    shown = [key.masked() for key in (keys if handle else keys[:1]) if key.reference]
    return f"{STARS} ({' or '.join(shown)})" if shown else STARS


def _without(routing_key: str, reply: Reply | NoReply) -> Reply | NoReply:
    """Take the key out of a reply that repeats it, before any of it is told or cut."""
    if isinstance(reply, NoReply):
        return reply
    text = re.sub(routing_key, "********", reply.text, flags=re.IGNORECASE)
    return attrs.evolve(reply, text=text)


def _misconfigured(service: str, reason: str) -> Outcome:
    return Outcome(OutcomeKind.MISCONFIGURED, f"service {service!r} {reason}")
