"""Whether ``alerthost run`` is ready: its store works, and its workers run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from alerthost.config.plugins import LaneNames
from alerthost.outbox.admin import Admin
from alerthost.outbox.engine import Engine
from alerthost.store.errors import StoreError

CACHED_FOR: Final = 5.0
"""Seconds for which the blocked lanes are cached: callers need no token, and finding the lanes
takes longer the more deliveries are queued."""

MOST_LANES: Final = 10
"""Lanes that are named as blocked."""


class Readiness:
    """Checks the engine and its store; with `works`, workers must run in this process."""

    def __init__(self, *, works: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._works = works
        self._clock = clock
        self._warnings: Sequence[str] = ()
        self._checked_at = -CACHED_FOR

    def check(self, engine: Engine, lanes: LaneNames) -> dict[str, Any]:
        """Return ``ready``, with ``reasons`` if it is not, and ``warnings`` that do not matter."""
        reasons = ["the workers do not run"] if self._works and not engine.working else []
        warnings: Sequence[str] = ()
        try:
            engine.admin.deliveries(most=1)
            warnings = self._blocked_lanes(engine.admin, lanes)
            fails = bool(engine.check_store())
        except StoreError:
            fails = True
        if fails:
            reasons.append("the store fails")  # not why: the reason has its address
        optional = {"reasons": reasons, "warnings": warnings}
        return {"ready": not reasons} | {name: each for name, each in optional.items() if each}

    def _blocked_lanes(self, admin: Admin, lanes: LaneNames) -> Sequence[str]:
        now = self._clock()
        if now - self._checked_at >= CACHED_FOR:
            names = sorted({lanes.name_of(each.ref) for each in admin.blocked()})
            named = [f"{name} is blocked until it is fixed" for name in names[:MOST_LANES]]
            more = len(names) - len(named)
            self._warnings = [*named, f"{more} more lanes are blocked"] if more else named
            self._checked_at = now
        return self._warnings
