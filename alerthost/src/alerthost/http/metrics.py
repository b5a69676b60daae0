"""What ``alerthost run`` counts, and how Prometheus reads it.

Labels are names of a configuration, outcomes and fields: no secret, and never more than some
hundred of each.
"""

from __future__ import annotations

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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from alerthost.config.lanes import Lanes
from alerthost.http import background_log
from alerthost.outbox.admin import Backlog, Blocked
from alerthost.outbox.completion import ORPHANED
from alerthost.outbox.inbox import Note, SubmissionOutcome
from alerthost.outbox.leasing import Lease
from alerthost.store.errors import StoreError
from hostspec.delivery import IncidentRef, Outcome, OutcomeKind, Receipt
from hostspec.plugins import isolation

_LANE: Final = ("provider", "lane")
_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 14400)
_MOST_REASONS: Final = 100


class Metrics:
    """Counts, for as long as the process lives; a reload takes nothing from it.

    Args:
        backlog: says how much waits.
        clock: gives the time, in seconds of the epoch.
        blocked: returns the lanes that wait for a repair.

    Attributes:
        lanes: how to call them, by the configuration that is in use.
    """

    def __init__(
        self,
        backlog: Callable[[], Backlog],
        clock: Callable[[], float],
        blocked: Callable[[], Iterable[Blocked]] = tuple,
    ) -> None:
        self.lanes = Lanes()
        # a second series for each, of the moment in which it began
        disable_created_metrics()  # type: ignore[no-untyped-call]  # has no annotations
        self._registry = registry = CollectorRegistry()
        self._reasons: set[str] = set()
        self._lock = threading.Lock()

        def counter(name: str, text: str, labels: Iterable[str]) -> Counter:
            return Counter(f"alerthost_{name}", text, tuple(labels), registry=registry)

        self._requests = counter("requests", "Requests that were answered.", ("path", "status"))
        self._refused_requests = counter(
            "refused_requests", "Requests that were refused.", ("path", "status", "reason")
        )
        self._left_out = counter(
            "left_out", "Faulty alerts of requests whose other alerts were accepted.", ("path",)
        )
        self._accepted = counter("accepted", "Statements that were accepted.", ("path",))
        self._unmatched = counter("unmatched", "Firing statements that no rule matches.", ())
        self._outdated = counter(
            "outdated",
            "Statements that repeat an ended episode, or are older than the known state.",
            (),
        )
        self._suppressed = counter(
            "suppressed", "Times that a plugin decided that something is not sent.", ("plugin",)
        )
        self._failed = counter(
            "failed", "Statements that could not be planned, or only in part.", ("state",)
        )
        for state in (SubmissionOutcome.FAILED, SubmissionOutcome.DEAD):
            self._failed.labels(state)  # so that a rise from 0 is seen
        self._repaired = counter(
            "repaired",
            "Fields of deliveries and of their alerts that were repaired.",
            (*_LANE, "reason"),
        )
        self._delivered = counter("delivered", "Deliveries that the provider took.", _LANE)
        self._retried = counter(
            "retried",
            "Attempts after the first, by what the one before came to.",
            (*_LANE, "reason"),
        )
        self._set_aside = counter(
            "set_aside",
            "Deliveries that failed while others got through.",
            (*_LANE, "reason"),
        )
        self._refused = counter("refused", "Deliveries that the provider will never take.", _LANE)
        self._orphaned = counter(
            "orphaned", "Deliveries whose incident is under a key that is not held any more.", _LANE
        )
        self._uncertain = counter(
            "uncertain", "Deliveries that may have arrived, and are not repeated.", _LANE
        )
        self._dropped = counter("dropped", "Deliveries that a person dropped.", _LANE)
        self._superseded = counter(
            "superseded", "Deliveries that another one stands for, or that came too late.", _LANE
        )
        self._late = counter("late", "Deliveries that waited longer than they should.", _LANE)
        self._reloads = counter("reloads", "Times the configuration was read again.", ("result",))
        self._seconds = Histogram(
            "alerthost_delivery_seconds",
            "From accepted to delivered.",
            _LANE,
            registry=registry,
            buckets=_SECONDS,
        )
        registry.register(_Waiting(backlog, clock))
        registry.register(_OfTheProcess())
        registry.register(_BlockedLanes(blocked, self._lane))
        ProcessCollector(registry=registry)

    def answered(self, path: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(path, str(status)).inc()

    def refused_request(self, path: str, status: int, reason: str) -> None:
        """Count a request that was refused; the reason is one of a few words."""
        self._refused_requests.labels(path, str(status), reason).inc()

    def left_out(self, path: str, count: int) -> None:
        """Count faulty alerts whose neighbours were accepted."""
        self._left_out.labels(path).inc(count)

    def accepted(self, path: str, count: int) -> None:
        """Count statements that were accepted."""
        self._accepted.labels(path).inc(count)

    def planned(self, note: Note) -> None:
        """Count the outcome of a planned submission."""
        outcome = note.outcome
        if outcome is SubmissionOutcome.UNMATCHED:
            self._unmatched.inc()
        elif outcome is SubmissionOutcome.OUTDATED:
            self._outdated.inc()
        elif outcome in {SubmissionOutcome.FAILED, SubmissionOutcome.DEAD}:
            self._failed.labels(outcome).inc()
        for suppression in note.suppressions:
            self._suppressed.labels(self._bounded(suppression.plugin)).inc()

    def reloaded(self, *, well: bool) -> None:
        """Count a reload."""
        self._reloads.labels("done" if well else "refused").inc()

    def attempted(self, lease: Lease, outcome: Outcome, now: float) -> None:
        """Count an attempt."""
        lane = self._lane(lease.delivery.ref)
        if lease.attempt > 1:
            self._retried.labels(*lane, lease.last_outcome or "interrupted").inc()
        if outcome.delivered:
            self._seconds.labels(*lane).observe(max(0.0, now - lease.accepted_at))

    def delivered(self, receipt: Receipt) -> None:
        """Count what a provider took."""
        lane = self._lane(receipt.delivery.ref)
        self._delivered.labels(*lane).inc()
        for repair in receipt.delivery.repairs:
            field = repair.field.partition(".")[0].partition("[")[0]
            self._repaired.labels(*lane, self._bounded(field)).inc()

    def delayed(self, receipt: Receipt) -> None:
        """Count what is late."""
        self._late.labels(*self._lane(receipt.delivery.ref)).inc()

    def undelivered(self, receipt: Receipt) -> None:
        """Count what was given up, by the state that its last outcome led to."""
        lane = self._lane(receipt.delivery.ref)
        kind = receipt.outcome.kind if receipt.outcome else None
        if receipt.reason or kind is None:
            self._dropped.labels(*lane).inc()
        elif kind is OutcomeKind.REFUSED:
            self._refused.labels(*lane).inc()
        elif kind is OutcomeKind.UNCERTAIN:
            self._uncertain.labels(*lane).inc()
        elif receipt.outcome == Outcome(OutcomeKind.MISCONFIGURED, ORPHANED):
            self._orphaned.labels(*lane).inc()
        else:
            self._set_aside.labels(*lane, kind).inc()

    def superseded(self, receipt: Receipt) -> None:
        """Count what is not needed any more."""
        self._superseded.labels(*self._lane(receipt.delivery.ref)).inc()

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return everything in a form that a scraper accepts, and the name of the form."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _lane(self, ref: IncidentRef) -> tuple[str, str]:
        return self.lanes.provider_of(ref), self.lanes.name_of(ref)

    def _bounded(self, reason: str) -> str:
        """Keep the fields that strangers make up from becoming a label each."""
        with self._lock:
            if reason in self._reasons or len(self._reasons) < _MOST_REASONS:
                self._reasons.add(reason)
                return reason
        return "other"


class _OfTheProcess(Collector):
    """Reads what the process counts elsewhere."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        text = "Log records that were dropped because the log is read too slowly."
        yield CounterMetricFamily("alerthost_log_records_dropped", text, background_log.DROPS.count)
        text = "Calls of plugins that failed, took too long, or were left out for that."
        failures = CounterMetricFamily("alerthost_plugin_failures", text, labels=("plugin", "hook"))
        for labels, count in isolation.FAILURES.counts().items():
            failures.add_metric(labels, count)
        yield failures


class _Waiting(Collector):
    """Looks at the store when it is asked; a store that fails has nothing to tell."""

    def __init__(self, backlog: Callable[[], Backlog], clock: Callable[[], float]) -> None:
        self._backlog = backlog
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            backlog = self._backlog()
        except StoreError:
            return
        waiting = GaugeMetricFamily("alerthost_backlog", "How much waits.", labels=["what"])
        waiting.add_metric(["submissions"], backlog.unplanned)
        waiting.add_metric(["deliveries"], backlog.waiting)
        yield waiting
        age = 0.0 if backlog.oldest is None else max(0.0, self._clock() - backlog.oldest)
        yield GaugeMetricFamily(
            "alerthost_oldest_waiting_seconds",
            "How long ago the oldest of what waits was accepted; 0 where nothing waits.",
            value=age,
        )


class _BlockedLanes(Collector):
    """Reads the blocked lanes from the store when it is asked; none where the store fails."""

    def __init__(
        self,
        blocked: Callable[[], Iterable[Blocked]],
        name: Callable[[IncidentRef], tuple[str, str]],
    ) -> None:
        self._blocked = blocked
        self._name = name

    def collect(self) -> Iterator[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(
            "alerthost_lane_blocked",
            "Deliveries that wait for a repair, a wrong key say, by lane.",
            labels=_LANE,
        )
        try:
            counts: Counts[tuple[str, str]] = Counts()
            for each in self._blocked():
                counts[self._name(each.ref)] += each.waiting
        except StoreError:
            return
        for lane, waiting in counts.items():
            gauge.add_metric(lane, waiting)
        yield gauge
