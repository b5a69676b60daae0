"""Counts submissions and deliveries by state, and summarises them in one line."""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

from alerthost.cli.formatting import counted, plural
from alerthost.outbox.retry_policy import DeliveryState

QUEUED: Final = str(DeliveryState.QUEUED)
BLOCKED: Final = "blocked"

GOOD: Final = tuple(
    map(str, (DeliveryState.DELIVERED, DeliveryState.COALESCED, DeliveryState.DISCARDED))
)
"""States of deliveries that need no attention."""

_ORDER: Final = (*GOOD, QUEUED, BLOCKED)


@attrs.define
class Tally:
    """Counts of submissions and of their deliveries.

    Attributes:
        submissions: alerts that were read, or operations that were asked for.
        earlier: submissions of earlier runs with queued deliveries.
        faulty: lines that are not alerts.
        unaccepted: alerts that the store did not accept.
        impossible: operations that cannot be done.
        failures: rules and plugins that failed while planning.
        unmatched: firing alerts that no rule matches.
        idle: other alerts without a delivery.
        suppressed: deliveries that a plugin suppressed.
        repairs: repaired fields.
        unplanned: submissions that are still to be planned.
        deliveries: by state.
    """

    submissions: int = 0
    earlier: int = 0
    faulty: int = 0
    unaccepted: int = 0
    impossible: int = 0
    failures: int = 0
    unmatched: int = 0
    idle: int = 0
    suppressed: int = 0
    repairs: int = 0
    unplanned: int = 0
    deliveries: Counter[str] = attrs.field(factory=Counter)

    @property
    def all_well(self) -> bool:
        """Whether every line was an alert, and every delivery was delivered or not needed."""
        undelivered = self.deliveries.total() - sum(self.deliveries[word] for word in GOOD)
        bad = self.faulty, self.unaccepted, self.impossible, self.failures, self.unplanned
        return not (undelivered or any(bad))

    def summary(self, noun: str = "alert") -> str:
        """Return all counts in one line; `noun` names the submissions."""
        states = sorted(self.deliveries, key=lambda word: (_rank(word), word))
        by_state = ", ".join(f"{self.deliveries[word]:,} {word}" for word in states)
        deliveries = counted(self.deliveries.total(), "delivery")
        others = (
            (self.earlier, "left by earlier runs"),
            (self.faulty, plural("faulty line", self.faulty)),
            (self.unaccepted, "not accepted"),
            (self.impossible, "not possible"),
            (self.failures, plural("planning failure", self.failures)),
            (self.unplanned, "still to be planned"),
            (self.unmatched, "unmatched"),
            (self.idle, "with nothing to send"),
            (self.suppressed, "suppressed"),
            (self.repairs, plural("repair", self.repairs)),
        )
        parts = [counted(self.submissions, noun)]
        parts.append(f"{deliveries} ({by_state})" if by_state else deliveries)
        parts += [f"{count:,} {text}" for count, text in others if count]
        return ", ".join(parts)


def _rank(word: str) -> int:
    return _ORDER.index(word) if word in _ORDER else len(_ORDER)
