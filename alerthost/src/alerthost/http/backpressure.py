"""Backpressure: decide whether a request fits into the backlog."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from alerthost.outbox.admin import Admin, Load
from alerthost.outbox.serialisation import digest
from hostspec.alert import Alert, Identity, Severity, Status
from hostspec.text import shorten

COUNT_AGAIN: Final = 1.0
"""Seconds after which the backlog is counted again in the store."""

ORDINARY: Final = 0.75
"""The part of everything that ordinary alerts may fill; the rest is kept for urgent ones."""

SHARE: Final = 0.5
"""The part of the backlog that one scope may fill, and one destination."""

_LONGEST_NAMES: Final = 200
"""Characters of the names of full destinations in a reason."""

Lane = tuple[str, str]
"""The installation and the destination of deliveries."""


class Backpressure:
    """Decide whether the alerts of a request fit into the backlog.

    Urgent are critical alerts, and all follow-ups: a resolve ends a page and takes deliveries out
    of the queue. A request with one urgent alert is judged as urgent.

    The store is counted at most once a second; accepted alerts are added in between. Where an
    alert goes is known only when it is planned. While some destination would have its share if
    all pending submissions went there, firing alerts are planned here to know it: of ordinary
    alerts, at most one request goes beyond the share.

    Args:
        admin: counts the pending submissions and the queued deliveries.
        most: the size of the backlog.
        lanes_of: returns the lanes of a firing alert.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        admin: Admin,
        most: int,
        lanes_of: Callable[[Alert], frozenset[Lane]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = admin
        self._most = most
        self._lanes_of = lanes_of
        self._clock = clock
        self._lock = threading.Lock()
        self._counted_at: float | None = None
        self._load = Load()
        self._pending: Counter[str] = Counter()

    def admit(self, alerts: Sequence[Alert]) -> str | None:
        """Reserve room for the alerts of one request, or return the reason to refuse them.

        Raises:
            StoreError: the backlog cannot be counted.
        """
        part = 1.0 if any(map(_is_urgent, alerts)) else ORDINARY
        most = math.ceil(self._most * part)
        share = math.ceil(self._most * part * SHARE)
        load, pending = self._count()
        coming = pending if part < 1.0 else 0  # urgent ones are planned before these
        full = {lane for lane, number in load.queued.items() if number + coming >= share}
        if full:
            for alert in alerts:
                if alert.status is Status.FIRING:
                    lanes = self._lanes_of(alert)  # without the lock: plugins are asked
                    if lanes and lanes <= full:
                        return _full_lanes(alert.key, lanes)
        return self._reserve(alerts, most, share)

    def _count(self) -> tuple[Load, int]:
        """Return the load, and how many submissions are pending by now."""
        with self._lock:
            now = self._clock()
            if self._counted_at is None or now - self._counted_at >= COUNT_AGAIN:
                self._load = self._desk.load()
                self._pending = Counter(self._load.pending)
                self._counted_at = now
            return self._load, self._pending.total()

    def _reserve(self, alerts: Sequence[Alert], most: int, share: int) -> str | None:
        new = Counter(alert.scope for alert in alerts)
        names = {scope: digest(Identity(scope, "")) for scope in new}
        with self._lock:
            count = self._pending.total() + sum(self._load.queued.values())
            if count + len(alerts) > most:
                return f"the backlog is full ({count} of {most}; see http.backlog)"
            for scope, number in new.items():
                pending = self._pending[names[scope]]
                if pending + number > share:
                    of = f"the scope {scope!r}" if scope else "the default scope"
                    full = f"{pending} of {share}; see http.backlog"
                    return f"the backlog is full for {of} ({full})"
            for scope, number in new.items():
                self._pending[names[scope]] += number
            return None


def _full_lanes(key: str, lanes: Iterable[Lane]) -> str:
    names = shorten(", ".join("/".join(lane) for lane in sorted(lanes)), _LONGEST_NAMES)
    return f"the backlog is full for the destinations of {key!r} ({names}; see http.backlog)"


def _is_urgent(alert: Alert) -> bool:
    return alert.status is not Status.FIRING or alert.severity is Severity.CRITICAL
