"""Completes leases: records outcomes, and confirms resolves."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import (
    attempts,
    backend,
    delivery_store,
    enqueue,
    incident_store,
    lane_store,
    late_attempts,
    notifier,
    orphans,
    rate_limit_store,
)
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.leasing import Lease, still_holds
from alerthost.outbox.rate_limit_store import RateLimits, load_limits
from alerthost.outbox.results import EndedAttempt, OrphaningLease, Result, UnusedLease
from alerthost.outbox.retry_policy import (
    Decision,
    DeliveryState,
    LaneState,
    ProviderState,
    classify,
)
from alerthost.outbox.selection import is_urgent
from alerthost.store.tables import deliveries, incidents
from hostspec.delivery import Operation, Outcome, OutcomeKind

_log = logging.getLogger("hostspec")


def complete(uow: UnitOfWork, results: Sequence[Result]) -> None:
    """Complete leases, in order."""
    # of all, since the rows of lanes are locked after those of incidents
    backend.lock(uow.connection, [each.lease.delivery.ref for each in results])
    for _, together in itertools.groupby(results, key=type):
        several = tuple(together)
        if ended := [each for each in several if isinstance(each, EndedAttempt)]:
            record_attempts(uow, ended)
        if unused := [each for each in several if isinstance(each, UnusedLease)]:
            return_leases(uow, unused)
        for each in several:
            if isinstance(each, OrphaningLease):
                orphans.orphan(attrs.evolve(uow, now=each.at), each.lease)


def record_attempts(uow: UnitOfWork, ended: Sequence[EndedAttempt]) -> None:
    """Record the outcomes of attempts, in order; consecutive delivered ones together.

    If the lease of one was reclaimed, it is recorded that it may have arrived.
    """
    which = {"numbers": [each.lease.id for each in ended]}
    rows = {row.number: row for row in uow.connection.execute(_ATTEMPTED, which)}
    pairs = [(each, rows[each.lease.id]) for each in ended if each.lease.id in rows]
    late = [pair for pair in pairs if not _is_held(*pair)]
    for each, row in late:
        log = attempts.add(row.attempt_log, each.past)
        delivery_store.update(uow.connection, row.number, attempt_log=log)
        if each.arrived and uow.may_repeat(each.lease.delivery.ref.action):
            late_attempts.note(uow, row, each.lease, _handle_of(each.lease, each.outcome))
    if late:  # another attempt may be about the same incident
        rows = {row.number: row for row in uow.connection.execute(_ATTEMPTED, which)}
    held = [(each, rows[each.lease.id]) for each, row in pairs if _is_held(each, row)]
    for delivered, together in itertools.groupby(held, key=lambda pair: pair[0].delivered):
        if delivered:
            several = tuple(together)
            latest = max(each.at for each, _ in several)
            _complete_delivered(attrs.evolve(uow, now=latest), several)
        else:
            for each, row in together:
                _complete_undelivered(attrs.evolve(uow, now=each.at), each, row)


def _is_held(ended: EndedAttempt, row: sa.Row[Any]) -> bool:
    """Check that the lease of an attempt was not reclaimed."""
    lease = ended.lease
    return bool((row.worker_id, row.attempts) == (lease.worker_id, lease.attempt))


_ATTEMPTED: Final = (
    sa.select(
        deliveries.c.id.label("number"),
        deliveries.c.worker_id,
        deliveries.c.attempts,
        deliveries.c.attempt_log,
        incidents,
    )
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .where(deliveries.c.id.in_(sa.bindparam("numbers", expanding=True)))
)


def _complete_delivered(uow: UnitOfWork, held: Sequence[tuple[EndedAttempt, sa.Row[Any]]]) -> None:
    """Complete deliveries of different incidents, which the provider accepted."""
    ended = [each for each, _ in held]
    # first of all: the locks of the lanes, under which their channels are read and written
    lane_store.note_delivered(uow, [each.evidence for each in ended])
    limits = load_limits(uow.connection, (limit for each in ended for limit in each.limits))
    for each in ended:
        _count(limits, each)
    limits.save()
    delivery_store.finish_delivered(
        uow,
        [
            (each.lease.id, each.outcome, each.at, attempts.add(row.attempt_log, each.past))
            for each, row in held
        ],
    )
    if uow.observes_delivered:
        for worker_id, several in itertools.groupby(ended, key=lambda each: each.lease.worker_id):
            reported = [each.reported for each in several]
            notifier.record(uow.connection, notifier.DELIVERED, reported, worker_id)
    changes = {row.id: _change_of(uow, each, row) for each, row in held}
    incident_store.record_provider_changes(uow, changes)
    waiting = delivery_store.promote(uow, *changes)
    over = []
    for each, row in held:
        state = changes[row.id].state
        if row.id in waiting:
            continue
        if state.may_be_open:
            if not row.active:
                orphans.orphan_again(uow, row.id, each.lease.delivery)
        elif state.unconfirmed:
            enqueue.end(uow, incident_store.incident_of(row), state, again=True)
        else:
            over.append(row.id)
    incident_store.close_incidents(uow, over)


def _complete_undelivered(uow: UnitOfWork, ended: EndedAttempt, row: sa.Row[Any]) -> None:
    """Complete an attempt that failed, or that the provider rejected."""
    stored = incident_store.incident_of(row)
    lease = ended.lease
    decision, since = _decide(uow, ended)
    limits = load_limits(uow.connection, ended.limits)
    _count(limits, ended, paused_until=decision.paused_until)
    limits.save()
    log = attempts.add(row.attempt_log, ended.past)
    _record(uow, ended, decision, since, log)
    change = _change_of(uow, ended, row)
    incident_store.record_provider_changes(uow, {stored.id: change})
    enqueue.recoalesce(uow, stored, change.state)
    if delivery_store.promote(uow, stored.id):
        return
    if change.state.may_be_open:
        orphans.orphan_again(uow, stored.id, lease.delivery)
    elif not _confirms(lease):  # given up, it leaves the doubt to the operator
        enqueue.end(uow, stored, change.state, again=True)


def _confirms(lease: Lease) -> bool:
    resolves = lease.delivery.operation is Operation.RESOLVE
    return resolves and lease.submission_id == delivery_store.CONFIRMATION


def _count(limits: RateLimits, ended: EndedAttempt, *, paused_until: float = 0.0) -> None:
    """Count an attempt against its budgets."""
    lease = ended.lease
    limits.record_attempt(
        ended.limits,
        ended.at,
        urgent=is_urgent(lease.delivery),
        taken=lease.budgets,
        taken_at=lease.leased_at,
        paused_until=paused_until,
    )


def _change_of(
    uow: UnitOfWork, ended: EndedAttempt, row: sa.Row[Any]
) -> incident_store.ProviderChange:
    """Return the known state of an incident at its provider after an attempt."""
    lease, operation = ended.lease, ended.lease.delivery.operation
    state = incident_store.provider_state_of(row).after(
        operation, delivered=ended.delivered, may_have_arrived=ended.arrived
    )
    if uow.is_record(lease.delivery.ref.action) and not json.loads(row.follow_ups):
        state = ProviderState()  # nothing is open, and nothing is to be recorded later
    elif _confirms(lease) and ended.delivered:
        state = attrs.evolve(state, unconfirmed=False)
    handle = _next_handle(ended, row.handle)
    if operation is Operation.RESOLVE and ended.delivered and not state.unconfirmed:
        handle = None  # the next episode opens under the newest key
    return incident_store.ProviderChange(state, handle, ended.budgets)


def _record(
    uow: UnitOfWork, ended: EndedAttempt, decision: Decision, since: float, log: str
) -> None:
    """Record the outcome of an attempt with its delivery, and note it for observers."""
    lease, outcome = ended.lease, ended.outcome
    result = {"outcome": outcome.kind, "reason": outcome.reason, "attempt_log": log}
    if decision.state is DeliveryState.QUEUED:
        kept = {"worker_id": None, "lease_until": None, "due": decision.delivery_due, **result}
        kept |= {"failing_since": since, "own_failures": decision.own_failures}
        delivery_store.update(uow.connection, lease.id, **kept)
    else:
        delivery_store.finish(uow, lease.id, decision.state, **result)
        notifier.record(uow.connection, notifier.UNDELIVERED, [ended.reported], lease.worker_id)


def _decide(uow: UnitOfWork, ended: EndedAttempt) -> tuple[Decision, float]:
    """Decide the next step after an attempt, and record the state of its channel.

    Return also since when the delivery has failed like this.
    """
    lease, outcome = ended.lease, ended.outcome
    evidence = ended.evidence
    changes = {"budgets": ended.budgets} if evidence.opens else {}
    # first of all: the lock of the lane's row, under which its channels are read and written
    lane_store.update(uow.connection, evidence.lane, due=uow.now, **changes)
    channel = lane_store.find_channel(uow.connection, evidence.lane, lease.channel)
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
    _note_channels(uow, evidence, decision, outcome)
    return decision, since


def _next_handle(ended: EndedAttempt, known: str | None) -> str | None:
    """Return the handle of an incident after an attempt."""
    lease, outcome = ended.lease, ended.outcome
    if ended.arrived and known is None:
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


def return_leases(uow: UnitOfWork, unused: Sequence[UnusedLease]) -> None:
    """Return leases whose attempts were not started, and do not count them against budgets."""
    returned = [each for each in unused if _return(attrs.evolve(uow, now=each.at), each.lease)]
    limits = RateLimits(uow.connection)
    limits.load(name for each in returned for name in each.lease.budgets)
    for lease in (each.lease for each in returned):
        limits.give_back(lease.budgets, lease.leased_at, urgent=is_urgent(lease.delivery))
    limits.save()


def _return(uow: UnitOfWork, lease: Lease) -> bool:
    """Return a lease, unless it was reclaimed."""
    stored = incident_store.find(uow.connection, lease.incident.id)
    if stored is None or not still_holds(uow.connection, lease):
        return False
    free = {"worker_id": None, "lease_until": None, "attempts": lease.attempt - 1}
    delivery_store.update(uow.connection, lease.id, **free)
    enqueue.recoalesce(uow, stored, stored.provider_state)
    delivery_store.promote(uow, lease.incident.id)
    return True


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
    uow: UnitOfWork, evidence: lane_store.Evidence, decision: Decision, outcome: Outcome
) -> None:
    """Record in which state an attempt shows its channel to be.

    An attempt that opens an incident is evidence of follow-ups from the same budgets, too. One
    that fails under the credential of an open incident is no evidence of the newest credential.
    """
    if decision.lane is None:
        return
    lane, connection = evidence.lane, uow.connection
    newest = rate_limit_store.names_of_lane(connection, lane)
    if decision.lane is LaneState.HEALTHY:
        names = evidence.channels(newest)
        lane_store.note_success(connection, lane, names, uow.now, delivered=outcome.delivered)
        lane_store.update(connection, lane, state=LaneState.HEALTHY)
        return
    used = lane_store.channel_name(evidence.action, evidence.budgets)
    lane_store.note_failure(
        connection,
        lane,
        {evidence.channel, used} if evidence.opens else {evidence.channel},
        uow.now,
        state=decision.lane,
        reason=outcome.reason,
        due=decision.lane_due,
        first_due=decision.first_due,
    )
    if evidence.opens or newest == evidence.budgets:
        lane_store.update(connection, lane, state=LaneState.UNHEALTHY)
