"""Reads and writes budgets: what they allow, and what was used of them; decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend
from alerthost.outbox.rate_limit import Budget
from alerthost.store.tables import budgets, incidents, lanes
from hostspec.action import Limit


@attrs.frozen
class RateLimit:
    """A budget, and what it allows.

    Attributes:
        limit: what the action said last.
        budget: what was used of it.
    """

    limit: Limit
    budget: Budget

    def free_at(self, now: float, *, urgent: bool) -> float:
        """Say when the next message may go: `now`, or a later moment."""
        count, window = self.limit.count, self.limit.window
        return self.budget.free_at(now, count=count, window=window, urgent=urgent)

    def take(self, now: float, *, urgent: bool) -> RateLimit:
        """Return the purse after one message more."""
        taken = self.budget.take(now, window=self.limit.window, urgent=urgent)
        return attrs.evolve(self, budget=taken)

    def land(self, sent: float, now: float, *, urgent: bool) -> RateLimit:
        """Return the purse after a message was answered."""
        landed = self.budget.land(sent, now, window=self.limit.window, urgent=urgent)
        return attrs.evolve(self, budget=landed)


NAMES: Final = sa.case((incidents.c.handle.is_(None), lanes.c.budgets), else_=incidents.c.budgets)
"""From which budgets a delivery is sent, as far as it is known: an incident knows that once it
has a handle, for it was opened from there; before that the lane knows from what it opened last."""


def names_of(limits: Sequence[Limit]) -> str:
    """Return the names of budgets, as lanes and incidents keep them."""
    return json.dumps([limit.budget for limit in limits])


def names_of_lane(connection: sa.Connection, lane: int) -> str:
    """Return the names of the budgets from which a lane opened last, as it keeps them."""
    which = sa.select(lanes.c.budgets).where(lanes.c.id == lane)
    return str(connection.execute(which).scalar_one())


def of(connection: sa.Connection, names: str) -> tuple[RateLimit, ...]:
    """Return budgets by their names, as lanes and incidents keep them; in the order of locking."""
    found = (_read(connection, name) for name in sorted(json.loads(names)))
    return tuple(purse for purse in found if purse is not None)


def free_at(purses: Iterable[RateLimit], now: float, *, urgent: bool) -> float:
    """Say when the next message may go that all of them pay for."""
    return max((each.free_at(now, urgent=urgent) for each in purses), default=now)


def take(
    connection: sa.Connection, purses: Sequence[RateLimit], now: float, *, urgent: bool
) -> tuple[str, ...] | None:
    """Take one message of each that was free; give their names.

    Returns:
        None where others that ran beside this transaction took the last one.
    """
    if backend.is_server(connection):
        locked = (_read(connection, each.limit.budget, query=_LOCK) for each in purses)
        purses = [each for each in locked if each is not None]
        if free_at(purses, now, urgent=urgent) > now:
            return None
    for each in purses:
        _write(connection, each.take(now, urgent=urgent))
    return tuple(each.limit.budget for each in purses)


def account(  # noqa: PLR0913 -- one argument for each thing that matters
    connection: sa.Connection,
    limits: Sequence[Limit],
    now: float,
    *,
    urgent: bool,
    taken: Sequence[str],
    taken_at: float,
    paused_until: float,
) -> None:
    """Write down what was learnt of budgets by an attempt.

    Args:
        connection: of the transaction.
        limits: what it was sent from, and what that allows.
        now: the time.
        urgent: whether it was.
        taken: names of the budgets that it was taken from when it was claimed.
        taken_at: when that was.
        paused_until: no message of these budgets before this moment; 0 for none.
    """

    def learnt(limit: Limit, before: RateLimit | None) -> RateLimit:
        purse = RateLimit(limit, before.budget if before else Budget())
        if limit.budget in taken:
            purse = purse.land(taken_at, now, urgent=urgent)
        else:
            purse = purse.take(now, urgent=urgent)
        if paused_until:
            purse = attrs.evolve(purse, budget=purse.budget.pause(paused_until))
        return purse

    for limit in sorted(limits, key=lambda each: each.budget):
        before = _read(connection, limit.budget)
        if learnt(limit, before) != before:
            if backend.is_server(connection):
                before = _locked(connection, limit)
            _write(connection, learnt(limit, before))


def _locked(connection: sa.Connection, limit: Limit) -> RateLimit | None:
    """Return a budget as it stands once nobody else changes it; it is made where there is none."""
    connection.execute(_MAKE, _values(RateLimit(limit, Budget())))
    return _read(connection, limit.budget, query=_LOCK)


def _read(
    connection: sa.Connection, name: str, query: sa.Select[Any] | None = None
) -> RateLimit | None:
    row = connection.execute(_GET if query is None else query, {"budget": name}).first()
    if row is None:
        return None
    used = {int(end): tuple(counts) for end, counts in json.loads(row.used).items()}
    return RateLimit(Limit(name, row.allowed, row.seconds), Budget(used, row.paused_until))


def _write(connection: sa.Connection, purse: RateLimit) -> None:
    connection.execute(_PUT, _values(purse))


def _values(purse: RateLimit) -> dict[str, Any]:
    return {
        "name": purse.limit.budget,
        "allowed": purse.limit.count,
        "seconds": purse.limit.window,
        "used": json.dumps(dict(purse.budget.used)),
        "paused_until": purse.budget.paused_until,
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
