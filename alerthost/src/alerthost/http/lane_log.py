"""Logs when deliveries of a lane do not get through, each change of the cause, and the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from alerthost.config.lanes import Lanes
from alerthost.outbox import channels
from alerthost.outbox.leasing import Lease
from alerthost.outbox.retry_policy import LaneState
from hostspec.delivery import Outcome, OutcomeKind

_log = logging.getLogger("hostspec")

TRIES: Final = 3
"""Attempts in a lane that fail one after the other before it is logged: single failures are
repeated within seconds."""

AGAIN: Final = 300.0
"""Seconds after which a cause is logged again that has alternated with others."""

MOST_CAUSES: Final = 100
"""Causes of one lane that are remembered."""


class LaneLog:
    """Logs each cause for which a lane fails, and once that it is well again.

    Args:
        lanes: gives the names of lanes.
    """

    def __init__(self, lanes: Callable[[], Lanes]) -> None:
        self._lanes = lanes
        self._failing: dict[tuple[str, str, str], _Causes] = {}
        self._lock = threading.Lock()

    def attempted(self, lease: Lease, outcome: Outcome) -> None:
        """Look at what an attempt came to."""
        ref = lease.delivery.ref
        channel = ref.installation, ref.destination, lease.channel
        answered = outcome.kind in {OutcomeKind.DELIVERED, OutcomeKind.REFUSED}
        with self._lock:
            causes = self._failing.get(channel)
            if answered:
                news = self._failing.pop(channel, None) is not None
            elif causes is None and not _fails(lease, outcome):
                news = False
            else:
                causes = self._failing.setdefault(channel, _Causes())
                news = causes.is_news(outcome, lease.leased_at)
        if not news:
            return
        opens = lease.channel == channels.name_of(ref.action)
        name = self._lanes().name_of(ref) + ("" if opens else " (incidents that are open)")
        if answered:
            _log.warning("%s gets through again", name)
        else:
            _log.warning("%s does not get through: %s: %s", name, outcome.kind, outcome.reason)


def _fails(lease: Lease, outcome: Outcome) -> bool:
    """Return whether an attempt shows that its lane fails, and not that delivery alone."""
    alone = lease.lane is LaneState.HEALTHY and outcome.kind is lease.last_outcome
    blocked = outcome.kind is OutcomeKind.MISCONFIGURED
    return not alone and (blocked or lease.failures + 1 >= TRIES)


class _Causes:
    """The causes for which a lane has failed since it was well."""

    def __init__(self) -> None:
        self._last = ""
        self._told: dict[str, float] = {}

    def is_news(self, outcome: Outcome, now: float) -> bool:
        """Return whether the cause is another one now, and was not logged a moment ago."""
        blocked = outcome.kind is OutcomeKind.MISCONFIGURED
        cause = f"{outcome.kind} {outcome.reason if blocked else ''}"
        changed, self._last = cause != self._last, cause
        news = changed and not 0 <= now - self._told.get(cause, -AGAIN) < AGAIN
        if news:
            if len(self._told) >= MOST_CAUSES:
                self._told.clear()
            self._told[cause] = now
        return news
