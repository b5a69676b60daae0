"""Claims what may be sent next, and settles what came of it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa

from hostspec.action import Limit
from hostspec.delivery import ledger, lineup, observing, sharing, spending
from hostspec.delivery.line import Waiting
from hostspec.delivery.verdict import (
    FEWEST_TRIES,
    FIRST_RETRY,
    LONGEST_PAUSE,
    DeliveryState,
    LaneState,
    Verdict,
    judge,
)
from hostspec.incident import Delivery, Operation, Place
from hostspec.outcome import Outcome, OutcomeKind, Receipt
from hostspec.parts import Severity
from hostspec.store.tables import URGENT, deliveries, incidents, lanes

_log = logging.getLogger("hostspec.delivery")

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
    if _is_mine(connection, claim):
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


def settle(  # noqa: PLR0913 -- one argument for each thing that matters
    connection: sa.Connection,
    claim: Claim,
    outcome: Outcome,
    now: float,
    *,
    arrived: bool,
    limits: Sequence[Limit],
    actions: lineup.Actions,
) -> None:
    """Write down what an attempt came to; only that it was made, if it was taken over meanwhile.

    Args:
        connection: of the transaction.
        claim: what was sent.
        outcome: what came of it.
        now: the time.
        arrived: it may have arrived.
        limits: what it was sent from, as known now.
        actions: say what may collapse.
    """
    sharing.lock(connection, [claim.delivery.place])
    row = connection.execute(_SETTLED, {"number": claim.id}).first()
    if row is None:
        return
    stored = ledger.stored_of(row)
    operation = claim.delivery.operation
    if row.holder != claim.holder or row.attempts != claim.attempt:
        if arrived and lineup.may_repeat(actions, claim.delivery.place):
            handle = _handle_of(claim, outcome)
            _note_late(connection, stored, claim, handle, now, active=row.active)
        return
    delivered = outcome.delivered
    episode = stored.episode.after(operation, delivered=delivered, may_have_arrived=arrived)
    settling = claim.statement_id == ledger.SETTLING and operation is Operation.RESOLVE
    if settling and delivered:
        episode = attrs.evolve(episode, in_doubt=False)
    verdict = judge(
        outcome,
        now,
        attempts=claim.attempt,
        failures=claim.failures,
        others_got_through=_others_got_through(connection, claim, now),
    )
    known = spending.names_of(limits)
    opened = claim.incident.incident.handle is None
    _note_lane(connection, stored.lane_id, verdict, outcome, now, budgets=known if opened else None)
    spending.account(
        connection,
        limits,
        now,
        urgent=_is_urgent(claim.delivery),
        taken=claim.budgets,
        taken_at=claim.claimed_at,
        paused_until=verdict.paused_until,
    )
    told = {"outcome": outcome.kind, "reason": outcome.reason}
    if verdict.state is DeliveryState.WAITING:
        kept = {"holder": None, "lease_until": None, "due": verdict.delivery_due, **told}
        connection.execute(sa.update(deliveries).where(deliveries.c.id == claim.id), kept)
    else:
        ledger.finish(connection, claim.id, verdict.state, now, **told)
        hook = observing.DELIVERED if delivered else observing.UNDELIVERED
        receipt = Receipt(claim.uid, claim.delivery, outcome, claim.attempt)
        observing.note(connection, hook, receipt, claim.holder)
    handle = row.handle
    if arrived and handle is None:
        handle = _handle_of(claim, outcome)
    elif delivered and operation is Operation.TRIGGER and outcome.handle is not None:
        # what was open was given up (its resolve was refused, say), and another one opened
        handle = ledger.handle_as_json(outcome.handle)
    resolved = operation is Operation.RESOLVE and delivered
    if resolved and not episode.in_doubt:
        handle = None  # the next episode opens under the newest key
    ledger.note_episode(connection, stored.id, episode, now, handle=handle, budgets=known)
    if not delivered:
        lineup.reduce(connection, actions, stored, episode, now)
    waits = ledger.promote(connection, stored.id, now)
    if not waits and (delivered or not settling):  # given up, it leaves the doubt to a person
        lineup.end(connection, actions, stored, episode, now, again=True)


_SETTLED: Final = (
    sa.select(deliveries.c.holder, deliveries.c.attempts, incidents)
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .where(deliveries.c.id == sa.bindparam("number"))
)


def _handle_of(claim: Claim, outcome: Outcome) -> str | None:
    """Give the handle that an attempt was made under, as it is kept; None where nobody knows."""
    handle = claim.incident.incident.handle
    if handle is None:
        handle = outcome.handle
    return claim.promised if handle is None else ledger.handle_as_json(handle)


def _note_late(  # noqa: PLR0913 -- one argument for each thing that matters
    connection: sa.Connection,
    stored: ledger.StoredIncident,
    claim: Claim,
    handle: str | None,
    now: float,
    *,
    active: bool,
) -> None:
    """Note that an attempt may have arrived that somebody else made once more meanwhile.

    A trigger may have opened what was closed by then: it is resolved once more. Where what is open
    at its place was opened under another key by then, nobody here can close it: it is stranded.
    """
    operation = claim.delivery.operation
    opened = operation is Operation.TRIGGER
    current = stored if active else ledger.incident_at(connection, stored.incident.place)
    if current is None:
        closing = ledger.newest(connection, stored.id, Operation.RESOLVE)
        if not opened or closing is None:
            return
        ledger.reopen_incident(connection, stored.id, now)
        current = stored
    under = _opens_under(connection, current)
    if opened and handle is not None and under not in {None, handle}:
        _log.error(
            "the incident %s at %s/%s is stranded: it was opened late, under a key that another"
            " one is open under by now",
            current.incident.place.correlation_key,
            current.incident.place.installation,
            current.incident.place.destination,
        )
        beside = ledger.open_incident(connection, claim.delivery, now, active=False, handle=handle)
        ledger.close_incident(connection, beside.id, now, stranded=True)
        return
    episode = current.episode.after(operation, delivered=False, may_have_arrived=True)
    opens = opened and current.incident.handle is None
    kept = _opened_by(connection, current, handle) if opens else {}
    ledger.note_episode(connection, current.id, episode, now, **kept)
    held = ledger.incident(connection, current.id)
    waiting, flying = ledger.waiting(connection, current.id)
    closing = ledger.newest(connection, current.id, Operation.RESOLVE)
    if opened and closing is not None and held and not held.incident.holders and not waiting:
        lineup.resolve_again(connection, current, closing, now, flying=flying)


def _opened_by(
    connection: sa.Connection, stored: ledger.StoredIncident, handle: str | None
) -> dict[str, Any]:
    """Give what an incident keeps of an attempt that may have opened it, as far as it is known."""
    return {"handle": handle, "budgets": spending.names_of_lane(connection, stored.lane_id)}


def _opens_under(connection: sa.Connection, stored: ledger.StoredIncident) -> str | None:
    """Give the handle that an incident has, or is being given; None for neither."""
    handle = stored.incident.handle
    if handle is not None:
        return ledger.handle_as_json(handle)
    rows = ledger.rows_waiting(connection, stored.id)
    return next((row.promised for row in rows if row.holder is not None), None)


def strand(connection: sa.Connection, claim: Claim, reason: str, now: float) -> None:
    """Give an incident up whose key is not held any more; what fires still opens anew.

    Args:
        connection: of the transaction.
        claim: the follow-up or repeat that cannot be sent.
        reason: why, for a person.
        now: the time.
    """
    sharing.lock(connection, [claim.delivery.place])
    if not _is_mine(connection, claim):
        return
    stored = ledger.incident(connection, claim.incident.id)
    assert stored is not None  # noqa: S101 -- its delivery is there
    outcome = Outcome(OutcomeKind.MISCONFIGURED, reason)
    rows = ledger.rows_waiting(connection, stored.id)
    for row in rows:
        ledger.finish(
            connection,
            row.id,
            DeliveryState.STRANDED,
            now,
            outcome=outcome.kind,
            reason=reason,
        )
        receipt = Receipt(row.uid, ledger.delivery_of(row), outcome, row.attempts)
        observing.note(connection, observing.UNDELIVERED, receipt, claim.holder)
    ledger.close_incident(connection, stored.id, now, stranded=True)
    anew = _anew(connection, stored, rows)
    if anew:
        opening = anew[0].delivery
        opened = ledger.open_incident(connection, opening, now)
        for alert in stored.incident.holders:
            ledger.hold(connection, opened.id, alert, now)
        if opening.alert not in stored.incident.holders:
            ledger.release(connection, opened.id, opening.alert, now)
        ledger.write_line(connection, opened, anew, rows[-1].statement_id, now)
    wake_lane(connection, stored.lane_id, now)


def _anew(
    connection: sa.Connection, stored: ledger.StoredIncident, rows: Sequence[sa.Row[Any]]
) -> tuple[Waiting, ...]:
    """Give what is to be said where an incident opens anew: what fires, or was never told."""
    line = [attrs.evolve(ledger.waiting_of(row), id=None) for row in rows]
    operations = [each.delivery.operation for each in line]
    newest = max((n for n, each in enumerate(operations) if each is Operation.TRIGGER), default=-1)
    # what was told is the episode that a resolve in line ends
    told = stored.episode.told and Operation.RESOLVE not in operations[: max(newest, 0)]
    if newest >= 0 and (stored.incident.holders or not told):
        return tuple(line[newest:])
    opening = ledger.newest(connection, stored.id, Operation.TRIGGER)
    if stored.incident.holders and opening is not None:
        return (Waiting(opening, accepted_at=rows[0].accepted_at),)
    return ()


def wake_lane(connection: sa.Connection, lane: int, now: float) -> None:
    """Let a lane be looked at now, whatever was wrong with it."""
    look_at(connection, lane, now)


def look_at(connection: sa.Connection, lane: int, moment: float) -> None:
    """Let a lane be looked at from a moment on."""
    connection.execute(sa.update(lanes).where(lanes.c.id == lane).values(due=moment))


def give_back(connection: sa.Connection, claim: Claim, now: float, actions: lineup.Actions) -> None:
    """Give a claim back whose attempt was not started."""
    sharing.lock(connection, [claim.delivery.place])
    stored = ledger.incident(connection, claim.incident.id)
    if stored and _is_mine(connection, claim):
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.id == claim.id)
            .values(holder=None, lease_until=None, attempts=claim.attempt - 1)
        )
        lineup.reduce(connection, actions, stored, stored.episode, now)
        ledger.promote(connection, claim.incident.id, now)


def take_over(
    connection: sa.Connection,
    lost: Sequence[Held],
    teller: str,
    now: float,
    actions: lineup.Actions,
) -> int:
    """Take up what is not being sent any more; nobody knows whether it arrived.

    Args:
        connection: of the transaction.
        lost: the claims of processes that are gone, or whose lease has run out.
        teller: the process that tells observers.
        now: the time.
        actions: say what may be sent again.

    Returns:
        how many there were.
    """
    taken = 0
    sharing.lock(connection, [each.place for each in lost])
    for each in sorted(lost, key=lambda each: each.lane_id):
        row = connection.execute(sa.select(deliveries).where(deliveries.c.id == each.id)).first()
        if row is None or (row.holder, row.attempts) != (each.holder, each.attempts):
            continue
        taken += 1
        stored = ledger.incident(connection, row.incident_id)
        assert stored is not None  # noqa: S101 -- its delivery is there
        reason = "the process that was sending it is gone"
        if lineup.may_repeat(actions, stored.incident.place):
            free = {"holder": None, "lease_until": None, "due": now, "reason": reason}
            connection.execute(sa.update(deliveries).where(deliveries.c.id == row.id), free)
        else:
            outcome = Outcome(OutcomeKind.UNCERTAIN, reason)
            told = {"outcome": outcome.kind, "reason": reason}
            ledger.finish(connection, row.id, DeliveryState.UNCERTAIN, now, **told)
            receipt = Receipt(row.uid, ledger.delivery_of(row), outcome, row.attempts)
            observing.note(connection, observing.UNDELIVERED, receipt, teller)
        episode = stored.episode.after(
            Operation(row.operation), delivered=False, may_have_arrived=True
        )
        opens = stored.incident.handle is None
        kept = _opened_by(connection, stored, row.promised) if opens else {}
        ledger.note_episode(connection, stored.id, episode, now, **kept)
        lineup.reduce(connection, actions, stored, episode, now)
        waits = ledger.promote(connection, stored.id, now)
        if not waits and not episode.may_be_open:
            ledger.close_incident(connection, stored.id, now)
        if row.lease_until is not None and row.lease_until <= now:
            _note_hanging(connection, stored.lane_id, now)
        else:
            wake_lane(connection, stored.lane_id, now)
    return taken


def _note_hanging(connection: sa.Connection, lane: int, now: float) -> None:
    """Note that attempts in a lane hang: others must not wait for it."""
    connection.execute(
        sa.update(lanes)
        .where(lanes.c.id == lane)
        .values(
            state=LaneState.UNHEALTHY,
            reason="an attempt took longer than its lease",
            failures=lanes.c.failures + 1,
            due=now + FIRST_RETRY,
        )
    )


@attrs.frozen
class Held:
    """A claim that somebody holds.

    Attributes:
        id: of the delivery.
        holder: who.
        attempts: which attempt it is.
        place: of its incident.
        lane_id: the row of its lane.
        lease_until: when its lease runs out.
    """

    id: int
    holder: str
    attempts: int
    place: Place
    lane_id: int
    lease_until: float


def held(connection: sa.Connection) -> tuple[Held, ...]:
    """Give the claims that are held now."""
    return tuple(
        Held(
            row.id,
            row.holder,
            row.attempts,
            Place(row.action, row.installation, row.destination, row.correlation_key),
            row.lane_id,
            row.lease_until,
        )
        for row in connection.execute(_HELD)
    )


def resume(connection: sa.Connection, now: float) -> None:
    """Try what waits for a repair at once: somebody may have made it."""
    waits = sa.select(lanes.c.id).where(lanes.c.state == LaneState.HELD)
    connection.execute(sa.update(lanes).where(lanes.c.state == LaneState.HELD).values(due=now))
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.lane_id.in_(waits), deliveries.c.is_head, deliveries.c.due > now)
        .values(due=now)
    )


_HELD: Final = (
    sa.select(
        *(deliveries.c[name] for name in ("id", "holder", "attempts", "lease_until", "lane_id")),
        *(incidents.c[each.name] for each in attrs.fields(Place)),
    )
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .where(deliveries.c.holder.is_not(None))
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
        urgent = _is_urgent(each)
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


def _is_urgent(delivery: Delivery | sa.Row[Any]) -> bool:
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


def _is_mine(connection: sa.Connection, claim: Claim) -> bool:
    """Say whether a claim still stands: nobody took it over, and nobody claimed it anew."""
    row = connection.execute(
        sa.select(deliveries.c.holder, deliveries.c.attempts).where(deliveries.c.id == claim.id)
    ).first()
    return row is not None and (row.holder, row.attempts) == (claim.holder, claim.attempt)


def _others_got_through(connection: sa.Connection, claim: Claim, now: float) -> bool:
    if claim.attempt < FEWEST_TRIES:
        return False
    newest = sa.select(sa.func.max(lanes.c.got_through_at)).where(
        lanes.c.installation == claim.delivery.place.installation,
        lanes.c.got_through_at <= now,  # a later moment is a clock that went back
    )
    return bool((connection.execute(newest).scalar() or 0) > claim.first_tried_at)


def _note_lane(  # noqa: PLR0913 -- one argument for each thing that is noted
    connection: sa.Connection,
    lane: int,
    verdict: Verdict,
    outcome: Outcome,
    now: float,
    *,
    budgets: str | None,
) -> None:
    values: dict[str, Any] = {
        "state": verdict.lane,
        "reason": "" if outcome.delivered else outcome.reason,
        "failures": verdict.failures,
        "due": verdict.lane_due,
    }
    if budgets is not None:
        values["budgets"] = budgets
    if outcome.delivered:
        values["got_through_at"] = now
    connection.execute(sa.update(lanes).where(lanes.c.id == lane), values)
