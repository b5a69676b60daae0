"""Reads and writes rate limits and the messages counted against them; decides nothing."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
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


@functools.lru_cache(maxsize=1024)
def read_names(names: str) -> tuple[str, ...]:
    """Return the names of budgets that lanes and incidents keep."""
    return tuple(json.loads(names))


def names_of_lane(connection: sa.Connection, lane: int) -> str:
    """Return the names of the budgets from which a lane opened last, as it keeps them."""
    which = sa.select(lanes.c.budgets).where(lanes.c.id == lane)
    return str(connection.execute(which).scalar_one())


def find(connection: sa.Connection, names: Iterable[str]) -> Mapping[str, RateLimit]:
    """Return the rate limits of budgets by their names, without locking them."""
    rows = connection.execute(_GET, {"names": list(set(names))})
    return {row.name: _rate_limit(row) for row in rows}


@attrs.frozen(eq=False)
class RateLimits:
    """The rate limits that a transaction changes: read together, and written together.

    A budget without a rate limit allows everything.
    """

    _connection: sa.Connection
    _known: dict[str, RateLimit] = attrs.field(factory=dict)
    _stored: dict[str, RateLimit] = attrs.field(factory=dict)

    def load(self, names: Iterable[str]) -> None:
        """Read the rate limits of budgets, and lock them."""
        wanted = set(names) - self._known.keys()
        if wanted:
            for row in self._connection.execute(_LOCK, {"names": list(wanted)}):
                self._known[row.name] = self._stored[row.name] = _rate_limit(row)

    def free_at(self, names: Iterable[str], now: float, *, urgent: bool) -> float:
        """Return when the next message may be sent that counts against all of some budgets."""
        counted = (self._known[name] for name in self.counted(names))
        return max((each.free_at(now, urgent=urgent) for each in counted), default=now)

    def counted(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of some budgets that have a rate limit."""
        return tuple(name for name in names if name in self._known)

    def take(self, names: Iterable[str], now: float, *, urgent: bool) -> None:
        """Count one message against budgets."""
        for name in self.counted(names):
            self._known[name] = self._known[name].take(now, urgent=urgent)

    def give_back(self, names: Iterable[str], sent: float, *, urgent: bool) -> None:
        """Count one message less against budgets, which was taken and is not sent."""
        for name in self.counted(names):
            self._known[name] = self._known[name].give_back(sent, urgent=urgent)

    def undo(self) -> None:
        """Forget all changes since the rate limits were read."""
        self._known.update(self._stored)

    def record_attempt(  # noqa: PLR0913 -- one argument for each thing that matters
        self,
        limits: Iterable[Limit],
        now: float,
        *,
        urgent: bool,
        taken: Sequence[str],
        taken_at: float,
        paused_until: float = 0.0,
    ) -> None:
        """Record an attempt in the budgets that it counts against, which are loaded.

        Args:
            limits: the limits that the action asks for.
            now: when the attempt ended, in seconds of the epoch.
            urgent: it may use the reserved part of the budgets.
            taken: names of the budgets that it was counted against when it was leased.
            taken_at: when that was.
            paused_until: no message of these budgets before this moment; 0 for none.
        """
        for limit in limits:
            before = self._known.get(limit.budget)
            rate_limit = attrs.evolve(before or RateLimit(limit), limit=limit)
            if limit.budget in taken:
                rate_limit = rate_limit.land(taken_at, now, urgent=urgent)
            else:
                rate_limit = rate_limit.take(now, urgent=urgent)
            if paused_until:
                rate_limit = rate_limit.pause(paused_until)
            self._known[limit.budget] = rate_limit

    def save(self) -> None:
        """Write the changed ones."""
        changed = [
            _values(each)
            for name, each in sorted(self._known.items())
            if each != self._stored.get(name)
        ]
        if changed:
            self._connection.execute(_PUT, changed)


def load_limits(connection: sa.Connection, limits: Iterable[Limit]) -> RateLimits:
    """Return the rate limits that actions ask for, locked; a new one is not counted yet."""
    by_name = {limit.budget: limit for limit in limits}
    found = RateLimits(connection)
    if by_name:
        if backend.is_server(connection):  # only a row can be locked
            rows = [_values(RateLimit(by_name[name])) for name in sorted(by_name)]
            connection.execute(_MAKE, rows)
        found.load(by_name)
    return found


def _rate_limit(row: sa.Row[Any]) -> RateLimit:
    used = {int(end): tuple(counts) for end, counts in json.loads(row.used).items()}
    return RateLimit(Limit(row.name, row.allowed, row.seconds), used, row.paused_until)


def _values(rate_limit: RateLimit) -> dict[str, Any]:
    return {
        "name": rate_limit.limit.budget,
        "allowed": rate_limit.limit.count,
        "seconds": rate_limit.limit.window,
        "used": json.dumps(dict(rate_limit.used)),
        "paused_until": rate_limit.paused_until,
    }


_GET: Final = sa.select(budgets).where(budgets.c.name.in_(sa.bindparam("names", expanding=True)))
_LOCK: Final = _GET.order_by(budgets.c.name).with_for_update()
_NEW: Final = (
    "INSERT INTO budgets (name, allowed, seconds, used, paused_until)"
    " VALUES (:name, :allowed, :seconds, :used, :paused_until)"
)
_MAKE: Final = sa.text(f"{_NEW} ON CONFLICT (name) DO NOTHING")
_PUT: Final = sa.text(
    f"{_NEW} ON CONFLICT (name) DO UPDATE SET allowed = excluded.allowed,"
    " seconds = excluded.seconds, used = excluded.used, paused_until = excluded.paused_until"
)
