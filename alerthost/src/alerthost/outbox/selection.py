"""Selects the heads that are leased next: as far as lanes, rate limits and the quota allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.heads import FAR
from alerthost.outbox.rate_limit_store import RateLimits, read_names
from alerthost.outbox.retry_policy import LaneState
from hostspec.alert import Severity
from hostspec.delivery import Delivery, Operation

MOST_IN_FLIGHT: Final = 4
"""Most attempts in flight at once in one lane."""

MOST_WHERE_SLOW: Final = 2
"""Most first attempts in flight at once in a lane where one takes long."""

SLOW: Final = 2.0
"""Seconds after which an attempt in flight makes its lane a slow one, which gets few workers."""


@attrs.frozen
class Quota:
    """The most that one round of leasing may lease.

    Attributes:
        most: deliveries in all.
        unrepeatable: deliveries of actions that may not repeat. One that a killed process leaves
            behind is in doubt, so they are not leased ahead.
        unhealthy: deliveries of channels that fail, and of slow lanes.
        per_lane: leases in force in one lane.
        per_quick_lane: the same for each lane that answers quickly, by its row.
    """

    most: int = 1
    unrepeatable: int = 1
    unhealthy: int = 1
    per_lane: int = MOST_IN_FLIGHT
    per_quick_lane: Mapping[int, int] = attrs.field(factory=dict)

    @property
    def most_where_slow(self) -> int:
        """First attempts in flight at once in a slow lane."""
        return MOST_WHERE_SLOW if self.unhealthy > 0 else 1


@attrs.define(eq=False)
class Lane:
    """A lane while its heads are selected.

    Attributes:
        room: leases that it has room for.
        in_flight: of each delivery in flight or selected, the number of its attempt, and its
            channel.
        slow: an attempt in it takes long.
        due: when it is to be looked at again; None if that depends on its heads.
        selected: the heads that are to be leased.
        over_quota: a head might be sent, but the quota is used up.
    """

    id: int
    room: int
    in_flight: list[tuple[int, int | None]]
    slow: bool
    due: float | None = None
    selected: list[Any] = attrs.field(factory=list)
    over_quota: bool = False

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

    @property
    def stays_due(self) -> bool:
        """Whether it stays due: heads of it are selected, or might be."""
        return self.over_quota or bool(self.selected)

    def select(self, row: sa.Row[Any]) -> None:
        """Lease a head."""
        self.in_flight.append((row.attempts + 1, row.channel_id))
        self.selected.append(row)


@attrs.define(eq=False)
class Selection:
    """Selects heads of several lanes, one lane after the other."""

    _uow: UnitOfWork
    _limits: RateLimits
    _quota: Quota
    _most: int = attrs.field(init=False)
    _unhealthy: int = attrs.field(init=False)
    _unrepeatable: int = attrs.field(init=False)
    _used_up: dict[tuple[str, bool], float] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._most = self._quota.most
        self._unhealthy = self._quota.unhealthy
        self._unrepeatable = self._quota.unrepeatable

    def select(self, lane: Lane, rows: Iterable[Any]) -> None:
        """Select heads of a lane, given in the order in which they are tried."""
        now = self._uow.now
        for row in rows:
            if not lane.may_start(row, self._quota.most_where_slow):
                continue
            failing = lane.slow or row.channel_state != LaneState.HEALTHY
            repeats = self._uow.may_repeat(row.action)
            if (
                self._most <= 0
                or (failing and self._unhealthy <= 0)
                or (not repeats and self._unrepeatable <= 0)
            ):
                lane.over_quota = True
                continue
            urgent, names = is_urgent(row), read_names(row.spends)
            free_at = self._used_up.get((row.spends, urgent))
            free_at = free_at or self._limits.free_at(names, now, urgent=urgent)
            if free_at > now:
                self._used_up[row.spends, urgent] = free_at
                lane.due = min(lane.due or now + FAR, free_at)
                continue
            self._limits.take(names, now, urgent=urgent)
            lane.select(row)
            self._most -= 1
            self._unhealthy -= failing
            self._unrepeatable -= not repeats


def in_order(probes: Sequence[Any], heads: Sequence[Any]) -> Sequence[Any]:
    """Return heads in the order in which they are tried: probes beside the most urgent one."""
    first = sorted((*probes, *heads[:1]), key=lambda row: (row.urgency, row.id))
    return (*first, *heads[1:])


def is_urgent(delivery: Delivery | sa.Row[Any]) -> bool:
    """Check whether a delivery may use the part of budgets that is reserved for urgent ones."""
    resolves = delivery.operation == Operation.RESOLVE
    return bool(resolves or delivery.severity == Severity.CRITICAL)
