"""Logs when a lane does not get through any more, and when it does again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from hostspec.delivery.claiming import Claim
from hostspec.host.lanes import Lanes
from hostspec.outcome import Outcome, OutcomeKind

_log = logging.getLogger("hostspec")

TRIES: Final = 3
"""Attempts in a lane that fail one after the other before a person is told: what fails now and
then is repeated within seconds, and no news."""


class LaneLog:
    """Tells of each lane once that it fails, and once that it is well again.

    Args:
        lanes: gives what people call them.
    """

    def __init__(self, lanes: Callable[[], Lanes]) -> None:
        self._lanes = lanes
        self._failing: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def attempted(self, claim: Claim, outcome: Outcome) -> None:
        """Look at what an attempt came to."""
        place = claim.delivery.place
        lane = place.installation, place.destination
        answered = outcome.kind in {OutcomeKind.DELIVERED, OutcomeKind.REFUSED}
        for_a_person = outcome.kind is OutcomeKind.MISCONFIGURED
        with self._lock:
            failed = lane in self._failing
            fails = not answered and (failed or for_a_person or claim.failures + 1 >= TRIES)
            if fails == failed:
                return
            self._failing ^= {lane}
        name = self._lanes().name_of(place)
        if fails:
            _log.warning("%s does not get through: %s: %s", name, outcome.kind, outcome.reason)
        else:
            _log.warning("%s gets through again", name)
