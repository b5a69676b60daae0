"""Leases the next deliveries to a process: in few statements for many of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend, delivery_store, incident_store, lane_store
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.group_commit import log_afterwards
from alerthost.outbox.heads import FAR, LOOK_AGAIN, Heads
from alerthost.outbox.rate_limit_store import RateLimits, read_names
from alerthost.outbox.retry_policy import DeliveryState, LaneState
from alerthost.outbox.selection import (
    MOST_IN_FLIGHT,
    SLOW,
    Lane,
    Quota,
    Selection,
    in_order,
    is_urgent,
)
from alerthost.outbox.serialisation import load_delivery
from alerthost.store.tables import channels, deliveries, incidents, lanes
from hostspec.delivery import Delivery, IncidentRef, OutcomeKind
from hostspec.errors import describe_error

_log = logging.getLogger("hostspec")

LEASE: Final = 60.0
"""Seconds for which a lease is valid. An attempt takes less in all (the action's deadline)."""

START_WITHIN: Final = 1 / 12
"""The part of the lease in which its attempt has to start: a process that was frozen for longer
starts none."""

MOMENT: Final = 0.02
"""Seconds after which a lane is checked again that another transaction is changing."""

HandleKey: TypeAlias = tuple[str, str, str]
"""Action, installation and destination: attempts there most likely open under one handle."""


@attrs.frozen
class Lease:
    """The right of one worker to send a delivery.

    Attributes:
        id: of the delivery.
        uid: names the delivery for observers.
        body: the delivery as it is stored.
        urgency: leases with a lower one are sent first.
        attempt: number of the attempt, from 1.
        start_by: latest moment to start the attempt.
        coalesced: number of deliveries that were coalesced into it.
        lane: the state of its channel when it was leased.
        failures: consecutive failures of the channel.
        budgets: names of those that it was counted against.
        last_outcome: of the previous attempt; None before the first, and where it is unknown.
        tried_at: when the previous attempt began, or this one where it is the first.
        failing_since: when the first of the consecutive attempts with that outcome began; None
            before the first attempt.
        own_failures: consecutive failures that were the delivery's own.
        expected_handle: the handle that the attempt will give an incident without one, as stored;
            None where there is one, or only the provider knows it.
    """

    id: int
    uid: str
    worker_id: str
    delivery: Delivery
    body: str
    urgency: float
    incident: incident_store.StoredIncident
    attempt: int
    leased_at: float
    start_by: float
    accepted_at: float
    coalesced: int
    submission_id: str
    lane: LaneState
    failures: int
    channel: str
    budgets: tuple[str, ...] = ()
    last_outcome: OutcomeKind | None = None
    tried_at: float = 0.0
    failing_since: float | None = None
    own_failures: int = 0
    expected_handle: str | None = None


@attrs.define(eq=False)
class Leasing:
    """One round of leasing, in one transaction.

    Attributes:
        quota: the most that it may lease.
        seconds: for which a lease is valid.
        expected_handles: the handles that the last attempts were expected to open under.
    """

    uow: UnitOfWork
    worker_id: str
    quota: Quota = attrs.field(factory=Quota)
    seconds: float = LEASE
    expected_handles: Mapping[HandleKey, str | None] = attrs.field(factory=dict)
    _limits: RateLimits = attrs.field(init=False)

    def lease(self) -> Sequence[Lease]:
        """Lease the deliveries to be sent next; none where nothing may be sent now.

        Lanes in which nothing may be sent are postponed, until something is found.
        """
        connection = self.uow.connection
        self._limits = RateLimits(connection)
        ready = _READY if self.quota.unhealthy > 0 else _HEALTHY_READY
        which = {**_moment(self.uow.now, self.quota.per_lane), "most": self.quota.most}
        while rows := connection.execute(ready, which).all():
            found = self._select(rows)
            selected = [row for each in found for row in each.selected]
            waiting = {each.id: each.due for each in found if not each.stays_due}
            lane_store.postpone(self.uow, waiting)
            if selected and (leased := self._lease(selected)):
                self._limits.save()
                return leased
            if not selected and not waiting:
                return ()  # only the quota is used up
        return ()

    def _select(self, ready: Sequence[Any]) -> Sequence[Lane]:
        """Select the heads of some lanes that are sent next."""
        connection, now, quota = self.uow.connection, self.uow.now, self.quota
        numbers = [lane.id for lane in ready]
        in_flight: dict[int, list[tuple[int, int | None]]] = {}
        for row in connection.execute(_IN_FLIGHT_NOW, {"lanes": numbers}):
            in_flight.setdefault(row.lane_id, []).append((row.attempts, row.channel_id))
        heads = Heads(connection, now, numbers)
        first = heads.most_urgent(-(-quota.most // len(ready)))
        probes = {lane: heads.probes(lane) for lane in numbers}
        self._load_limits(row for rows in (*first.values(), *probes.values()) for row in rows)
        selection = Selection(self.uow, self._limits, quota)
        found = []
        for row in ready:
            held = in_flight.get(row.id, [])
            lane = Lane(
                row.id,
                quota.per_quick_lane.get(row.id, quota.per_lane),
                held,
                slow=bool(held) and now - row.leased_at > SLOW,
            )
            probing, behind = probes[row.id], first.get(row.id, ())
            tried = probing if quota.unhealthy > 0 else ()
            selection.select(lane, in_order(tried, behind))
            if behind and not lane.stays_due:
                more = heads.more(row.id)
                self._load_limits(more)
                selection.select(lane, in_order(tried, more))
            if lane.due is None and (probing or behind):
                lane.due = now + LOOK_AGAIN  # due ones wait for attempts in flight
            found.append(lane)
        idle = [lane.id for lane in found if lane.due is None and not lane.stays_due]
        soonest = heads.soonest(idle) if idle else {}
        for lane in found:
            lane.due = soonest.get(lane.id, lane.due)
        return found

    def _load_limits(self, rows: Iterable[Any]) -> None:
        self._limits.load(name for row in rows for name in read_names(row.spends))

    def _lease(self, selected: Sequence[Any]) -> Sequence[Lease]:
        """Lease heads, except those whose incident another transaction changes, or just has."""
        connection, now = self.uow.connection, self.uow.now
        refs = {row.id: incident_store.ref_of(row) for row in selected}
        free = backend.try_lock_each(connection, refs)
        values = {"worker": self.worker_id, "until": now + self.seconds, "now": now}
        rows = connection.execute(_LEASE, {"numbers": free, **values})
        leased = {row.id: row for row in rows}
        kept = [row for row in selected if row.id in leased]
        if len(kept) < len(selected):
            self._limits.undo()
            for row in kept:
                self._limits.take(read_names(row.spends), now, urgent=is_urgent(row))
        numbers = [row.incident_id for row in leased.values()]
        found = {row.id: row for row in connection.execute(_INCIDENTS, {"numbers": numbers})}
        leases = []
        for head in kept:
            row = leased[head.id]
            try:
                leases.append(self._build(head, row, found[row.incident_id]))
            except Exception as error:  # noqa: BLE001 -- an unreadable delivery costs no other
                self._give_up(row, describe_error(error))
        lane_store.note_leased(self.uow, {head.lane_id for head in kept})
        locked = {head.lane_id for head in selected} - {head.lane_id for head in kept}
        lane_store.postpone(self.uow, dict.fromkeys(locked, now + MOMENT))
        record_expected_handles(connection, leases)
        return leases

    def _build(
        self,
        head: sa.Row[Any],
        row: sa.Row[Any],
        incident: sa.Row[Any],
    ) -> Lease:
        """Build the lease of a delivery that was just leased."""
        now, stored = self.uow.now, incident_store.incident_of(incident)
        expected = self.expected_handles.get(handle_key(stored.incident.ref))
        return Lease(
            id=row.id,
            uid=row.uid,
            worker_id=self.worker_id,
            delivery=load_delivery(row.body),
            body=row.body,
            urgency=row.urgency,
            incident=stored,
            attempt=row.attempts,
            leased_at=now,
            start_by=now + self.seconds * START_WITHIN,
            accepted_at=row.accepted_at,
            coalesced=row.coalesced,
            submission_id=row.submission_id,
            lane=LaneState(head.channel_state),
            failures=head.failures,
            channel=head.channel,
            budgets=self._limits.counted(read_names(head.spends)),
            last_outcome=OutcomeKind(row.outcome) if row.outcome else None,
            tried_at=now if head.tried_at is None else head.tried_at,
            failing_since=row.failing_since,
            own_failures=row.own_failures,
            expected_handle=expected if stored.incident.handle is None else None,
        )

    def _give_up(self, row: sa.Row[Any], why: str) -> None:
        """Dead-letter a delivery that cannot be read; observers cannot be called with it."""
        log_afterwards(_log, logging.ERROR, "the delivery %d cannot be read: it %s", row.id, why)
        reason = f"it cannot be read: it {why}"
        delivery_store.finish(self.uow, row.id, DeliveryState.DEAD, reason=reason)
        delivery_store.promote(self.uow, row.incident_id)


def handle_key(ref: IncidentRef) -> HandleKey:
    """Return the key of the expected handle of an incident."""
    return ref.action, ref.installation, ref.destination


def record_expected_handles(connection: sa.Connection, leases: Iterable[Lease]) -> None:
    """Record the handles that attempts will most likely open their incidents under."""
    rows = [
        {"number": each.id, "handle": each.expected_handle}
        for each in leases
        if each.expected_handle is not None
    ]
    if rows:
        connection.execute(_EXPECT, rows)


def record_expected_handle(connection: sa.Connection, lease: Lease) -> None:
    """Record the handle that an attempt will open its incident under, before it starts."""
    if still_holds(connection, lease):
        delivery_store.update(connection, lease.id, expected_handle=lease.expected_handle)


def is_due(connection: sa.Connection, now: float) -> bool:
    """Check whether a lane is due now."""
    return connection.execute(_ANY_DUE, {"now": now, "far": now + FAR}).first() is not None


def is_ready(connection: sa.Connection, now: float, together: int = MOST_IN_FLIGHT) -> bool:
    """Check whether a lane that is due now has room for one more attempt in flight."""
    return connection.execute(_ANY_READY, _moment(now, together)).first() is not None


def _moment(now: float, together: int) -> dict[str, float]:
    return {"now": now, "far": now + FAR, "fresh": now - SLOW, "together": together}


def still_holds(connection: sa.Connection, lease: Lease) -> bool:
    """Check that a worker still holds its lease."""
    row = delivery_store.find_row(connection, lease.id)
    return row is not None and (row.worker_id, row.attempts) == (lease.worker_id, lease.attempt)


_in_flight: Final = deliveries.alias("in_flight")
_IN_FLIGHT: Final = (
    sa.select(sa.func.count())
    .where(_in_flight.c.lane_id == lanes.c.id, _in_flight.c.worker_id.is_not(None))
    .correlate(lanes)
    .scalar_subquery()
)
_IS_DUE: Final = sa.and_(
    lanes.c.due.is_not(None),
    sa.or_(lanes.c.due <= sa.bindparam("now"), lanes.c.due > sa.bindparam("far")),
)
_HAS_ROOM: Final = sa.bindparam("together") > _IN_FLIGHT
_HAS_FAST_ROOM: Final = sa.and_(
    lanes.c.state == LaneState.HEALTHY,
    sa.or_(_IN_FLIGHT == 0, sa.and_(lanes.c.leased_at >= sa.bindparam("fresh"), _HAS_ROOM)),
)
_ANY_DUE: Final = sa.select(lanes.c.id).where(_IS_DUE).limit(1)
_ANY_READY: Final = _ANY_DUE.where(_HAS_ROOM)
_NEXT: Final = (
    sa.select(lanes)
    .where(_IS_DUE)
    .order_by(lanes.c.due)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True, key_share=True, of=lanes)
)
_READY: Final = _NEXT.where(_HAS_ROOM)
_HEALTHY_READY: Final = _NEXT.where(_HAS_FAST_ROOM)


_IN_FLIGHT_NOW: Final = (
    sa.select(deliveries.c.lane_id, deliveries.c.attempts, channels.c.id.label("channel_id"))
    .outerjoin(channels, lane_store.OF_DELIVERY)
    .where(
        deliveries.c.lane_id.in_(sa.bindparam("lanes", expanding=True)),
        deliveries.c.worker_id.is_not(None),
    )
)
_LEASE: Final = (
    sa.update(deliveries)
    .where(deliveries.c.id.in_(sa.bindparam("numbers", expanding=True)), deliveries.c.is_head)
    .values(
        is_head=False,
        position=0,  # later deliveries go behind it
        worker_id=sa.bindparam("worker"),
        lease_until=sa.bindparam("until"),
        attempts=deliveries.c.attempts + 1,
        tried_at=sa.bindparam("now"),
        expected_handle=None,
    )
    .returning(deliveries)
)
_EXPECT: Final = (
    sa.update(deliveries)
    .where(deliveries.c.id == sa.bindparam("number"))
    .values(expected_handle=sa.bindparam("handle"))
)
_INCIDENTS: Final = sa.select(incidents).where(
    incidents.c.id.in_(sa.bindparam("numbers", expanding=True))
)
