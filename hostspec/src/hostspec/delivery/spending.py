"""Reads and writes budgets: what they allow, and what was used of them; decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

import attrs
import sqlalchemy as sa

from hostspec.action import Limit
from hostspec.delivery.budget import Budget
from hostspec.store.tables import budgets, incidents, lanes


@attrs.frozen
class Purse:
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

    def take(self, now: float, *, urgent: bool) -> Purse:
        """Give the purse after one message more."""
        taken = self.budget.take(now, window=self.limit.window, urgent=urgent)
        return attrs.evolve(self, budget=taken)

    def land(self, sent: float, now: float, *, urgent: bool) -> Purse:
        """Give the purse after a message was answered."""
        landed = self.budget.land(sent, now, window=self.limit.window, urgent=urgent)
        return attrs.evolve(self, budget=landed)


NAMES: Final = sa.case((incidents.c.handle.is_(None), lanes.c.budgets), else_=incidents.c.budgets)
"""From which budgets a delivery is sent, as far as it is known: an incident knows that once it
has a handle, for it was opened from there; before that the lane knows from what it opened last."""


def of(connection: sa.Connection, names: str) -> tuple[Purse, ...]:
    """Give budgets by their names, as lanes and incidents keep them."""
    found = (_read(connection, name) for name in json.loads(names))
    return tuple(purse for purse in found if purse is not None)


def free_at(purses: Iterable[Purse], now: float, *, urgent: bool) -> float:
    """Say when the next message may go that all of them pay for."""
    return max((each.free_at(now, urgent=urgent) for each in purses), default=now)


def take(
    connection: sa.Connection, purses: Sequence[Purse], now: float, *, urgent: bool
) -> tuple[str, ...]:
    """Take one message of each; give their names."""
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
) -> str:
    """Write down what was learnt of budgets by an attempt.

    Args:
        connection: of the transaction.
        limits: what it was sent from, and what that allows.
        now: the time.
        urgent: whether it was.
        taken: names of the budgets that it was taken from when it was claimed.
        taken_at: when that was.
        paused_until: no message of these budgets before this moment; 0 for none.

    Returns:
        the budgets' names, as lanes and incidents keep them.
    """
    for limit in limits:
        before = _read(connection, limit.budget)
        purse = Purse(limit, before.budget if before else Budget())
        if limit.budget in taken:
            purse = purse.land(taken_at, now, urgent=urgent)
        else:
            purse = purse.take(now, urgent=urgent)
        if paused_until:
            purse = attrs.evolve(purse, budget=purse.budget.pause(paused_until))
        if purse != before:
            _write(connection, purse)
    return json.dumps([limit.budget for limit in limits])


def _read(connection: sa.Connection, name: str) -> Purse | None:
    row = connection.execute(_GET, {"budget": name}).first()
    if row is None:
        return None
    used = {int(end): tuple(counts) for end, counts in json.loads(row.used).items()}
    return Purse(Limit(name, row.allowed, row.seconds), Budget(used, row.paused_until))


def _write(connection: sa.Connection, purse: Purse) -> None:
    values = {
        "name": purse.limit.budget,
        "allowed": purse.limit.count,
        "seconds": purse.limit.window,
        "used": json.dumps(dict(purse.budget.used)),
        "paused_until": purse.budget.paused_until,
    }
    connection.execute(_PUT, values)


_GET: Final = sa.select(budgets).where(budgets.c.name == sa.bindparam("budget")).with_for_update()
_PUT: Final = sa.text(
    "INSERT INTO budgets (name, allowed, seconds, used, paused_until)"
    " VALUES (:name, :allowed, :seconds, :used, :paused_until)"
    " ON CONFLICT (name) DO UPDATE SET allowed = excluded.allowed, seconds = excluded.seconds,"
    " used = excluded.used, paused_until = excluded.paused_until"
)
