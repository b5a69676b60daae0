"""Metrics and log lines of deliveries: their names, and each counted once."""

from __future__ import annotations

import logging

import attrs
import pytest
from recorder import Page, plugins_of

from alerthost.config.configuration import Configuration
from alerthost.config.plugins import LaneNames, NoDestinationsError
from alerthost.http.delivery_log import DeliveryLog
from alerthost.http.metrics import Metrics
from alerthost.outbox.admin_rows import Backlog, Blocked
from alerthost.outbox.orphans import KEY_GONE
from alerthost.store.errors import StoreError
from hostspec import (
    Delivery,
    Identity,
    IncidentRef,
    Operation,
    Outcome,
    OutcomeKind,
    Receipt,
    Severity,
)
from hostspec.normalisation import Repair

REF = IncidentRef("pagerduty.trigger", "acme", "PABC123", "db-1/disk")


def receipt(
    kind: OutcomeKind | None = None, *, name: str = "1", fields: tuple[str, ...] = ()
) -> Receipt:
    delivery = Delivery(
        Operation.TRIGGER,
        REF,
        Identity("", "db-1/disk"),
        Severity.ERROR,
        repairs=tuple(Repair(field, "odd") for field in fields),
    )
    return Receipt(name, delivery, Outcome(kind, "why") if kind else None)


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(lambda: Backlog(1, 2, 10.0), lambda: 70.0)
    metrics.lanes = LaneNames({"acme": "pagerduty"}, {("acme", "PABC123"): "checkout"})
    return metrics


@pytest.fixture
def observer(metrics: Metrics) -> DeliveryLog:
    return DeliveryLog(lambda: metrics.lanes, metrics.observe)


def lines(metrics: Metrics) -> list[str]:
    """Return the lines of the metrics page about deliveries."""
    page, _ = metrics.page("")
    return [line for line in page.decode().splitlines() if line.startswith("alerthost_")]


LANE = 'lane="acme/checkout",provider="pagerduty"'


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (OutcomeKind.REJECTED, f"alerthost_rejected_total{{{LANE}}} 1.0"),
        (OutcomeKind.UNCERTAIN, f"alerthost_uncertain_total{{{LANE}}} 1.0"),
        (None, f"alerthost_discarded_total{{{LANE}}} 1.0"),
        (OutcomeKind.MISCONFIGURED, f'alerthost_dead_total{{{LANE},reason="misconfigured"}} 1.0'),
        (OutcomeKind.FAULTED, f'alerthost_dead_total{{{LANE},reason="faulted"}} 1.0'),
    ],
)
def test_undelivered_is_counted_once_by_outcome(
    observer: DeliveryLog, metrics: Metrics, kind: OutcomeKind | None, line: str
) -> None:
    for _ in range(2):
        observer.observe("hostspec_undelivered", receipt(kind))
    assert line in lines(metrics)


def test_discarded_delivery_is_counted_as_discarded_only(
    observer: DeliveryLog, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    discarded = attrs.evolve(receipt(OutcomeKind.FAULTED), reason="discarded by hand")
    observer.observe("hostspec_undelivered", discarded)
    assert f"alerthost_discarded_total{{{LANE}}} 1.0" in lines(metrics)
    assert caplog.messages == [
        "given up: trigger to acme/checkout for db-1/disk: discarded by hand"
    ]


def test_repeated_receipt_is_neither_counted_nor_logged_again(
    observer: DeliveryLog, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        observer.observe("hostspec_delayed", receipt())
        observer.observe("hostspec_superseded", receipt(name="3"))
        observer.observe("hostspec_delivered", receipt(OutcomeKind.DELIVERED))
        observer.observe("hostspec_undelivered", receipt(OutcomeKind.REJECTED, name="2"))
    assert caplog.messages == [
        "late: trigger to acme/checkout for db-1/disk",
        "delivered trigger to acme/checkout for db-1/disk",
        "given up: trigger to acme/checkout for db-1/disk: rejected: why",
    ]
    assert f"alerthost_superseded_total{{{LANE}}} 1.0" in lines(metrics)
    assert f"alerthost_late_total{{{LANE}}} 1.0" in lines(metrics)
    assert f"alerthost_delivered_total{{{LANE}}} 1.0" in lines(metrics)


def test_number_of_remembered_receipts_is_bounded(observer: DeliveryLog, metrics: Metrics) -> None:
    for number in range(1001):
        observer.observe("hostspec_delivered", receipt(OutcomeKind.DELIVERED, name=str(number)))
    observer.observe("hostspec_delivered", receipt(OutcomeKind.DELIVERED, name="0"))
    assert f"alerthost_delivered_total{{{LANE}}} 1002.0" in lines(metrics)


def test_number_of_fields_in_labels_is_bounded(metrics: Metrics) -> None:
    for number in range(300):
        metrics.observe(
            "hostspec_delivered", receipt(fields=(f"made up {number}.of[it]", "links[0].href"))
        )
    shown = [line for line in lines(metrics) if line.startswith("alerthost_repaired_total")]
    assert len(shown) <= 101
    assert f'alerthost_repaired_total{{{LANE},reason="links"}} 300.0' in shown
    assert any('reason="other"' in line for line in shown)


def test_backlog_is_measured_at_the_scrape(metrics: Metrics) -> None:
    assert {
        'alerthost_backlog{kind="submissions"} 1.0',
        'alerthost_backlog{kind="deliveries"} 2.0',
        "alerthost_oldest_queued_seconds 60.0",
    } <= set(lines(metrics))


def test_removed_lane_has_its_ids_as_name() -> None:
    assert (LaneNames().provider_of(REF), LaneNames().name_of(REF)) == ("", "acme/PABC123")


def test_provider_that_fails_to_list_destinations_has_lanes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise NoDestinationsError

    plugins = plugins_of(Page())
    installation = plugins.installation("pager", "acme", {})
    configuration = Configuration(plugins, (installation,), ())
    monkeypatch.setattr("alerthost.config.plugins.destinations_of", fail)
    known = LaneNames.of(configuration)
    assert (known.provider_of(REF), known.name_of(REF)) == ("pager", "acme/PABC123")


def test_orphaned_deliveries_are_counted(observer: DeliveryLog, metrics: Metrics) -> None:
    outcome = Outcome(OutcomeKind.MISCONFIGURED, KEY_GONE)
    observer.observe("hostspec_undelivered", attrs.evolve(receipt(None), outcome=outcome))
    assert f"alerthost_orphaned_total{{{LANE}}} 1.0" in lines(metrics)


def test_blocked_lanes_have_the_number_of_their_deliveries() -> None:
    def blocked() -> list[Blocked]:
        if broken:
            raise StoreError("full")
        return [Blocked(REF, "wrong key", 1.0, 2), Blocked(REF, "old key", 1.0, 3)]

    broken = False
    metrics = Metrics(lambda: Backlog(1, 2, 10.0), lambda: 70.0, blocked)
    metrics.lanes = LaneNames({"acme": "pagerduty"}, {("acme", "PABC123"): "checkout"})
    assert f"alerthost_lane_blocked{{{LANE}}} 5.0" in lines(metrics)
    broken = True
    assert not any("lane_blocked" in line for line in lines(metrics))
