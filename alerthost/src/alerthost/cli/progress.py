"""Tracks submissions until nothing more happens to them without the operator, and shows them."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from alerthost.cli.output import Advance, Screen, counted
from alerthost.cli.tracked import QUEUED, Count, Tally, Tracked
from alerthost.config.plugins import LaneNames
from alerthost.outbox.retry_policy import DeliveryState
from alerthost.outbox.submission import NO_RULE, UNKNOWN
from hostspec.delivery import Delivery, OutcomeKind, Suppression
from hostspec.normalisation import Repair

if TYPE_CHECKING:
    from alerthost.outbox.admin_rows import DeliveryRow
    from alerthost.outbox.engine import Engine

WINDOW: Final = 100
"""Submissions at the head of the queue that are queried together, and as many others."""

PACE: Final = 0.25
"""Seconds between two queries where more are tracked: a query takes time from sending."""

POLL: Final = 0.5
"""Seconds between two queries while this engine changes nothing: other processes may."""

IN_ORDER: Final = 1.0
"""Seconds that a submission waits to be shown behind an earlier one."""

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


class Tracker:
    """Tracks submissions, and shows and counts their deliveries, in order if possible.

    Raises StoreError if the store cannot be read.

    Attributes:
        tally: the counts.
        moved_at: when the last submission was done, on the monotonic clock.
        advance: called when nothing more happens to a submission.
        show_repair: called with each repair.
    """

    def __init__(self, engine: Engine, lanes: LaneNames, screen: Screen) -> None:
        self.tally = Tally()
        self.moved_at = time.monotonic()
        self.advance: Advance = lambda _: None
        self.show_repair: ShowRepair = self._print_repair
        self._engine = engine
        self._lanes = lanes
        self._screen = screen
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
            self.tally.counts[Count.EARLIER] += 1

    def operate(
        self,
        number: int,
        noun: str,
        operation: Callable[[int], tuple[str, str | None]],
        idle: str,
    ) -> None:
        """Do an operation of `Admin` on a delivery or an incident, and track it.

        Args:
            number: of the delivery or incident, which `noun` names.
            noun: used in messages.
            operation: returns the alert's key, and the submission if anything is sent.
            idle: why nothing is sent.
        """
        from alerthost.outbox.admin_rows import AdminError  # noqa: PLC0415 -- slow to import

        try:
            key, submission_id = operation(number)
        except AdminError as error:
            self.tally.counts[Count.IMPOSSIBLE] += 1
            self.add(Tracked("", errors=(str(error),)))
            return
        remark = "" if submission_id else idle
        self.add(Tracked(f"{noun} {number}", key, remark=remark, submission_id=submission_id))

    def update(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for a change of the store, and show the results."""
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
        """Show and count all submissions that are still tracked."""
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
            asked[status.submission_id].status = status

    def _show_if_due(self, number: int, now: float, *, in_order: bool) -> bool:
        """Show a submission if it is its turn; return whether the next one is in order."""
        tracked = self._queue[number]
        if tracked.known_at is None:
            if not tracked.is_partly_known:
                return False
            tracked.known_at = now
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
        self.advance(1)
        if not tracked.is_idle:
            self.tally.counts[Count.UNPLANNED] += not tracked.is_planned
            for row in tracked.rows:
                settled = tracked.is_settled(row)
                self.tally.deliveries[tracked.state_of(row) if settled else QUEUED] += 1

    def _show(self, tracked: Tracked) -> None:
        tracked.shown = {}
        prefix = f"{tracked.place}: " if tracked.place else ""
        note = tracked.status.note if tracked.status and not tracked.before else None
        failures = note.failures if note else ()
        self.tally.counts[Count.FAILURE] += len(failures)
        for error in (*tracked.errors, *failures):
            self._screen.print_error(f"{prefix}{error}")
        if tracked.remark:
            self._show_idle(tracked, tracked.remark)
        if note and not tracked.rows and not (note.failures or note.suppressions):
            self._show_idle(tracked, note.remark)
        self._show_rows(tracked)
        for suppression in note.suppressions if note else ():
            self.tally.counts[Count.SUPPRESSED] += 1
            cells = suppression.installation, tracked.key, suppression.reason
            self._print(("suppressed", tracked.alert_status, *cells))
            self._show_notes(suppression)
        if tracked.errors or tracked.before:
            return
        repairs = itertools.chain(tracked.repairs, *(row.delivery.repairs for row in tracked.rows))
        for repair in dict.fromkeys(repairs):
            self.tally.counts[Count.REPAIR] += 1
            self.show_repair(tracked.place, repair)

    def _show_idle(self, tracked: Tracked, remark: str) -> None:
        if remark == NO_RULE:
            self.tally.counts[Count.UNMATCHED] += 1
            state, reason, style = "unmatched", "", "dim"
        elif remark == UNKNOWN:
            self.tally.counts[Count.UNKNOWN] += 1
            state, reason, style = "unknown", remark, "yellow"
        else:
            self.tally.counts[Count.IDLE] += 1
            state, reason, style = "nothing sent", remark or "its incident is unchanged", "dim"
        self._print((state, tracked.alert_status, "", tracked.key, reason), style)

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
        self._screen.row(cells, _WIDTHS, style)

    def _print_repair(self, place: str, repair: Repair) -> None:
        self._screen.warn(f"{place}: repaired {repair.field}: {repair.reason}")


def _reason(row: DeliveryRow, *, settled: bool) -> str:
    if row.state is DeliveryState.DELIVERED:
        return f"after {counted(row.attempts, 'attempt')}" if row.attempts > 1 else ""
    if row.state is DeliveryState.COALESCED:
        return "a later alert covers it"
    if not settled:
        return f"{row.reason}; will be retried" if row.reason else ""
    return row.lane_reason if row.blocked else row.reason
