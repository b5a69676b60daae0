"""A ticket system: a ticket's id exists only after the create, and is needed to close it.

Creating twice makes two tickets, so repeats and updates become comments. There is no acknowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    Limit,
    Operation,
    Outcome,
    OutcomeKind,
    Provider,
    SendContext,
    Status,
    hookimpl,
    setting,
)
from hostspec_tickets.system import TicketSystem, UnknownTicketError


@attrs.frozen(kw_only=True)
class InstallationSettings:
    """A ticket system."""

    journal: str = setting("Journal", help="A file that gets a line of each change.", default="")


@attrs.frozen(kw_only=True)
class OpenSettings:
    """Where tickets are opened."""

    queue: str = setting("Queue", help="Whose work it is.", default="operations")


class Tickets(Provider[InstallationSettings]):
    """The ticket system."""

    name = "tickets"
    label = "Tickets"
    settings = InstallationSettings

    def destinations(
        self, installation: Installation[InstallationSettings]
    ) -> Sequence[Destination]:
        """Return none: a queue is created by its first ticket."""
        return []


class OpenTicket(Action[OpenSettings, InstallationSettings], DurableAction[InstallationSettings]):
    """Opens a ticket, comments on it, and closes it."""

    name = "tickets.open"
    label = "Open a ticket"
    provider = "tickets"
    settings = OpenSettings
    capabilities = Capabilities(resolve=True, update=True)

    def __init__(self) -> None:
        self.system = TicketSystem()

    def plan(
        self,
        alert: Alert,
        settings: OpenSettings,
        installation: Installation[InstallationSettings],
        *,
        rule: str = "",
    ) -> Sequence[Delivery]:
        """Open a ticket; follow-ups need its id."""
        if alert.status is not Status.FIRING:
            return ()
        ref = IncidentRef(self.name, installation.name, settings.queue, repr(alert.identity))
        return [_delivery(Operation.TRIGGER, ref, alert, (rule,) if rule else ())]

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        """Comment on a ticket that is open, or close it."""
        if alert.status is Status.ACKNOWLEDGED:
            return None
        resolved = alert.status is Status.RESOLVED
        operation = Operation.RESOLVE if resolved else Operation.UPDATE
        return _delivery(operation, incident.ref, alert, incident.rules)

    def send(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        context: SendContext,
    ) -> Outcome:
        """Send to the ticket system."""
        text = str(delivery.message["text"])
        journal = installation.settings.journal
        try:
            if delivery.operation is Operation.TRIGGER:
                ticket = self.system.create(delivery.ref.destination, text, journal)
                return Outcome(OutcomeKind.DELIVERED, handle={"ticket": ticket})
            ticket = str((context.handle or {})["ticket"])
            if delivery.operation is Operation.RESOLVE:
                self.system.close(ticket, journal)
            else:
                self.system.comment(ticket, text, journal)
        except (KeyError, UnknownTicketError) as error:
            return Outcome(OutcomeKind.REJECTED, f"there is no such open ticket: {error}")
        except OSError as error:
            reason = f"the journal cannot be written: {error.strerror}"
            return Outcome(OutcomeKind.MISCONFIGURED, reason)
        return Outcome(OutcomeKind.DELIVERED)

    def limits(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        handle: Handle | None = None,
    ) -> Sequence[Limit]:
        """Return the limit of the queue of a new ticket, or that of an existing ticket."""
        counted = handle["ticket"] if handle else delivery.ref.destination
        return [Limit(f"tickets:{installation.name}/{counted}", 60, 60.0)]


def _delivery(
    operation: Operation, ref: IncidentRef, alert: Alert, rules: tuple[str, ...]
) -> Delivery:
    text = f"{alert.severity}: {alert.summary}"
    return Delivery(operation, ref, alert.identity, alert.severity, {"text": text}, rules)


@hookimpl
def hostspec_providers() -> Sequence[Provider[Any]]:
    """Offer the provider ``tickets``."""
    return [Tickets()]


@hookimpl
def hostspec_actions() -> Sequence[AnyAction]:
    """Offer the action ``tickets.open``."""
    return [OpenTicket()]
