"""Backpressure: decide whether a request fits into the backlog."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from alerthost.outbox.admin import Admin
from alerthost.outbox.admin_rows import Load
from alerthost.outbox.serialisation import digest
from hostspec.alert import Alert, Identity, Severity, Status
from hostspec.text import shorten

COUNT_EVERY: Final = 1.0
"""Seconds between two counts of the backlog in the store."""

ORDINARY: Final = 0.75
"""The part of the backlog for ordinary alerts; the rest is reserved for urgent ones."""

SHARE: Final = 0.5
"""The part of the backlog that one scope may fill, and one destination."""

_LONGEST_NAMES: Final = 200
"""Characters of the names of full destinations in a reason."""

Lane = tuple[str, str]
"""The installation and the destination of deliveries."""


class Backpressure:
    """Decides whether the alerts of a request fit into the backlog.

    Critical alerts are urgent, and all follow-ups: a resolve ends a page and removes deliveries
    from the queue. A request with one urgent alert counts as urgent.

    The store is counted at most once a second; alerts accepted in between are added. The
    destinations of an alert are known only when it is planned. While some destination would reach
    its share if all pending submissions went there, firing alerts are planned here to find out:
    of ordinary alerts, at most one request exceeds the share.

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
        self._admin = admin
        self._most = most
        self._lanes_of = lanes_of
        self._clock = clock
        self._lock = threading.Lock()
        self._counted_at: float | None = None
        self._load = Load()
        self._pending: Counter[str] = Counter()

    def admit(self, alerts: Sequence[Alert]) -> str | None:
        """Reserve room for the alerts of one request, or return the reason to reject it.

        Raises:
            StoreError: the backlog cannot be counted.
        """
        part = 1.0 if any(map(_is_urgent, alerts)) else ORDINARY
        most = math.ceil(self._most * part)
        share = math.ceil(self._most * part * SHARE)
        load, pending = self._count()
        ahead = pending if part < 1.0 else 0  # urgent alerts are planned before pending ones
        full = {lane for lane, number in load.queued.items() if number + ahead >= share}
        for alert in alerts if full else ():
            if alert.status is Status.FIRING:
                lanes = self._lanes_of(alert)  # without the lock: this calls plugins
                if lanes and lanes <= full:
                    names = ", ".join("/".join(lane) for lane in sorted(lanes))
                    names = shorten(names, _LONGEST_NAMES)
                    return f"backlog full for {alert.key!r} at {names} (see http.backlog)"
        return self._reserve(alerts, most, share)

    def _count(self) -> tuple[Load, int]:
        """Return the load, and the current number of pending submissions."""
        with self._lock:
            now = self._clock()
            if self._counted_at is None or now - self._counted_at >= COUNT_EVERY:
                self._load = self._admin.load()
                self._pending = Counter(self._load.pending)
                self._counted_at = now
            return self._load, self._pending.total()

    def _reserve(self, alerts: Sequence[Alert], most: int, share: int) -> str | None:
        new = Counter(alert.scope for alert in alerts)
        digests = {scope: digest(Identity(scope, "")) for scope in new}
        with self._lock:
            count = self._pending.total() + sum(self._load.queued.values())
            if count + len(alerts) > most:
                return f"backlog full ({count} of {most} queued; see http.backlog)"
            for scope, number in new.items():
                pending = self._pending[digests[scope]]
                if pending + number > share:
                    name = f"scope {scope!r}" if scope else "the default scope"
                    queued = f"{pending} of {share} queued; see http.backlog"
                    return f"backlog full for {name} ({queued})"
            for scope, number in new.items():
                self._pending[digests[scope]] += number
            return None


def _is_urgent(alert: Alert) -> bool:
    return alert.status is not Status.FIRING or alert.severity is Severity.CRITICAL
