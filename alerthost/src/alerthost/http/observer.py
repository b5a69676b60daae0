"""The observer of ``alerthost run`` itself: logs and counts finished deliveries."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import Final

from alerthost.http.metrics import Metrics
from alerthost.outbox import notifier
from hostspec.delivery import Receipt

_log = logging.getLogger("hostspec")

_MOST: Final = 1000


class Observer:
    """Logs and counts each receipt once, though the engine calls again while its store fails.

    It is no plugin: nothing pauses it.

    Args:
        metrics: counts.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def observe(self, hook: str, receipt: Receipt) -> None:
        """Log and count a receipt, by the name of the hook that plugins are called with."""
        if not self._is_new(hook, receipt):
            return
        if hook == notifier.DELIVERED:
            self._metrics.delivered(receipt)
            _log.info("delivered %s", self._named(receipt))
        elif hook == notifier.DELAYED:
            self._metrics.delayed(receipt)
            _log.warning("late: %s%s", self._named(receipt), _why(receipt))
        elif hook == notifier.UNDELIVERED:
            self._metrics.undelivered(receipt)
            _log.error("given up: %s%s", self._named(receipt), _why(receipt))
        else:  # there may be much of it
            self._metrics.superseded(receipt)

    def _named(self, receipt: Receipt) -> str:
        delivery = receipt.delivery
        where = self._metrics.lanes.name_of(delivery.ref)
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
