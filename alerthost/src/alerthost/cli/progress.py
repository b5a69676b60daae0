"""Tracks submissions until nothing more happens to them without the operator, and shows them."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from alerthost.cli.formatting import columns, counted, printable
from alerthost.cli.screen import Advance, Screen
from alerthost.cli.tally import BLOCKED, QUEUED, Tally
from alerthost.config.destinations import LaneNames
from alerthost.outbox.retry_policy import DeliveryState
from hostspec.alert import Alert
from hostspec.delivery import Delivery, OutcomeKind, Suppression
from hostspec.normalisation import Repair

if TYPE_CHECKING:
    from alerthost.outbox.admin_rows import DeliveryRow, SubmissionStatus
    from alerthost.outbox.engine import Engine

WINDOW: Final = 100
"""Submissions at the head of the queue that are queried together, and as many others."""

PACE: Final = 0.25
"""Seconds between two queries where more are tracked: a query takes time from sending."""

POLL: Final = 0.5
"""Seconds between two queries while this engine changes nothing: other processes may."""

IN_ORDER: Final = 1.0
"""Seconds that a submission waits to be shown behind an earlier one."""

UNTRIED: Final = 5.0
"""Seconds for the first attempt of a blocked delivery: its configuration may be fixed by now."""

_NO_RULE: Final = "no rule matches"
_STYLES: Final = {
    str(DeliveryState.DELIVERED): "green",
    str(DeliveryState.COALESCED): "dim",
    str(DeliveryState.DISCARDED): "dim",
    QUEUED: "yellow",
    str(OutcomeKind.THROTTLED): "yellow",
}
_WIDTHS: Final = (13, 11, 16)

ShowRepair: TypeAlias = Callable[[str, Repair], None]
"""Shows a repair of the alert read at a place."""


@attrs.define(eq=False)
class Tracked:
    """A tracked submission.

    Attributes:
        place: where its alert was read, or what the operator asked for.
        key: of its alert.
        alert_status: of its alert.
        repairs: made while reading it.
        errors: why it is not accepted.
        remark: why nothing is sent, if that is no error.
        submission_id: None before it is accepted.
        accepted_at: on the monotonic clock.
        before: its deliveries when this run began, by id, if an earlier run accepted it.
        status: as last queried, without deliveries that an earlier run finished.
        known_at: when there was something to show first, on the monotonic clock.
        shown: the state that each delivery was shown with, by id; None before it is shown.
    """

    place: str
    key: str = ""
    alert_status: str = ""
    repairs: tuple[Repair, ...] = ()
    errors: tuple[str, ...] = ()
    remark: str = ""
    submission_id: str | None = None
    accepted_at: float = 0.0
    before: Mapping[int, DeliveryRow] = attrs.field(factory=dict)
    status: SubmissionStatus | None = None
    known_at: float | None = None
    shown: dict[int, str] | None = None

    @classmethod
    def of_alert(cls, place: str, alert: Alert) -> Tracked:
        """Track an alert that is about to be accepted."""
        return cls(place, alert.key, str(alert.status), alert.reported_repairs)

    @classmethod
    def faulty(cls, place: str, errors: Iterable[str]) -> Tracked:
        """Track a line or an operation that is not accepted."""
        return cls(place, errors=tuple(errors), known_at=time.monotonic())

    @classmethod
    def idle(cls, place: str, key: str, remark: str) -> Tracked:
        """Track an operation that sends nothing."""
        return cls(place, key, remark=remark, known_at=time.monotonic())

    @classmethod
    def accepted(cls, place: str, key: str, submission_id: str) -> Tracked:
        """Track an accepted operation."""
        tracked = cls(place, key)
        tracked.accept(submission_id)
        return tracked

    @classmethod
    def earlier(cls, status: SubmissionStatus) -> Tracked:
        """Track a submission of an earlier run."""
        tracked = cls("", before={row.id: row for row in status.entries})
        tracked.accept(status.submission_id)
        return tracked

    def accept(self, submission_id: str) -> None:
        """Record that the store accepted it."""
        self.submission_id, self.accepted_at = submission_id, time.monotonic()

    def reject(self, error: str) -> None:
        """Record that the store did not accept it."""
        self.errors, self.known_at = (error,), time.monotonic()

    def update(self, status: SubmissionStatus) -> None:
        """Record its current status."""
        fresh = tuple(each for each in status.entries if not self._was_finished(each))
        self.status = attrs.evolve(status, entries=fresh)
        if self.known_at is None and (self.is_known or any(map(self.is_tried, status.entries))):
            self.known_at = time.monotonic()

    @property
    def rows(self) -> tuple[DeliveryRow, ...]:
        """Its deliveries."""
        return self.status.entries if self.status else ()

    @property
    def is_idle(self) -> bool:
        """Whether it has no deliveries, as known before it was planned."""
        return bool(self.errors or self.remark)

    @property
    def is_planned(self) -> bool:
        """Whether all its deliveries are known."""
        return self.status is not None and self.status.note is not None

    @property
    def is_known(self) -> bool:
        """Whether there is something to show of each of its deliveries."""
        return self.is_idle or (self.is_planned and all(map(self.is_tried, self.rows)))

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it without the operator."""
        return self.is_idle or (self.is_planned and all(map(self.is_settled, self.rows)))

    def is_settled(self, row: DeliveryRow) -> bool:
        """Check whether nothing more happens to a delivery without the operator."""
        if not row.blocked:
            return row.finished_at is not None
        # a lane that was blocked before is retried when an engine starts
        tried = self._attempts(row) > 0 or time.monotonic() - self.accepted_at > UNTRIED
        return tried and not row.sending

    def is_tried(self, row: DeliveryRow) -> bool:
        """Check whether there is an outcome of a delivery to show."""
        if self.is_settled(row):
            return True
        was_tried = row.id not in self.before or self._attempts(row) > 0
        return was_tried and row.outcome is not None and not row.sending

    def state_of(self, row: DeliveryRow) -> str:
        """Return the state of a delivery; the outcome of the last attempt if it is queued."""
        if row.finished_at is not None:
            return str(row.state)
        if row.outcome is not None:
            return str(row.outcome)
        return BLOCKED if row.blocked else QUEUED

    def _attempts(self, row: DeliveryRow) -> int:
        """Count the attempts since this run began."""
        before = self.before.get(row.id)
        return row.attempts - (before.attempts if before else 0)

    def _was_finished(self, row: DeliveryRow) -> bool:
        before = self.before.get(row.id)
        return before is not None and before.finished_at is not None


class Tracker:
    """Tracks submissions, and shows and counts their deliveries, in order if possible.

    Args:
        engine: delivers them.
        lanes: names of services.
        screen: shows them.
        advance: called when nothing more happens to a submission.
        show_repair: None to print a line for each repair.

    Attributes:
        tally: the counts.
        moved_at: when the last submission was done, on the monotonic clock.
    """

    def __init__(
        self,
        engine: Engine,
        lanes: LaneNames,
        screen: Screen,
        *,
        advance: Advance = lambda _: None,
        show_repair: ShowRepair | None = None,
    ) -> None:
        self.tally = Tally()
        self.moved_at = time.monotonic()
        self._engine = engine
        self._lanes = lanes
        self._screen = screen
        self._advance = advance
        self._show_repair = show_repair or self._print_repair
        self._queue: dict[int, Tracked] = {}  # not shown yet, by number
        self._retrying: dict[int, Tracked] = {}  # shown, but not over
        self._numbers = itertools.count()
        self._others: deque[int] = deque()
        self._change = 0  # the last one seen, as `Engine.wait_change` counts
        self._queried_at = 0.0

    @property
    def count(self) -> int:
        """How many are tracked."""
        return len(self._queue) + len(self._retrying)

    def add(self, tracked: Tracked) -> None:
        """Track a submission."""
        self.tally.submissions += 1
        self._queue[next(self._numbers)] = tracked

    def add_earlier(self, submissions: Iterable[Tracked]) -> None:
        """Track submissions of earlier runs."""
        for tracked in submissions:
            self._queue[next(self._numbers)] = tracked
            self.tally.earlier += 1

    def reject(self, reason: str) -> None:
        """Show, in its turn, an operation that cannot be done."""
        self.tally.impossible += 1
        self.add(Tracked.faulty("", [reason]))

    def update(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for a change of the store, and show the results.

        Raises:
            StoreError: the store cannot be read.
        """
        if self.count > WINDOW:
            time.sleep(timeout)
            if time.monotonic() - self._queried_at < PACE:
                return
            timeout = 0
        change, self._change = self._change, self._engine.wait_change(self._change, timeout)
        head = list(itertools.islice(self._queue, WINDOW))
        others = self._some_others(head)
        now, in_order = time.monotonic(), True
        if self._change != change or now - self._queried_at >= POLL:
            self._queried_at = now
            self._query([*head, *others])
        for number in head:
            in_order = self._show_if_due(number, now, in_order=in_order)
        for number in others:
            if number in self._queue:
                self._show_if_due(number, now, in_order=False)
            else:
                self._show_rows(self._retrying[number])
                self._remove_if_over(number)

    def leave_oldest(self) -> None:
        """Stop tracking the oldest submission, and count its deliveries as queued."""
        submissions = self._retrying or self._queue
        self._leave(submissions.pop(next(iter(submissions))))

    def finish(self) -> None:
        """Show and count all submissions that are still tracked.

        Raises:
            StoreError: the store cannot be read.
        """
        self._query([*self._retrying, *self._queue])
        for _, tracked in sorted((self._retrying | self._queue).items()):
            self._leave(tracked)
        self._retrying.clear()
        self._queue.clear()

    def _some_others(self, head: Sequence[int]) -> Sequence[int]:
        """Return some submissions behind the head and some that are retried, all in turn."""
        if not self._others:
            self._others.extend(self._retrying)
            self._others.extend(itertools.islice(self._queue, WINDOW, None))
        some = [self._others.popleft() for _ in range(min(WINDOW, len(self._others)))]
        tracked = (self._queue.keys() | self._retrying.keys()) - set(head)
        return [number for number in some if number in tracked]

    def _query(self, numbers: Iterable[int]) -> None:
        asked = {
            tracked.submission_id: tracked
            for number in numbers
            if (tracked := self._queue.get(number) or self._retrying[number]).submission_id
        }
        for status in self._engine.admin.statuses(list(asked)):
            asked[status.submission_id].update(status)

    def _show_if_due(self, number: int, now: float, *, in_order: bool) -> bool:
        """Show a submission if it is its turn; return whether the next one is in order."""
        tracked = self._queue[number]
        if tracked.known_at is None:
            return False
        if not (in_order and tracked.is_known) and now - tracked.known_at < IN_ORDER:
            return False
        self._retrying[number] = self._queue.pop(number)
        self._show(tracked)
        self._remove_if_over(number)
        return in_order

    def _remove_if_over(self, number: int) -> None:
        if self._retrying[number].is_over:
            self._count(self._retrying.pop(number))

    def _leave(self, tracked: Tracked) -> None:
        if tracked.shown is None:
            self._show(tracked)
        for row in tracked.rows:
            if row.id not in (tracked.shown or {}):
                self._show_row(tracked, row)
        if not tracked.is_planned and not tracked.is_idle:
            self._print((QUEUED, tracked.alert_status, "", tracked.key))
        self._count(tracked)

    def _count(self, tracked: Tracked) -> None:
        self.moved_at = time.monotonic()
        self._advance(1)
        if not tracked.is_idle:
            self.tally.unplanned += not tracked.is_planned
            for row in tracked.rows:
                settled = tracked.is_settled(row)
                self.tally.deliveries[tracked.state_of(row) if settled else QUEUED] += 1

    def _show(self, tracked: Tracked) -> None:
        tracked.shown = {}
        prefix = f"{tracked.place}: " if tracked.place else ""
        for error in tracked.errors:
            self._screen.print_error(printable(f"{prefix}{error}"))
        note = tracked.status.note if tracked.status and not tracked.before else None
        for failure in note.failures if note else ():
            self.tally.failures += 1
            self._screen.print_error(printable(f"{prefix}{failure}"))
        if tracked.remark:
            self._show_idle(tracked, tracked.remark)
        if note and not tracked.rows and not (note.failures or note.suppressions):
            self._show_idle(tracked, note.remark)
        self._show_rows(tracked)
        for suppression in note.suppressions if note else ():
            self.tally.suppressed += 1
            cells = suppression.installation, tracked.key, suppression.reason
            self._print(("suppressed", tracked.alert_status, *cells))
            self._show_notes(suppression)
        if tracked.errors or tracked.before:
            return
        repairs = itertools.chain(tracked.repairs, *(row.delivery.repairs for row in tracked.rows))
        for repair in dict.fromkeys(repairs):
            self.tally.repairs += 1
            self._show_repair(tracked.place, repair)

    def _show_idle(self, tracked: Tracked, remark: str) -> None:
        if remark == _NO_RULE:
            self.tally.unmatched += 1
            state, reason = "unmatched", ""
        else:
            self.tally.idle += 1
            state, reason = "nothing sent", remark or "its incident is unchanged"
        self._print((state, tracked.alert_status, "", tracked.key, reason), "dim")

    def _show_rows(self, tracked: Tracked) -> None:
        """Show the first outcome of each delivery, and its state once it is settled."""
        shown = tracked.shown or {}
        for row in tracked.rows:
            changed = shown.get(row.id) != tracked.state_of(row) and tracked.is_settled(row)
            if tracked.is_tried(row) and (row.id not in shown or changed):
                self._show_row(tracked, row)

    def _show_row(self, tracked: Tracked, row: DeliveryRow) -> None:
        state, delivery = tracked.state_of(row), row.delivery
        cells = (state, str(delivery.operation), self._lanes.name_of(delivery.ref))
        reason = _reason(row, settled=tracked.is_settled(row))
        self._print((*cells, delivery.alert.key, reason), _STYLES.get(state, "red"))
        shown = tracked.shown if tracked.shown is not None else {}
        if row.id not in shown:
            self._show_notes(delivery)
        shown[row.id] = state

    def _show_notes(self, planned: Delivery | Suppression) -> None:
        for note in planned.notes:
            self._screen.note(note)

    def _print(self, cells: Sequence[str], style: str = "yellow") -> None:
        self._screen.print(columns([printable(cell) for cell in cells], _WIDTHS), style)

    def _print_repair(self, place: str, repair: Repair) -> None:
        text = f"{place}: repaired {repair.field}: {repair.reason}"
        self._screen.print_error(printable(text), "yellow")


def _reason(row: DeliveryRow, *, settled: bool) -> str:
    if row.state is DeliveryState.DELIVERED:
        return f"after {counted(row.attempts, 'attempt')}" if row.attempts > 1 else ""
    if row.state is DeliveryState.COALESCED:
        return "a later alert covers it"
    if not settled:
        return f"{row.reason}; will be retried" if row.reason else ""
    return row.lane_reason if row.blocked else row.reason
