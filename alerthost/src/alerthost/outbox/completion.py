"""Completes leases: records outcomes, and confirms resolves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import (
    backend,
    delivery_store,
    enqueue,
    incident_store,
    lane_store,
    notifier,
    orphans,
    rate_limit_store,
)
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import QueuedDelivery
from alerthost.outbox.group_commit import log_afterwards
from alerthost.outbox.leasing import Lease, is_urgent, still_holds
from alerthost.outbox.retry_policy import (
    Decision,
    DeliveryState,
    LaneState,
    ProviderState,
    classify,
)
from alerthost.store.tables import deliveries, incidents
from hostspec.action import Limit
from hostspec.delivery import Operation, Outcome, OutcomeKind, Receipt

_log = logging.getLogger("hostspec")

ORPHANED: Final = "the key or address that opened the incident is not configured any more"
"""Why deliveries of an orphaned incident are not sent, for the operator."""


def complete(
    uow: UnitOfWork, lease: Lease, outcome: Outcome, *, arrived: bool, limits: Sequence[Limit]
) -> None:
    """Record the outcome of an attempt; if its lease was reclaimed, that it may have arrived."""
    backend.lock(uow.connection, [lease.delivery.ref])
    row = uow.connection.execute(_COMPLETED, {"number": lease.id}).first()
    if row is None:
        return
    stored = incident_store.incident_of(row)
    operation = lease.delivery.operation
    if row.worker_id != lease.worker_id or row.attempts != lease.attempt:
        if arrived and uow.may_repeat(lease.delivery.ref):
            handle = _handle_of(lease, outcome)
            _note_late(uow, row, lease, handle)
        return
    delivered = outcome.delivered
    confirms = lease.submission_id == delivery_store.CONFIRMATION and operation is Operation.RESOLVE
    provider_state = stored.provider_state.after(
        operation, delivered=delivered, may_have_arrived=arrived
    )
    if uow.is_record(lease.delivery.ref) and not stored.incident.follow_ups:
        provider_state = ProviderState()  # nothing is open, and nothing is to be recorded later
    elif confirms and delivered:
        provider_state = attrs.evolve(provider_state, unconfirmed=False)
    known = rate_limit_store.names_of(limits)
    decision, since = _decide(uow, lease, outcome, known=known)
    rate_limit_store.record_attempt(
        uow.connection,
        limits,
        uow.now,
        urgent=is_urgent(lease.delivery),
        taken=lease.budgets,
        taken_at=lease.leased_at,
        paused_until=decision.paused_until,
    )
    _record(uow, lease, outcome, decision, since)
    handle = _next_handle(lease, outcome, row.handle, arrived=arrived)
    if operation is Operation.RESOLVE and delivered and not provider_state.unconfirmed:
        handle = None  # the next episode opens under the newest key
    incident_store.record_provider_state(
        uow, stored.id, provider_state, handle=handle, budgets=known
    )
    if not delivered:
        enqueue.recoalesce(uow, stored, provider_state)
    if delivery_store.promote(uow, stored.id):
        return
    if provider_state.may_be_open:
        orphans.orphan_again(uow, stored.id, lease.delivery)
    elif delivered or not confirms:  # given up, it leaves the doubt to the operator
        enqueue.end(uow, stored, provider_state, again=True)


def _record(
    uow: UnitOfWork, lease: Lease, outcome: Outcome, decision: Decision, since: float
) -> None:
    """Record the outcome of an attempt with its delivery, and note it for observers."""
    result = {"outcome": outcome.kind, "reason": outcome.reason}
    if decision.state is DeliveryState.QUEUED:
        kept = {"worker_id": None, "lease_until": None, "due": decision.delivery_due, **result}
        kept |= {"failing_since": since, "own_failures": decision.own_failures}
        delivery_store.update(uow.connection, lease.id, **kept)
    else:
        delivery_store.finish(uow, lease.id, decision.state, **result)
        hook = notifier.DELIVERED if outcome.delivered else notifier.UNDELIVERED
        receipt = Receipt(lease.uid, lease.delivery, outcome, lease.attempt)
        notifier.record(uow.connection, hook, receipt, lease.worker_id)


def _decide(
    uow: UnitOfWork, lease: Lease, outcome: Outcome, *, known: str
) -> tuple[Decision, float]:
    """Decide the next step after an attempt, and record the state of its channel.

    Return also since when the delivery has failed like this.
    """
    lane = lease.incident.lane_id
    changes = {"budgets": known} if lease.incident.incident.handle is None else {}
    # first of all: the lock of the lane's row, under which its channels are read and written
    lane_store.update(uow.connection, lane, due=uow.now, **changes)
    channel = lane_store.find_channel(uow.connection, lane, lease.channel)
    same = outcome.kind is lease.last_outcome
    since = lease.failing_since if same else None
    since = lease.leased_at if since is None else since
    decision = classify(
        outcome,
        uow.now,
        attempts=lease.attempt,
        failures=channel.failures,
        own_failures=lease.own_failures if same else 0,
        others_get_through=_others_get_through(channel, lease, outcome, since, uow.now),
    )
    _note_channels(uow, lease, decision, outcome, known=known)
    return decision, since


_COMPLETED: Final = (
    sa.select(deliveries.c.worker_id, deliveries.c.attempts, incidents)
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .where(deliveries.c.id == sa.bindparam("number"))
)


def _next_handle(lease: Lease, outcome: Outcome, known: str | None, *, arrived: bool) -> str | None:
    """Return the handle of an incident after an attempt."""
    if arrived and known is None:
        return _handle_of(lease, outcome)
    opens = outcome.delivered and lease.delivery.operation is Operation.TRIGGER
    if opens and outcome.handle is not None:
        # another incident opened: the resolve of the previous one was rejected, say
        return incident_store.dump_handle(outcome.handle)
    return known


def _handle_of(lease: Lease, outcome: Outcome) -> str | None:
    """Return the stored form of the handle of an attempt; None where it is unknown."""
    known = lease.incident.incident.handle
    handle = outcome.handle if known is None else known
    return lease.expected_handle if handle is None else incident_store.dump_handle(handle)


def _note_late(uow: UnitOfWork, row: sa.Row[Any], lease: Lease, handle: str | None) -> None:
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


def orphan(uow: UnitOfWork, lease: Lease, reason: str) -> None:
    """Orphan an incident whose key is not configured any more; firing alerts open a new one."""
    backend.lock(uow.connection, [lease.delivery.ref])
    if not still_holds(uow.connection, lease):
        return
    stored = incident_store.get(uow.connection, lease.incident.id)
    outcome = Outcome(OutcomeKind.MISCONFIGURED, reason)
    rows = delivery_store.find_queued_rows(uow.connection, stored.id)
    for row in rows:
        notifier.give_up(uow, row, DeliveryState.ORPHANED, outcome, lease.worker_id)
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


def return_lease(uow: UnitOfWork, lease: Lease) -> None:
    """Return a lease whose attempt was not started."""
    backend.lock(uow.connection, [lease.delivery.ref])
    stored = incident_store.find(uow.connection, lease.incident.id)
    if stored and still_holds(uow.connection, lease):
        free = {"worker_id": None, "lease_until": None, "attempts": lease.attempt - 1}
        delivery_store.update(uow.connection, lease.id, **free)
        enqueue.recoalesce(uow, stored, stored.provider_state)
        delivery_store.promote(uow, lease.incident.id)


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


def _others_get_through(
    channel: lane_store.Channel, lease: Lease, outcome: Outcome, since: float, now: float
) -> bool:
    """Check whether other deliveries show that a failure is the delivery's own.

    They do if one got through since it began to fail like this, and none has failed since. A
    provider may fail to answer now and then: in this case one has to get through between two
    attempts.
    """
    before = lease.tried_at if outcome.kind is OutcomeKind.UNREACHABLE else since
    return not channel.failures and before < channel.last_success_at <= now


def _note_channels(
    uow: UnitOfWork, lease: Lease, decision: Decision, outcome: Outcome, *, known: str
) -> None:
    """Record in which state an attempt shows its channel to be.

    An attempt that opens an incident is evidence of follow-ups from the same budgets, too. One
    that fails under the credential of an open incident is no evidence of the newest credential.
    """
    if decision.lane is None:
        return
    lane = lease.incident.lane_id
    current = rate_limit_store.names_of_lane(uow.connection, lane) == known
    action = lease.delivery.ref.action
    used, opening = lane_store.channel_name(action, known), lane_store.channel_name(action)
    opens = lease.channel == opening
    if decision.lane is LaneState.HEALTHY:
        names = {lease.channel, used, *([opening] if current else ())}
        lane_store.note_success(uow.connection, lane, names, uow.now, delivered=outcome.delivered)
    else:
        lane_store.note_failure(
            uow.connection,
            lane,
            {lease.channel, used} if opens else {lease.channel},
            uow.now,
            state=decision.lane,
            reason=outcome.reason,
            due=decision.lane_due,
            first_due=decision.first_due,
        )
    if decision.lane is LaneState.HEALTHY or opens or current:
        state = LaneState.HEALTHY if decision.lane is LaneState.HEALTHY else LaneState.UNHEALTHY
        lane_store.update(uow.connection, lane, state=state)
