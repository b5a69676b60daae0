"""The action: triggers, acknowledges and resolves incidents in one or several services."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from hostspec import (
    Action,
    Alert,
    Capabilities,
    Delivery,
    Destination,
    Fault,
    Handle,
    Hooks,
    Incident,
    IncidentRef,
    Installation,
    Json,
    Limit,
    Operation,
    Outcome,
    OutcomeKind,
    Preview,
    Repair,
    Secret,
    SendContext,
    Severity,
    Status,
    Suppression,
)
from pagerduty_plugin import event, posting, routing
from pagerduty_plugin.change import Change
from pagerduty_plugin.enrichment import enrich
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.http.responses import is_key_unknown
from pagerduty_plugin.keys import fingerprint, readable_fingerprint
from pagerduty_plugin.overrides import Decision, Question, Unextended, decide
from pagerduty_plugin.settings import (
    ALERT_KEY,
    BASE_URLS,
    CHANGE_EVENT,
    DEFAULT_SEVERITY,
    DROP,
    PAGE,
    PROVIDER,
    RULE_AND_ALERT_KEY,
    SEVERITIES,
    InstallationSettings,
    ServiceSettings,
    TriggerSettings,
)
from pagerduty_plugin.text_overrides import Speaker

PATH: Final = "/v2/enqueue"
"""Where the Events API v2 takes alert events."""

_LOOK_ALIKE: Final = (
    "a key of another region, or of an integration for the Events API v1, looks the same"
)


@attrs.frozen
class _Told:
    """What a service is told of an alert, and what a person should know of that."""

    key: str
    message: Mapping[str, Json]
    repairs: tuple[Repair, ...]
    notes: tuple[str, ...]


@attrs.frozen
class _Grade:
    """The severity that a rule sets, before extensions are asked, and how it came about."""

    severity: Severity
    repairs: tuple[Repair, ...] = ()
    notes: tuple[str, ...] = ()


class Trigger(Action[TriggerSettings, InstallationSettings]):
    """Sends an alert to PagerDuty services as trigger, acknowledge or resolve."""

    name = "pagerduty.trigger"
    label = "Send a notification to PagerDuty"
    provider = PROVIDER
    settings = TriggerSettings
    capabilities = Capabilities(acknowledge=True, resolve=True, idempotent=True, coalesce=True)

    def __init__(self, client: Client | None = None, hooks: Hooks | None = None) -> None:
        self._client = client or Client()
        self._hooks = hooks or Unextended()

    def check(
        self, settings: TriggerSettings, installation: Installation[InstallationSettings]
    ) -> Sequence[Fault]:
        """Refuse services that the account never had, and an action that reaches none any more."""
        return list(routing.faults(settings.services, installation))

    def describe(
        self, settings: TriggerSettings, installation: Installation[InstallationSettings] | None
    ) -> str:
        """Name account, services and severity; what is gone is ``[removed]``."""
        account, services = routing.described(settings.services, installation)
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
        """Make one delivery for each service, by the alert's status and what extensions say.

        None for an event action that the rule does not send, or for a service that was removed.
        """
        operation = event.OPERATIONS[alert.status]
        if operation not in settings.event_actions:
            return ()
        rules = (rule,) if rule else ()
        reached = routing.reach(settings.services, installation.settings)
        graded = _grade(alert, settings, installation, tuple(reached.services.values()), rule)
        decided = decide(
            self._hooks,
            Question(
                alert=alert,
                action=self.name,
                installation=installation.name,
                rule=rule,
                services=tuple(service.name for service in installation.settings.services),
            ),
            Decision(severity=graded.severity, services=tuple(reached.services.values())),
        )
        if decided.suppression:
            return (decided.suppression,)
        if not decided.services:
            reason = routing.nobody(settings.services, installation)
            return (
                Suppression(self.name, installation.name, reason, rules=rules, notes=decided.notes),
            )
        follow_ups = tuple(
            later
            for later in (Operation.ACKNOWLEDGE, Operation.RESOLVE)
            if later in settings.event_actions
        )
        told: _Told | None = None
        deliveries = []
        services = routing.reach(decided.services, installation.settings).services
        for destination, service in services.items():
            if told is None or settings.has_words:
                speaker = Speaker(alert, rule=rule, service=service, installation=installation.name)
                told = _tell(alert, settings, installation.settings, decided, rule, speaker)
            deliveries.append(
                Delivery(
                    operation=operation,
                    ref=IncidentRef(self.name, installation.name, destination, told.key),
                    alert=alert.identity,
                    severity=Severity(event.SEVERITIES[decided.severity]),
                    message=told.message,
                    rules=rules,
                    repairs=(*alert.reported_repairs, *graded.repairs, *told.repairs),
                    notes=(*reached.notes, *graded.notes, *decided.notes, *told.notes),
                    follow_ups=follow_ups,
                )
            )
        return deliveries

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        """Make the acknowledge or resolve of an incident; a repeat is a trigger of its own."""
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
        """Check whether the key that opened an incident is held; a key that is not there may be.

        The address is one of PagerDuty's, or the account's: who can change the stored incident
        must not get the key sent to an address of their own.
        """
        service = installation.settings.service(incident.ref.destination)
        if service is None:
            return False
        if incident.handle and not _is_own(incident.handle, installation):
            return False
        held = [readable_fingerprint(key) for key in service.keys]
        return not incident.handle or None in held or incident.handle.get("key") in held

    def on_missed(self, opening: Delivery, closing: Delivery) -> Sequence[Delivery]:
        """Describe what becomes of a missed problem: what the rule said when it was planned."""
        wanted = opening.message.get(event.MISSED, PAGE)
        if wanted == DROP:
            return ()
        if wanted == CHANGE_EVENT:
            # neither held open nor followed up, and apart from what a rule records of the alert
            key = f"{opening.ref.correlation_key}#missed"
            change = attrs.evolve(
                opening,
                operation=Operation.RESOLVE,
                ref=attrs.evolve(opening.ref, action=Change.name, correlation_key=key),
                message=event.missed_change(opening.message),
                follow_ups=(),
                over=True,
            )
            return (change,)
        return (opening, closing)

    def expected_handle(
        self, delivery: Delivery, installation: Installation[InstallationSettings]
    ) -> Handle | None:
        """Name the newest key, under which an incident opens, and the region."""
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
            return posting.gone(delivery.ref.destination)
        routing_key, reason = posting.key_for(service, context.handle)
        if reason:
            return posting.misconfigured(service.name, reason)
        handle = context.handle or _handle(fingerprint(routing_key), installation)
        if not _is_own(handle, installation):
            reason = (
                f"opened the incident at {handle.get('url')}, which is not its address any more"
            )
            return posting.misconfigured(service.name, reason)
        body = event.body(
            delivery.operation,
            delivery.ref.correlation_key,
            delivery.message,
            routing_key=routing_key,
            context=context,
            over=delivery.over,
        )
        outcome = posting.post(
            self._client,
            f"{handle['url']}{PATH}",
            body,
            routing_key=routing_key,
            network=installation.settings.network,
            now=context.now,
        )
        return attrs.evolve(outcome, handle=handle)

    def probe(
        self, destination: Destination, installation: Installation[InstallationSettings]
    ) -> Outcome:
        """Try every key of a service by the resolve of an incident that nobody opened.

        PagerDuty takes it and drops it. That it tells an unknown key at once was seen, and is
        not documented.
        """
        service = installation.settings.service(destination.id)
        if service is None:
            return posting.gone(destination.id)
        outcome = Outcome(OutcomeKind.DELIVERED)
        for number, key in enumerate(service.keys, 1):
            outcome = self._probe(service, key, installation)
            if not outcome.delivered and len(service.keys) > 1:
                which = f"key {number} of {len(service.keys)}"
                outcome = attrs.evolve(outcome, reason=f"{which}: {outcome.reason}")
            if not outcome.delivered:
                break
        return outcome

    def _probe(
        self,
        service: ServiceSettings,
        key: Secret,
        installation: Installation[InstallationSettings],
    ) -> Outcome:
        routing_key, reason = posting.usable(key)
        if reason:
            return posting.misconfigured(service.name, reason)
        dedup_key = f"probe-{uuid.uuid4().hex}"
        body = event.body(
            Operation.RESOLVE, dedup_key, {}, routing_key=routing_key, context=SendContext()
        )
        url = f"{installation.settings.events_url}{PATH}"
        network = installation.settings.network
        outcome = posting.post(
            self._client, url, body, routing_key=routing_key, network=network, now=None
        )
        if outcome.kind is OutcomeKind.MISCONFIGURED and is_key_unknown(outcome.reason):
            # of a key that has the right shape, and may never have worked
            outcome = attrs.evolve(outcome, reason=f"{outcome.reason}; {_LOOK_ALIKE}")
        return outcome

    def settings_for(self, destination: Destination) -> TriggerSettings:
        """Page one service with all that the alert says."""
        return TriggerSettings(services=(destination.id,))

    def limits(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        handle: Handle | None = None,
    ) -> Sequence[Limit]:
        """Return the limit of the integration key under which it is sent.

        Raises:
            SecretUnavailableError: that key cannot be read.
        """
        return posting.limits(installation.settings, delivery.ref.destination, handle)

    def preview(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        context: SendContext,
    ) -> Preview:
        """Show the body, with the key's reference in the key's place."""
        service = installation.settings.service(delivery.ref.destination)
        url = (context.handle or {}).get("url", installation.settings.events_url)
        body = event.body(
            delivery.operation,
            delivery.ref.correlation_key,
            delivery.message,
            routing_key=posting.masked(service, context.handle),
            context=context,
            over=delivery.over,
        )
        return Preview(f"POST {url}{PATH}", body)


def _handle(key: str, installation: Installation[InstallationSettings]) -> Handle:
    return {"key": key, "url": installation.settings.events_url}


def _grade(
    alert: Alert,
    settings: TriggerSettings,
    installation: Installation[InstallationSettings],
    services: tuple[str, ...],
    rule: str,
) -> _Grade:
    """Return the severity of a rule: the alert's, a fixed one, or that of a template."""
    if settings.severity in SEVERITIES:
        return _Grade(Severity(settings.severity))
    if settings.severity == DEFAULT_SEVERITY or alert.status is not Status.FIRING:
        return _Grade(alert.severity)
    # one for all services, for extensions are asked once
    speaker = Speaker(alert, rule=rule, service=", ".join(services), installation=installation.name)
    severity, repairs = speaker.severity(settings.severity)
    return _Grade(severity, repairs, tuple(speaker.notes))


def _is_own(handle: Handle, installation: Installation[InstallationSettings]) -> bool:
    """Check that the address of a handle is one of PagerDuty's regions, or the account's."""
    return handle.get("url") in (installation.settings.events_url, *BASE_URLS.values())


def _tell(  # noqa: PLR0913, PLR0917 -- what there is to say, and of whom
    alert: Alert,
    settings: TriggerSettings,
    account: InstallationSettings,
    decided: Decision,
    rule: str,
    speaker: Speaker,
) -> _Told:
    """Make what a service is told: dedup key alone, but for a trigger."""
    if decided.dedup_key:
        key, repairs = event.said_dedup_key(decided.dedup_key, account.dedup_prefix)
    else:
        key, repairs = _dedup_key(alert, settings, account, rule, speaker)
    if alert.status is not Status.FIRING:
        return _Told(key, {}, repairs, tuple(speaker.notes))
    wording = speaker.trigger(settings) if settings.has_words else event.PLAIN
    built = event.build(alert, severity=decided.severity, key=key, wording=wording)
    enriched = enrich(built.message, decided.additions, event.room_for_message(key))
    missed = {} if settings.missed == PAGE else {event.MISSED: settings.missed}
    return _Told(
        key,
        {**enriched.message, **missed},
        (*repairs, *built.repairs, *enriched.repairs),
        (*speaker.notes, *enriched.notes),
    )


def _dedup_key(
    alert: Alert,
    settings: TriggerSettings,
    account: InstallationSettings,
    rule: str,
    speaker: Speaker,
) -> tuple[str, tuple[Repair, ...]]:
    prefix = account.dedup_prefix
    if settings.dedup_key == RULE_AND_ALERT_KEY:
        return event.dedup_key(alert.identity, prefix=prefix, rule=rule)
    if settings.dedup_key != ALERT_KEY and (said := speaker.dedup_key(settings.dedup_key)):
        return event.said_dedup_key(said, prefix)
    return event.dedup_key(alert.identity, prefix=prefix)
