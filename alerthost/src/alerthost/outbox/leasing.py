"""Leases the next deliveries to a process: in few statements for many of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend, delivery_store, incident_store, lane_store, rate_limit_store
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.rate_limit_store import RateLimits, read_names
from alerthost.outbox.retry_policy import LONGEST_PAUSE, LaneState
from alerthost.outbox.serialisation import load_delivery
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
"""Most heads of one lane that are looked through for one that may be sent."""

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


@attrs.frozen
class Share:
    """The most that one round of leasing may lease.

    Attributes:
        most: deliveries in all.
        once: deliveries of actions that may not repeat. One that a killed process leaves behind is
            in doubt, so they are not leased ahead.
        unhealthy: deliveries of channels that fail, and of slow lanes.
        together: leases in force in one lane.
        quick: the same for lanes that answer quickly, by their rows.
    """

    most: int = 1
    once: int = 1
    unhealthy: int = 1
    together: int = MOST_IN_FLIGHT
    quick: Mapping[int, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class _Lane:
    """A lane while its heads are chosen.

    Attributes:
        room: leases that it has room for.
        in_flight: of each delivery in flight or chosen, the number of its attempt and its channel.
        slow: an attempt in it takes long.
        due: when it is to be looked at again; None if that depends on its heads.
        chosen: the heads that are to be leased.
        spared: a head might be sent, but the share is used up.
    """

    id: int
    room: int
    in_flight: list[tuple[int, int | None]]
    slow: bool
    due: float | None = None
    chosen: list[Any] = attrs.field(factory=list)
    spared: bool = False

    def may_start(self, row: sa.Row[Any], most_where_slow: int) -> bool:
        """Return whether an attempt may start beside those in flight.

        A delivery that failed before takes at most one place, for it may take long again: the
        others must not wait for it.
        """
        if len(self.in_flight) >= self.room:
            return False
        if row.attempts:
            return all(attempt <= 1 for attempt, _ in self.in_flight)
        first = [channel for attempt, channel in self.in_flight if attempt <= 1]
        if row.failures:
            return row.channel_id not in first
        return not self.slow or len(first) < most_where_slow

    def choose(self, row: sa.Row[Any]) -> None:
        """Lease a head."""
        self.in_flight.append((row.attempts + 1, row.channel_id))
        self.chosen.append(row)


@attrs.define(eq=False)
class Leasing:
    """One round of leasing, in one transaction.

    Attributes:
        share: the most that it may lease.
        seconds: for which a lease is valid.
        expected_handles: the handles that the last attempts were expected to open under.
    """

    uow: UnitOfWork
    worker_id: str
    share: Share = Share()
    seconds: float = LEASE
    expected_handles: Mapping[HandleKey, str | None] = attrs.field(factory=dict)
    _limits: RateLimits = attrs.field(init=False)

    def lease(self) -> Sequence[Lease]:
        """Lease the deliveries to be sent next; none where nothing may be sent now.

        Lanes in which nothing may be sent are postponed, until something is found.
        """
        connection = self.uow.connection
        self._limits = RateLimits(connection)
        ready = _READY if self.share.unhealthy > 0 else _HEALTHY_READY
        which = {**_moment(self.uow.now, self.share.together), "most": self.share.most}
        while rows := connection.execute(ready, which).all():
            found = self._choose(rows)
            lane_store.postpone(self.uow, {each.id: each.due for each in found if each.due})
            _sleep(self.uow, [e.id for e in found if not (e.due or e.chosen or e.spared)])
            chosen = [row for each in found for row in each.chosen]
            if chosen and (leased := self._lease(chosen)):
                self._limits.save()
                return leased
        return ()

    def _choose(self, ready: Sequence[Any]) -> Sequence[_Lane]:
        """Choose the heads of some lanes that are sent next."""
        connection, now, share = self.uow.connection, self.uow.now, self.share
        which = {"lanes": [lane.id for lane in ready], "now": now, "far": now + FAR}
        in_flight: dict[int, list[tuple[int, int | None]]] = {}
        for row in connection.execute(_IN_FLIGHT_NOW, which):
            in_flight.setdefault(row.lane_id, []).append((row.attempts, row.channel_id))
        heads = self._heads(which, -(-share.most // len(ready)))
        failing = connection.execute(lane_store.FAILING, which).all() if share.unhealthy > 0 else ()
        probes = _by_lane(
            row
            for channel in failing
            for row in connection.execute(
                _PROBE, {**which, "lane": channel.lane_id, "channel": channel.id}
            )
        )
        self._load_limits(row for rows in (*heads.values(), *probes.values()) for row in rows)
        where_slow = MOST_WHERE_SLOW if share.unhealthy > 0 else 1
        choice = _Choice(
            self.uow, self._limits, share.most, share.once, share.unhealthy, where_slow
        )
        found = []
        for row in ready:
            held = in_flight.get(row.id, [])
            lane = _Lane(
                row.id,
                share.quick.get(row.id, share.together),
                held,
                slow=bool(held) and now - row.leased_at > SLOW,
            )
            first, behind = probes.get(row.id, []), heads.get(row.id, [])
            choice.choose(lane, _in_order(first, behind))
            if behind and not (lane.chosen or lane.spared):
                # others may go where the first ones cannot: from other budgets, or urgent
                one = {**which, "lanes": [row.id], "lane": row.id}
                behind = self._heads(one, LOOK)[row.id]
                urgent = connection.execute(_URGENT_HEAD, one).all()
                self._load_limits((*behind, *urgent))
                choice.choose(lane, (*_in_order(first, behind), *urgent))
            found.append(lane)
        return found

    def _heads(self, which: Mapping[str, Any], most: int) -> Mapping[int, list[Any]]:
        """Return heads of lanes that are due and whose channel works, the most urgent first."""
        connection = self.uow.connection
        first = _FIRST_HEADS[backend.is_server(connection)]
        numbers = connection.execute(first, {**which, "each": most}).scalars().all()
        return _by_lane(connection.execute(_HEADS, {"numbers": numbers}))

    def _load_limits(self, rows: Iterable[Any]) -> None:
        self._limits.load(name for row in rows for name in read_names(row.spends))

    def _lease(self, chosen: Sequence[Any]) -> Sequence[Lease]:
        """Lease heads, except those whose incident another transaction changes, or just has."""
        connection, now = self.uow.connection, self.uow.now
        refs = {row.id: incident_store.ref_of(row) for row in chosen}
        free = backend.try_lock_each(connection, refs)
        values = {"worker": self.worker_id, "until": now + self.seconds, "now": now}
        rows = connection.execute(_LEASE, {"numbers": free, **values})
        leased = {row.id: row for row in rows}
        kept = [row for row in chosen if row.id in leased]
        if len(kept) < len(chosen):
            self._limits.undo()
            for row in kept:
                self._limits.take(read_names(row.spends), now, urgent=is_urgent(row))
        numbers = [row.incident_id for row in leased.values()]
        found = connection.execute(_INCIDENTS, {"numbers": numbers})
        stored = {row.id: incident_store.incident_of(row) for row in found}
        leases = [self._build(head, leased[head.id], stored) for head in kept]
        lane_store.note_leased(self.uow, {head.lane_id for head in kept})
        locked = {head.lane_id for head in chosen} - {head.lane_id for head in kept}
        lane_store.postpone(self.uow, dict.fromkeys(locked, now + MOMENT))
        record_expected_handles(connection, leases)
        return leases

    def _build(
        self,
        head: sa.Row[Any],
        row: sa.Row[Any],
        incidents_: Mapping[int, incident_store.StoredIncident],
    ) -> Lease:
        """Build the lease of a delivery that was just leased."""
        now, stored = self.uow.now, incidents_[row.incident_id]
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


@attrs.define(eq=False)
class _Choice:
    """Chooses heads, as far as rate limits and the share of a round allow."""

    _uow: UnitOfWork
    _limits: RateLimits
    _most: int
    _once: int
    _unhealthy: int
    _most_where_slow: int
    _used_up: dict[tuple[str, bool], float] = attrs.field(init=False, factory=dict)

    def choose(self, lane: _Lane, rows: Iterable[Any]) -> None:
        """Choose heads of a lane, given in the order in which they are tried."""
        now = self._uow.now
        for row in rows:
            if not lane.may_start(row, self._most_where_slow):
                continue
            failing = lane.slow or row.channel_state != LaneState.HEALTHY
            repeats = self._uow.may_repeat(row.action)
            if (
                self._most <= 0
                or (failing and self._unhealthy <= 0)
                or (not repeats and self._once <= 0)
            ):
                lane.spared = True
                continue
            urgent, names = is_urgent(row), read_names(row.spends)
            free_at = self._used_up.get((row.spends, urgent))
            free_at = free_at or self._limits.free_at(names, now, urgent=urgent)
            if free_at > now:
                self._used_up[row.spends, urgent] = free_at
                lane.due = min(lane.due or now + FAR, free_at)
                continue
            self._limits.take(names, now, urgent=urgent)
            lane.choose(row)
            self._most -= 1
            self._unhealthy -= failing
            self._once -= not repeats
        if lane.chosen or lane.spared:
            lane.due = None


def is_urgent(delivery: Delivery | sa.Row[Any]) -> bool:
    """Check whether a delivery may use the part of budgets that is reserved for urgent ones."""
    resolves = delivery.operation == Operation.RESOLVE
    return bool(resolves or delivery.severity == Severity.CRITICAL)


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


def _sleep(uow: UnitOfWork, lanes_: Collection[int]) -> None:
    """Postpone lanes until a delivery of theirs is due; without end where none is queued."""
    if not lanes_:
        return
    due: dict[int, float | None] = dict.fromkeys(lanes_)
    for row in uow.connection.execute(_SOONEST, {"lanes": list(lanes_)}):
        is_later = uow.now < row.due <= uow.now + FAR
        due[row.lane_id] = row.due if is_later else uow.now + LOOK_AGAIN
    lane_store.postpone(uow, due)


def _by_lane(rows: Iterable[Any]) -> Mapping[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row.lane_id, []).append(row)
    return found


def _in_order(probes: Sequence[Any], heads: Sequence[Any]) -> Sequence[Any]:
    """Return heads in the order in which they are tried: probes beside the most urgent one."""
    first = sorted((*probes, *heads[:1]), key=lambda row: (row.urgency, row.id))
    return (*first, *heads[1:])


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


def _is_due(moment: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    return sa.or_(moment <= sa.bindparam("now"), moment > sa.bindparam("far"))


_OF_HEADS: Final = (
    sa.select(
        *(
            deliveries.c[name]
            for name in (
                *("id", "lane_id", "urgency", "operation", "severity", "attempts", "tried_at"),
            )
        ),
        *(incidents.c[each.name] for each in attrs.fields(IncidentRef)),
        rate_limit_store.NAMES.label("spends"),
        lane_store.CHANNEL_NAME.label("channel"),
        channels.c.id.label("channel_id"),
        sa.func.coalesce(channels.c.failures, 0).label("failures"),
        sa.func.coalesce(channels.c.state, LaneState.HEALTHY).label("channel_state"),
    )
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .join(lanes, lanes.c.id == deliveries.c.lane_id)
    .outerjoin(channels, lane_store.OF_DELIVERY)
)
_BY_URGENCY: Final = (deliveries.c.urgency, deliveries.c.id)
_HEADS: Final = _OF_HEADS.where(
    deliveries.c.id.in_(sa.bindparam("numbers", expanding=True))
).order_by(*_BY_URGENCY)
_DUE_HEADS: Final = _OF_HEADS.where(
    deliveries.c.lane_id == sa.bindparam("lane"), deliveries.c.is_head, _is_due(deliveries.c.due)
)
_URGENT_HEAD: Final = _DUE_HEADS.where(lane_store.HEALTHY, URGENT).order_by(*_BY_URGENCY).limit(1)
_PROBE: Final = (
    _DUE_HEADS.where(channels.c.id == sa.bindparam("channel"), _is_due(lane_store.GATE))
    .order_by(
        deliveries.c.is_repeat,
        deliveries.c.attempts,
        sa.case((deliveries.c.severity == Severity.CRITICAL, 0), else_=1),
        *_BY_URGENCY,
    )
    .limit(1)
)
_FIRST_OF_LANE: Final = (
    sa.select(deliveries.c.id)
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .outerjoin(channels, lane_store.OF_DELIVERY)
    .where(
        deliveries.c.lane_id == lanes.c.id,
        deliveries.c.is_head,
        _is_due(deliveries.c.due),
        lane_store.HEALTHY,
    )
    .order_by(*_BY_URGENCY)
    .limit(sa.bindparam("each"))
    .correlate(lanes)
)


def _first_heads(*, server: bool) -> sa.Select[Any]:
    """Return the query for the first heads of each of some lanes: each lane by the index."""
    of_lanes = lanes.c.id.in_(sa.bindparam("lanes", expanding=True))
    if server:
        first = _FIRST_OF_LANE.lateral()
        return sa.select(first.c.id).select_from(sa.join(lanes, first, sa.true())).where(of_lanes)
    head = deliveries.alias("head")
    return (
        sa.select(head.c.id)
        .select_from(sa.join(lanes, head, head.c.id.in_(_FIRST_OF_LANE)))
        .where(of_lanes)
    )


_FIRST_HEADS: Final = {server: _first_heads(server=server) for server in (False, True)}
_IN_FLIGHT_NOW: Final = (
    sa.select(deliveries.c.lane_id, deliveries.c.attempts, channels.c.id.label("channel_id"))
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .outerjoin(channels, lane_store.OF_DELIVERY)
    .where(
        deliveries.c.lane_id.in_(sa.bindparam("lanes", expanding=True)),
        deliveries.c.worker_id.is_not(None),
    )
)
_SOONEST: Final = (
    sa.select(
        deliveries.c.lane_id,
        sa.func.min(
            sa.case((deliveries.c.due < lane_store.GATE, lane_store.GATE), else_=deliveries.c.due)
        ).label("due"),
    )
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .outerjoin(channels, lane_store.OF_DELIVERY)
    .where(deliveries.c.lane_id.in_(sa.bindparam("lanes", expanding=True)), deliveries.c.is_head)
    .group_by(deliveries.c.lane_id)
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
