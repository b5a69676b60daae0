"""Records attempts that may have arrived after their leases were reclaimed."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa

from alerthost.outbox import delivery_store, enqueue, incident_store, rate_limit_store
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.group_commit import log_afterwards
from alerthost.outbox.leasing import Lease
from hostspec.delivery import Operation

_log = logging.getLogger("hostspec")


def note(uow: UnitOfWork, row: sa.Row[Any], lease: Lease, handle: str | None) -> None:
    """Record that an attempt may have arrived after its lease was reclaimed.

    A late trigger may have reopened a closed incident, which is then resolved again. Where
    another incident was opened under another key meanwhile, the late one is orphaned. An orphaned
    incident stays orphaned, and a queued resolve covers the late trigger.
    """
    stored = incident_store.incident_of(row)
    operation = lease.delivery.operation
    opened = operation is Operation.TRIGGER
    if row.orphaned or (
        not row.active and delivery_store.find_queued_rows(uow.connection, stored.id)
    ):
        provider_state = stored.provider_state.after(
            operation, delivered=False, may_have_arrived=True
        )
        incident_store.record_provider_state(uow, stored.id, provider_state)
        return
    current = (
        stored if row.active else incident_store.find_open(uow.connection, stored.incident.ref)
    )
    if current is None:
        closing = delivery_store.find_newest(uow.connection, stored.id, Operation.RESOLVE)
        if not opened or closing is None:
            return
        incident_store.update_incident(uow, stored.id, active=True)
        current = stored
    under = _opens_under(uow.connection, current)
    if opened and handle is not None and under not in {None, handle}:
        log_afterwards(
            _log,
            logging.ERROR,
            "the incident %s at %s/%s is orphaned: its trigger may have arrived late, and another"
            " incident is open under another key",
            current.incident.ref.correlation_key,
            current.incident.ref.installation,
            current.incident.ref.destination,
        )
        beside = incident_store.open_incident(
            uow, lease.delivery, stored.summary, active=False, handle=handle
        )
        incident_store.close_incident(uow, beside.id, orphaned=True)
        return
    provider_state = current.provider_state.after(operation, delivered=False, may_have_arrived=True)
    opens = opened and current.incident.handle is None
    budgets = rate_limit_store.names_of_lane(uow.connection, current.lane_id)
    kept = {"handle": handle, "budgets": budgets} if opens else {}
    incident_store.record_provider_state(uow, current.id, provider_state, **kept)
    held = incident_store.find(uow.connection, current.id)
    waiting, in_flight = delivery_store.find_queue(uow.connection, current.id)
    closing = delivery_store.find_newest(uow.connection, current.id, Operation.RESOLVE)
    if opened and closing is not None and held and not held.incident.holders and not waiting:
        enqueue.confirm_resolve(uow, current, closing, in_flight=in_flight)


def _opens_under(connection: sa.Connection, stored: incident_store.StoredIncident) -> str | None:
    """Return the handle that an incident has, or is being given; None for neither."""
    handle = stored.incident.handle
    if handle is not None:
        return incident_store.dump_handle(handle)
    rows = delivery_store.find_queued_rows(connection, stored.id)
    return next((row.expected_handle for row in rows if row.worker_id is not None), None)
