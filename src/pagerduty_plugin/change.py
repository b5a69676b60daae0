"""The action that records a change, such as a deploy, with one or several services.

It builds the change events, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hostspec import (
    Alert,
    Capabilities,
    Delivery,
    Image,
    Incident,
    IncidentRef,
    Installation,
    Json,
    Link,
    Outcome,
    Preview,
    SendContext,
    Status,
    Suppression,
)
from hostspec.normalisation import Repairs
from pagerduty_plugin import event, routing
from pagerduty_plugin.addresses import Addresses, link_member, link_to, present
from pagerduty_plugin.dedup_keys import dedup_key
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.routing import change_key_fault, masked_key, read_key
from pagerduty_plugin.settings import ChangeSettings, InstallationSettings
from pagerduty_plugin.text_overrides import EventText
from pagerduty_plugin.truncate import truncate_event

PATH: Final = "/v2/change/enqueue"
"""The path of the Events API v2 for change events."""


class Change(routing.ServiceAction[ChangeSettings]):
    """Records an alert as a change event, which notifies no one (guide "Send a Change Event").

    A change event has no dedup key: sent twice, it is recorded twice. Every firing is recorded.
    """

    name = "pagerduty.change"
    label = "Record a change at PagerDuty"
    settings = ChangeSettings
    capabilities = Capabilities(acknowledge=True, resolve=True, record=True)

    def __init__(self, client: Client | None = None) -> None:
        self._client = client or Client()

    def describe(
        self, settings: ChangeSettings, installation: Installation[InstallationSettings] | None
    ) -> str:
        """Return account and services in a sentence; a removed one is ``[removed]``."""
        account, services = routing.displayed(settings.services, installation)
        return f"Record a change at PagerDuty account {account} and services {services}"

    def plan(
        self,
        alert: Alert,
        settings: ChangeSettings,
        installation: Installation[InstallationSettings],
        *,
        rule: str = "",
    ) -> Sequence[Delivery | Suppression]:
        """Return one delivery for each service, if the rule records the alert's status."""
        if alert.status not in settings.statuses:
            return ()
        rules = (rule,) if rule else ()
        services, notes = routing.reach(settings.services, installation.settings)
        if not services:
            return self._suppressed(settings, installation, rules)
        key, _ = dedup_key(alert.identity)
        deliveries = []
        for destination, service in services.items():
            text = EventText(alert, rule=rule, service=service, installation=installation.name)
            firing = alert.status is Status.FIRING
            built = build_change(alert, text.change(settings) if firing else _later(alert))
            deliveries.append(
                Delivery(
                    operation=event.OPERATIONS[alert.status],
                    ref=IncidentRef(self.name, installation.name, destination, key),
                    alert=alert.identity,
                    severity=alert.severity,
                    message=built.message,
                    rules=rules,
                    repairs=(*alert.repairs, *built.repairs),
                    notes=(*notes, *text.notes),
                    follow_ups=event.follow_ups(
                        event.OPERATIONS[Status(status)] for status in settings.statuses
                    ),
                )
            )
        return deliveries

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        """Return the change event of a later status, with the alert's own texts."""
        if alert.status is Status.FIRING:
            return None
        built = build_change(alert, _later(alert))
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
            return routing.removed(delivery.ref.destination)
        routing_key, reason = read_key(service.keys[0], change_key_fault)
        if reason:
            return routing.misconfigured(service.name, reason)
        return self._client.enqueue(
            f"{installation.settings.events_url}{PATH}",
            change_body(delivery, routing_key=routing_key, context=context),
            network=installation.settings.network,
            now=context.now,
            idempotent=False,
        )

    def preview(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        context: SendContext,
    ) -> Preview:
        """Return the request with the reference of the key instead of the key."""
        service = installation.settings.service(delivery.ref.destination)
        body = change_body(delivery, routing_key=masked_key(service), context=context)
        return Preview(f"POST {installation.settings.events_url}{PATH}", body)


def _later(alert: Alert) -> event.TextOverrides:
    return event.TextOverrides(summary=f"{alert.status.capitalize()}: {alert.summary}")


def build_change(alert: Alert, texts: event.TextOverrides = event.NO_OVERRIDES) -> event.Event:
    """Return the change event of an alert, within the limits of the guide "Send a Change Event".

    Images become links: they are in PagerDuty's schema, but not in its guide.
    """
    repairs = Repairs()
    addresses = Addresses(repairs)
    url = addresses.first(("url", alert.url))
    links = [link_member(Link(url))] if url else []
    links += addresses.links((*alert.links, *texts.links))
    for index, image in addresses.images((*alert.images, *texts.images)):
        links.append(link_to(image))
        repairs.add(f"images[{index}]", "a change event has no images; became a link")
    payload = {
        "summary": event.short_summary(texts.summary or alert.summary, repairs),
        "source": texts.source or alert.source,
        "timestamp": event.timestamp(alert.started_at),
        "custom_details": event.custom_details(alert, texts.details, addresses.unusable, repairs),
    }
    message = present({"payload": present(payload), "links": links})
    fitted, cuts = truncate_event(message, event.LARGEST_BODY - event.RESERVED_BYTES)
    return event.Event(fitted, (*repairs.as_tuple(), *cuts))


def missed_change(message: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the change event for a missed problem, from the message of its trigger."""
    trigger: dict[str, Any] = {"client_url": "", "links": (), "images": (), **message}
    images = [Image(image["src"], alt=image.get("alt", "")) for image in trigger["images"]]
    url = [Link(trigger["client_url"])] if trigger["client_url"] else []
    links = (*map(link_member, url), *trigger["links"], *map(link_to, images))
    names = ("summary", "source", "timestamp", "custom_details")
    payload = {name: value for name, value in trigger["payload"].items() if name in names}
    fitted, _ = truncate_event(
        present({"payload": payload, "links": links}), event.LARGEST_BODY - event.RESERVED_BYTES
    )
    return fitted


def change_body(delivery: Delivery, *, routing_key: str, context: SendContext) -> dict[str, Any]:
    """Return the body of one attempt to record a change."""
    posted = {"routing_key": routing_key, **delivery.message}
    return event.with_report(posted, context, over=delivery.over)
