"""Claims what may be sent next, and settles what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from hostspec.action import Limit
from hostspec.delivery import ledger, observing
from hostspec.delivery.budget import Budget
from hostspec.delivery.line import Line, Waiting
from hostspec.delivery.verdict import (
    FEWEST_TRIES,
    DeliveryState,
    LaneState,
    Verdict,
    judge,
)
from hostspec.incident import Delivery, Operation
from hostspec.outcome import Outcome, OutcomeKind, Receipt
from hostspec.parts import Severity
from hostspec.store.tables import budgets, deliveries, incidents, lanes
from hostspec.values import to_json

LEASE: Final = 60.0
"""Seconds that a claim is good for. An attempt takes less in all (the action's deadline)."""

START_WITHIN: Final = 10.0
"""Seconds after a claim in which its attempt has to start; a process that froze starts none."""

SETTLE: Final = 60.0
"""Seconds after which an incident that was in doubt is resolved once more: whatever was on its
way has arrived by then."""

SETTLING: Final = "settle"
"""Stands as statement of a resolve that is sent once more."""

FLYING_TOGETHER: Final = 4
"""Attempts in flight at once in a lane that is healthy; one in any other."""

SLOW: Final = 2.0
"""Seconds after which an attempt in flight makes its lane one that others must not wait for."""

FAR: Final = 600.0
"""Seconds: nothing is due later than that, so a later moment is a clock that went back."""

_URGENT: Final = sa.or_(
    deliveries.c.operation == Operation.RESOLVE, deliveries.c.severity == Severity.CRITICAL
)


@attrs.frozen
class Claim:
    """A delivery that this process alone may send now.

    Attributes:
        id: of the delivery.
        uid: names it for observers.
        delivery: what to send.
        incident: whose handle follow-ups need.
        attempt: which one this is, from 1.
        claimed_at: when.
        accepted_at: when its statement was accepted.
        collapsed: how many others it stands for.
        statement_id: of its statement.
        first_tried_at: when it was tried first.
        lane: its lane's state, as it was claimed.
        failures: of the lane, one after the other.
    """

    id: int
    uid: str
    delivery: Delivery
    incident: ledger.StoredIncident
    attempt: int
    claimed_at: float
    accepted_at: float
    collapsed: int
    statement_id: str
    first_tried_at: float
    lane: LaneState
    failures: int


def claim(
    connection: sa.Connection, holder: str, now: float, *, most: int, unhealthy: int
) -> Sequence[Claim]:
    """Claim what is to be sent next, at most one delivery for each lane.

    Args:
        connection: of the transaction.
        holder: who claims.
        now: the time.
        most: how many, at the most.
        unhealthy: how many of them may be of lanes that are not healthy.
    """
    claims: list[Claim] = []
    for lane in _ready(connection, now):
        if len(claims) >= most:
            break
        sick = lane.state != LaneState.HEALTHY
        slow = lane.flying > 0 and (sick or lane.claimed_at < now - SLOW)
        if slow or (sick and unhealthy <= 0):
            continue
        row = _head(connection, lane.id, now)
        if row is None:
            _sleep(connection, lane.id)
            continue
        row = _afforded(connection, lane, row, now)
        if row is not None:
            claims.append(_claimed(connection, lane, row, holder, now))
            unhealthy -= sick
    return claims


def is_due(connection: sa.Connection, now: float) -> bool:
    """Say whether a lane is to be looked at now."""
    return connection.execute(_ANY_READY, {"now": now, "far": now + FAR}).first() is not None


def settle(
    connection: sa.Connection,
    claim: Claim,
    outcome: Outcome,
    now: float,
    *,
    arrived: bool,
    limits: Sequence[Limit],
) -> None:
    """Write down what an attempt came to; nothing, if the claim was taken over meanwhile.

    Args:
        connection: of the transaction.
        claim: what was sent.
        outcome: what came of it.
        now: the time.
        arrived: it may have arrived.
        limits: how much the destination takes, as known now.
    """
    row = connection.execute(_SETTLED, {"number": claim.id}).first()
    if row is None:
        return
    stored = ledger.stored_of(row)
    delivered = outcome.delivered
    episode = stored.episode.after(
        claim.delivery.operation, delivered=delivered, may_have_arrived=arrived
    )
    if row.holder is None or row.attempts != claim.attempt:
        # somebody else took it over, who may have sent it too
        ledger.note_episode(connection, stored.id, attrs.evolve(episode, in_doubt=True), now)
        return
    if claim.statement_id == SETTLING and delivered:
        episode = attrs.evolve(episode, in_doubt=False)
    verdict = judge(
        outcome,
        now,
        attempts=claim.attempt,
        failures=claim.failures,
        others_got_through=_others_got_through(connection, claim),
    )
    _note_lane(connection, stored.lane_id, verdict, outcome, now, limits)
    told = {"outcome": outcome.kind, "reason": outcome.reason}
    if verdict.state is DeliveryState.WAITING:
        kept = {"holder": None, "lease_until": None, "due": verdict.delivery_due, **told}
        connection.execute(sa.update(deliveries).where(deliveries.c.id == claim.id), kept)
    else:
        ledger.finish(connection, claim.id, verdict.state, now, **told)
        receipt = Receipt(claim.uid, claim.delivery, outcome, claim.attempt)
        observing.note(connection, _HOOKS[delivered], receipt)
    waits = ledger.promote(connection, stored.id, now)
    resolved = claim.delivery.operation is Operation.RESOLVE and delivered
    if resolved and episode.in_doubt and not waits:
        _resolve_again(connection, stored, claim.delivery, now)
    elif not waits and not episode.may_be_open:
        known = attrs.asdict(episode)
        ledger.close_incident(connection, stored.id, now, handle=None, **known)
        return
    handle = row.handle
    if arrived and outcome.handle is not None and handle is None:
        handle = json.dumps(to_json(outcome)["handle"])
    if resolved and not episode.in_doubt:
        handle = None  # the next episode opens under the newest key
    ledger.note_episode(connection, stored.id, episode, now, handle=handle)


_HOOKS: Final = {True: "hostspec_delivered", False: "hostspec_undelivered"}
_SETTLED: Final = (
    sa.select(deliveries.c.holder, deliveries.c.attempts, incidents)
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .where(deliveries.c.id == sa.bindparam("number"))
)


def strand(connection: sa.Connection, claim: Claim, reason: str, now: float) -> None:
    """Give an incident up whose key is not held any more; what fires still opens anew.

    Args:
        connection: of the transaction.
        claim: the follow-up or repeat that cannot be sent.
        reason: why, for a person.
        now: the time.
    """
    if not _is_mine(connection, claim):
        return
    stored = ledger.incident(connection, claim.incident.id)
    assert stored is not None  # noqa: S101 -- its delivery is there
    waiting, _ = ledger.waiting(connection, stored.id)
    mine = Waiting(claim.delivery, claim.id, claim.collapsed, claim.accepted_at)
    outcome = Outcome(OutcomeKind.MISCONFIGURED, reason)
    last: Waiting | None = None
    for each in (mine, *waiting):
        last = {Operation.TRIGGER: each, Operation.RESOLVE: None}.get(each.delivery.operation, last)
        assert each.id is not None  # noqa: S101 -- they were read
        ledger.finish(
            connection,
            each.id,
            DeliveryState.STRANDED,
            now,
            outcome=outcome.kind,
            reason=reason,
        )
    receipt = Receipt(claim.uid, claim.delivery, outcome, claim.attempt)
    observing.note(connection, "hostspec_undelivered", receipt)
    ledger.close_incident(connection, stored.id, now, stranded=True)
    if last is not None:
        opened = ledger.open_incident(connection, last.delivery, now)
        for alert in stored.incident.holders:
            ledger.hold(connection, opened.id, alert, now)
        anew = attrs.evolve(last, id=None)
        ledger.write_line(connection, opened, Line((anew,)), claim.statement_id, now)
    wake_lane(connection, stored.lane_id, now)


def wake_lane(connection: sa.Connection, lane: int, now: float) -> None:
    """Let a lane be looked at now, whatever was wrong with it."""
    connection.execute(sa.update(lanes).where(lanes.c.id == lane).values(due=now))


def give_back(connection: sa.Connection, claim: Claim, now: float) -> None:
    """Give a claim back whose attempt was not started."""
    if _is_mine(connection, claim):
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.id == claim.id)
            .values(holder=None, lease_until=None, attempts=claim.attempt - 1)
        )
        ledger.promote(connection, claim.incident.id, now)


def take_over(connection: sa.Connection, dead: Sequence[str], now: float) -> int:
    """Take up what processes that are gone were sending; nobody knows whether it arrived."""
    rows = connection.execute(
        sa.select(deliveries.c.id, deliveries.c.incident_id, deliveries.c.operation).where(
            deliveries.c.holder.in_(dead)
        )
    ).all()
    for row in rows:
        stored = ledger.incident(connection, row.incident_id)
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.id == row.id)
            .values(holder=None, lease_until=None, due=now)
        )
        if stored:
            episode = stored.episode.after(
                Operation(row.operation), delivered=False, may_have_arrived=True
            )
            ledger.note_episode(connection, stored.id, episode, now)
            ledger.promote(connection, stored.id, now)
            wake_lane(connection, stored.lane_id, now)
    return len(rows)


def holders(connection: sa.Connection) -> tuple[str, ...]:
    """Give who holds claims now."""
    found = sa.select(deliveries.c.holder).where(deliveries.c.holder.is_not(None)).distinct()
    return tuple(connection.execute(found).scalars())


_FLYING: Final = (
    sa.select(sa.func.count())
    .where(deliveries.c.lane_id == lanes.c.id, deliveries.c.holder.is_not(None))
    .scalar_subquery()
)
_IS_DUE: Final = sa.and_(
    lanes.c.due.is_not(None),
    sa.or_(lanes.c.due <= sa.bindparam("now"), lanes.c.due > sa.bindparam("far")),
)
_ANY_READY: Final = sa.select(lanes.c.id).where(_IS_DUE).limit(1)
_READY: Final = (
    sa.select(lanes, _FLYING.label("flying"))
    .where(_IS_DUE)
    .order_by(lanes.c.due)
    .with_for_update(skip_locked=True, of=lanes)
)


def _ready(connection: sa.Connection, now: float) -> Iterator[sa.Row[Any]]:
    """Give the lanes that may be looked at, the one that has waited longest first."""
    rows = connection.execute(_READY, {"now": now, "far": now + FAR})
    yield from rows.all()


def _head(
    connection: sa.Connection, lane: int, now: float, *, urgent: bool = False
) -> sa.Row[Any] | None:
    which = _URGENT_HEAD if urgent else _HEAD
    return connection.execute(which, {"lane": lane, "now": now, "far": now + FAR}).first()


_HEAD: Final = (
    sa.select(deliveries)
    .where(
        deliveries.c.lane_id == sa.bindparam("lane"),
        deliveries.c.is_head,
        sa.or_(deliveries.c.due <= sa.bindparam("now"), deliveries.c.due > sa.bindparam("far")),
    )
    .order_by(deliveries.c.urgency, deliveries.c.id)
    .limit(1)
)
_URGENT_HEAD: Final = _HEAD.where(_URGENT)


def _sleep(connection: sa.Connection, lane: int) -> None:
    """Let a lane sleep until something of it is due; for good, where nothing waits."""
    soonest = (
        sa.select(sa.func.min(deliveries.c.due))
        .where(deliveries.c.lane_id == lane, deliveries.c.is_head)
        .scalar_subquery()
    )
    connection.execute(sa.update(lanes).where(lanes.c.id == lane).values(due=soonest))


def _afforded(
    connection: sa.Connection, lane: sa.Row[Any], row: sa.Row[Any], now: float
) -> sa.Row[Any] | None:
    """Take one message of the lane's budgets, for the head or for something more urgent."""
    limits = [Limit(**each) for each in json.loads(lane.limits)]
    known = {limit.budget: _budget(connection, limit.budget) for limit in limits}

    def free_at(*, urgent: bool) -> float:
        moments = (
            known[each.budget].free_at(now, count=each.count, window=each.window, urgent=urgent)
            for each in limits
        )
        return max(moments, default=now)

    free = free_at(urgent=_is_urgent(row))
    if free > now and not _is_urgent(row) and free_at(urgent=True) <= now:
        urgent = _head(connection, lane.id, now, urgent=True)
        row, free = (urgent, now) if urgent is not None else (row, free)
    if free > now:
        connection.execute(sa.update(lanes).where(lanes.c.id == lane.id).values(due=free))
        return None
    for limit in limits:
        _write_budget(connection, limit.budget, known[limit.budget].take(now, window=limit.window))
    return row


def _is_urgent(row: sa.Row[Any]) -> bool:
    return row.operation == Operation.RESOLVE or row.severity == Severity.CRITICAL


def _claimed(
    connection: sa.Connection, lane: sa.Row[Any], row: sa.Row[Any], holder: str, now: float
) -> Claim:
    first_tried_at = now if row.first_tried_at is None else row.first_tried_at
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.id == row.id)
        .values(
            is_head=False,
            holder=holder,
            lease_until=now + LEASE,
            attempts=row.attempts + 1,
            first_tried_at=first_tried_at,
        )
    )
    connection.execute(
        sa.update(lanes).where(lanes.c.id == lane.id).values(due=now, claimed_at=now)
    )
    incident = connection.execute(_INCIDENT, {"number": row.incident_id}).one()
    return Claim(
        id=row.id,
        uid=row.uid,
        delivery=ledger.delivery_of(row),
        incident=ledger.stored_of(incident),
        attempt=row.attempts + 1,
        claimed_at=now,
        accepted_at=row.accepted_at,
        collapsed=row.collapsed,
        statement_id=row.statement_id,
        first_tried_at=first_tried_at,
        lane=LaneState(lane.state),
        failures=lane.failures,
    )


_INCIDENT: Final = sa.select(incidents).where(incidents.c.id == sa.bindparam("number"))


def _is_mine(connection: sa.Connection, claim: Claim) -> bool:
    """Say whether a claim still stands: nobody took it over, and nobody claimed it anew."""
    row = connection.execute(
        sa.select(deliveries.c.holder, deliveries.c.attempts).where(deliveries.c.id == claim.id)
    ).first()
    return row is not None and row.holder is not None and row.attempts == claim.attempt


def _others_got_through(connection: sa.Connection, claim: Claim) -> bool:
    if claim.attempt < FEWEST_TRIES:
        return False
    newest = sa.select(sa.func.max(lanes.c.got_through_at)).where(
        lanes.c.installation == claim.delivery.place.installation
    )
    return bool((connection.execute(newest).scalar() or 0) > claim.first_tried_at)


def _note_lane(  # noqa: PLR0913 -- one argument for each thing that is noted
    connection: sa.Connection,
    lane: int,
    verdict: Verdict,
    outcome: Outcome,
    now: float,
    limits: Sequence[Limit],
) -> None:
    values: dict[str, Any] = {
        "state": verdict.lane,
        "reason": "" if outcome.delivered else outcome.reason,
        "failures": verdict.failures,
        "due": verdict.lane_due,
        "limits": json.dumps([attrs.asdict(limit) for limit in limits]),
    }
    if outcome.delivered:
        values["got_through_at"] = now
    connection.execute(sa.update(lanes).where(lanes.c.id == lane), values)
    if verdict.paused_until:
        for limit in limits:
            paused = _budget(connection, limit.budget).pause(verdict.paused_until)
            _write_budget(connection, limit.budget, paused)


def _resolve_again(
    connection: sa.Connection, stored: ledger.StoredIncident, delivery: Delivery, now: float
) -> None:
    again = Line((Waiting(delivery, accepted_at=now),))
    ledger.write_line(connection, stored, again, SETTLING, now, due=now + SETTLE)


def _budget(connection: sa.Connection, name: str) -> Budget:
    row = connection.execute(
        sa.select(budgets).where(budgets.c.name == name).with_for_update()
    ).first()
    if row is None:
        return Budget()
    used = {int(second): count for second, count in json.loads(row.used).items()}
    return Budget(used, row.paused_until)


def _write_budget(connection: sa.Connection, name: str, budget: Budget) -> None:
    used = json.dumps(dict(budget.used))
    values = {"name": name, "used": used, "paused_until": budget.paused_until}
    connection.execute(_PUT_BUDGET, values)


_PUT_BUDGET: Final = sa.text(
    "INSERT INTO budgets (name, used, paused_until) VALUES (:name, :used, :paused_until)"
    " ON CONFLICT (name) DO UPDATE SET used = excluded.used, paused_until = excluded.paused_until"
)
