"""Adds single deliveries to the queue of their incident, and ends incidents."""

from __future__ import annotations

from typing import Final

import attrs

from alerthost.outbox import delivery_store, incident_store
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import QueuedDelivery
from alerthost.outbox.incident_store import StoredIncident
from alerthost.outbox.queues import Queues
from alerthost.outbox.retry_policy import ProviderState
from hostspec.delivery import Delivery, Operation

CONFIRM_AFTER: Final = 60.0
"""Seconds after which an unconfirmed incident gets a confirming resolve: any earlier message has
arrived until then."""

CONFIRMS: Final = "sent again, in case an earlier delivery arrives late and reopens the incident"
"""Why a confirming resolve is sent, for the operator."""


def add(uow: UnitOfWork, new: QueuedDelivery, submission_id: str) -> None:
    """Add a delivery to the queue of its incident; open the incident if necessary."""
    queues = Queues(uow)
    queues.load((), [new.delivery.ref])
    queues.add(new, submission_id)
    queues.write()


def recoalesce(uow: UnitOfWork, stored: StoredIncident, provider_state: ProviderState) -> None:
    """Coalesce the queue of an incident again, after an attempt has ended."""
    if stored.incident.ref.action in uow.actions:
        queues = Queues(uow)
        queues.recoalesce(attrs.evolve(stored, provider_state=provider_state))
        queues.write()


def end(
    uow: UnitOfWork, stored: StoredIncident, provider_state: ProviderState, *, again: bool
) -> None:
    """End an incident without queued deliveries, unless it may be open at the provider.

    Args:
        uow: the transaction.
        stored: the incident.
        provider_state: what the provider may know of it.
        again: send a confirming resolve first, if an attempt is unconfirmed.
    """
    if provider_state.may_be_open:
        return
    closing = None
    if again and provider_state.unconfirmed and uow.may_repeat(stored.incident.ref.action):
        closing = delivery_store.find_newest(uow.connection, stored.id, Operation.RESOLVE)
    if closing is None:
        incident_store.close_incident(uow, stored.id)
    else:
        confirm_resolve(uow, stored, closing)


def confirm_resolve(
    uow: UnitOfWork, stored: StoredIncident, delivery: Delivery, *, in_flight: bool = False
) -> None:
    """Queue the confirming resolve of an incident: sent when no attempt can arrive any more."""
    delivery_store.write_queue(
        uow,
        stored,
        [QueuedDelivery(delivery, accepted_at=uow.now)],
        delivery_store.CONFIRMATION,
        in_flight=in_flight,
        due=uow.now + CONFIRM_AFTER,
        reason=CONFIRMS,
    )
