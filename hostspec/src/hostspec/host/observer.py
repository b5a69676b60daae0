"""The plugin of ``alerthost run`` itself: logs and counts what became of deliveries."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import Final

from hostspec.host.metrics import Metrics
from hostspec.markers import hookimpl
from hostspec.outcome import Receipt

_log = logging.getLogger("hostspec")

_MOST: Final = 1000


class Observer:
    """Tells each receipt once, though the engine may tell it again while its store fails.

    Args:
        metrics: counts.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    @hookimpl
    def hostspec_delivered(self, receipt: Receipt) -> None:
        """Tell that a provider took it."""
        if self._is_new("delivered", receipt):
            self._metrics.delivered(receipt)
            _log.info("delivered %s", self._named(receipt))

    @hookimpl
    def hostspec_delayed(self, receipt: Receipt) -> None:
        """Tell that it is late, and why."""
        if self._is_new("delayed", receipt):
            self._metrics.delayed(receipt)
            _log.warning("late: %s%s", self._named(receipt), _why(receipt))

    @hookimpl
    def hostspec_undelivered(self, receipt: Receipt) -> None:
        """Tell that it was given up, and why."""
        if self._is_new("undelivered", receipt):
            self._metrics.undelivered(receipt)
            _log.error("given up: %s%s", self._named(receipt), _why(receipt))

    @hookimpl
    def hostspec_spared(self, receipt: Receipt) -> None:
        """Count what is not needed any more; there may be much of it."""
        if self._is_new("spared", receipt):
            self._metrics.spared(receipt)

    def _named(self, receipt: Receipt) -> str:
        delivery = receipt.delivery
        where = self._metrics.lanes.name_of(delivery.place)
        return f"{delivery.operation} to {where} for {delivery.alert}"

    def _is_new(self, what: str, receipt: Receipt) -> bool:
        with self._lock:
            if (what, receipt.id) in self._told:
                return False
            self._told[what, receipt.id] = None
            if len(self._told) > _MOST:
                self._told.popitem(last=False)
        return True


def _why(receipt: Receipt) -> str:
    if receipt.reason:
        return f": {receipt.reason}"
    outcome = receipt.outcome
    return f": {outcome.kind}: {outcome.reason}" if outcome else ""
