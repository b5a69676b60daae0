"""The log of ``alerthost run``: finished deliveries, failing lanes, and a log that never blocks."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from alerthost.config.plugins import LaneNames
from alerthost.outbox import lane_store, notifier
from alerthost.outbox.leasing import Lease
from alerthost.outbox.retry_policy import LaneState
from hostspec.delivery import Outcome, OutcomeKind, Receipt

_log = logging.getLogger("hostspec")

_MOST_RECEIPTS: Final = 1000

FAILED_ATTEMPTS: Final = 3
"""Consecutive failed attempts in a lane before it is logged; single failures are retried soon."""

REPEAT_AFTER: Final = 300.0
"""Seconds after which a cause is logged again if it alternates with others."""

MOST_CAUSES: Final = 100
"""Causes of one lane that are remembered."""

MOST_QUEUED: Final = 10_000
"""Queued log records; further ones are dropped and counted."""

WRITE_WITHIN: Final = 2.0
"""Seconds for writing the last records when the program ends."""


class DeliveryLog:
    """Logs and counts each receipt once, though the engine repeats them while its store fails.

    It is called by the engine itself, not as a plugin, so that it is never paused.
    """

    def __init__(
        self, lanes: Callable[[], LaneNames], count: Callable[[str, Receipt], None]
    ) -> None:
        self._lanes = lanes
        self._count = count
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def observe(self, hook: str, receipt: Receipt) -> None:
        """Log and count a receipt, by the name of the hook for it."""
        if not self._is_new(hook, receipt):
            return
        self._count(hook, receipt)
        delivery = receipt.delivery
        lane = self._lanes().name_of(delivery.ref)
        text = f"{delivery.operation} to {lane} for {delivery.alert}"
        if hook == notifier.DELIVERED:
            _log.info("delivered %s", text)
        elif hook == notifier.DELAYED:
            _log.warning("late: %s%s", text, _reason(receipt))
        elif hook == notifier.UNDELIVERED:
            _log.error("given up: %s%s", text, _reason(receipt))
        # superseded deliveries are not logged: there may be many

    def _is_new(self, hook: str, receipt: Receipt) -> bool:
        with self._lock:
            if (hook, receipt.id) in self._seen:
                return False
            self._seen[hook, receipt.id] = None
            if len(self._seen) > _MOST_RECEIPTS:
                self._seen.popitem(last=False)
        return True


def _reason(receipt: Receipt) -> str:
    if receipt.reason:
        return f": {receipt.reason}"
    outcome = receipt.outcome
    return f": {outcome.kind}: {outcome.reason}" if outcome else ""


class LaneLog:
    """Logs each cause for which a lane fails, and its recovery."""

    def __init__(self, lanes: Callable[[], LaneNames]) -> None:
        self._lanes = lanes
        self._failing: dict[tuple[str, str, str], _Causes] = {}
        self._lock = threading.Lock()

    def attempted(self, lease: Lease, outcome: Outcome) -> None:
        """Log the outcome of an attempt if it changes the state of its lane."""
        ref = lease.delivery.ref
        channel = ref.installation, ref.destination, lease.channel
        answered = outcome.kind in {OutcomeKind.DELIVERED, OutcomeKind.REJECTED}
        with self._lock:
            causes = self._failing.get(channel)
            if answered:
                is_new = self._failing.pop(channel, None) is not None
            elif causes is None and not _shows_failing_lane(lease, outcome):
                is_new = False
            else:
                causes = self._failing.setdefault(channel, _Causes())
                is_new = causes.is_new(outcome, lease.leased_at)
        if not is_new:
            return
        opens = lease.channel == lane_store.channel_name(ref.action)
        name = self._lanes().name_of(ref) + ("" if opens else " (open incidents)")
        if answered:
            _log.warning("%s delivers again", name)
        else:
            _log.warning("%s does not deliver: %s: %s", name, outcome.kind, outcome.reason)


def _shows_failing_lane(lease: Lease, outcome: Outcome) -> bool:
    """Check that an outcome is caused by the lane, and not by this delivery alone."""
    delivery_only = lease.lane is LaneState.HEALTHY and outcome.kind is lease.last_outcome
    blocked = outcome.kind is OutcomeKind.MISCONFIGURED
    return not delivery_only and (blocked or lease.failures + 1 >= FAILED_ATTEMPTS)


@attrs.define
class _Causes:
    """The causes for which a lane has failed since it last delivered."""

    _last: str = ""
    _logged_at: dict[str, float] = attrs.field(factory=dict)

    def is_new(self, outcome: Outcome, now: float) -> bool:
        """Check that the cause has changed and was not logged recently; remember it."""
        blocked = outcome.kind is OutcomeKind.MISCONFIGURED
        cause = f"{outcome.kind} {outcome.reason if blocked else ''}"
        changed, self._last = cause != self._last, cause
        logged_at = self._logged_at.get(cause, -REPEAT_AFTER)
        if not changed or 0 <= now - logged_at < REPEAT_AFTER:
            return False
        if len(self._logged_at) >= MOST_CAUSES:
            self._logged_at.clear()
        self._logged_at[cause] = now
        return True


@attrs.define
class DropCount:
    """Counts dropped log records."""

    count: int = 0


DROPPED_RECORDS: Final = DropCount()
"""The count of this process, for its metrics."""


class _DroppingHandler(logging.handlers.QueueHandler):
    """Queues records without blocking; logs the number of dropped ones once there is room."""

    def __init__(self, records: queue.Queue[logging.LogRecord], dropped: DropCount) -> None:
        super().__init__(records)
        self._dropped = dropped
        self._unreported = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record, or drop it; called under the handler's lock."""
        try:
            if self._unreported:
                self.queue.put_nowait(self._notice())
                self._unreported = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self._dropped.count += 1
            self._unreported += 1

    def _notice(self) -> logging.LogRecord:
        text = f"{self._unreported} log records were dropped: the log is read too slowly"
        return logging.LogRecord("hostspec", logging.WARNING, "", 0, text, None, None)


@contextlib.contextmanager
def log_in_background(
    handler: logging.Handler, dropped: DropCount = DROPPED_RECORDS, most: int = MOST_QUEUED
) -> Iterator[None]:
    """Write the root logger's records in a thread, so that a slow reader delays no delivery."""
    records: queue.Queue[logging.LogRecord] = queue.Queue(most)
    listener = logging.handlers.QueueListener(records, handler)
    queueing = _DroppingHandler(records, dropped)

    def stop() -> None:
        records.join()  # QueueListener.stop fails if the queue is full
        listener.stop()

    logging.getLogger().addHandler(queueing)
    listener.start()
    try:
        yield
    finally:
        logging.getLogger().removeHandler(queueing)
        stopping = threading.Thread(target=stop, daemon=True)
        stopping.start()
        stopping.join(WRITE_WITHIN)
