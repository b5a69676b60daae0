"""Readiness of ``alerthost run``, with warnings about lanes that the operator has to fix."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from alerthost.config.destinations import LaneNames
from alerthost.outbox.admin import Admin
from alerthost.outbox.engine import Engine
from alerthost.store.errors import StoreError

CACHED_FOR: Final = 5.0
"""Seconds for which the blocked lanes are cached: callers need no token, and finding the lanes
takes longer the more deliveries are queued."""

MOST_LANES: Final = 10
"""Lanes that are named."""


class Readiness:
    """Checks the engine and its store.

    Args:
        works: workers must run in this process, or it is not ready.
        clock: monotonic seconds.
    """

    def __init__(self, *, works: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._works = works
        self._clock = clock
        self._warnings: Sequence[str] = ()
        self._checked_at: float | None = None

    def check(self, engine: Engine, lanes: LaneNames) -> dict[str, Any]:
        """Return ``ready``, with ``reasons`` if it is not, and ``warnings`` that do not matter."""
        reasons = ["the workers do not run"] if self._works and not engine.working else []
        warnings: Sequence[str] = ()
        try:
            engine.admin.deliveries(most=1)
            warnings = self._blocked_lanes(engine.admin, lanes)
        except StoreError:
            reasons.append("the store cannot be read")  # without its address: callers need no token
        else:
            reasons += ["the store fails"] if engine.check_store() else []
        state: dict[str, Any] = {"ready": not reasons}
        if reasons:
            state["reasons"] = reasons
        if warnings:
            state["warnings"] = warnings
        return state

    def _blocked_lanes(self, admin: Admin, lanes: LaneNames) -> Sequence[str]:
        now = self._clock()
        if self._checked_at is None or now - self._checked_at >= CACHED_FOR:
            names = sorted({lanes.name_of(each.ref) for each in admin.blocked()})
            named = [f"{name} is blocked until it is fixed" for name in names[:MOST_LANES]]
            more = len(names) - len(named)
            self._warnings = [*named, f"{more} more lanes are blocked"] if more else named
            self._checked_at = now
        return self._warnings
