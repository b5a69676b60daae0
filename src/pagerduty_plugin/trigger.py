"""The action that triggers, acknowledges and resolves incidents in one or several services."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

import attrs

from hostspec import (
    Alert,
    Capabilities,
    Delivery,
    Destination,
    Handle,
    Hooks,
    Incident,
    IncidentRef,
    Installation,
    Operation,
    Outcome,
    OutcomeKind,
    Preview,
    Secret,
    SendContext,
    Severity,
    Status,
    Suppression,
)
from hostspec.normalisation import FrozenDict
from pagerduty_plugin import event, routing
from pagerduty_plugin.change import Change, missed_change
from pagerduty_plugin.constants import BASE_URLS, CHANGE_EVENT, DROP, PAGE
from pagerduty_plugin.dedup_keys import prefixed_dedup_key
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.http.responses import is_key_unknown
from pagerduty_plugin.overrides import Decision, NoHooks, Question, decide, enrich
from pagerduty_plugin.routing import (
    fingerprint,
    masked_key,
    read_key,
    readable_fingerprint,
    sending_key,
)
from pagerduty_plugin.settings import InstallationSettings, TriggerSettings
from pagerduty_plugin.text_overrides import EventText

PATH: Final = "/v2/enqueue"
"""The path of the Events API v2 for alert events."""

_SIMILAR_KEYS: Final = (
    "a key of another region, or of an integration for the Events API v1, looks the same"
)


class Trigger(routing.ServiceAction[TriggerSettings]):
    """Sends an alert to PagerDuty services as trigger, acknowledge or resolve."""

    name = "pagerduty.trigger"
    label = "Send a notification to PagerDuty"
    settings = TriggerSettings
    capabilities = Capabilities(acknowledge=True, resolve=True, idempotent=True, coalesce=True)

    def __init__(self, client: Client | None = None, hooks: Hooks | None = None) -> None:
        self._client = client or Client()
        self._hooks = hooks or NoHooks()

    def describe(
        self, settings: TriggerSettings, installation: Installation[InstallationSettings] | None
    ) -> str:
        """Return account, services and severity in a sentence; a removed one is ``[removed]``."""
        account, services = routing.displayed(settings.services, installation)
        return (
            f"Send a notification to PagerDuty account {account} and services {services} with "
            f"{settings.severity} severity"
        )

    def plan(
        self,
        alert: Alert,
        settings: TriggerSettings,
        installation: Installation[InstallationSettings],
        *,
        rule: str = "",
    ) -> Sequence[Delivery | Suppression]:
        """Return one delivery for each service, as overridden by other plugins.

        An event action that the rule excludes, or a removed service, gets no delivery.
        """
        operation = event.OPERATIONS[alert.status]
        if operation not in settings.event_actions:
            return ()
        rules = (rule,) if rule else ()
        account = installation.settings
        reached, notes = routing.reach(settings.services, account)
        names = tuple(reached.values())
        # one severity for all services, as plugins are asked once
        text = EventText(alert, rule=rule, service=", ".join(names), installation=installation.name)
        severity, severity_repairs = text.severity(settings.severity)
        decided = decide(
            self._hooks,
            Question(
                alert=alert,
                action=self.name,
                installation=installation.name,
                rule=rule,
                services=account.names,
            ),
            Decision(severity=severity, services=names),
        )
        if decided.suppression:
            return (decided.suppression,)
        if not decided.services:
            return self._suppressed(settings, installation, rules, decided.notes)
        notes = (*notes, *text.notes, *decided.notes)
        key, content = "", None
        deliveries = []
        follow_ups = event.follow_ups(settings.event_actions)
        services, _ = routing.reach(decided.services, account)
        for destination, service in services.items():
            if content is None or settings.has_text:
                text = EventText(alert, rule=rule, service=service, installation=installation.name)
                key, content = _content(alert, settings, account, decided, text)
            deliveries.append(
                Delivery(
                    operation=operation,
                    ref=IncidentRef(self.name, installation.name, destination, key),
                    alert=alert.identity,
                    severity=Severity(event.SEVERITIES[decided.severity]),
                    message=content.message,
                    rules=rules,
                    repairs=(*alert.reported_repairs, *severity_repairs, *content.repairs),
                    notes=(*notes, *content.notes),
                    follow_ups=follow_ups,
                )
            )
        return deliveries

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        """Return the acknowledge or resolve of an incident; None for a trigger."""
        if alert.status is Status.FIRING:
            return None
        return Delivery(
            operation=event.OPERATIONS[alert.status],
            ref=incident.ref,
            alert=alert.identity,
            severity=incident.severity,
            rules=incident.rules,
        )

    def can_follow_up(
        self, incident: Incident, installation: Installation[InstallationSettings]
    ) -> bool:
        """Check that the key that opened an incident is configured, or cannot be read now.

        The address must be PagerDuty's or the account's own: else a manipulated incident in the
        store could send the key to any address.
        """
        service = installation.settings.service(incident.ref.destination)
        if service is None:
            return False
        if incident.handle and not _is_own_url(incident.handle, installation):
            return False
        keys = [readable_fingerprint(key) for key in service.keys]
        return not incident.handle or None in keys or incident.handle.get("key") in keys

    def on_missed(self, opening: Delivery, closing: Delivery) -> Sequence[Delivery]:
        """Return the deliveries for a missed problem, by the rule's setting at planning time."""
        setting = opening.message.get(event.MISSED, PAGE)
        if setting == DROP:
            return ()
        if setting == CHANGE_EVENT:
            # never followed up, and distinct from a change that a rule records of the alert
            key = f"{opening.ref.correlation_key}#missed"
            change = attrs.evolve(
                opening,
                operation=Operation.RESOLVE,
                ref=attrs.evolve(opening.ref, action=Change.name, correlation_key=key),
                message=missed_change(opening.message),
                follow_ups=(),
                over=True,
            )
            return (change,)
        return (opening, closing)

    def expected_handle(
        self, delivery: Delivery, installation: Installation[InstallationSettings]
    ) -> Handle | None:
        """Return the newest key's fingerprint and the address, with which an incident opens."""
        service = installation.settings.service(delivery.ref.destination)
        name = readable_fingerprint(service.keys[0]) if service else None
        return None if name is None else _handle(name, installation)

    def send(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        context: SendContext,
    ) -> Outcome:
        """Post the event once."""
        service = installation.settings.service(delivery.ref.destination)
        if service is None:
            return routing.removed(delivery.ref.destination)
        routing_key, reason = sending_key(service, context.handle)
        if reason:
            return routing.misconfigured(service.name, reason)
        handle = context.handle or _handle(fingerprint(routing_key), installation)
        if not _is_own_url(handle, installation):
            reason = (
                f"opened the incident at {handle.get('url')}, which is not its address any more"
            )
            return routing.misconfigured(service.name, reason)
        outcome = self._client.enqueue(
            f"{handle['url']}{PATH}",
            event.body(delivery, routing_key=routing_key, context=context),
            network=installation.settings.network,
            now=context.now,
        )
        return attrs.evolve(outcome, handle=handle)

    def probe(
        self, destination: Destination, installation: Installation[InstallationSettings]
    ) -> Outcome:
        """Test every key of a service by resolving an incident that does not exist.

        PagerDuty accepts and drops such an event. That it rejects an unknown key at once was
        observed, and is not documented.
        """
        service = installation.settings.service(destination.id)
        if service is None:
            return routing.removed(destination.id)
        outcome = Outcome(OutcomeKind.DELIVERED)
        for number, key in enumerate(service.keys, 1):
            outcome = self._probe(service.name, key, installation.settings)
            if not outcome.delivered:
                which = f"key {number} of {len(service.keys)}: " if len(service.keys) > 1 else ""
                return attrs.evolve(outcome, reason=f"{which}{outcome.reason}")
        return outcome

    def _probe(self, service: str, key: Secret, account: InstallationSettings) -> Outcome:
        routing_key, reason = read_key(key)
        if reason:
            return routing.misconfigured(service, reason)
        outcome = self._client.enqueue(
            f"{account.events_url}{PATH}",
            {
                "routing_key": routing_key,
                "event_action": Operation.RESOLVE.value,
                "dedup_key": f"probe-{uuid.uuid4().hex}",
            },
            network=account.network,
        )
        if outcome.kind is OutcomeKind.MISCONFIGURED and is_key_unknown(outcome.reason):
            outcome = attrs.evolve(outcome, reason=f"{outcome.reason}; {_SIMILAR_KEYS}")
        return outcome

    def settings_for(self, destination: Destination) -> TriggerSettings:
        """Return the settings that page one service with the alert's own texts."""
        return TriggerSettings(services=(destination.id,))

    def preview(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        context: SendContext,
    ) -> Preview:
        """Return the request with the reference of the key instead of the key."""
        service = installation.settings.service(delivery.ref.destination)
        url = (context.handle or {}).get("url", installation.settings.events_url)
        key = masked_key(service, context.handle)
        body = event.body(delivery, routing_key=key, context=context)
        return Preview(f"POST {url}{PATH}", body)


def _content(
    alert: Alert,
    settings: TriggerSettings,
    account: InstallationSettings,
    decided: Decision,
    text: EventText,
) -> tuple[str, event.Event]:
    """Return the dedup key and the content for the service that `text` renders for.

    An acknowledge or resolve has no message.
    """
    if decided.dedup_key:
        key, repairs = prefixed_dedup_key(decided.dedup_key, account.dedup_prefix)
    else:
        key, repairs = text.dedup_key(settings.dedup_key, account.dedup_prefix)
    if alert.status is not Status.FIRING:
        return key, event.Event({}, repairs, tuple(text.notes))
    texts = text.trigger(settings) if settings.has_text else event.NO_OVERRIDES
    built = event.build(alert, severity=decided.severity, key=key, texts=texts)
    enriched = event.Event(built.message)
    if decided.additions:
        enriched = enrich(built.message, decided.additions, event.room_for_message(key))
    missed = {} if settings.missed == PAGE else {event.MISSED: settings.missed}
    return key, event.Event(
        FrozenDict(enriched.message, **missed),  # once for the deliveries to all services
        (*repairs, *built.repairs, *enriched.repairs),
        (*text.notes, *enriched.notes),
    )


def _handle(key: str, installation: Installation[InstallationSettings]) -> Handle:
    return {"key": key, "url": installation.settings.events_url}


def _is_own_url(handle: Handle, installation: Installation[InstallationSettings]) -> bool:
    return handle.get("url") in (installation.settings.events_url, *BASE_URLS.values())
