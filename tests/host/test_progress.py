"""How statements are followed: in which order they are shown, and how far they are waited for."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import attrs
import pytest

from alerthost.cli import progress, send, tracked
from alerthost.cli.deliveries import Changes, Item, state_of
from alerthost.cli.output import Screen
from alerthost.cli.progress import Tracker
from alerthost.cli.send import Sender
from alerthost.cli.session import Interrupts, Session
from alerthost.cli.tracked import Count, Tracked
from alerthost.config.plugins import LaneNames
from alerthost.ingest.json_alerts import ParsedAlert
from alerthost.outbox.admin_rows import DeliveryRow, SubmissionStatus
from alerthost.outbox.engine import Engine
from alerthost.outbox.retry_policy import DeliveryState, LaneState
from alerthost.outbox.submission import Note
from alerthost.store.errors import LostCommitError, StoreError, UnknownCommitError
from hostspec import Alert, Delivery, IncidentRef, Operation, OutcomeKind, Severity
from hostspec.alert import Identity
from hostspec.errors import Fault

NUMBERS = itertools.count(1)


def entry(key: str = "disk", **changes: Any) -> DeliveryRow:
    """Make a delivery that was delivered, or as the changes say."""
    place = IncidentRef("pager.page", "acme", "checkout", key)
    delivery = Delivery(Operation.TRIGGER, place, Identity("", key), Severity.ERROR)
    made = DeliveryRow(
        id=next(NUMBERS),
        incident_id=1,
        submission_id="",
        delivery=delivery,
        state=DeliveryState.DELIVERED,
        sending=False,
        attempts=1,
        coalesced=0,
        accepted_at=0.0,
        due=0.0,
        finished_at=1.0,
        outcome=OutcomeKind.DELIVERED,
        reason="",
        lane=LaneState.HEALTHY,
        lane_reason="",
    )
    return attrs.evolve(made, **changes)


def waiting(key: str = "disk", **changes: Any) -> DeliveryRow:
    """Make a delivery that was not tried yet, or as the changes say."""
    new = {"state": DeliveryState.QUEUED, "finished_at": None, "attempts": 0, "outcome": None}
    return entry(key, **{**new, **changes})


FAILED: dict[str, Any] = {
    "attempts": 1,
    "outcome": OutcomeKind.UNREACHABLE,
    "reason": "no connection",
}


class Store:
    """Stands in for an engine: it knows of each statement what a test says."""

    def __init__(self) -> None:
        self.admin = self
        self.known: dict[str, SubmissionStatus] = {}
        self.accepted: list[list[str]] = []
        self.failing = False
        self.error: type[StoreError] = StoreError
        self.idle: Iterator[bool] = itertools.cycle([True])
        self.settles = True
        self.looks = 0

    def plan(self, statement: str, *entries: DeliveryRow, note: Note | None = None) -> None:
        self.known[statement] = SubmissionStatus(statement, note or Note(), entries)

    def statuses(self, submission_ids: Sequence[str]) -> Sequence[SubmissionStatus]:
        self.looks += 1
        return [self.known.get(each, SubmissionStatus(each, None, ())) for each in submission_ids]

    def wait_change(self, seen: int, timeout: float) -> int:
        assert timeout >= 0
        return seen + 1

    def recover_orphans(self) -> Sequence[str]:
        return ()

    def wait_idle(self, timeout: float) -> bool:
        return next(self.idle)

    def accept_many(self, alerts: Sequence[Alert]) -> Sequence[str]:
        if self.failing:
            message = "the disk is full"
            raise self.error(message)
        self.accepted.append([alert.key for alert in alerts])
        for alert in alerts:
            if self.settles:
                self.plan(alert.key, entry(alert.key))
        return [alert.key for alert in alerts]


@pytest.fixture
def store() -> Store:
    return Store()


class Sheet(Screen):
    """A screen that keeps what is shown, one blank between cells."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.complaints: list[str] = []

    def print(self, text: str = "", style: str = "", *, hanging: int = 0) -> None:
        self.shown.append(" ".join(text.split()))

    def print_error(self, text: str, style: str = "red") -> None:
        self.complaints.append(text)


@pytest.fixture
def sheet() -> Sheet:
    return Sheet()


@pytest.fixture
def followed(store: Store, sheet: Sheet) -> Tracker:
    return Tracker(cast("Engine", store), LaneNames(), sheet)


@pytest.fixture
def sending(store: Store, followed: Tracker) -> Sender:
    return Sender(Session(cast("Engine", store), Interrupts(), followed, Screen()))


def follow(progress: Tracker, *names: str) -> None:
    for name in names:
        progress.add(Tracked(name, name, submission_id=name))


def said(*keys: str) -> list[ParsedAlert]:
    return [
        ParsedAlert(f"line {n}", Alert(key, key, severity="error")) for n, key in enumerate(keys, 1)
    ]


# --- what is shown, and when -----------------------------------------------------------------


def test_what_is_known_earlier_is_shown_in_its_turn(
    followed: Tracker, store: Store, sheet: Sheet
) -> None:
    follow(followed, "one", "two")
    store.plan("two", entry("two"))

    followed.update(0)
    assert sheet.shown == []
    store.plan("one", entry("one"))
    followed.update(0)

    assert sheet.shown == [
        "delivered trigger acme/checkout one",
        "delivered trigger acme/checkout two",
    ]
    assert followed.count == 0


def test_nobody_waits_long_for_an_earlier_one(
    followed: Tracker,
    store: Store,
    sheet: Sheet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "IN_ORDER", -1.0)
    follow(followed, "one", "two")
    store.plan("one", entry("one"), waiting("one"))
    store.plan("two", entry("two"))

    followed.update(0)

    assert sheet.shown == [
        "delivered trigger acme/checkout one",
        "delivered trigger acme/checkout two",
    ]
    assert followed.count == 1


def test_what_fails_is_shown_once_and_when_it_is_through(
    followed: Tracker, store: Store, sheet: Sheet
) -> None:
    follow(followed, "one")
    tried = waiting("one", **FAILED)

    for again in (
        tried,
        attrs.evolve(tried, attempts=2),
        attrs.evolve(tried, attempts=3, sending=True),
        attrs.evolve(tried, attempts=3, outcome=OutcomeKind.FAULTED, reason="503"),
        attrs.evolve(entry("one"), id=tried.id, attempts=4),
    ):
        store.plan("one", again)
        followed.update(0)

    assert sheet.shown == [
        "unreachable trigger acme/checkout one no connection; will be retried",
        "delivered trigger acme/checkout one after 4 attempts",
    ]
    assert followed.tally.deliveries == {"delivered": 1}


def test_what_was_held_before_is_tried_first(
    followed: Tracker,
    store: Store,
    sheet: Sheet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    follow(followed, "one")
    held = waiting("one", lane=LaneState.BLOCKED, lane_reason="wrong key")
    store.plan("one", held)

    followed.update(0)
    store.plan("one", attrs.evolve(held, attempts=1, sending=True))
    followed.update(0)
    assert sheet.shown == []
    store.plan("one", held)
    monkeypatch.setattr(tracked, "UNTRIED", 0.0)
    followed.update(0)

    assert sheet.shown == ["blocked trigger acme/checkout one wrong key"]
    assert not followed.tally.all_well


def test_what_is_left_in_the_end_waits(followed: Tracker, store: Store, sheet: Sheet) -> None:
    follow(followed, "unplanned", "untried", "partly", "known")
    store.plan("untried", waiting("untried"))
    store.plan("partly", entry("partly"), waiting("partly", **FAILED))
    followed.update(0)
    store.plan("known", entry("known"))

    followed.finish()

    assert sheet.shown == [
        "queued unplanned",
        "queued trigger acme/checkout untried",
        "delivered trigger acme/checkout partly",
        "unreachable trigger acme/checkout partly no connection; will be retried",
        "delivered trigger acme/checkout known",
    ]
    assert followed.tally.summary() == (
        "4 alerts, 4 deliveries (2 delivered, 2 queued), 1 still to be planned"
    )
    assert not followed.tally.all_well


def test_what_somebody_shows_in_the_meantime_is_not_shown_again_in_the_end(
    followed: Tracker, store: Store, sheet: Sheet
) -> None:
    follow(followed, "one")
    tried = waiting("one", **FAILED)
    store.plan("one", tried, waiting("one"))
    followed.update(0)
    followed.finish()

    assert [text.split()[0] for text in sheet.shown] == ["unreachable", "queued"]


def test_what_nothing_is_sent_for_is_told_with_its_reason(
    followed: Tracker, store: Store, sheet: Sheet
) -> None:
    follow(followed, "one", "two", "three")
    store.plan("one", note=Note("no rule matches"))
    store.plan("two", note=Note("no open incident"))
    store.plan("three")

    followed.update(0)

    assert sheet.shown == [
        "unmatched one",
        "nothing sent two no open incident",
        "nothing sent three its incident is unchanged",
    ]
    assert followed.tally.summary() == (
        "3 alerts, 0 deliveries, 1 unmatched, 2 with nothing to send"
    )
    assert followed.tally.all_well


def test_coalesced_and_dropped_deliveries_are_no_failure(
    followed: Tracker, store: Store, sheet: Sheet
) -> None:
    follow(followed, "one")
    over = entry("one", state=DeliveryState.DISCARDED, outcome=None, reason="its problem is over")
    store.plan("one", entry("one", state=DeliveryState.COALESCED), over)

    followed.update(0)

    assert sheet.shown == [
        "coalesced trigger acme/checkout one a later alert covers it",
        "discarded trigger acme/checkout one its problem is over",
    ]
    assert followed.tally.all_well


# --- very many -------------------------------------------------------------------------------


def test_of_very_many_some_are_looked_at_at_a_time_and_all_in_turn(
    followed: Tracker, store: Store, sheet: Sheet, monkeypatch: Any
) -> None:
    monkeypatch.setattr(progress, "WINDOW", 2)
    monkeypatch.setattr(progress, "PACE", 0.0)
    monkeypatch.setattr(progress, "IN_ORDER", -1.0)
    follow(followed, "a", "b", "c", "d", "e")
    store.plan("a", waiting("a", **FAILED))
    for name in "de":
        store.plan(name, entry(name))

    for _ in range(4):
        followed.update(0)
    assert {text.split()[3] for text in sheet.shown} == {"a", "d", "e"}
    for name in "abc":
        store.plan(name, entry(name))
    for _ in range(4):
        followed.update(0)

    assert followed.count == 0
    assert followed.tally.deliveries == {"delivered": 5}


def test_where_there_are_many_it_is_not_looked_at_each_change(
    followed: Tracker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "WINDOW", 1)
    monkeypatch.setattr(progress, "PACE", 1e9)
    follow(followed, "a", "b")
    monkeypatch.setattr(followed, "_queried_at", 1e12)

    followed.update(0)

    assert store.looks == 0


def test_without_a_change_the_store_is_queried_only_from_time_to_time(
    followed: Tracker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may deliver what is tracked, and signals nothing here."""
    monkeypatch.setattr(store, "wait_change", lambda seen, timeout: seen)
    monkeypatch.setattr(progress, "POLL", 1e9)
    monkeypatch.setattr(followed, "_queried_at", -1e10)
    follow(followed, "one")
    for _ in range(5):
        followed.update(0)
    store.plan("one", entry("one"))
    followed.update(0)
    assert (store.looks, followed.count) == (1, 1)

    monkeypatch.setattr(progress, "POLL", -1.0)
    followed.update(0)
    assert (store.looks, followed.count) == (2, 0)


def test_the_oldest_is_left_to_itself_where_none_gets_through(
    followed: Tracker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerthost.cli.session.STUCK", -1.0)
    follow(followed, "one", "two", "three")
    store.plan("two", waiting("two", **FAILED))
    work = Session(cast("Engine", store), Interrupts(), followed, Screen())

    work.make_room(2)

    assert followed.count == 1
    assert (followed.tally.counts[Count.UNPLANNED], followed.tally.deliveries) == (1, {"queued": 1})


def test_room_is_waited_for_as_long_as_something_gets_through(
    followed: Tracker, store: Store
) -> None:
    follow(followed, "one", "two")
    store.plan("one", entry("one"))
    work = Session(cast("Engine", store), Interrupts(), followed, Screen())

    work.make_room(2)

    assert followed.count == 1
    assert followed.tally.deliveries == {"delivered": 1}


# --- what is accepted together, and apart ----------------------------------------------------


def test_statements_about_one_problem_are_accepted_one_after_the_other(
    sending: Sender, store: Store
) -> None:
    sending.run(said("a", "b", "a", "a"), 10)

    assert [key for group in store.accepted for key in group] == ["a", "b", "a", "a"]
    assert max(group.count("a") for group in store.accepted) == 1


def test_they_wait_for_each_other_for_a_moment_only(
    sending: Sender, store: Store, followed: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.settles = False
    monkeypatch.setattr(send, "APART", 0.0)

    sending.run(said("a", "a", "a"), 0.2)

    assert sum(map(len, store.accepted)) == 3
    assert followed.count == 3


def test_where_the_time_is_over_the_rest_is_accepted_all_the_same(
    sending: Sender, store: Store
) -> None:
    store.settles = False

    sending.run(said("a", "a", "a"), 0)

    assert store.accepted == [["a"], ["a", "a"]]


def test_many_statements_about_one_problem_do_not_wait_for_each_other(
    sending: Sender, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "MOST_APART", 2)
    store.settles = False

    sending.run(said("a", "a", "a", "a", "a"), 0)

    assert sum(map(len, store.accepted)) == 5


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (LostCommitError, "may be lost"),
        (UnknownCommitError, "may or may not be accepted; send it again"),
    ],
)
def test_what_the_store_may_have_lost_is_told(
    sending: Sender, store: Store, sheet: Sheet, error: type[StoreError], reported: str
) -> None:
    store.failing, store.error = True, error
    sending.run(said("a"), 10)
    assert sheet.complaints == [f"line 1: {reported}: the disk is full"]


def test_what_the_store_does_not_take_is_told_and_the_others_go_on(
    sending: Sender,
    store: Store,
    followed: Tracker,
    sheet: Sheet,
) -> None:
    def given() -> Iterator[ParsedAlert]:
        yield from said("a")

    store.failing = True
    sending.run(given(), 10)

    assert sheet.complaints == ["line 1: not accepted: the disk is full"]
    assert followed.tally.summary() == "1 alert, 0 deliveries, 1 not accepted"
    assert not followed.tally.all_well


def test_input_that_cannot_be_read_on_is_told(
    sending: Sender, followed: Tracker, sheet: Sheet
) -> None:
    def given() -> Iterator[ParsedAlert]:
        yield from said("a")
        raise OSError(5, "Input/output error")

    sending.run(given(), 10)

    assert sheet.complaints == ["input: cannot be read: Input/output error"]
    assert followed.tally.counts[Count.FAULTY] == 1


def test_a_faulty_statement_is_told_in_its_turn(
    sending: Sender, followed: Tracker, sheet: Sheet
) -> None:
    sending.run([ParsedAlert("line 1", None, (Fault("key", "missing"),))], 10)

    assert sheet.complaints == ["line 1: key: missing"]
    assert followed.tally.counts[Count.FAULTY] == 1


def test_what_waited_before_is_waited_for_while_it_is_due(sending: Sender, store: Store) -> None:
    store.idle = iter([False, False, True])

    sending.run([], 10)

    assert list(store.idle) == []


def test_as_long_as_something_gets_through_reading_waits(
    sending: Sender, store: Store, followed: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "MOST", 1)

    sending.run(said("a", "b", "c"), 10)

    assert followed.tally.deliveries == {"delivered": 3}
    assert len(sending._last) <= 1


def test_where_very_many_are_followed_reading_waits_for_room(
    sending: Sender, store: Store, followed: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "MOST", 1)
    monkeypatch.setattr(send, "GROUP", 1)
    store.settles = False

    def wait_change(seen: int, timeout: float) -> int:
        if seen % 3 == 2:
            for group in store.accepted:
                for key in group:
                    store.plan(key, entry(key))
        return seen + 1

    monkeypatch.setattr(store, "wait_change", wait_change)

    def given() -> Iterator[ParsedAlert]:
        yield from said("a", "b", "c")

    sending.run(given(), 10)

    assert followed.tally.deliveries == {"delivered": 3}


def test_where_none_gets_through_reading_goes_on(
    sending: Sender, store: Store, followed: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "MOST", 1)
    monkeypatch.setattr(send, "GROUP", 1)
    monkeypatch.setattr(send, "STUCK", -1.0)
    store.settles = False

    sending.run(said("a", "b", "c"), 0)

    assert sum(map(len, store.accepted)) == 3
    assert followed.count < 3


def test_a_signal_ends_the_reading_and_what_was_read_is_accepted(
    store: Store, followed: Tracker
) -> None:
    interrupts = Interrupts()
    blocked = threading.Event()

    def given() -> Iterator[ParsedAlert]:
        yield from said("a", "b")
        interrupts.count += 1
        blocked.wait()

    store.settles = False
    Sender(Session(cast("Engine", store), interrupts, followed, Screen())).run(given(), 10)
    blocked.set()

    assert sorted(key for group in store.accepted for key in group) == ["a", "b"]


# --- what `alerthost deliveries --watch` shows -----------------------------------------------


def test_only_changed_deliveries_are_printed_again() -> None:
    changes = Changes()
    one, two = (Item(number, "queued", (), {}) for number in (1, 2))

    assert list(changes.among([two, one])) == [one, two]
    sent = attrs.evolve(one, version="in flight")
    assert list(changes.among([two, sent])) == [sent]
    assert list(changes.among([two])) == []


def test_a_delivery_is_in_flight_while_it_is_sent() -> None:
    assert state_of(waiting(sending=True)) == "in flight"
