"""The leases that this process holds: waiting for a worker, being sent, or to be completed.

A slow destination delays no other: a waiting lease is taken by whichever worker is free, and a
lane takes few workers at once.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from alerthost.outbox.leasing import Lease
from alerthost.outbox.retry_policy import LaneState
from alerthost.outbox.selection import MOST_IN_FLIGHT, SLOW, Quota

AHEAD: Final = 64
"""Most deliveries that are leased before a worker is free for them."""

WITHIN: Final = 0.02
"""Seconds in which the deliveries leased ahead are sent, at the pace of the last attempts."""

LONGEST_WAIT: Final = 0.5
"""Seconds after which a waiting lease is given back, since attempts take longer than expected:
another process may have a free worker."""

REMEMBERED: Final = 1000
"""Most lanes whose pace is remembered."""

LeaseKey: TypeAlias = tuple[int, int]
"""The row of a delivery, and the number of the attempt: another lease of it may be in force, while
an attempt hangs."""


class HeldLeases:
    """The leases of one process.

    Args:
        workers: number of workers; half of them may be busy with unhealthy lanes.
    """

    def __init__(self, workers: int) -> None:
        self._half = max(1, workers // 2)
        self._per_lane = min(self._half, MOST_IN_FLIGHT)
        self._lock = threading.Lock()
        self._waiting: list[Lease] = []
        self._sending: dict[LeaseKey, tuple[Lease, float]] = {}
        self._held: dict[LeaseKey, float | None] = {}
        self._pace: float | None = None
        self._quick: OrderedDict[int, int] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether a lease waits for a worker, or is being sent."""
        return bool(self._waiting or self._sending)

    def __contains__(self, key: LeaseKey) -> bool:
        """Whether a lease is held."""
        return key in self._held

    def seconds_held(self, key: LeaseKey) -> float | None:
        """Return for how long a lease has been held, by this process's own clock.

        None if it is not, or if its attempt has ended.
        """
        since = self._held.get(key)
        return None if since is None else time.monotonic() - since

    def quota(self, now: float, workers: int) -> Quota:
        """Return the most that may be leased now.

        Args:
            now: the time, in seconds of the epoch.
            workers: how many share the work; the caller is one that is free.
        """
        with self._lock:
            idle = max(1, workers - len(self._sending))
            ahead = _fitting(self._pace, workers)
            busy = self._busy_lanes()
            free = sum(busy[each.incident.lane_id] < self._per_lane for each in self._waiting)
            unhealthy = sum(map(_is_unhealthy, self._waiting)) + sum(
                _is_unhealthy(each) or each.leased_at < now - SLOW
                for each, _ in self._sending.values()
            )
        return Quota(
            most=max(1, idle + ahead - free),
            unrepeatable=max(0, idle - free),
            unhealthy=self._half - unhealthy,
            per_lane=self._per_lane,
            per_quick_lane=self._quick,
        )

    def add(self, leases: Iterable[Lease]) -> None:
        """Hold new leases, which wait for a worker."""
        with self._lock:
            for each in leases:
                self._held[_key(each)] = time.monotonic()
                bisect.insort(self._waiting, each, key=lambda lease: lease.urgency)

    def take(self) -> Lease | None:
        """Return the most urgent waiting lease whose lane has room for one more attempt."""
        with self._lock:
            busy = self._busy_lanes()
            for position, each in enumerate(self._waiting):
                if busy[each.incident.lane_id] < self._per_lane:
                    del self._waiting[position]
                    self._sending[_key(each)] = each, time.monotonic()
                    return each
        return None

    def take_back(self, which: Callable[[Lease], bool]) -> Sequence[Lease]:
        """Return waiting leases that fulfil a condition; their attempts are not started."""
        back: list[Lease] = []
        kept: list[Lease] = []
        with self._lock:
            for each in self._waiting:
                (back if which(each) else kept).append(each)
            self._waiting = kept
        return back

    @property
    def has_waiting(self) -> bool:
        """Whether a lease waits for a worker."""
        return bool(self._waiting)

    def note_attempt(self, lease: Lease) -> None:
        """Note how long the attempt of a lease took."""
        with self._lock:
            _, since = self._sending[_key(lease)]
            seconds = time.monotonic() - since
            self._pace = seconds if self._pace is None else 0.8 * self._pace + 0.2 * seconds
            lane = lease.incident.lane_id
            self._quick.pop(lane, None)
            self._quick[lane] = max(self._per_lane, _fitting(seconds, self._per_lane))
            if len(self._quick) > REMEMBERED:
                self._quick.popitem(last=False)

    def sent(self, lease: Lease) -> None:
        """Note that the attempt of a lease has ended, or was not started."""
        with self._lock:
            del self._sending[_key(lease)]
            if _key(lease) in self._held:  # not completed meanwhile
                self._held[_key(lease)] = None

    def complete(self, leases: Iterable[Lease]) -> None:
        """Forget leases that are completed."""
        with self._lock:
            for each in leases:
                self._held.pop(_key(each), None)

    def _busy_lanes(self) -> Mapping[int, int]:
        return Counter(each.incident.lane_id for each, _ in self._sending.values())


def _key(lease: Lease) -> LeaseKey:
    return lease.id, lease.attempt


def _fitting(seconds: float | None, workers: int) -> int:
    """Return how many attempts of some seconds fit into `WITHIN`; 0 if that is not known."""
    return 0 if seconds is None else min(AHEAD, int(workers * WITHIN / max(seconds, 1e-6)))


def _is_unhealthy(lease: Lease) -> bool:
    return lease.lane is not LaneState.HEALTHY
