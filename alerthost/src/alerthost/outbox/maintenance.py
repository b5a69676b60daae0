"""Periodic maintenance: reclaim lost leases, report late deliveries, expire stale incidents.

It also serves due times, prunes the history, and recovers orphaned incidents.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import attrs
import sqlalchemy as sa

from alerthost.outbox import (
    attempts,
    backend,
    clock_watch,
    delivery_store,
    due,
    enqueue,
    heartbeat_store,
    incident_store,
    lane_store,
    notifier,
    orphans,
    rate_limit_store,
)
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.clock_watch import DAY
from alerthost.outbox.dispatcher import Dispatcher, Installations
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat
from alerthost.outbox.group_commit import Resources, log_afterwards
from alerthost.outbox.heartbeat import Registration
from alerthost.outbox.retry_policy import FIRST_RETRY, DeliveryState, LaneState
from alerthost.outbox.serialisation import chunks
from alerthost.store.tables import alerts, deliveries, holders, incidents, submissions
from hostspec.delivery import IncidentRef, Operation, Outcome, OutcomeKind
from hostspec.plugins.isolation import can_follow_up

_log = logging.getLogger("hostspec")

KEEP: Final = 2.0
"""Seconds between two rounds of maintenance."""

LOOK_FOR_KEYS: Final = 30.0
"""Seconds after which it is checked again whether the keys of orphaned incidents are back."""

SMALL: Final = 200
"""Most rows that maintenance changes in one transaction: workers want to write too."""


@attrs.frozen
class Patience:
    """Deadlines of maintenance; all in seconds.

    Attributes:
        late: a delivery that is queued for so long is reported to the observers, once.
        forget: an incident without an update for so long is forgotten.
        keep: finished deliveries, ended incidents and planned submissions are kept for so long.
    """

    late: float = attrs.field(default=300.0, validator=attrs.validators.gt(0))
    forget: float = attrs.field(default=90 * DAY, validator=attrs.validators.gt(0))
    keep: float = attrs.field(default=30 * DAY, validator=attrs.validators.gt(0))


@attrs.define(eq=False, slots=False, kw_only=True)
class Maintenance:
    """Runs the rounds of maintenance of one engine.

    Args:
        installations: by name, with the configured keys.
        dispatcher: holds the leases of this process.
        heartbeats: are expected.
        is_stopping: returns True once the engine is to stop.
    """

    _resources: Resources = attrs.field(alias="resources")
    _installations: Installations = attrs.field(alias="installations")
    _dispatcher: Dispatcher = attrs.field(alias="dispatcher")
    _registration: Registration = attrs.field(alias="registration")
    _patience: Patience = attrs.field(alias="patience")
    _heartbeats: Sequence[ExpectedHeartbeat] = attrs.field(alias="heartbeats")
    _is_stopping: Callable[[], bool] = attrs.field(alias="is_stopping")
    _looked_for_keys_at: float = attrs.field(init=False, default=float("-inf"))

    def run(self, worker_id: str) -> None:
        """Run one round, as a registered worker."""
        self.reclaim(worker_id)
        tidy = functools.partial(self._tidy, worker_id=worker_id)
        while self._resources.run(tidy) >= SMALL and not self._is_stopping():
            pass
        if time.monotonic() - self._looked_for_keys_at >= LOOK_FOR_KEYS:
            self.recover_orphans()

    def _tidy(self, uow: UnitOfWork, worker_id: str) -> int:
        """Tidy up in small steps, one process at a time; return the most rows of a step."""
        connection, now, patience = uow.connection, uow.now, self._patience
        if not backend.take_turn(connection, backend.MAINTENANCE):
            return 0
        steady = clock_watch.watch(connection, now)
        silent = pruned = 0
        if steady >= min(DAY, patience.forget):
            silent = forget(uow, now - patience.forget, SMALL)
        ahead = correct_future_times(connection, now, SMALL)
        late = report_late(connection, now - patience.late, worker_id, SMALL)
        if steady >= min(DAY, patience.keep):
            pruned = prune(connection, now - patience.keep, SMALL)
        accepted = due.accept_due(uow, SMALL)
        if self._heartbeats:
            heartbeat_store.accept_missed(uow, self._heartbeats)
        return max(ahead, late, silent, pruned, accepted)

    def reclaim(self, worker_id: str) -> None:
        """Reclaim the leases and receipts of dead workers, and the leases that ran out."""
        now = self._resources.clock()
        with self._resources.database.read() as connection:
            held = held_leases(connection)
            others = notifier.workers_with_receipts(connection)
        presence = self._registration.current
        assert presence is not None  # noqa: S101 -- the caller is registered
        gone = presence.gone({*(each.worker_id for each in held), *others})
        certain = gone if presence.certain else ()
        lost = [
            each
            for each in held
            if each.worker_id in certain
            or self._dispatcher.has_run_out(each, now)
            or (each.worker_id in {worker_id, *gone} and self._dispatcher.is_idle(each, now))
        ]
        if not lost and not gone:
            return

        def write(uow: UnitOfWork) -> int:
            notifier.reassign(uow.connection, gone, worker_id)
            return reclaim_leases(uow, lost, worker_id)

        reclaimed = self._resources.run(write, now)
        if reclaimed:
            _log.warning("%s deliveries were reclaimed from dead or hanging workers", reclaimed)
            self._dispatcher.call()

    def recover_orphans(self) -> tuple[str, ...]:
        """Queue the resolves of orphaned incidents whose keys are back; return their ids."""
        self._looked_for_keys_at = time.monotonic()
        last = 0
        queued: list[str] = []
        while True:
            with self._resources.database.read() as connection:
                found = orphans.find(connection, last)
            back = [each for each in found if self._is_key_back(each)]
            if back:
                queued += self._resources.run(functools.partial(orphans.recover, back=back))
            if len(found) < orphans.MOST:
                if queued:
                    self._dispatcher.call()
                return tuple(queued)
            last = found[-1].id

    def _is_key_back(self, stored: incident_store.StoredIncident) -> bool:
        ref = stored.incident.ref
        action = self._resources.plugins.actions.get(ref.action)
        installation = self._installations.get(ref.installation)
        return bool(
            action and installation and can_follow_up(action, stored.incident, installation)
        )


def held_leases(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
    """Return all leases in force, with the references of their incidents."""
    found: Sequence[Any] = connection.execute(_HELD_LEASES).all()
    return found


def reclaim_leases(uow: UnitOfWork, lost: Sequence[sa.Row[Any]], worker_id: str) -> int:
    """Queue the deliveries of lost leases again, which may have arrived; return how many.

    Args:
        uow: the transaction.
        lost: leases of dead workers, and leases that ran out.
        worker_id: the worker that notifies the observers.
    """
    taken = 0
    backend.lock(uow.connection, [incident_store.ref_of(each) for each in lost])
    for each in sorted(lost, key=lambda each: each.lane_id):
        row = delivery_store.find_row(uow.connection, each.id)
        if row is None or (row.worker_id, row.attempts) != (each.worker_id, each.attempts):
            continue
        taken += 1
        stored = incident_store.get(uow.connection, row.incident_id)
        outcome = Outcome(OutcomeKind.UNCERTAIN, "the process that was sending it is gone")
        log = {"attempt_log": attempts.add_leased(row, outcome, stored)}
        if uow.may_repeat(stored.incident.ref.action):
            free = {"worker_id": None, "lease_until": None, "due": uow.now}
            delivery_store.update(uow.connection, row.id, **free, reason=outcome.reason, **log)
        else:
            notifier.give_up(uow, row, DeliveryState.UNCERTAIN, outcome, worker_id, **log)
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
            lane_store.update(uow.connection, stored.lane_id, due=uow.now)
    return taken


def _note_hanging(uow: UnitOfWork, stored: incident_store.StoredIncident) -> None:
    """Record that attempts in a channel hang: others must not wait for it."""
    lane_store.update(uow.connection, stored.lane_id, state=LaneState.UNHEALTHY, due=uow.now)
    due = uow.now + FIRST_RETRY
    lane_store.note_failure(
        uow.connection,
        stored.lane_id,
        [lane_store.channel_of_incident(uow.connection, stored.id)],
        uow.now,
        state=LaneState.UNHEALTHY,
        reason="an attempt took longer than its lease",
        due=due,
        first_due=due,
    )


def report_late(connection: sa.Connection, before: float, worker_id: str, most: int) -> int:
    """Record receipts of deliveries queued since before a moment; return how many."""
    found = connection.execute(_LATE, {"before": before, "most": most}).all()
    for numbers in chunks(found):
        those = deliveries.c.id.in_(numbers)
        rows = connection.execute(sa.select(deliveries).where(those)).all()
        rows = sorted(rows, key=lambda row: row.accepted_at)
        late = [notifier.Reported.of_row(row) for row in rows]
        notifier.record(connection, notifier.DELAYED, late, worker_id)
        connection.execute(sa.update(deliveries).where(those).values(late_reported=True))
    return len(found)


def correct_future_times(connection: sa.Connection, now: float, most: int) -> int:
    """Correct the times of deliveries that were accepted in the future; return how many.

    The clock was ahead then; they would be sent after all others until it catches up.
    """
    rows = connection.execute(_AHEAD, {"now": now, "most": most}).all()
    for row in rows:
        early = row.accepted_at - now
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.id == row.id, deliveries.c.accepted_at == row.accepted_at)
            .values(accepted_at=now, urgency=deliveries.c.urgency - early)
        )
    return len(rows)


def forget(uow: UnitOfWork, before: float, most: int) -> int:
    """End incidents without an update since before a moment; return how many."""
    silent = {"before": before, "most": most}
    rows = uow.connection.execute(_SILENT, silent).all()
    if rows and backend.lock(uow.connection, [incident_store.ref_of(row) for row in rows]):
        locked = {row.id for row in rows}
        rows = [row for row in uow.connection.execute(_SILENT, silent) if row.id in locked]
    for row in rows:
        log_afterwards(
            _log,
            logging.WARNING,
            "the incident %s at %s/%s is forgotten: it never resolved, and had no update"
            " for too long",
            row.correlation_key,
            row.installation,
            row.destination,
        )
        incident_store.close_incident(uow, row.id)
    return len(rows)


def prune(connection: sa.Connection, before: float, most: int) -> int:
    """Remove some history from before a moment; return the number of rows."""
    gone = 0
    for table, which in (
        (deliveries, _FINISHED),
        (incidents, _ENDED),
        (submissions, _PLANNED),
        (alerts, _QUIET),
    ):
        found = which.limit(most)
        numbers = connection.execute(found, {"before": before}).scalars().all()
        if numbers:
            # the whole condition again: another transaction may have changed the rows
            still = cast("sa.ColumnElement[bool]", which.whereclause)
            over = sa.delete(table).where(table.c.id.in_(numbers), still)
            connection.execute(over, {"before": before})
            gone += len(numbers)
    return gone


_HELD_LEASES: Final = (
    sa.select(
        *(deliveries.c[name] for name in ("id", "worker_id", "attempts", "lease_until", "lane_id")),
        *(incidents.c[each.name] for each in attrs.fields(IncidentRef)),
    )
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .where(deliveries.c.worker_id.is_not(None))
)
_BEFORE: Final[sa.BindParameter[float]] = sa.bindparam("before", type_=sa.Double())
_LATE: Final = (
    sa.select(deliveries.c.id, sa.func.length(deliveries.c.body).label("size"))
    .where(
        deliveries.c.finished_at.is_(None),
        ~deliveries.c.late_reported,
        deliveries.c.accepted_at < _BEFORE,
    )
    .order_by(deliveries.c.accepted_at)
    .limit(sa.bindparam("most"))
)
_AHEAD: Final = (
    sa.select(deliveries.c.id, deliveries.c.accepted_at)
    .where(
        deliveries.c.finished_at.is_(None),
        ~deliveries.c.late_reported,
        deliveries.c.accepted_at > sa.bindparam("now", type_=sa.Double()),
    )
    .order_by(deliveries.c.accepted_at)
    .limit(sa.bindparam("most"))
)
_WAITS: Final = (
    sa.select(deliveries.c.id)
    .where(deliveries.c.incident_id == incidents.c.id, delivery_store.IS_QUEUED)
    .exists()
)
_SILENT: Final = (
    sa.select(incidents)
    .where(incidents.c.active, incidents.c.changed_at < _BEFORE, ~_WAITS)
    .order_by(incidents.c.changed_at)
    .limit(sa.bindparam("most"))
)
_later: Final = deliveries.alias("later")
_MAY_REOPEN: Final = sa.and_(
    deliveries.c.operation == Operation.TRIGGER,
    sa.select(incidents.c.id)
    .where(incidents.c.id == deliveries.c.incident_id, incidents.c.active)
    .exists(),
    ~sa.select(_later.c.id)
    .where(
        _later.c.incident_id == deliveries.c.incident_id,
        _later.c.operation == Operation.TRIGGER,
        _later.c.id > deliveries.c.id,
    )
    .exists(),
)
"""The newest trigger of an open incident, which opens another one if its key is removed."""
_FINISHED: Final = sa.select(deliveries.c.id).where(
    deliveries.c.state.in_([state for state in DeliveryState if state is not DeliveryState.QUEUED]),
    deliveries.c.finished_at < _BEFORE,
    ~_MAY_REOPEN,
)
_ENDED: Final = sa.select(incidents.c.id).where(
    ~incidents.c.active, incidents.c.changed_at < _BEFORE, ~_WAITS
)
_IS_NEEDED: Final = (
    sa.select(alerts.c.id)
    .where(alerts.c.digest == submissions.c.digest, alerts.c.waiting_row == submissions.c.id)
    .exists()
)
"""A rule waits whether the alert still fires; the submission is planned again then."""
_PLANNED: Final = sa.select(submissions.c.id).where(submissions.c.planned_at < _BEFORE, ~_IS_NEEDED)
_HOLDS: Final = sa.select(holders.c.incident_id).where(holders.c.digest == alerts.c.digest).exists()
_QUIET: Final = sa.select(alerts.c.id).where(
    alerts.c.seen_at < _BEFORE, ~_HOLDS, alerts.c.waiting_row.is_(None)
)
