"""Backpressure: requests that do not fit into the backlog are rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alerthost.http.backpressure import COUNT_EVERY, Backpressure
from alerthost.outbox.admin import Admin
from alerthost.outbox.admin_rows import Load
from alerthost.outbox.serialisation import digest
from hostspec import Alert, Identity

CHECKOUT = ("acme", "checkout")
SEARCH = ("acme", "search")


class _CountedAdmin(Admin):
    def __init__(self, *loads: Load) -> None:
        self.loads = list(loads)

    def load(self) -> Load:
        return self.loads.pop(0)


def _lanes_of(alert: Alert) -> frozenset[tuple[str, str]]:
    lanes = {"checkout": [CHECKOUT], "search": [SEARCH], "both": [CHECKOUT, SEARCH]}
    return frozenset(lanes.get(alert.labels.get("team", ""), []))


def _backpressure(most: int, queued: Mapping[tuple[str, str], int]) -> Backpressure:
    return Backpressure(_CountedAdmin(Load(queued=queued)), most, _lanes_of, lambda: 0.0)


def _alerts(count: int, **fields: str) -> list[Alert]:
    return [Alert(f"db-{number}/disk", severity="error", **fields) for number in range(count)]


def _alert(team: str, severity: str = "error", status: str = "firing") -> Sequence[Alert]:
    return [Alert("db-1/disk", severity=severity, status=status, labels={"team": team})]


def test_backlog_is_counted_once_a_second_and_accepted_alerts_are_added() -> None:
    now = 0.0
    default = digest(Identity("", ""))
    admin = _CountedAdmin(Load({default: 1}, {CHECKOUT: 50}), Load({default: 0}, {CHECKOUT: 71}))
    backpressure = Backpressure(admin, 100, _lanes_of, lambda: now)
    assert backpressure.admit(_alerts(24)) is None
    assert backpressure.admit(_alerts(1)) == "backlog full (75 of 75 queued; see http.backlog)"
    now += COUNT_EVERY
    assert backpressure.admit(_alerts(4)) is None
    assert backpressure.admit(_alerts(1)) == "backlog full (75 of 75 queued; see http.backlog)"


def test_request_must_fit_as_a_whole() -> None:
    backpressure = _backpressure(100, {SEARCH: 70})
    assert backpressure.admit(_alerts(6)) == "backlog full (70 of 75 queued; see http.backlog)"
    assert backpressure.admit(_alerts(5)) is None


def test_room_is_reserved_for_critical_alerts_and_resolves() -> None:
    backpressure = _backpressure(100, {SEARCH: 75})
    assert backpressure.admit(_alerts(1)) == "backlog full (75 of 75 queued; see http.backlog)"
    assert backpressure.admit(_alert("checkout", "critical")) is None
    assert backpressure.admit(_alert("checkout", status="resolved")) is None


def test_full_destination_rejects_only_its_own_alerts() -> None:
    backpressure = _backpressure(100, {CHECKOUT: 38})
    rejected = "backlog full for 'db-1/disk' at acme/checkout (see http.backlog)"
    assert backpressure.admit(_alert("checkout")) == rejected
    assert backpressure.admit(_alert("search")) is None
    assert backpressure.admit(_alert("both")) is None
    assert backpressure.admit(_alert("anything")) is None
    assert backpressure.admit(_alert("checkout", status="resolved")) is None


def test_critical_alerts_for_one_destination_leave_room_for_others() -> None:
    backpressure = _backpressure(100, {CHECKOUT: 50})
    assert backpressure.admit(_alert("checkout", "critical")) is not None
    assert backpressure.admit(_alert("search", "critical")) is None


def test_pending_alerts_count_for_the_share_of_a_destination() -> None:
    default = digest(Identity("", ""))
    admin = _CountedAdmin(Load({default: 30}, {CHECKOUT: 8}))
    backpressure = Backpressure(admin, 100, _lanes_of, lambda: 0.0)
    rejected = "backlog full for 'db-1/disk' at acme/checkout (see http.backlog)"
    assert backpressure.admit(_alert("checkout")) == rejected
    assert backpressure.admit(_alert("search")) is None
    assert backpressure.admit(_alert("checkout", "critical")) is None


def test_scope_may_fill_its_share_of_the_backlog() -> None:
    backpressure = _backpressure(100, {})
    assert backpressure.admit(_alerts(38)) is None
    rejected = "backlog full for the default scope (38 of 38 queued; see http.backlog)"
    assert backpressure.admit(_alerts(1)) == rejected
    rejected = "backlog full for scope 'acme' (0 of 38 queued; see http.backlog)"
    backpressure = _backpressure(100, {})
    assert backpressure.admit(_alerts(39, scope="acme")) == rejected
    assert backpressure.admit(_alerts(38, scope="acme")) is None
    assert backpressure.admit(_alerts(37)) is None
