"""Claims what may be sent next."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa

from hostspec.delivery import ledger, lineup, sharing, spending
from hostspec.delivery.verdict import LONGEST_PAUSE, LaneState
from hostspec.incident import Delivery, Operation, Place
from hostspec.outcome import OutcomeKind
from hostspec.parts import Severity
from hostspec.store.tables import URGENT, deliveries, incidents, lanes

LEASE: Final = 60.0
"""Seconds that a claim is good for. An attempt takes less in all (the action's deadline)."""

START_WITHIN: Final = 1 / 12
"""The part of the lease in which its attempt has to start; a process that froze starts none."""

FLYING_TOGETHER: Final = 4
"""Attempts in flight at once in a lane that is healthy, at the most; one in any other."""

LOOK: Final = 64
"""Heads of one lane that are looked at together."""

MOMENT: Final = 0.02
"""Seconds after which a lane is looked at again that others are changing."""

SLOW: Final = 2.0
"""Seconds after which an attempt in flight makes its lane one that others must not wait for."""

FAR: Final = LONGEST_PAUSE + 60.0
"""Seconds: nothing is due later than that, so a later moment is a clock that went back."""

Promise: TypeAlias = tuple[str, str, str]
"""Action, installation and destination of which a handle is promised."""


@attrs.frozen
class Claim:
    """A delivery that this process alone may send now.

    Attributes:
        id: of the delivery.
        uid: names it for observers.
        holder: who claimed it.
        delivery: what to send.
        incident: whose handle follow-ups need.
        attempt: which one this is, from 1.
        claimed_at: when.
        start_by: when its attempt has to be started at the latest.
        accepted_at: when its statement was accepted.
        collapsed: how many others it stands for.
        statement_id: of its statement.
        first_tried_at: when it was tried first.
        lane: its lane's state, as it was claimed.
        failures: of the lane, one after the other.
        budgets: names of those that it was taken from.
        last_outcome: what the attempt before came to; None before the first, and where nobody
            knows.
        promised: the handle that the attempt will give an incident that has none, as it is kept;
            None where there is one, or only the provider can tell.
    """

    id: int
    uid: str
    holder: str
    delivery: Delivery
    incident: ledger.StoredIncident
    attempt: int
    claimed_at: float
    start_by: float
    accepted_at: float
    collapsed: int
    statement_id: str
    first_tried_at: float
    lane: LaneState
    failures: int
    budgets: tuple[str, ...] = ()
    last_outcome: OutcomeKind | None = None
    promised: str | None = None


def claim(  # noqa: PLR0913 -- one argument for each thing that matters
    connection: sa.Connection,
    holder: str,
    now: float,
    *,
    together: int = FLYING_TOGETHER,
    unhealthy: bool = True,
    lease: float = LEASE,
    promises: Mapping[Promise, str | None] = MappingProxyType({}),
) -> Claim | None:
    """Claim what is to be sent next.

    Args:
        connection: of the transaction.
        holder: who claims.
        now: the time.
        together: attempts in flight in one lane that is healthy, at the most.
        unhealthy: whether it may be of a lane that is not healthy.
        lease: seconds for which the claim is good.
        promises: handles that attempts will most likely give: those of the last ones.
    """
    which = _moment(now, together)
    ready = _READY if unhealthy else _HEALTHY_READY
    while True:  # a lane that was looked at in vain is due later
        lane = connection.execute(ready, which).first()
        if lane is None:
            return None
        row = _head(connection, lane.id, now)
        if row is None:
            _sleep(connection, lane.id)
        elif row.flying and not _fly_together(lane, row.flying, now, together):
            look_at(connection, lane.id, now + MOMENT)
        else:
            claimed = _afforded(
                connection, lane, row, holder=holder, now=now, lease=lease, promises=promises
            )
            if claimed is not None:
                return claimed


def promise_at(place: Place) -> Promise:
    """Say of which attempts one handle is most likely promised: those of one destination."""
    return place.action, place.installation, place.destination


def promise(connection: sa.Connection, claim: Claim) -> None:
    """Keep the handle that an attempt will give, before it starts."""
    if is_mine(connection, claim):
        connection.execute(
            sa.update(deliveries).where(deliveries.c.id == claim.id).values(promised=claim.promised)
        )


def is_due(connection: sa.Connection, now: float) -> bool:
    """Say whether a lane is to be looked at now."""
    return connection.execute(_ANY_DUE, {"now": now, "far": now + FAR}).first() is not None


def is_ready(connection: sa.Connection, now: float, together: int = FLYING_TOGETHER) -> bool:
    """Say whether a lane that is to be looked at now has room for one more attempt in flight."""
    return connection.execute(_ANY_READY, _moment(now, together)).first() is not None


def _moment(now: float, together: int) -> dict[str, float]:
    return {"now": now, "far": now + FAR, "fresh": now - SLOW, "together": together}


def give_back(connection: sa.Connection, claim: Claim, now: float, actions: lineup.Actions) -> None:
    """Give a claim back whose attempt was not started."""
    sharing.lock(connection, [claim.delivery.place])
    stored = ledger.incident(connection, claim.incident.id)
    if stored and is_mine(connection, claim):
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.id == claim.id)
            .values(holder=None, lease_until=None, attempts=claim.attempt - 1)
        )
        lineup.reduce(connection, actions, stored, stored.episode, now)
        ledger.promote(connection, claim.incident.id, now)


def resume(connection: sa.Connection, now: float) -> None:
    """Try what waits for a repair at once: somebody may have made it."""
    waits = sa.select(lanes.c.id).where(lanes.c.state == LaneState.HELD)
    connection.execute(sa.update(lanes).where(lanes.c.state == LaneState.HELD).values(due=now))
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.lane_id.in_(waits), deliveries.c.is_head, deliveries.c.due > now)
        .values(due=now)
    )


_flying: Final = deliveries.alias("flying")
_FLYING: Final = (
    sa.select(sa.func.count())
    .where(_flying.c.lane_id == lanes.c.id, _flying.c.holder.is_not(None))
    .correlate(lanes)
    .scalar_subquery()
)
_IS_DUE: Final = sa.and_(
    lanes.c.due.is_not(None),
    sa.or_(lanes.c.due <= sa.bindparam("now"), lanes.c.due > sa.bindparam("far")),
)
_HAS_ROOM: Final = sa.or_(
    _FLYING == 0,
    sa.and_(
        lanes.c.state == LaneState.HEALTHY,
        lanes.c.claimed_at >= sa.bindparam("fresh"),
        sa.bindparam("together") > _FLYING,
    ),
)
_ANY_DUE: Final = sa.select(lanes.c.id).where(_IS_DUE).limit(1)
_ANY_READY: Final = _ANY_DUE.where(_HAS_ROOM)
_READY: Final = (
    sa.select(lanes)
    .where(_IS_DUE, _HAS_ROOM)
    .order_by(lanes.c.due)
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True, of=lanes)
)
_HEALTHY_READY: Final = _READY.where(lanes.c.state == LaneState.HEALTHY)


def _head(connection: sa.Connection, lane: int, now: float) -> sa.Row[Any] | None:
    return connection.execute(_HEAD, {"lane": lane, "now": now, "far": now + FAR}).first()


_HEADS: Final = (
    sa.select(deliveries, spending.NAMES.label("spends"), _FLYING.label("flying"))
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .join(lanes, lanes.c.id == deliveries.c.lane_id)
    .where(
        deliveries.c.lane_id == sa.bindparam("lane"),
        deliveries.c.is_head,
        sa.or_(deliveries.c.due <= sa.bindparam("now"), deliveries.c.due > sa.bindparam("far")),
    )
    .order_by(deliveries.c.urgency, deliveries.c.id)
    .limit(LOOK)
)
_HEAD: Final = _HEADS.limit(1)
_URGENT_HEAD: Final = _HEAD.where(URGENT)


def _sleep(connection: sa.Connection, lane: int) -> None:
    """Let a lane sleep until something of it is due; for good, where nothing waits."""
    connection.execute(_SLEEP, {"lane": lane})


_SLEEP: Final = (
    sa.update(lanes)
    .where(lanes.c.id == sa.bindparam("lane"))
    .values(
        due=sa.select(sa.func.min(deliveries.c.due))
        .where(deliveries.c.lane_id == sa.bindparam("lane"), deliveries.c.is_head)
        .scalar_subquery()
    )
)


def _fly_together(lane: sa.Row[Any], flying: int, now: float, together: int) -> bool:
    """Say once more whether one more attempt may fly in a lane, now that nobody else claims in it.

    Before, it was counted while others were claiming.
    """
    fresh = lane.state == LaneState.HEALTHY and lane.claimed_at >= now - SLOW
    return bool(fresh and flying < together)


def _afforded(  # noqa: PLR0913 -- one argument for each thing a claim is made of
    connection: sa.Connection,
    lane: sa.Row[Any],
    row: sa.Row[Any],
    *,
    holder: str,
    now: float,
    lease: float,
    promises: Mapping[Promise, str | None],
) -> Claim | None:
    """Claim the head of a lane, or something else of it, as the budgets allow.

    Returns:
        None where nothing may be sent now; the lane is due later then.
    """
    soonest = now + FAR  # later than that is taken for a clock that went back
    refused = set()
    for each in itertools.chain([row], _others(connection, lane.id, now)):
        urgent = is_urgent(each)
        if (each.spends, urgent) in refused:
            continue
        purses = spending.of(connection, each.spends)
        free = spending.free_at(purses, now, urgent=urgent)
        if free <= now:
            taken = spending.take(connection, purses, now, urgent=urgent)
            found = None
            if taken is not None:
                found = _claimed(
                    connection,
                    lane,
                    each,
                    holder,
                    now,
                    budgets=taken,
                    lease=lease,
                    promises=promises,
                )
            if found is None:
                look_at(connection, lane.id, now + MOMENT)
            return found
        refused.add((each.spends, urgent))
        soonest = min(soonest, free)
    look_at(connection, lane.id, soonest)
    return None


def _others(connection: sa.Connection, lane: int, now: float) -> Iterator[sa.Row[Any]]:
    """Give heads that may go where the first one cannot: from other budgets, or more urgent."""
    which = {"lane": lane, "now": now, "far": now + FAR}
    yield from connection.execute(_HEADS, which)
    yield from connection.execute(_URGENT_HEAD, which)


def is_urgent(delivery: Delivery | sa.Row[Any]) -> bool:
    """Say whether a delivery may use what budgets keep for what is urgent."""
    resolves = delivery.operation == Operation.RESOLVE
    return bool(resolves or delivery.severity == Severity.CRITICAL)


def _claimed(  # noqa: PLR0913 -- one argument for each thing a claim is made of
    connection: sa.Connection,
    lane: sa.Row[Any],
    row: sa.Row[Any],
    holder: str,
    now: float,
    *,
    budgets: tuple[str, ...],
    lease: float,
    promises: Mapping[Promise, str | None],
) -> Claim | None:
    """Claim a delivery, unless somebody else decides about its incident now, or just has."""
    delivery = ledger.delivery_of(row)
    first_tried_at = now if row.first_tried_at is None else row.first_tried_at
    promised = promises.get(promise_at(delivery.place))  # of no use where there is a handle
    done = connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.id == row.id,
            deliveries.c.is_head,
            deliveries.c.collapsed == row.collapsed,
            *sharing.unless_locked(connection, delivery.place),
        )
        .values(
            is_head=False,
            place_in_line=0,  # whatever comes meanwhile stands behind it
            holder=holder,
            lease_until=now + lease,
            attempts=row.attempts + 1,
            first_tried_at=first_tried_at,
            promised=promised,
        )
    )
    if not done.rowcount:
        return None
    connection.execute(
        sa.update(lanes).where(lanes.c.id == lane.id).values(due=now, claimed_at=now)
    )
    stored = ledger.stored_of(connection.execute(_INCIDENT, {"number": row.incident_id}).one())
    return Claim(
        id=row.id,
        uid=row.uid,
        holder=holder,
        delivery=delivery,
        incident=stored,
        attempt=row.attempts + 1,
        claimed_at=now,
        start_by=now + lease * START_WITHIN,
        accepted_at=row.accepted_at,
        collapsed=row.collapsed,
        statement_id=row.statement_id,
        first_tried_at=first_tried_at,
        lane=LaneState(lane.state),
        failures=lane.failures,
        budgets=budgets,
        last_outcome=OutcomeKind(row.outcome) if row.outcome else None,
        promised=promised if stored.incident.handle is None else None,
    )


_INCIDENT: Final = sa.select(incidents).where(incidents.c.id == sa.bindparam("number"))


def is_mine(connection: sa.Connection, claim: Claim) -> bool:
    """Say whether a claim still stands: nobody took it over, and nobody claimed it anew."""
    row = connection.execute(
        sa.select(deliveries.c.holder, deliveries.c.attempts).where(deliveries.c.id == claim.id)
    ).first()
    return row is not None and (row.holder, row.attempts) == (claim.holder, claim.attempt)


def look_at(connection: sa.Connection, lane: int, moment: float) -> None:
    """Let a lane be looked at from a moment on."""
    connection.execute(sa.update(lanes).where(lanes.c.id == lane).values(due=moment))
