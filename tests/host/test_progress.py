"""Submissions are tracked until they are done, and shown in order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import attrs
import pytest
from waiting import wait_until

from alerthost.cli import progress, send, tracked
from alerthost.cli.output import Screen
from alerthost.cli.progress import Tracker
from alerthost.cli.send import Sender
from alerthost.cli.session import Interrupts, Session
from alerthost.cli.tracked import Count, Tracked
from alerthost.config.plugins import LaneNames
from alerthost.config.states import delivery_state
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


def row(key: str = "disk", **changes: Any) -> DeliveryRow:
    """Build a delivered row, with some fields changed."""
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


def queued_row(key: str = "disk", **changes: Any) -> DeliveryRow:
    """Build a queued row without an attempt, with some fields changed."""
    new = {"state": DeliveryState.QUEUED, "finished_at": None, "attempts": 0, "outcome": None}
    return row(key, **{**new, **changes})


FAILED: dict[str, Any] = {
    "attempts": 1,
    "outcome": OutcomeKind.UNREACHABLE,
    "reason": "no connection",
}


class FakeEngine:
    """A stand-in for an engine, with prepared submissions."""

    def __init__(self) -> None:
        self.admin = self
        self.known: dict[str, SubmissionStatus] = {}
        self.accepted: list[list[str]] = []
        self.failing = False
        self.error: type[StoreError] = StoreError
        self.idle: Iterator[bool] = itertools.cycle([True])
        self.settles = True
        self.queries = 0

    def plan(self, submission_id: str, *entries: DeliveryRow, note: Note | None = None) -> None:
        self.known[submission_id] = SubmissionStatus(submission_id, note or Note(), entries)

    def statuses(self, submission_ids: Sequence[str]) -> Sequence[SubmissionStatus]:
        self.queries += 1
        return [self.known.get(each, SubmissionStatus(each, None, ())) for each in submission_ids]

    def wait_change(self, seen: int, timeout: float) -> int:
        assert timeout >= 0
        return seen + 1

    def recover_orphans(self) -> Sequence[str]:
        return ()

    def wait_idle(self, timeout: float) -> bool:
        return next(self.idle)

    def accept_many(
        self,
        alerts: Sequence[Alert],
        *,
        expires_at: Sequence[object],
    ) -> Sequence[str]:
        if self.failing:
            message = "the disk is full"
            raise self.error(message)
        self.accepted.append([alert.key for alert in alerts])
        for alert in alerts:
            if self.settles:
                self.plan(alert.key, row(alert.key))
        return [alert.key for alert in alerts]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


class RecordingScreen(Screen):
    """A screen that records its lines, with one blank between cells."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.errors: list[str] = []

    def print(self, text: str = "", style: str = "", *, hanging: int = 0) -> None:
        self.shown.append(" ".join(text.split()))

    def print_error(self, text: str, style: str = "red") -> None:
        self.errors.append(text)


@pytest.fixture
def screen() -> RecordingScreen:
    return RecordingScreen()


@pytest.fixture
def tracker(engine: FakeEngine, screen: RecordingScreen) -> Tracker:
    return Tracker(cast("Engine", engine), LaneNames(), screen)


@pytest.fixture
def sender(engine: FakeEngine, tracker: Tracker) -> Sender:
    return Sender(Session(cast("Engine", engine), Interrupts(), tracker, Screen()))


def track(progress: Tracker, *names: str) -> None:
    for name in names:
        progress.add(Tracked(name, name, submission_id=name))


def parsed(*keys: str) -> list[ParsedAlert]:
    return [
        ParsedAlert(f"line {n}", Alert(key, key, severity="error")) for n, key in enumerate(keys, 1)
    ]


# --- order of the output ---------------------------------------------------------------------


def test_outcomes_are_shown_in_the_order_of_the_alerts(
    tracker: Tracker, engine: FakeEngine, screen: RecordingScreen
) -> None:
    track(tracker, "one", "two")
    engine.plan("two", row("two"))

    tracker.update(0)
    assert screen.shown == []
    engine.plan("one", row("one"))
    tracker.update(0)

    assert screen.shown == [
        "delivered trigger acme/checkout one",
        "delivered trigger acme/checkout two",
    ]
    assert tracker.count == 0


def test_an_outcome_waits_for_an_earlier_one_only_briefly(
    tracker: Tracker,
    engine: FakeEngine,
    screen: RecordingScreen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "IN_ORDER", -1.0)
    track(tracker, "one", "two")
    engine.plan("one", row("one"), queued_row("one"))
    engine.plan("two", row("two"))

    tracker.update(0)

    assert screen.shown == [
        "delivered trigger acme/checkout one",
        "delivered trigger acme/checkout two",
    ]
    assert tracker.count == 1


def test_a_failure_is_shown_once_and_then_its_success(
    tracker: Tracker, engine: FakeEngine, screen: RecordingScreen
) -> None:
    track(tracker, "one")
    tried = queued_row("one", **FAILED)

    for again in (
        tried,
        attrs.evolve(tried, attempts=2),
        attrs.evolve(tried, attempts=3, sending=True),
        attrs.evolve(tried, attempts=3, outcome=OutcomeKind.FAULTED, reason="503"),
        attrs.evolve(row("one"), id=tried.id, attempts=4),
    ):
        engine.plan("one", again)
        tracker.update(0)

    assert screen.shown == [
        "unreachable trigger acme/checkout one no connection; will be retried",
        "delivered trigger acme/checkout one after 4 attempts",
    ]
    assert tracker.tally.deliveries == {"delivered": 1}


def test_a_blocked_delivery_is_tried_before_it_is_shown(
    tracker: Tracker,
    engine: FakeEngine,
    screen: RecordingScreen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    track(tracker, "one")
    held = queued_row("one", lane=LaneState.BLOCKED, lane_reason="wrong key")
    engine.plan("one", held)

    tracker.update(0)
    engine.plan("one", attrs.evolve(held, attempts=1, sending=True))
    tracker.update(0)
    assert screen.shown == []
    engine.plan("one", held)
    monkeypatch.setattr(tracked, "UNTRIED", 0.0)
    tracker.update(0)

    assert screen.shown == ["blocked trigger acme/checkout one wrong key"]
    assert not tracker.tally.all_well


def test_deliveries_left_at_the_end_count_as_queued(
    tracker: Tracker, engine: FakeEngine, screen: RecordingScreen
) -> None:
    track(tracker, "unplanned", "untried", "partly", "known")
    engine.plan("untried", queued_row("untried"))
    engine.plan("partly", row("partly"), queued_row("partly", **FAILED))
    tracker.update(0)
    engine.plan("known", row("known"))

    tracker.finish()

    assert screen.shown == [
        "queued unplanned",
        "queued trigger acme/checkout untried",
        "delivered trigger acme/checkout partly",
        "unreachable trigger acme/checkout partly no connection; will be retried",
        "delivered trigger acme/checkout known",
    ]
    assert tracker.tally.summary() == (
        "4 alerts, 4 deliveries (2 delivered, 2 queued), 1 still to be planned"
    )
    assert not tracker.tally.all_well


def test_a_failure_that_was_shown_is_not_shown_again_at_the_end(
    tracker: Tracker, engine: FakeEngine, screen: RecordingScreen
) -> None:
    track(tracker, "one")
    tried = queued_row("one", **FAILED)
    engine.plan("one", tried, queued_row("one"))
    tracker.update(0)
    tracker.finish()

    assert [text.split()[0] for text in screen.shown] == ["unreachable", "queued"]


def test_alerts_without_a_delivery_are_shown_with_the_reason(
    tracker: Tracker, engine: FakeEngine, screen: RecordingScreen
) -> None:
    track(tracker, "one", "two", "three")
    engine.plan("one", note=Note("no rule matches"))
    engine.plan("two", note=Note("no open incident"))
    engine.plan("three")

    tracker.update(0)

    assert screen.shown == [
        "unmatched one",
        "nothing sent two no open incident",
        "nothing sent three its incident is unchanged",
    ]
    assert tracker.tally.summary() == (
        "3 alerts, 0 deliveries, 1 unmatched, 2 with nothing to send"
    )
    assert tracker.tally.all_well


def test_coalesced_and_discarded_deliveries_are_not_failures(
    tracker: Tracker, engine: FakeEngine, screen: RecordingScreen
) -> None:
    track(tracker, "one")
    over = row("one", state=DeliveryState.DISCARDED, outcome=None, reason="its problem is over")
    engine.plan("one", row("one", state=DeliveryState.COALESCED), over)

    tracker.update(0)

    assert screen.shown == [
        "coalesced trigger acme/checkout one a later alert covers it",
        "discarded trigger acme/checkout one its problem is over",
    ]
    assert tracker.tally.all_well


# --- many submissions ------------------------------------------------------------------------


def test_many_submissions_are_queried_in_turn(
    tracker: Tracker, engine: FakeEngine, screen: RecordingScreen, monkeypatch: Any
) -> None:
    monkeypatch.setattr(progress, "WINDOW", 2)
    monkeypatch.setattr(progress, "PACE", 0.0)
    monkeypatch.setattr(progress, "IN_ORDER", -1.0)
    track(tracker, "a", "b", "c", "d", "e")
    engine.plan("a", queued_row("a", **FAILED))
    for name in "de":
        engine.plan(name, row(name))

    for _ in range(4):
        tracker.update(0)
    assert {text.split()[3] for text in screen.shown} == {"a", "d", "e"}
    for name in "abc":
        engine.plan(name, row(name))
    for _ in range(4):
        tracker.update(0)

    assert tracker.count == 0
    assert tracker.tally.deliveries == {"delivered": 5}


def test_many_submissions_are_not_queried_at_each_change(
    tracker: Tracker, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "WINDOW", 1)
    monkeypatch.setattr(progress, "PACE", 1e9)
    track(tracker, "a", "b")
    monkeypatch.setattr(tracker, "_queried_at", 1e12)

    tracker.update(0)

    assert engine.queries == 0


def test_the_store_is_polled_if_nothing_changes_here(
    tracker: Tracker, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may deliver a tracked submission, without a signal here."""
    monkeypatch.setattr(engine, "wait_change", lambda seen, timeout: seen)
    monkeypatch.setattr(progress, "POLL", 1e9)
    monkeypatch.setattr(tracker, "_queried_at", -1e10)
    track(tracker, "one")
    for _ in range(5):
        tracker.update(0)
    engine.plan("one", row("one"))
    tracker.update(0)
    assert (engine.queries, tracker.count) == (1, 1)

    monkeypatch.setattr(progress, "POLL", -1.0)
    tracker.update(0)
    assert (engine.queries, tracker.count) == (2, 0)


def test_without_progress_the_oldest_is_no_longer_tracked(
    tracker: Tracker, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerthost.cli.session.STUCK", -1.0)
    track(tracker, "one", "two", "three")
    engine.plan("two", queued_row("two", **FAILED))
    work = Session(cast("Engine", engine), Interrupts(), tracker, Screen())

    work.make_room(2)

    assert tracker.count == 1
    assert (tracker.tally.counts[Count.UNPLANNED], tracker.tally.deliveries) == (1, {"queued": 1})


def test_tracking_waits_for_room_while_there_is_progress(
    tracker: Tracker, engine: FakeEngine
) -> None:
    track(tracker, "one", "two")
    engine.plan("one", row("one"))
    work = Session(cast("Engine", engine), Interrupts(), tracker, Screen())

    work.make_room(2)

    assert tracker.count == 1
    assert tracker.tally.deliveries == {"delivered": 1}


# --- accepting alerts ------------------------------------------------------------------------


def test_alerts_of_one_identity_are_accepted_one_by_one(sender: Sender, engine: FakeEngine) -> None:
    sender.run(parsed("a", "b", "a", "a"), 10)

    assert [key for group in engine.accepted for key in group] == ["a", "b", "a", "a"]
    assert max(group.count("a") for group in engine.accepted) == 1


def test_alerts_of_one_identity_wait_for_each_other_only_briefly(
    sender: Sender, engine: FakeEngine, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.settles = False
    monkeypatch.setattr(send, "APART", 0.0)

    sender.run(parsed("a", "a", "a"), 0.2)

    assert sum(map(len, engine.accepted)) == 3
    assert tracker.count == 3


def test_alerts_still_waiting_at_the_timeout_are_accepted(
    sender: Sender, engine: FakeEngine
) -> None:
    engine.settles = False

    sender.run(parsed("a", "a", "a"), 0)

    assert engine.accepted == [["a"], ["a", "a"]]


def test_many_alerts_of_one_identity_do_not_wait_for_each_other(
    sender: Sender, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "MOST_APART", 2)
    engine.settles = False

    sender.run(parsed("a", "a", "a", "a", "a"), 0)

    assert sum(map(len, engine.accepted)) == 5


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (LostCommitError, "may be lost"),
        (UnknownCommitError, "may or may not be accepted; send it again"),
    ],
)
def test_a_lost_or_unknown_commit_is_shown(
    sender: Sender,
    engine: FakeEngine,
    screen: RecordingScreen,
    error: type[StoreError],
    reported: str,
) -> None:
    engine.failing, engine.error = True, error
    sender.run(parsed("a"), 10)
    assert screen.errors == [f"line 1: {reported}: the disk is full"]


def test_an_alert_that_is_not_accepted_is_shown(
    sender: Sender,
    engine: FakeEngine,
    tracker: Tracker,
    screen: RecordingScreen,
) -> None:
    def given() -> Iterator[ParsedAlert]:
        yield from parsed("a")

    engine.failing = True
    sender.run(given(), 10)

    assert screen.errors == ["line 1: not accepted: the disk is full"]
    assert tracker.tally.summary() == "1 alert, 0 deliveries, 1 not accepted"
    assert not tracker.tally.all_well


def test_unreadable_input_is_shown(
    sender: Sender, tracker: Tracker, screen: RecordingScreen
) -> None:
    def given() -> Iterator[ParsedAlert]:
        yield from parsed("a")
        raise OSError(5, "Input/output error")

    sender.run(given(), 10)

    assert screen.errors == ["input: cannot be read: Input/output error"]
    assert tracker.tally.counts[Count.FAULTY] == 1


def test_an_invalid_alert_is_shown(
    sender: Sender, tracker: Tracker, screen: RecordingScreen
) -> None:
    sender.run([ParsedAlert("line 1", None, (Fault("key", "missing"),))], 10)

    assert screen.errors == ["line 1: key: missing"]
    assert tracker.tally.counts[Count.FAULTY] == 1


def test_due_deliveries_of_earlier_runs_are_finished(sender: Sender, engine: FakeEngine) -> None:
    engine.idle = iter([False, False, True])

    sender.run([], 10)

    assert list(engine.idle) == []


def test_few_alerts_are_remembered_while_they_are_delivered(
    sender: Sender, engine: FakeEngine, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "MOST", 1)

    sender.run(parsed("a", "b", "c"), 10)

    assert tracker.tally.deliveries == {"delivered": 3}
    assert len(sender._last) <= 1


def test_reading_waits_for_room_while_there_is_progress(
    sender: Sender, engine: FakeEngine, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "MOST", 1)
    monkeypatch.setattr(send, "GROUP", 1)
    engine.settles = False

    def wait_change(seen: int, timeout: float) -> int:
        if seen % 3 == 2:
            for group in engine.accepted:
                for key in group:
                    engine.plan(key, row(key))
        return seen + 1

    monkeypatch.setattr(engine, "wait_change", wait_change)

    def given() -> Iterator[ParsedAlert]:
        yield from parsed("a", "b", "c")

    sender.run(given(), 10)

    assert tracker.tally.deliveries == {"delivered": 3}


def test_reading_continues_without_progress(
    sender: Sender, engine: FakeEngine, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "MOST", 1)
    monkeypatch.setattr(send, "GROUP", 1)
    monkeypatch.setattr(send, "STUCK", -1.0)
    engine.settles = False

    sender.run(parsed("a", "b", "c"), 0)

    assert sum(map(len, engine.accepted)) == 3
    assert tracker.count < 3


def test_a_signal_ends_reading_and_accepts_what_was_read(
    engine: FakeEngine, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # while one alert is tracked, the next one is read, but not taken
    monkeypatch.setattr(send, "MOST", 1)
    monkeypatch.setattr(send, "STUCK", 600.0)
    interrupts = Interrupts()
    blocked = threading.Event()

    def given() -> Iterator[ParsedAlert]:
        yield from parsed("a")
        wait_until(lambda: engine.accepted)
        yield from parsed("b")
        interrupts.count += 1
        blocked.wait()

    engine.settles = False
    Sender(Session(cast("Engine", engine), interrupts, tracker, Screen())).run(given(), 10)
    blocked.set()

    assert engine.accepted == [["a"], ["b"]]


# --- `alerthost deliveries` ------------------------------------------------------------------


def test_a_delivery_is_in_flight_while_it_is_sent() -> None:
    assert delivery_state(queued_row(sending=True)) == "in flight"
