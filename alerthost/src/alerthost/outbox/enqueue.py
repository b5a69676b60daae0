"""Puts deliveries in the line of their incident, and keeps the line short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend, delivery_store, incident_store, notifier
from alerthost.outbox import coalescing as line_of
from alerthost.outbox.coalescing import Coalesced, QueuedDelivery
from alerthost.outbox.retry_policy import DeliveryState, ProviderState
from alerthost.outbox.unit_of_work import UnitOfWork
from hostspec.delivery import Delivery, Operation

ELSEWHERE: Final = "another delivery says what it would have said"
UNTOLD: Final = "its problem was over before it could be told"
"""Why deliveries are superseded."""

ANEW: Final = "sent ahead of what fires again, in case what was sent before arrived late"
"""Why a resolve is not sent later, for a person."""

SETTLE: Final = 60.0
"""Seconds after which an incident that was in doubt is resolved again: whatever was on its
way has arrived by then."""

IN_DOUBT: Final = "sent again, in case what was sent before arrives late and opens it again"
"""Why a resolve is sent again, for a person."""


def enqueue(uow: UnitOfWork, new: QueuedDelivery, submission_id: str) -> None:
    """Put a delivery in the line of its incident, which it may open.

    Args:
        uow: the transaction.
        new: what comes.
        submission_id: of its statement.
    """
    delivery = new.delivery
    found = incident_store.find_open(uow.connection, delivery.ref)
    if found is None:
        found = incident_store.open_incident(uow, delivery, new.summary)
        waiting: tuple[QueuedDelivery, ...] = ()
        in_flight = False
    else:
        if delivery.operation is Operation.TRIGGER:
            new = attrs.evolve(new, repeat=_changes_nothing(uow.connection, found, delivery))
            _repeat(uow, found, new)
            delivery_store.expedite_confirmation(uow, found.id, ANEW)
        elif delivery.operation is Operation.RESOLVE:
            # firing again while the resolve waits, its alert holds the incident again
            incident_store.release(uow, found.id, delivery.alert)
        waiting, in_flight = delivery_store.find_queue(uow.connection, found.id)
    line = (*waiting, new)
    _write(uow, found, line, submission_id=submission_id, in_flight=in_flight)


def enqueue_repeats(uow: UnitOfWork, repeats: Sequence[tuple[QueuedDelivery, str]]) -> None:
    """Enqueue triggers of one incident, each superseded by the last.

    It comes to the same as to put them in one by one, for an action that coalesces: each is
    coalesced by the next.

    Args:
        uow: the transaction.
        repeats: the triggers of one alert at one place, with the ids of their submissions; they
            have the same rules and follow-ups.
    """
    *earlier, (last, submission_id) = repeats
    if earlier:
        first = incident_store.find_open(
            uow.connection, last.delivery.ref
        ) or incident_store.open_incident(uow, last.delivery, last.summary)
        notifier.coalesce_new(uow, first, earlier, ELSEWHERE)
    oldest = min(each.accepted_at for each, _ in repeats)
    speaker = attrs.evolve(last, coalesced=len(earlier), accepted_at=oldest)
    enqueue(uow, speaker, submission_id)


def reduce(
    uow: UnitOfWork, stored: incident_store.StoredIncident, provider_state: ProviderState
) -> None:
    """Reduce the line of an incident again: what was being sent is back in it, or gone.

    Args:
        uow: the transaction.
        stored: the incident.
        provider_state: what is known of it now.
    """
    waiting, in_flight = delivery_store.find_queue(uow.connection, stored.id)
    if not waiting or in_flight or stored.incident.ref.action not in uow.actions:
        return
    changed = attrs.evolve(stored, provider_state=provider_state)
    asked = delivery_store.find_submission_id(uow.connection, waiting[-1])
    _write(uow, changed, waiting, submission_id=asked, in_flight=False)


def end(
    uow: UnitOfWork,
    stored: incident_store.StoredIncident,
    provider_state: ProviderState,
    *,
    again: bool,
) -> None:
    """End an incident that nothing waits for, unless it may be open.

    Args:
        uow: the transaction.
        stored: the incident.
        provider_state: what is known of it now.
        again: resolve it again first, where something is in doubt.
    """
    if provider_state.may_be_open:
        return
    closing = None
    if again and provider_state.unconfirmed and uow.may_repeat(stored.incident.ref):
        closing = delivery_store.find_newest(uow.connection, stored.id, Operation.RESOLVE)
    if closing is None:
        incident_store.close_incident(uow, stored.id)
    else:
        resolve_again(uow, stored, closing)


def resolve_again(
    uow: UnitOfWork,
    stored: incident_store.StoredIncident,
    delivery: Delivery,
    *,
    in_flight: bool = False,
) -> None:
    """Resolve an incident again, when whatever was on its way has arrived."""
    line = [QueuedDelivery(delivery, accepted_at=uow.now)]
    due = uow.now + SETTLE
    delivery_store.write_queue(
        uow,
        stored,
        line,
        delivery_store.CONFIRMATION,
        in_flight=in_flight,
        due=due,
        reason=IN_DOUBT,
    )


def _write(
    uow: UnitOfWork,
    stored: incident_store.StoredIncident,
    waiting: tuple[QueuedDelivery, ...],
    *,
    submission_id: str,
    in_flight: bool,
) -> None:
    action = uow.actions.get(stored.incident.ref.action)
    if action is None:  # what another one recorded instead; who sends it says what is wrong
        line = Coalesced(waiting)
    else:
        line = line_of.reduce(waiting, stored.provider_state, action, in_flight=in_flight)
    for left, state, reason in (
        (line.coalesced, DeliveryState.COALESCED, ELSEWHERE),
        (line.dropped, DeliveryState.DISCARDED, UNTOLD),
    ):
        for each in left:
            number = each.id or delivery_store.insert(uow, stored, each, submission_id)
            notifier.drop(uow, number, state, reason)
    delivery_store.write_queue(uow, stored, line.kept, submission_id, in_flight=in_flight)
    for each in line.elsewhere:
        backend.lock(uow.connection, [each.delivery.ref])
        enqueue(uow, each, submission_id)
    if not line.kept and not in_flight and not stored.provider_state.may_be_open:
        incident_store.close_incident(uow, stored.id)


def _changes_nothing(
    connection: sa.Connection, found: incident_store.StoredIncident, delivery: Delivery
) -> bool:
    """Return whether a trigger is the same as the last one of the present episode."""
    if not found.provider_state.trigger_delivered:
        return False
    rows = delivery_store.find_queued_rows(connection, found.id)
    if any(row.operation == Operation.RESOLVE or row.worker_id is not None for row in rows):
        return False
    taken = delivery_store.find_delivered_triggers(connection, [found.id])
    return is_same(taken.get(found.id), delivery)


def is_same(taken: Delivery | None, delivery: Delivery) -> bool:
    """Return whether a trigger is the same as the last one that the provider took."""
    told = (taken.severity, taken.message) if taken else None
    return told == (delivery.severity, delivery.message)


def _repeat(uow: UnitOfWork, found: incident_store.StoredIncident, new: QueuedDelivery) -> None:
    """Add the alert, rules, severity and summary of a trigger to the incident."""
    incident_store.hold(uow, found.id, new.delivery.alert)
    incident_store.update_incidents(uow, {found.id: after_trigger(found, new)})


def after_trigger(
    found: incident_store.StoredIncident, new: QueuedDelivery
) -> Mapping[str, object]:
    """Return the rules, severity and summary of an incident after one more trigger."""
    incident, delivery = found.incident, new.delivery
    return {
        "severity": delivery.severity,
        "rules": incident_store.dump_texts((*incident.rules, *delivery.rules)),
        "follow_ups": incident_store.dump_texts((*incident.follow_ups, *delivery.follow_ups)),
        "summary": incident_store.shorten_summary(new.summary) or found.summary,
    }
