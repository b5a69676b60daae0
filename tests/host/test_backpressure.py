"""The backlog: which requests still fit."""

from __future__ import annotations

from hostspec import Alert
from hostspec.delivery.desk import Backlog, Desk
from hostspec.host.backpressure import COUNT_AGAIN, Backpressure


class _Desk(Desk):
    def __init__(self, *counts: Backlog) -> None:
        self.counts = list(counts)

    def backlog(self) -> Backlog:
        return self.counts.pop(0)


def _alerts(count: int) -> list[Alert]:
    return [Alert(f"db-{number}/disk") for number in range(count)]


def test_the_backlog_is_counted_once_a_second_and_accepted_alerts_are_added() -> None:
    now = 0.0
    backpressure = Backpressure(_Desk(Backlog(1, 2, None), Backlog(0, 4, None)), 5, lambda: now)
    assert backpressure.admit(_alerts(1)) is None
    assert backpressure.admit(_alerts(1)) is None
    assert backpressure.admit(_alerts(1)) == "the backlog is full (5 of 5)"
    now += COUNT_AGAIN
    assert backpressure.admit(_alerts(1)) is None


def test_a_request_counts_with_its_own_size() -> None:
    backpressure = Backpressure(_Desk(Backlog(0, 0, None)), 5, lambda: 0.0)
    assert backpressure.admit(_alerts(6)) == "the backlog is full (0 of 5)"
    assert backpressure.admit(_alerts(5)) is None
