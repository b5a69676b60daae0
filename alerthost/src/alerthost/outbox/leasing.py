"""Leases the next delivery to a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend, delivery_store, incident_store, lane_store, rate_limit_store
from alerthost.outbox.retry_policy import LONGEST_PAUSE, LaneState
from alerthost.store.tables import URGENT, channels, deliveries, incidents, lanes
from hostspec.alert import Severity
from hostspec.delivery import Delivery, IncidentRef, Operation, OutcomeKind

LEASE: Final = 60.0
"""Seconds for which a lease is valid. An attempt takes less in all (the action's deadline)."""

START_WITHIN: Final = 1 / 12
"""The part of the lease in which its attempt has to start: a process that was frozen for longer
starts none."""

MOST_IN_FLIGHT: Final = 4
"""Most attempts in flight at once in one lane."""

MOST_WHERE_SLOW: Final = 2
"""Most first attempts in flight at once in a lane where one takes long."""

LOOK: Final = 64
"""Most heads of one lane that are read at once."""

MOMENT: Final = 0.02
"""Seconds after which a lane is checked again that another transaction is changing."""

LOOK_AGAIN: Final = 0.5
"""Seconds after which a lane is checked again in which nothing may be sent now."""

SLOW: Final = 2.0
"""Seconds after which an attempt in flight makes its lane a slow one, which gets few workers."""

FAR: Final = LONGEST_PAUSE + 60.0
"""Seconds: nothing is due later than that, so a later moment means that the clock went back."""

HandleKey: TypeAlias = tuple[str, str, str]
"""Action, installation and destination: attempts there most likely open under one handle."""


@attrs.frozen
class Lease:
    """The right of one worker to send a delivery.

    Attributes:
        id: of the delivery.
        uid: names the delivery for observers.
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


@attrs.frozen
class Leasing:
    """Leases the delivery to be sent next, in one transaction.

    Attributes:
        together: most attempts in flight in one lane.
        unhealthy: whether it may be of a lane or channel that fails or is slow.
        seconds: for which the lease is valid.
        expected_handles: the handles that the last attempts were expected to open under.
    """

    connection: sa.Connection
    worker_id: str
    now: float
    together: int = MOST_IN_FLIGHT
    unhealthy: bool = True
    seconds: float = LEASE
    expected_handles: Mapping[HandleKey, str | None] = attrs.field(factory=dict)

    def lease(self) -> Lease | None:
        """Lease the delivery to be sent next; None where nothing may be sent now."""
        which = _moment(self.now, self.together)
        ready = _READY if self.unhealthy else _HEALTHY_READY
        while True:  # a lane without a sendable delivery is due later
            lane = self.connection.execute(ready, which).first()
            if lane is None:
                return None
            in_flight = self.connection.execute(_IN_FLIGHT_NOW, {"lane": lane.id}).all()
            rows = [
                row
                for row in self._candidates(lane.id)
                if self._may_start(row, in_flight, self.now - lane.leased_at)
            ]
            if not rows:
                self._sleep(lane.id)
            elif (leased := self._lease_within_limits(lane, rows)) is not None:
                return leased

    def _candidates(self, lane: int) -> Sequence[sa.Row[Any]]:
        """Return heads of a lane that are due, in the order in which they are to be tried.

        Of a channel that fails, only one, which shows whether it works again: another one each
        time, those first that were never tried. Behind the first ones there are heads that may go
        where those cannot: from other budgets, or urgent.
        """
        which = {"lane": lane, "now": self.now, "far": self.now + FAR}
        failing = lane_store.failing_channels(self.connection, lane) if self.unhealthy else ()
        probes = [
            row
            for channel in failing
            for row in self.connection.execute(_PROBE, {**which, "channel": channel})
        ]
        heads = self.connection.execute(_HEADS, which).all()
        first = sorted((*probes, *heads[:1]), key=lambda row: (row.urgency, row.id))
        urgent = self.connection.execute(_URGENT_HEAD, which).all() if heads else ()
        return (*first, *heads[1:], *urgent)

    def _may_start(
        self, row: sa.Row[Any], in_flight: Sequence[sa.Row[Any, Any]], idle: float
    ) -> bool:
        """Return whether an attempt may start beside those in flight in its lane.

        A delivery that failed before takes at most one place, for it may take long again: the
        others must not wait for it.
        """
        if len(in_flight) >= self.together:
            return False
        if row.attempts:
            return all(each.attempts <= 1 for each in in_flight)
        first = [each for each in in_flight if each.attempts <= 1]
        if row.failures:
            return all(each.channel_id != row.channel_id for each in first)
        return idle <= SLOW or len(first) < (MOST_WHERE_SLOW if self.unhealthy else 1)

    def _sleep(self, lane: int) -> None:
        """Postpone a lane until a delivery of it is due; without end if none is queued."""
        due = self.connection.execute(_SOONEST, {"lane": lane}).scalar()
        if due is not None and not self.now < due <= self.now + FAR:
            due = self.now + LOOK_AGAIN
        lane_store.update(self.connection, lane, due=due)

    def _lease_within_limits(self, lane: sa.Row[Any], rows: Sequence[sa.Row[Any]]) -> Lease | None:
        """Lease the first of some heads that the budgets allow.

        Returns:
            None if none may be sent now; the lane is scheduled for later.
        """
        soonest = self.now + FAR  # a later moment would mean that the clock went back
        exhausted = set()
        for each in rows:
            urgent = is_urgent(each)
            if (each.spends, urgent) in exhausted:
                continue
            limits = rate_limit_store.load(self.connection, each.spends)
            free = rate_limit_store.free_at(limits, self.now, urgent=urgent)
            if free <= self.now:
                taken = rate_limit_store.take(self.connection, limits, self.now, urgent=urgent)
                found = None if taken is None else self._lease_row(lane, each, taken)
                if found is None:
                    lane_store.update(self.connection, lane.id, due=self.now + MOMENT)
                return found
            exhausted.add((each.spends, urgent))
            soonest = min(soonest, free)
        lane_store.update(self.connection, lane.id, due=soonest)
        return None

    def _lease_row(
        self, lane: sa.Row[Any], row: sa.Row[Any], budgets: tuple[str, ...]
    ) -> Lease | None:
        """Lease a delivery, unless another transaction changes its incident, or just has."""
        delivery = delivery_store.delivery_of(row)
        expected_handle = self.expected_handles.get(handle_key(delivery.ref))
        done = self.connection.execute(
            sa.update(deliveries)
            .where(
                deliveries.c.id == row.id,
                deliveries.c.is_head,
                deliveries.c.coalesced == row.coalesced,
                *backend.try_lock(self.connection, delivery.ref),
            )
            .values(
                is_head=False,
                position=0,  # later deliveries go behind it
                worker_id=self.worker_id,
                lease_until=self.now + self.seconds,
                attempts=row.attempts + 1,
                tried_at=self.now,
                expected_handle=expected_handle,
            )
        )
        if not done.rowcount:
            return None
        lane_store.update(self.connection, lane.id, due=self.now, leased_at=self.now)
        stored = incident_store.incident_of(
            self.connection.execute(_INCIDENT, {"number": row.incident_id}).one()
        )
        return Lease(
            id=row.id,
            uid=row.uid,
            worker_id=self.worker_id,
            delivery=delivery,
            incident=stored,
            attempt=row.attempts + 1,
            leased_at=self.now,
            start_by=self.now + self.seconds * START_WITHIN,
            accepted_at=row.accepted_at,
            coalesced=row.coalesced,
            submission_id=row.submission_id,
            lane=LaneState(row.channel_state),
            failures=row.failures,
            channel=row.channel,
            budgets=budgets,
            last_outcome=OutcomeKind(row.outcome) if row.outcome else None,
            tried_at=self.now if row.tried_at is None else row.tried_at,
            failing_since=row.failing_since,
            own_failures=row.own_failures,
            expected_handle=expected_handle if stored.incident.handle is None else None,
        )


def is_urgent(delivery: Delivery | sa.Row[Any]) -> bool:
    """Check whether a delivery may use the part of budgets that is reserved for urgent ones."""
    resolves = delivery.operation == Operation.RESOLVE
    return bool(resolves or delivery.severity == Severity.CRITICAL)


def handle_key(ref: IncidentRef) -> HandleKey:
    """Return the key of the expected handle of an incident."""
    return ref.action, ref.installation, ref.destination


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
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True, of=lanes)
)
_READY: Final = _NEXT.where(_HAS_ROOM)
_HEALTHY_READY: Final = _NEXT.where(_HAS_FAST_ROOM)


def _is_due(moment: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    return sa.or_(moment <= sa.bindparam("now"), moment > sa.bindparam("far"))


_DUE_HEADS: Final = (
    sa.select(
        deliveries,
        rate_limit_store.NAMES.label("spends"),
        lane_store.CHANNEL_NAME.label("channel"),
        channels.c.id.label("channel_id"),
        sa.func.coalesce(channels.c.failures, 0).label("failures"),
        sa.func.coalesce(channels.c.state, LaneState.HEALTHY).label("channel_state"),
    )
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .join(lanes, lanes.c.id == deliveries.c.lane_id)
    .outerjoin(channels, lane_store.OF_DELIVERY)
    .where(
        deliveries.c.lane_id == sa.bindparam("lane"),
        deliveries.c.is_head,
        _is_due(deliveries.c.due),
    )
)
_HEADS: Final = (
    _DUE_HEADS.where(lane_store.HEALTHY).order_by(deliveries.c.urgency, deliveries.c.id).limit(LOOK)
)
_URGENT_HEAD: Final = _HEADS.limit(1).where(URGENT)
_PROBE: Final = (
    _DUE_HEADS.where(channels.c.id == sa.bindparam("channel"), _is_due(lane_store.GATE))
    .order_by(
        deliveries.c.is_repeat,
        deliveries.c.attempts,
        sa.case((deliveries.c.severity == Severity.CRITICAL, 0), else_=1),
        deliveries.c.urgency,
        deliveries.c.id,
    )
    .limit(1)
)
_IN_FLIGHT_NOW: Final[sa.Select[Any, Any]] = (
    sa.select(deliveries.c.attempts, channels.c.id.label("channel_id"))
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .outerjoin(channels, lane_store.OF_DELIVERY)
    .where(deliveries.c.lane_id == sa.bindparam("lane"), deliveries.c.worker_id.is_not(None))
)


_SOONEST: Final = (
    sa.select(
        sa.func.min(
            sa.case((deliveries.c.due < lane_store.GATE, lane_store.GATE), else_=deliveries.c.due)
        )
    )
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .outerjoin(channels, lane_store.OF_DELIVERY)
    .where(deliveries.c.lane_id == sa.bindparam("lane"), deliveries.c.is_head)
)


_INCIDENT: Final = sa.select(incidents).where(incidents.c.id == sa.bindparam("number"))
