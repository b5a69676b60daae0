"""The metrics of ``alerthost run`` in Prometheus's format.

Label values are names of the configuration, outcomes and fields, at most some hundred of each;
never a secret.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from alerthost.config.plugins import LaneNames
from alerthost.http.delivery_log import DROPPED_RECORDS
from alerthost.outbox import notifier
from alerthost.outbox.admin_rows import Backlog, Blocked
from alerthost.outbox.expected_heartbeat import HeartbeatRow
from alerthost.outbox.leasing import Lease
from alerthost.outbox.orphans import KEY_GONE
from alerthost.outbox.submission import UNKNOWN, Note, SubmissionOutcome
from alerthost.store.errors import StoreError
from hostspec.delivery import IncidentRef, Outcome, OutcomeKind, Receipt
from hostspec.plugins import isolation

_LANE: Final = ("provider", "lane")
_REASON: Final = (*_LANE, "reason")
_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 14400)
_MOST_REASONS: Final = 100

_COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "requests": ("Answered requests.", ("path", "status")),
    "rejected_requests": ("Rejected requests.", ("path", "status", "reason")),
    "faulty_alerts": ("Faulty alerts in requests whose other alerts were accepted.", ("path",)),
    "refused_alerts": ("Alerts that did not fit, in requests that accept others.", ("path",)),
    "accepted": ("Accepted submissions.", ("path",)),
    "repeated": ("Alerts in requests that only repeat a known state.", ("path",)),
    "unmatched": ("Firing submissions that no rule matches.", ()),
    "no_incident": ("Acknowledges and resolves without an open incident.", ("alert",)),
    "outdated": ("Submissions that repeat an ended episode, or are older than the state.", ()),
    "suppressed": ("Deliveries that a plugin suppressed.", ("plugin",)),
    "failed": ("Submissions that could not be planned, or only in part.", ("state",)),
    "repaired": ("Repaired fields of deliveries and of their alerts.", _REASON),
    "delivered": ("Deliveries that the provider accepted.", _LANE),
    "retried": ("Attempts after the first, by the outcome of the previous one.", _REASON),
    "dead": ("Deliveries that failed while others of their lane were delivered.", _REASON),
    "rejected": ("Deliveries that the provider rejected.", _LANE),
    "orphaned": ("Deliveries for incidents whose key is gone from the configuration.", _LANE),
    "uncertain": ("Deliveries that may have arrived, and are not repeated.", _LANE),
    "discarded": ("Deliveries that an operator discarded.", _LANE),
    "superseded": ("Deliveries that a newer one replaced, or that came too late.", _LANE),
    "late": ("Deliveries that were queued for too long.", _LANE),
    "reloads": ("Reloads of the configuration.", ("result",)),
}
"""The help text and the labels of each counter, by its name without prefix."""


class Metrics(Collector):
    """Counts for as long as the process lives; a reload replaces its attributes only.

    The clock returns seconds since the epoch.

    Attributes:
        lanes: the names of lanes.
        faulty_rules: number of rules of the store with faults.
    """

    def __init__(
        self,
        backlog: Callable[[], Backlog],
        clock: Callable[[], float],
        blocked: Callable[[], Iterable[Blocked]] = tuple,
        heartbeats: Callable[[], Iterable[HeartbeatRow]] = tuple,
    ) -> None:
        self.lanes = LaneNames()
        self.faulty_rules = 0
        self._backlog = backlog
        self._clock = clock
        self._blocked = blocked
        self._heartbeats = heartbeats
        # without the series for the time at which each counter was created
        disable_created_metrics()  # type: ignore[no-untyped-call]  # has no annotations
        self._registry = CollectorRegistry()
        self._reasons: set[str] = set()
        self._lock = threading.Lock()
        self._counters = {
            name: Counter(f"alerthost_{name}", text, labels, registry=self._registry)
            for name, (text, labels) in _COUNTERS.items()
        }
        for state in (SubmissionOutcome.FAILED, SubmissionOutcome.DEAD):
            self._counters["failed"].labels(state)  # an increase from 0 is visible to Prometheus
        for alert in ("known", "unknown"):
            self._counters["no_incident"].labels(alert)
        self._seconds = Histogram(
            "alerthost_delivery_seconds",
            "Seconds from accepted to delivered.",
            _LANE,
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Increase a counter, named without its prefix; each label has a few values only."""
        (self._counters[name].labels(*labels) if labels else self._counters[name]).inc(by)

    def planned(self, note: Note) -> None:
        """Count the outcome of a planned submission."""
        match note.outcome:
            case SubmissionOutcome.FAILED | SubmissionOutcome.DEAD as outcome:
                self.count("failed", outcome)
            case SubmissionOutcome.UNMATCHED | SubmissionOutcome.OUTDATED as outcome:
                self.count(outcome)
            case SubmissionOutcome.NO_INCIDENT:
                self.count("no_incident", "unknown" if note.remark == UNKNOWN else "known")
        for suppression in note.suppressions:
            self.count("suppressed", self._bounded(suppression.plugin))

    def attempted(self, lease: Lease, outcome: Outcome, now: float) -> None:
        """Count an attempt."""
        lane = self._lane(lease.delivery.ref)
        if lease.attempt > 1:
            self.count("retried", *lane, lease.last_outcome or "interrupted")
        if outcome.delivered:
            self._seconds.labels(*lane).observe(max(0.0, now - lease.accepted_at))

    def observe(self, hook: str, receipt: Receipt) -> None:
        """Count a receipt, by the name of the hook for it."""
        lane = self._lane(receipt.delivery.ref)
        if hook == notifier.DELIVERED:
            self.count("delivered", *lane)
            for repair in receipt.delivery.repairs:
                field = repair.field.partition(".")[0].partition("[")[0]
                self.count("repaired", *lane, self._bounded(field))
        elif hook == notifier.DELAYED:
            self.count("late", *lane)
        elif hook == notifier.UNDELIVERED:
            self._count_undelivered(receipt, lane)
        else:
            self.count("superseded", *lane)

    def collect(self) -> Iterator[Metric]:
        """Yield the counts that other modules keep, and those of the store unless it fails."""
        text = "Log records that were dropped because the log is read too slowly."
        yield CounterMetricFamily("alerthost_log_records_dropped", text, DROPPED_RECORDS.count)
        text = "Calls of plugins that failed, timed out, or were skipped after failures."
        failures = CounterMetricFamily("alerthost_plugin_failures", text, labels=("plugin", "hook"))
        for labels, count in isolation.FAILURES.counts().items():
            failures.add_metric(labels, count)
        yield failures
        text = "Rules of the store that are switched on, but not or not wholly in force."
        yield GaugeMetricFamily("alerthost_faulty_rules", text, self.faulty_rules)
        with contextlib.suppress(StoreError):
            yield from self._backlog_gauges()
        with contextlib.suppress(StoreError):
            yield self._blocked_gauge()
        with contextlib.suppress(StoreError):
            yield from self._heartbeat_gauges()

    def _backlog_gauges(self) -> Iterator[Metric]:
        backlog = self._backlog()
        text = "Pending submissions and queued deliveries."
        size = GaugeMetricFamily("alerthost_backlog", text, labels=["kind"])
        size.add_metric(["submissions"], backlog.pending)
        size.add_metric(["deliveries"], backlog.queued)
        yield size
        text = "Alerts for which a rule waits whether they still fire."
        yield GaugeMetricFamily("alerthost_waiting_alerts", text, value=backlog.waiting)
        age = 0.0 if backlog.oldest is None else max(0.0, self._clock() - backlog.oldest)
        text = "Seconds since the oldest item of the backlog was accepted; 0 if it is empty."
        yield GaugeMetricFamily("alerthost_oldest_queued_seconds", text, value=age)

    def _blocked_gauge(self) -> Metric:
        text = "Deliveries that are blocked until the operator fixes their lane, such as its key."
        gauge = GaugeMetricFamily("alerthost_lane_blocked", text, labels=_LANE)
        counts: Counts[tuple[str, str]] = Counts()
        for each in self._blocked():
            counts[self._lane(each.ref)] += each.queued
        for lane, count in counts.items():
            gauge.add_metric(lane, count)
        return gauge

    def _heartbeat_gauges(self) -> Iterator[Metric]:
        text = "Whether an expected heartbeat is missed now: 1, else 0."
        missed = GaugeMetricFamily("alerthost_heartbeat_missed", text, labels=["key"])
        text = "When an expected heartbeat was heard last, in seconds since the epoch."
        name = "alerthost_heartbeat_heard_timestamp_seconds"
        heard = GaugeMetricFamily(name, text, labels=["key"])
        for row in self._heartbeats():
            missed.add_metric([row.heartbeat.key], float(row.missed_at is not None))
            if row.heard_at is not None:
                heard.add_metric([row.heartbeat.key], row.heard_at)
        yield from (missed, heard)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in a format that the scraper accepts, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _count_undelivered(self, receipt: Receipt, lane: tuple[str, str]) -> None:
        kind = receipt.outcome.kind if receipt.outcome else None
        if receipt.reason or kind is None:
            self.count("discarded", *lane)
        elif kind in {OutcomeKind.REJECTED, OutcomeKind.UNCERTAIN}:
            self.count(kind, *lane)
        elif receipt.outcome == Outcome(OutcomeKind.MISCONFIGURED, KEY_GONE):
            self.count("orphaned", *lane)
        else:
            self.count("dead", *lane, kind)

    def _lane(self, ref: IncidentRef) -> tuple[str, str]:
        return self.lanes.provider_of(ref), self.lanes.name_of(ref)

    def _bounded(self, reason: str) -> str:
        """Return the reason, or ``other`` once there are too many: clients choose field names."""
        with self._lock:
            if reason in self._reasons or len(self._reasons) < _MOST_REASONS:
                self._reasons.add(reason)
                return reason
        return "other"
