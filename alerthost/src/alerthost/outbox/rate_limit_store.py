"""Reads and writes rate limits and the messages counted against them; decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend
from alerthost.outbox.rate_limit import RateLimit
from alerthost.store.tables import budgets, incidents, lanes
from hostspec.action import Limit

NAMES: Final = sa.case((incidents.c.handle.is_(None), lanes.c.budgets), else_=incidents.c.budgets)
"""Names of the budgets that a delivery counts against: those of its incident once that has a
handle, or else those of the last incident that its lane opened."""


def names_of(limits: Sequence[Limit]) -> str:
    """Return the names of budgets, as lanes and incidents keep them."""
    return json.dumps([limit.budget for limit in limits])


def names_of_lane(connection: sa.Connection, lane: int) -> str:
    """Return the names of the budgets from which a lane opened last, as it keeps them."""
    which = sa.select(lanes.c.budgets).where(lanes.c.id == lane)
    return str(connection.execute(which).scalar_one())


def load(connection: sa.Connection, names: str) -> tuple[RateLimit, ...]:
    """Return budgets by their names, as lanes and incidents keep them; in the order of locking."""
    found = (_read(connection, name) for name in sorted(json.loads(names)))
    return tuple(rate_limit for rate_limit in found if rate_limit is not None)


def free_at(rate_limits: Iterable[RateLimit], now: float, *, urgent: bool) -> float:
    """Return when the next message may be sent that counts against all of them."""
    return max((each.free_at(now, urgent=urgent) for each in rate_limits), default=now)


def take(
    connection: sa.Connection, rate_limits: Sequence[RateLimit], now: float, *, urgent: bool
) -> tuple[str, ...] | None:
    """Count one message against each rate limit; return their names.

    Returns:
        None where a concurrent transaction counted the last message.
    """
    if backend.is_server(connection):
        locked = (_read(connection, each.limit.budget, query=_LOCK) for each in rate_limits)
        rate_limits = [each for each in locked if each is not None]
        if free_at(rate_limits, now, urgent=urgent) > now:
            return None
    for each in rate_limits:
        connection.execute(_PUT, _values(each.take(now, urgent=urgent)))
    return tuple(each.limit.budget for each in rate_limits)


def record_attempt(  # noqa: PLR0913 -- one argument for each thing that matters
    connection: sa.Connection,
    limits: Sequence[Limit],
    now: float,
    *,
    urgent: bool,
    taken: Sequence[str],
    taken_at: float,
    paused_until: float,
) -> None:
    """Record an attempt in the budgets that it counts against.

    Args:
        connection: of the transaction.
        limits: the limits that the action asks for.
        now: when the attempt ended, in seconds of the epoch.
        urgent: it may use the reserved part of the budgets.
        taken: names of the budgets that it was counted against when it was leased.
        taken_at: when that was.
        paused_until: no message of these budgets before this moment; 0 for none.
    """

    def updated(limit: Limit, before: RateLimit | None) -> RateLimit:
        rate_limit = attrs.evolve(before or RateLimit(limit), limit=limit)
        if limit.budget in taken:
            rate_limit = rate_limit.land(taken_at, now, urgent=urgent)
        else:
            rate_limit = rate_limit.take(now, urgent=urgent)
        return rate_limit.pause(paused_until) if paused_until else rate_limit

    for limit in sorted(limits, key=lambda each: each.budget):
        before = _read(connection, limit.budget)
        after = updated(limit, before)
        if after == before:
            continue
        if backend.is_server(connection):
            connection.execute(_MAKE, _values(RateLimit(limit)))
            after = updated(limit, _read(connection, limit.budget, query=_LOCK))
        connection.execute(_PUT, _values(after))


def _read(
    connection: sa.Connection, name: str, query: sa.Select[Any] | None = None
) -> RateLimit | None:
    row = connection.execute(_GET if query is None else query, {"budget": name}).first()
    if row is None:
        return None
    used = {int(end): tuple(counts) for end, counts in json.loads(row.used).items()}
    return RateLimit(Limit(name, row.allowed, row.seconds), used, row.paused_until)


def _values(rate_limit: RateLimit) -> dict[str, Any]:
    return {
        "name": rate_limit.limit.budget,
        "allowed": rate_limit.limit.count,
        "seconds": rate_limit.limit.window,
        "used": json.dumps(dict(rate_limit.used)),
        "paused_until": rate_limit.paused_until,
    }


_GET: Final = sa.select(budgets).where(budgets.c.name == sa.bindparam("budget"))
_LOCK: Final = _GET.with_for_update()
_NEW: Final = (
    "INSERT INTO budgets (name, allowed, seconds, used, paused_until)"
    " VALUES (:name, :allowed, :seconds, :used, :paused_until)"
)
_MAKE: Final = sa.text(f"{_NEW} ON CONFLICT (name) DO NOTHING")
_PUT: Final = sa.text(
    f"{_NEW} ON CONFLICT (name) DO UPDATE SET allowed = excluded.allowed,"
    " seconds = excluded.seconds, used = excluded.used, paused_until = excluded.paused_until"
)
