"""Logs when a lane is blocked and when it goes on, for hosts that watch no attempts themselves."""

from __future__ import annotations

import logging
import threading

from hostspec.delivery.claiming import Claim
from hostspec.outcome import Outcome, OutcomeKind

_log = logging.getLogger("hostspec")


class BlockedLog:
    """Logs each lane once when it needs a repair, and once when it gets through again."""

    def __init__(self) -> None:
        self._blocked: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def __call__(self, claim: Claim, outcome: Outcome, _: float) -> None:
        """Log a lane that gets blocked or goes on by the outcome of an attempt."""
        place = claim.delivery.place
        lane = place.installation, place.destination
        with self._lock:
            before = self._blocked.get(lane)
            if outcome.kind is OutcomeKind.MISCONFIGURED:
                self._blocked[lane] = outcome.reason
            elif outcome.delivered:
                self._blocked.pop(lane, None)
        name = "/".join(lane)
        if outcome.kind is OutcomeKind.MISCONFIGURED and outcome.reason != before:
            _log.error("%s is blocked until it is repaired: %s", name, outcome.reason)
        elif outcome.delivered and before is not None:
            _log.warning("%s gets through again", name)
