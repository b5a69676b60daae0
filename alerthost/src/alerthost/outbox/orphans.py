"""Orphaned incidents: the key that opened them is not configured any more.

Nothing is sent to them under another key. When the key is back they are resolved, unless another
incident is open for the same reference: that one ends first. One whose resolve was discarded by
hand, or given up, stays orphaned until the operator resolves or forgets it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import attempts, backend, delivery_store, incident_store, lane_store, notifier
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import QueuedDelivery
from alerthost.outbox.group_commit import log_afterwards
from alerthost.outbox.leasing import Lease, still_holds
from alerthost.outbox.retry_policy import DeliveryState
from alerthost.outbox.submission import new_id
from alerthost.store.tables import deliveries, incidents
from hostspec.alert import Alert, Identity, Status
from hostspec.delivery import Delivery, Operation, Outcome, OutcomeKind
from hostspec.errors import describe_error

_log = logging.getLogger("hostspec")

MOST: Final = 200
"""Most orphaned incidents that are read at once."""

DISCARDED_BY_HAND: Final = "discarded by hand"
"""Why the operator's discarded delivery is not sent."""

KEY_GONE: Final = "the key or address that opened the incident is not configured any more"
"""Why deliveries of an orphaned incident are not sent, for the operator."""

SENT_AGAIN: Final = (
    "sent again: the key that opened the incident is back, or the operator asked for it"
)
"""Why a delivery that was given up is sent after all, for the operator."""


def orphan(uow: UnitOfWork, lease: Lease) -> None:
    """Orphan an incident whose key is not configured any more; firing alerts open a new one."""
    if not still_holds(uow.connection, lease):
        return
    stored = incident_store.get(uow.connection, lease.incident.id)
    ref = stored.incident.ref
    log_afterwards(
        _log,
        logging.ERROR,
        "the incident %s at %s/%s is orphaned: %s",
        ref.correlation_key,
        ref.installation,
        ref.destination,
        KEY_GONE,
    )
    outcome = Outcome(OutcomeKind.MISCONFIGURED, KEY_GONE)
    rows = delivery_store.find_queued_rows(uow.connection, stored.id)
    for row in rows:
        sent = row.id == lease.id
        log = attempts.add_leased(row, outcome, lease.incident) if sent else row.attempt_log
        notifier.give_up(
            uow, row, DeliveryState.ORPHANED, outcome, lease.worker_id, attempt_log=log
        )
    incident_store.close_incident(uow, stored.id, orphaned=True)
    for row in rows:  # so that later submissions of their alerts find the incident
        incident_store.hold(uow, stored.id, delivery_store.delivery_of(row).alert)
    again = _reopening(uow.connection, stored, rows)
    if again:
        opening = again[0].delivery
        opened = incident_store.open_incident(uow, opening, stored.summary)
        for alert in stored.incident.holders:
            incident_store.hold(uow, opened.id, alert)
        if opening.alert not in stored.incident.holders:
            incident_store.release(uow, opened.id, opening.alert)
        delivery_store.write_queue(uow, opened, again, rows[-1].submission_id)
    lane_store.update(uow.connection, stored.lane_id, due=uow.now)


def _reopening(
    connection: sa.Connection, stored: incident_store.StoredIncident, rows: Sequence[sa.Row[Any]]
) -> tuple[QueuedDelivery, ...]:
    """Return the deliveries that open a new incident: of firing or unreported alerts."""
    queue = [attrs.evolve(delivery_store.queued_delivery_of(row), id=None) for row in rows]
    operations = [each.delivery.operation for each in queue]
    newest = max((n for n, each in enumerate(operations) if each is Operation.TRIGGER), default=-1)
    # a queued resolve ends the episode that was reported
    reported = (
        stored.provider_state.trigger_delivered
        and Operation.RESOLVE not in operations[: max(newest, 0)]
    )
    if newest >= 0 and (stored.incident.holders or not reported):
        return tuple(queue[newest:])
    opening = delivery_store.find_newest(connection, stored.id, Operation.TRIGGER)
    if stored.incident.holders and opening is not None:
        return (QueuedDelivery(opening, accepted_at=rows[0].accepted_at),)
    return ()


def find(connection: sa.Connection, after: int = 0) -> tuple[incident_store.StoredIncident, ...]:
    """Return orphaned incidents that recover automatically, in the order of their rows.

    No other incident is open for their reference, and the operator did not discard their resolve.
    """
    rows = connection.execute(_FREE, {"after": after, "most": MOST})
    return tuple(incident_store.incident_of(row) for row in rows)


def resolving(uow: UnitOfWork, stored: incident_store.StoredIncident) -> Delivery | None:
    """Return the resolve of an orphaned incident; None where its action cannot close it."""
    planned = delivery_store.find_newest(uow.connection, stored.id, Operation.RESOLVE)
    if planned is not None:
        return planned
    action = uow.actions.get(stored.incident.ref.action)
    if action is None or Operation.RESOLVE not in stored.incident.follow_ups:
        return None
    opening = delivery_store.find_newest(uow.connection, stored.id, Operation.TRIGGER)
    alert = opening.alert if opening else Identity("", stored.incident.ref.correlation_key)
    over = Alert(alert.key, scope=alert.scope, status=Status.RESOLVED)
    try:
        return action.follow_up(stored.incident, over)
    except BaseException as error:  # noqa: BLE001 -- one incident never costs the others
        _log.error("the action %s %s", action.name, describe_error(error))
        return None


def send(uow: UnitOfWork, stored: incident_store.StoredIncident, delivery: Delivery) -> str:
    """Queue a delivery to an orphaned incident; if its key is still gone, it is orphaned again.

    Return the id of its submission.
    """
    submission_id = new_id()
    given_up = sa.select(deliveries.c.id).where(
        deliveries.c.incident_id == stored.id,
        sa.or_(deliveries.c.state == DeliveryState.ORPHANED, _IS_GIVEN_UP_RESOLVE),
    )
    for number in uow.connection.execute(given_up).scalars().all():
        delivery_store.finish(uow, number, DeliveryState.COALESCED, reason=SENT_AGAIN)
    incident_store.release_all(uow.connection, stored.id)
    incident_store.update_incident(uow, stored.id, orphaned=False)
    queue = [QueuedDelivery(delivery, accepted_at=uow.now)]
    delivery_store.write_queue(uow, stored, queue, submission_id, reason=SENT_AGAIN)
    return submission_id


def orphan_again(uow: UnitOfWork, number: int, last: Delivery) -> None:
    """Orphan a recovering incident again, as its last follow-up did not close it."""
    recovers = sa.select(incidents.c.id).where(
        incidents.c.id == number, ~incidents.c.active, ~incidents.c.orphaned
    )
    if last.operation is not Operation.TRIGGER and uow.connection.execute(recovers).first():
        incident_store.update_incident(uow, number, orphaned=True)
        incident_store.hold(uow, number, last.alert)


def may_replay(row: sa.Row[Any]) -> bool:
    """Check whether a delivery to an orphaned incident may be queued again."""
    resolves = row.operation == Operation.RESOLVE
    by_hand = row.state == DeliveryState.DISCARDED and row.reason == DISCARDED_BY_HAND
    return row.state == DeliveryState.ORPHANED or (resolves and (by_hand or row.state in _GIVEN_UP))


def recover(uow: UnitOfWork, back: Sequence[incident_store.StoredIncident]) -> Sequence[str]:
    """Queue the resolves of orphaned incidents whose keys are back; return their submissions."""
    queued = []
    backend.lock(uow.connection, [each.incident.ref for each in back])
    for stored in back:
        which = sa.select(incidents.c.id).where(incidents.c.id == stored.id, _MAY_RECOVER)
        if uow.connection.execute(which).first() is None:
            continue
        delivery = resolving(uow, stored)
        if delivery is not None:
            queued.append(send(uow, stored, delivery))
    return queued


_GIVEN_UP: Final = (DeliveryState.REJECTED, DeliveryState.DEAD, DeliveryState.UNCERTAIN)
_IS_RESOLVE: Final = deliveries.c.operation == Operation.RESOLVE
_IS_GIVEN_UP_RESOLVE: Final = sa.and_(_IS_RESOLVE, deliveries.c.state.in_(_GIVEN_UP))
_WAS_DISCARDED_BY_HAND: Final = sa.and_(
    deliveries.c.state == DeliveryState.DISCARDED, deliveries.c.reason == DISCARDED_BY_HAND
)
_NEWEST_RESOLVE: Final = (
    sa.select(sa.or_(deliveries.c.state.in_(_GIVEN_UP), _WAS_DISCARDED_BY_HAND))
    .where(deliveries.c.incident_id == incidents.c.id, _IS_RESOLVE)
    .order_by(deliveries.c.id.desc())
    .limit(1)
    .correlate(incidents)
    .scalar_subquery()
)
_other: Final = incidents.alias("other")
_MAY_RECOVER: Final = sa.and_(
    incidents.c.orphaned,
    ~sa.select(_other.c.id).where(_other.c.active, _other.c.digest == incidents.c.digest).exists(),
    ~sa.func.coalesce(_NEWEST_RESOLVE, sa.false()),
)
_FREE: Final = (
    sa.select(incidents)
    .where(_MAY_RECOVER, incidents.c.id > sa.bindparam("after"))
    .order_by(incidents.c.id)
    .limit(sa.bindparam("most"))
)
