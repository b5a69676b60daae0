"""Whether ``alerthost run`` is ready, and what the operator has to repair."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from alerthost.config.lanes import Lanes
from alerthost.outbox.admin import Admin
from alerthost.outbox.engine import Engine
from alerthost.store.errors import StoreError

LOOK_AGAIN: Final = 5.0
"""Seconds for which the blocked lanes are remembered: callers without a token may ask for them,
and finding them takes longer the more deliveries are queued."""

MOST_LANES: Final = 10
"""Lanes that are named."""


class Readiness:
    """Check the engine and its store.

    Args:
        works: the engine has workers in this process, or it is not ready.
        clock: monotonic seconds.
    """

    def __init__(self, *, works: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._works = works
        self._clock = clock
        self._warnings: Sequence[str] = ()
        self._looked_at: float | None = None

    def check(self, engine: Engine, lanes: Lanes) -> tuple[Sequence[str], Sequence[str]]:
        """Return the reasons why it is not ready, and warnings that do not matter for that."""
        reasons = ["the workers do not run"] if self._works and not engine.working else []
        warnings: Sequence[str] = ()
        try:
            engine.admin.deliveries(most=1)
            warnings = self._blocked(engine.admin, lanes)
        except StoreError:
            reasons.append("the store cannot be read")  # a stranger need not know its address
        else:
            reasons += ["the store fails"] if engine.check_store() else []
        return reasons, warnings

    def _blocked(self, admin: Admin, lanes: Lanes) -> Sequence[str]:
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= LOOK_AGAIN:
            names = sorted({lanes.name_of(each.ref) for each in admin.blocked()})
            named = [f"{name} is blocked until it is repaired" for name in names[:MOST_LANES]]
            more = len(names) - len(named)
            self._warnings = [*named, f"{more} more lanes are blocked"] if more else named
            self._looked_at = now
        return self._warnings
