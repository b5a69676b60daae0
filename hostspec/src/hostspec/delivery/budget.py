"""How many messages a budget allows, and when the next one: a sliding window. Pure.

A window is kept as counts of whole seconds, so that its size does not grow with the limit. It is
counted a little too strictly: a second leaves the window as a whole, when its last moment has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

MARGIN: Final = 0.05
"""Share of a limit that is never used: providers count arrivals, which bunch on their way."""

RESERVED: Final = 0.15
"""Share of what is usable that is kept for what is urgent."""


@attrs.frozen
class Budget:
    """What was used of a budget.

    Attributes:
        used: messages by the second (of the epoch) in which they were sent.
        paused_until: no message before this moment; the provider asked for it.
    """

    used: Mapping[int, int] = attrs.field(factory=dict)
    paused_until: float = 0.0

    def free_at(self, now: float, *, count: int, window: float, urgent: bool) -> float:
        """Say when the next message may go: `now`, or a later moment.

        Args:
            now: the time, in seconds of the epoch.
            count: what the limit allows in a window.
            window: its seconds.
            urgent: may use what is reserved.
        """
        usable = max(1, int(count * (1 - MARGIN)))
        allowed = usable if urgent else max(1, usable - int(usable * RESERVED))
        free = max(now, self.paused_until)
        recent = self._recent(now, window)
        spent = sum(recent.values())
        for second in sorted(recent):
            if spent < allowed:
                break
            spent -= recent[second]
            free = max(free, second + 1 + window)
        return free

    def take(self, now: float, *, window: float) -> Budget:
        """Give the budget after one message more."""
        used = self._recent(now, window)
        used[int(now)] = used.get(int(now), 0) + 1
        return attrs.evolve(self, used=used)

    def pause(self, until: float) -> Budget:
        """Give the budget after the provider asked to be left alone."""
        return attrs.evolve(self, paused_until=max(self.paused_until, until))

    def _recent(self, now: float, window: float) -> dict[int, int]:
        """Give what still counts. Seconds to come are a clock that went back: they count as now."""
        recent: dict[int, int] = {}
        for second, count in self.used.items():
            if second + 1 + window > now:
                at = min(second, int(now))
                recent[at] = recent.get(at, 0) + count
        return recent
