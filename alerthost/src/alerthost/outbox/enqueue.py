"""Adds deliveries to the queue of their incident, and keeps the queue coalesced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend, delivery_store, incident_store, notifier
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import Coalesced, QueuedDelivery, coalesce_queue
from alerthost.outbox.incident_store import StoredIncident
from alerthost.outbox.retry_policy import DeliveryState, ProviderState
from alerthost.store.tables import deliveries
from hostspec.delivery import Delivery, Operation

SUPERSEDED: Final = "superseded by another delivery of the same incident"
NEVER_SENT: Final = "its problem was over before it was sent"
"""Why queued deliveries are not sent."""

CONFIRM_AFTER: Final = 60.0
"""Seconds after which an unconfirmed incident gets a confirming resolve: any earlier message has
arrived until then."""

CONFIRMS: Final = "sent again, in case an earlier delivery arrives late and reopens the incident"
CONFIRMS_EARLY: Final = (
    "sent early, since the alert fires again and an earlier delivery may have arrived late"
)
"""Why a confirming resolve is sent, for the operator."""


def add(uow: UnitOfWork, new: QueuedDelivery, submission_id: str) -> None:
    """Add a delivery to the queue of its incident; open the incident if necessary."""
    delivery = new.delivery
    found = incident_store.find_open(uow.connection, delivery.ref)
    if found is None:
        found = incident_store.open_incident(uow, delivery, new.summary)
        queue: tuple[QueuedDelivery, ...] = ()
        in_flight = False
    else:
        if delivery.operation is Operation.TRIGGER:
            incident_store.hold(uow, found.id, delivery.alert)
            changes = incident_store.after_trigger(found, new)
            incident_store.update_incident(uow, found.id, **changes)
            delivery_store.expedite_confirmation(uow, found.id, CONFIRMS_EARLY)
        elif delivery.operation is Operation.RESOLVE:
            # the alert may have fired again while an earlier resolve was queued
            incident_store.release(uow, found.id, delivery.alert)
        queue, in_flight = delivery_store.find_queue(uow.connection, found.id)
        if delivery.operation is Operation.TRIGGER:
            resolves = any(each.delivery.operation is Operation.RESOLVE for each in queue)
            repeat = not (in_flight or resolves) and is_repeat(
                found,
                delivery,
                lambda: delivery_store.find_delivered_triggers(uow.connection, [found.id]),
            )
            new = attrs.evolve(new, repeat=repeat)
    _write(uow, found, (*queue, new), submission_id=submission_id, in_flight=in_flight)


def add_repeats(uow: UnitOfWork, repeats: Sequence[tuple[QueuedDelivery, str]]) -> None:
    """Add triggers of one incident, each superseded by the next.

    The result is that of `add` for each, if the action coalesces.

    Args:
        uow: the transaction.
        repeats: two or more triggers of one alert with the same rules and follow-ups, each with
            the id of its submission.
    """
    *earlier, (last, submission_id) = repeats
    incident = incident_store.find_open(uow.connection, last.delivery.ref)
    incident = incident or incident_store.open_incident(uow, last.delivery, last.summary)
    notifier.end_new(uow, incident, earlier, DeliveryState.COALESCED, SUPERSEDED)
    oldest = min(each.accepted_at for each, _ in repeats)
    add(uow, attrs.evolve(last, coalesced=len(earlier), accepted_at=oldest), submission_id)


def recoalesce(uow: UnitOfWork, stored: StoredIncident, provider_state: ProviderState) -> None:
    """Coalesce the queue of an incident again, after an attempt has ended."""
    queue, in_flight = delivery_store.find_queue(uow.connection, stored.id)
    if not queue or in_flight or stored.incident.ref.action not in uow.actions:
        return
    changed = attrs.evolve(stored, provider_state=provider_state)
    last = sa.select(deliveries.c.submission_id).where(deliveries.c.id == queue[-1].id)
    submission_id = uow.connection.execute(last).scalar_one()
    _write(uow, changed, queue, submission_id=submission_id, in_flight=False)


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
    if again and provider_state.unconfirmed and uow.may_repeat(stored.incident.ref):
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


def _write(
    uow: UnitOfWork,
    stored: StoredIncident,
    queue: tuple[QueuedDelivery, ...],
    *,
    submission_id: str,
    in_flight: bool,
) -> None:
    action = uow.actions.get(stored.incident.ref.action)
    if action is None:  # the attempt reports the missing action
        result = Coalesced(queue)
    else:
        result = coalesce_queue(queue, stored.provider_state, action, in_flight=in_flight)
    for ended, state, reason in (
        (result.coalesced, DeliveryState.COALESCED, SUPERSEDED),
        (result.discarded, DeliveryState.DISCARDED, NEVER_SENT),
    ):
        for each in ended:
            if each.id is None:
                notifier.end_new(uow, stored, [(each, submission_id)], state, reason)
            else:
                notifier.end_unsent(uow, each.id, state, reason)
    delivery_store.write_queue(uow, stored, result.kept, submission_id, in_flight=in_flight)
    for each in result.redirected:
        backend.lock(uow.connection, [each.delivery.ref])
        add(uow, each, submission_id)
    if not result.kept and not in_flight and not stored.provider_state.may_be_open:
        incident_store.close_incident(uow, stored.id)


def is_repeat(
    found: StoredIncident, delivery: Delivery, find_delivered: Callable[[], Mapping[int, Delivery]]
) -> bool:
    """Check that a trigger equals the last one delivered since its incident was opened.

    Args:
        found: the incident; no resolve of it is queued, and nothing is in flight.
        delivery: the trigger.
        find_delivered: returns the newest delivered trigger of incidents, given by their rows.
    """
    if not found.provider_state.trigger_delivered:
        return False
    last = find_delivered().get(found.id)
    known = (last.severity, last.message) if last else None
    return known == (delivery.severity, delivery.message)
