"""A wrong clock of a sender or of the host keeps no incident open."""

from __future__ import annotations

import datetime as dt

import pytest
from engines import EITHER, START
from paging import Paging

from hostspec import Alert, Repair

NOW = dt.datetime.fromtimestamp(START, dt.UTC)
AHEAD = "ahead of this host's clock"


@EITHER
@pytest.mark.parametrize("ahead", [{"seconds": 5}, {"hours": 2}, {"hours": 26}, {"days": 36_000}])
def test_a_sender_clock_ahead_delays_nothing(at: Paging, ahead: dict[str, int]) -> None:
    at.deliver("firing", updated_at=NOW + dt.timedelta(**ahead))
    at.clock.now += 2
    at.deliver("resolved", updated_at=NOW + dt.timedelta(seconds=1))

    assert at.reported == ["trigger", "resolve"]


@pytest.mark.parametrize("back", [0, 8 * 3600])
def test_an_update_before_a_wrong_future_time_is_applied(at: Paging, back: int) -> None:
    """Neither a time far ahead nor the time of its acceptance is used for comparison."""
    at.deliver("firing", updated_at=NOW + dt.timedelta(hours=26))
    at.clock.now += 60
    at.deliver("resolved", updated_at=NOW - dt.timedelta(seconds=back))

    assert at.reported == ["trigger", "resolve"]


def test_the_order_of_a_sender_with_a_correct_clock_counts(at: Paging) -> None:
    at.clock.now += 60
    at.deliver("firing", updated_at=NOW + dt.timedelta(seconds=20))
    at.deliver("resolved", updated_at=NOW + dt.timedelta(seconds=10))

    assert at.reported == ["trigger"]


def test_a_host_clock_ahead_delays_nothing(at: Paging) -> None:
    at.clock.now += 26 * 3600
    at.deliver("firing", updated_at=NOW + dt.timedelta(hours=26))
    at.clock.now = START + 2
    at.deliver("resolved", updated_at=NOW + dt.timedelta(seconds=1))

    assert at.reported == ["trigger", "resolve"]


def test_a_time_ahead_is_a_repair(at: Paging) -> None:
    later = NOW + dt.timedelta(hours=2)
    at.deliver("firing", source="db-1", severity="error", started_at=later, updated_at=later)

    (entry,) = at.engine.admin.deliveries()
    assert entry.delivery.repairs == (
        Repair("started_at", f"is 2 h {AHEAD}; the time of acceptance is taken"),
        Repair("updated_at", f"is 2 h {AHEAD}; the order of acceptance counts"),
    )
    (request,) = at.taken
    assert request.json()["payload"]["timestamp"] == NOW.isoformat(timespec="milliseconds").replace(
        "+00:00", "Z"
    )


@pytest.mark.parametrize(
    ("lead", "said"),
    [
        (dt.timedelta(seconds=61), "61 s"),
        (dt.timedelta(minutes=3), "3 min"),
        (dt.timedelta(hours=26), "26 h"),
        (dt.timedelta(days=36_159), "36,159 days"),
    ],
)
def test_a_repair_names_how_far_ahead_a_time_is(lead: dt.timedelta, said: str) -> None:
    alert = Alert("k", "s", severity="info", updated_at=NOW + lead).as_of(NOW)
    assert alert.updated_at is None
    assert alert.repairs == (
        Repair("updated_at", f"is {said} {AHEAD}; the order of acceptance counts"),
    )
    assert alert.as_of(NOW) is alert


def test_a_clock_within_a_minute_is_not_reported() -> None:
    """The clocks of the processes differ; the order of acceptance counts."""
    soon = NOW + dt.timedelta(minutes=1)
    alert = Alert("k", "s", severity="info", started_at=soon, updated_at=soon).as_of(NOW)
    assert (alert.started_at, alert.updated_at, alert.repairs) == (soon, NOW, ())
