"""Reclaims the leases of dead workers, and those that ran out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import (
    backend,
    channels,
    delivery_store,
    enqueue,
    incident_store,
    notifier,
    orphans,
    rate_limit_store,
)
from alerthost.outbox.leasing import schedule_lane
from alerthost.outbox.retry_policy import FIRST_RETRY, DeliveryState, LaneState
from alerthost.outbox.unit_of_work import UnitOfWork
from alerthost.store.tables import deliveries, incidents, lanes
from hostspec.delivery import IncidentRef, Operation, Outcome, OutcomeKind, Receipt


@attrs.frozen
class HeldLease:
    """A lease in force.

    Attributes:
        id: of the delivery.
        worker_id: the worker that held the lease.
        attempts: number of the attempt.
        ref: of its incident.
        lane_id: the row of its lane.
        lease_until: when it runs out.
    """

    id: int
    worker_id: str
    attempts: int
    ref: IncidentRef
    lane_id: int
    lease_until: float


def held_leases(connection: sa.Connection) -> tuple[HeldLease, ...]:
    """Return all leases in force."""
    return tuple(
        HeldLease(
            row.id,
            row.worker_id,
            row.attempts,
            IncidentRef(row.action, row.installation, row.destination, row.correlation_key),
            row.lane_id,
            row.lease_until,
        )
        for row in connection.execute(_HELD_LEASES)
    )


def reclaim_leases(uow: UnitOfWork, lost: Sequence[HeldLease], worker_id: str) -> int:
    """Queue the deliveries of lost leases again; their attempts may have arrived.

    Args:
        uow: the transaction.
        lost: leases of dead workers, and leases that ran out.
        worker_id: the worker that notifies the observers.

    Returns:
        how many there were.
    """
    taken = 0
    backend.lock(uow.connection, [each.ref for each in lost])
    for each in sorted(lost, key=lambda each: each.lane_id):
        row = uow.connection.execute(
            sa.select(deliveries).where(deliveries.c.id == each.id)
        ).first()
        if row is None or (row.worker_id, row.attempts) != (each.worker_id, each.attempts):
            continue
        taken += 1
        stored = incident_store.find(uow.connection, row.incident_id)
        assert stored is not None  # noqa: S101 -- its delivery is there
        reason = "the process that was sending it is gone"
        if uow.may_repeat(stored.incident.ref):
            free = {"worker_id": None, "lease_until": None, "due": uow.now, "reason": reason}
            uow.connection.execute(sa.update(deliveries).where(deliveries.c.id == row.id), free)
        else:
            outcome = Outcome(OutcomeKind.UNCERTAIN, reason)
            result = {"outcome": outcome.kind, "reason": reason}
            delivery_store.finish(uow, row.id, DeliveryState.UNCERTAIN, **result)
            receipt = Receipt(row.uid, delivery_store.delivery_of(row), outcome, row.attempts)
            notifier.record(uow.connection, notifier.UNDELIVERED, receipt, worker_id)
        provider_state = stored.provider_state.after(
            Operation(row.operation), delivered=False, may_have_arrived=True
        )
        opens = stored.incident.handle is None
        budgets = rate_limit_store.names_of_lane(uow.connection, stored.lane_id)
        kept = {"handle": row.expected_handle, "budgets": budgets} if opens else {}
        incident_store.record_provider_state(uow, stored.id, provider_state, **kept)
        enqueue.recoalesce(uow, stored, provider_state)
        waits = delivery_store.promote(uow, stored.id)
        if not waits and provider_state.may_be_open:
            orphans.orphan_again(uow, stored.id, delivery_store.delivery_of(row))
        elif not waits:
            incident_store.close_incident(uow, stored.id)
        if row.lease_until is not None and row.lease_until <= uow.now:
            _note_hanging(uow, stored)
        else:
            schedule_lane(uow.connection, stored.lane_id, uow.now)
    return taken


def _note_hanging(uow: UnitOfWork, stored: incident_store.StoredIncident) -> None:
    """Record that attempts in a channel hang: others must not wait for it."""
    hanging = {"state": LaneState.UNHEALTHY, "due": uow.now}
    uow.connection.execute(sa.update(lanes).where(lanes.c.id == stored.lane_id), hanging)
    due = uow.now + FIRST_RETRY
    channels.note_failure(
        uow.connection,
        stored.lane_id,
        [channels.of_incident(uow.connection, stored.id)],
        uow.now,
        state=LaneState.UNHEALTHY,
        reason="an attempt took longer than its lease",
        due=due,
        first_due=due,
    )


_HELD_LEASES: Final = (
    sa.select(
        *(deliveries.c[name] for name in ("id", "worker_id", "attempts", "lease_until", "lane_id")),
        *(incidents.c[each.name] for each in attrs.fields(IncidentRef)),
    )
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .where(deliveries.c.worker_id.is_not(None))
)
