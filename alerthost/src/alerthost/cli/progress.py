"""Follows statements until nothing more happens to them by itself, and shows what came of them."""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from alerthost.cli.screen import Screen, columns, printable
from alerthost.config.destinations import LaneNames
from hostspec.alert import Alert
from hostspec.delivery import Delivery, OutcomeKind, Suppression
from hostspec.normalisation import Repair

if TYPE_CHECKING:
    from alerthost.outbox.admin_rows import DeliveryRow, SubmissionStatus
    from alerthost.outbox.engine import Engine

LOOKED_AT: Final = 100
"""Statements at the head of the line that are asked for in one look, and others beside them."""

PACE: Final = 0.25
"""Seconds between two looks where there are many: to look costs time that sending needs."""

IN_ORDER: Final = 1.0
"""Seconds that what came of a statement waits to be shown behind that of an earlier one."""

UNTRIED: Final = 5.0
"""Seconds in which a delivery whose lane is held is tried: somebody may have mended it."""

OTHERS_AT_WORK: Final = 0.5
"""Seconds after which it is looked what other processes did, which tell nobody."""

DELIVERED: Final = "delivered"
COALESCED: Final = "coalesced"
DISCARDED: Final = "discarded"
BLOCKED: Final = "blocked"
QUEUED: Final = "queued"
NO_RULE: Final = "no rule matches"

_GOOD: Final = (DELIVERED, COALESCED, DISCARDED)
_FIRST: Final = (*_GOOD, QUEUED, BLOCKED)
_STYLES: Final = {
    DELIVERED: "green",
    COALESCED: "dim",
    DISCARDED: "dim",
    QUEUED: "yellow",
    str(OutcomeKind.THROTTLED): "yellow",
}
_WIDTHS: Final = (13, 11, 16)


@attrs.define
class Tally:
    """What was counted.

    Attributes:
        statements: lines that were read.
        earlier: statements of earlier runs whose deliveries were still queued.
        faulty: that were not understood.
        unaccepted: that the store did not take.
        impossible: things that a person asked for and that cannot be done.
        failures: things that could not be planned.
        unmatched: firing alerts that no rule matches.
        idle: other statements of which nothing comes.
        suppressed: deliveries that a plugin decided not to send.
        repairs: made on the way.
        unplanned: statements that were still to be planned in the end.
        deliveries: by what became of them.
    """

    submissions: int = 0
    earlier: int = 0
    faulty: int = 0
    unaccepted: int = 0
    impossible: int = 0
    failures: int = 0
    unmatched: int = 0
    idle: int = 0
    suppressed: int = 0
    repairs: int = 0
    unplanned: int = 0
    deliveries: Counter[str] = attrs.field(factory=Counter)

    @property
    def all_well(self) -> bool:
        """Whether every line was understood, and every delivery delivered or not needed."""
        undelivered = self.deliveries.total() - sum(self.deliveries[word] for word in _GOOD)
        bad = self.faulty, self.unaccepted, self.impossible, self.failures, self.unplanned
        return not (undelivered or any(bad))


@attrs.define(eq=False)
class Followed:
    """A statement that is followed.

    Attributes:
        place: where it was read, or what else people call it.
        key: of its alert.
        status: of its alert.
        repairs: what was repaired in reading it.
        complaints: why it is not taken; with some, nothing comes of it.
        submission_id: None before it is accepted.
        accepted_at: when it was, on the monotonic clock.
        fate: what became of it, as last seen.
        known_at: when something of that was known first.
        told: the deliveries that were shown, each with its word.
        remark: why nothing comes of it, though nothing is wrong.
        before: its deliveries of an earlier run, as they were when this one began.
    """

    place: str
    key: str = ""
    status: str = ""
    repairs: tuple[Repair, ...] = ()
    complaints: tuple[str, ...] = ()
    submission_id: str | None = None
    accepted_at: float = 0.0
    fate: SubmissionStatus | None = None
    known_at: float | None = None
    told: dict[int, str] | None = None
    remark: str = ""
    before: Mapping[int, DeliveryRow] = attrs.field(factory=dict)

    @classmethod
    def of(cls, place: str, alert: Alert) -> Followed:
        """Make the one of an alert that is to be accepted."""
        return cls(place, alert.key, str(alert.status), alert.reported_repairs)

    @classmethod
    def faulty(cls, place: str, complaints: Iterable[str]) -> Followed:
        """Make one of which nothing comes."""
        return cls(place, complaints=tuple(complaints), known_at=time.monotonic())

    @classmethod
    def idle(cls, place: str, key: str, remark: str) -> Followed:
        """Make one of which nothing comes, though nothing is wrong."""
        return cls(place, key, remark=remark, known_at=time.monotonic())

    @classmethod
    def decided(cls, place: str, key: str, submission_id: str) -> Followed:
        """Make the one of what a person decided."""
        followed = cls(place, key)
        followed.accept(submission_id)
        return followed

    @classmethod
    def earlier(cls, fate: SubmissionStatus) -> Followed:
        """Make the one of an earlier run; its finished deliveries are not shown again."""
        followed = cls("", before={entry.id: entry for entry in fate.entries})
        followed.accept(fate.submission_id)
        return followed

    def accept(self, submission_id: str) -> None:
        """Note that it was accepted."""
        self.submission_id, self.accepted_at = submission_id, time.monotonic()

    def refuse(self, complaint: str) -> None:
        """Note that it is not taken."""
        self.complaints, self.known_at = (complaint,), time.monotonic()

    def see(self, fate: SubmissionStatus) -> None:
        """Note what became of it."""
        fresh = tuple(each for each in fate.entries if not self._was_finished(each))
        self.fate = attrs.evolve(fate, entries=fresh)
        if self.known_at is None and (self.is_known or any(map(self.is_tried, fate.entries))):
            self.known_at = time.monotonic()

    @property
    def is_idle(self) -> bool:
        """Whether nothing comes of it."""
        return bool(self.complaints or self.remark)

    @property
    def is_planned(self) -> bool:
        """Whether it is known what comes of it."""
        return self.fate is not None and self.fate.note is not None

    @property
    def is_known(self) -> bool:
        """Whether there is something to tell of all that comes of it."""
        return self.is_idle or (self.is_planned and all(map(self.is_tried, self.entries)))

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.is_idle or (self.is_planned and all(map(self.is_settled, self.entries)))

    @property
    def entries(self) -> tuple[DeliveryRow, ...]:
        """Its deliveries, as last seen."""
        return self.fate.entries if self.fate else ()

    def is_settled(self, entry: DeliveryRow) -> bool:
        """Check whether nothing more happens to a delivery by itself."""
        if not entry.held:
            return entry.finished_at is not None
        # a lane that was held before is tried again by whoever starts
        tried = self._attempts(entry) > 0 or time.monotonic() - self.accepted_at > UNTRIED
        return tried and not entry.sending

    def is_tried(self, entry: DeliveryRow) -> bool:
        """Check whether there is something to tell of a delivery."""
        if self.is_settled(entry):
            return True
        was_tried = entry.id not in self.before or self._attempts(entry) > 0
        return was_tried and entry.outcome is not None and not entry.sending

    def word_of(self, entry: DeliveryRow) -> str:
        """Return the one word for how far a delivery has come."""
        if entry.finished_at is not None:
            return str(entry.state)
        if entry.outcome is not None:
            return str(entry.outcome)
        return BLOCKED if entry.held else QUEUED

    def _attempts(self, entry: DeliveryRow) -> int:
        """Return how many attempts were made since this run began."""
        before = self.before.get(entry.id)
        return entry.attempts - (before.attempts if before else 0)

    def _was_finished(self, entry: DeliveryRow) -> bool:
        before = self.before.get(entry.id)
        return before is not None and before.finished_at is not None


class Following:
    """Follows statements, shows what came of each in their order where it can, and counts.

    Args:
        engine: which delivers them.
        lanes: names of places.
        screen: where it is shown.
        advance: told when one is over.
        repaired: shows a repair made at a place; None for a line of its own.
    """

    def __init__(
        self,
        engine: Engine,
        lanes: LaneNames,
        screen: Screen,
        *,
        advance: Callable[[], None] = lambda: None,
        repaired: Callable[[str, Repair], None] | None = None,
    ) -> None:
        self.tally = Tally()
        self.moved_at = time.monotonic()
        self._engine = engine
        self._lanes = lanes
        self._screen = screen
        self._advance = advance
        self._repaired = repaired or self._tell_repair
        self._line: dict[int, Followed] = {}
        self._trying: dict[int, Followed] = {}
        self._number = 0
        self._others: deque[int] = deque()
        self._seen = 0
        self._looked_at = 0.0

    @property
    def count(self) -> int:
        """How many are followed now."""
        return len(self._line) + len(self._trying)

    def add(self, statement: Followed) -> None:
        """Follow one more, shown behind those before it."""
        self.tally.submissions += 1
        self._number += 1
        self._line[self._number] = statement

    def add_earlier(self, statuses: Iterable[SubmissionStatus]) -> None:
        """Follow what earlier runs left, before everything else."""
        for fate in statuses:
            self.add(Followed.earlier(fate))
            self.tally.submissions -= 1
            self.tally.earlier += 1

    def add_recovered(self, submission_ids: Iterable[str]) -> None:
        """Follow the resolves of incidents of earlier runs that can be closed now."""
        for each in submission_ids:
            self.add(Followed.decided("", "", each))
            self.tally.submissions -= 1
            self.tally.earlier += 1

    def refuse(self, reason: str) -> None:
        """Tell of something that cannot be done, in its turn."""
        self.tally.impossible += 1
        self.add(Followed.faulty("", [reason]))

    def look(self, timeout: float) -> None:
        """Look what became of them, and show it.

        Args:
            timeout: seconds to wait for as long as nothing changes.

        Raises:
            StoreError: the store cannot be read.
        """
        if self.count > LOOKED_AT:
            # each look costs time that sending needs
            time.sleep(timeout)
            if time.monotonic() - self._looked_at < PACE:
                return
            timeout = 0
        seen, self._seen = self._seen, self._engine.wait_change(self._seen, timeout)
        head = list(itertools.islice(self._line, LOOKED_AT))
        others = self._some_others(head)
        now = time.monotonic()
        if self._seen != seen or now - self._looked_at > OTHERS_AT_WORK:
            self._looked_at = now
            self._ask([*head, *others])
        in_order = True
        for number in head:
            in_order = self._pass_on(number, now, in_order=in_order)
        for number in others:
            if number in self._line:
                self._pass_on(number, now, in_order=False)
            else:
                self._show_entries(self._trying[number])
                self._finish_if_over(number)

    def leave_oldest(self) -> None:
        """Follow the oldest no longer: what is left of it counts as waiting."""
        followed = self._trying or self._line
        self._leave(followed.pop(next(iter(followed))))

    def finish(self) -> None:
        """Show and count all that is still on its way.

        Raises:
            StoreError: the store cannot be read.
        """
        self._ask([*self._trying, *self._line])
        for _, statement in sorted((self._trying | self._line).items()):
            self._leave(statement)
        self._trying.clear()
        self._line.clear()

    def _some_others(self, head: Sequence[int]) -> Sequence[int]:
        """Return some of those behind the head, and of those that are tried again, in turn."""
        if not self._others:
            self._others.extend(self._trying)
            self._others.extend(itertools.islice(self._line, LOOKED_AT, None))
        some = [self._others.popleft() for _ in range(min(LOOKED_AT, len(self._others)))]
        known = set(head)
        there = (self._line, self._trying)
        return [each for each in some if each not in known and any(each in them for them in there)]

    def _ask(self, numbers: Iterable[int]) -> None:
        asked = {
            statement.submission_id: statement
            for number in numbers
            if (statement := self._line.get(number) or self._trying[number]).submission_id
        }
        for fate in self._engine.admin.statuses(list(asked)):
            asked[fate.submission_id].see(fate)

    def _pass_on(self, number: int, now: float, *, in_order: bool) -> bool:
        """Show one of the line if it is its turn; say whether the next one's turn has come."""
        statement = self._line[number]
        if statement.known_at is None:
            return False
        if not (in_order and statement.is_known) and now - statement.known_at < IN_ORDER:
            return False
        self._trying[number] = self._line.pop(number)
        self._show(statement)
        self._finish_if_over(number)
        return in_order

    def _finish_if_over(self, number: int) -> None:
        if self._trying[number].is_over:
            self._count(self._trying.pop(number))

    def _leave(self, statement: Followed) -> None:
        if statement.told is None:
            self._show(statement)
        for entry in statement.entries:
            if entry.id not in (statement.told or {}):
                self._show_entry(statement, entry)
        if not statement.is_planned and not statement.is_idle:
            self._say((QUEUED, statement.status, "", statement.key))
        self._count(statement)

    def _count(self, statement: Followed) -> None:
        self.moved_at = time.monotonic()
        self._advance()
        if statement.is_idle:
            return
        self.tally.unplanned += not statement.is_planned
        for entry in statement.entries:
            settled = statement.is_settled(entry)
            self.tally.deliveries[statement.word_of(entry) if settled else QUEUED] += 1

    def _show(self, statement: Followed) -> None:
        statement.told = {}
        before = f"{statement.place}: " if statement.place else ""
        for complaint in statement.complaints:
            self._screen.complain(printable(f"{before}{complaint}"))
        note = statement.fate.note if statement.fate and not statement.before else None
        for failure in note.failures if note else ():
            self.tally.failures += 1
            self._screen.complain(printable(f"{before}{failure}"))
        if statement.remark:
            self._show_idle(statement, statement.remark)
        if note and not statement.entries and not (note.failures or note.suppressions):
            self._show_idle(statement, note.remark)
        self._show_entries(statement)
        for suppression in note.suppressions if note else ():
            self.tally.suppressed += 1
            told = suppression.installation, statement.key, suppression.reason
            self._say(("suppressed", statement.status, *told), "yellow")
            self._show_notes(suppression)
        if statement.complaints or statement.before:
            return
        several = (entry.delivery.repairs for entry in statement.entries)
        repairs = dict.fromkeys((*statement.repairs, *itertools.chain(*several)))
        self.tally.repairs += len(repairs)
        for repair in repairs:
            self._repaired(statement.place, repair)

    def _show_idle(self, statement: Followed, remark: str) -> None:
        if remark == NO_RULE:
            self.tally.unmatched += 1
            word, reason = "no rule", ""
        else:
            self.tally.idle += 1
            word, reason = "nothing sent", remark or "its incident stays as it is"
        self._say((word, statement.status, "", statement.key, reason), "dim")

    def _show_entries(self, statement: Followed) -> None:
        """Show the deliveries that were tried first, and those that are settled by now."""
        told = statement.told or {}
        for entry in statement.entries:
            if not statement.is_tried(entry):
                continue
            again = told.get(entry.id) != statement.word_of(entry) and statement.is_settled(entry)
            if entry.id not in told or again:
                self._show_entry(statement, entry)

    def _show_entry(self, statement: Followed, entry: DeliveryRow) -> None:
        word = statement.word_of(entry)
        where = self._lanes.name_of(entry.delivery.ref)
        cells = (word, str(entry.delivery.operation), where, entry.delivery.alert.key)
        reason = _reason(entry, word, settled=statement.is_settled(entry))
        self._say((*cells, reason), _STYLES.get(word, "red"))
        told = statement.told if statement.told is not None else {}
        if entry.id not in told:
            self._show_notes(entry.delivery)
        told[entry.id] = word

    def _show_notes(self, planned: Delivery | Suppression) -> None:
        for note in planned.notes:
            self._screen.note(note)

    def _say(self, cells: Sequence[str], style: str = "yellow") -> None:
        self._screen.say(columns([printable(cell) for cell in cells], _WIDTHS), style)

    def _tell_repair(self, place: str, repair: Repair) -> None:
        told = f"{place}: repaired {repair.field}: {repair.reason}"
        self._screen.complain(printable(told), "yellow")


def _reason(entry: DeliveryRow, word: str, *, settled: bool) -> str:
    if word == DELIVERED:
        return f"after {entry.attempts} attempts" if entry.attempts > 1 else ""
    if word == COALESCED:
        return "what came later says it"
    if not settled:
        return f"{entry.reason}; it is tried again" if entry.reason else ""
    return entry.lane_reason if entry.held else entry.reason


def summary(tally: Tally, what: str = "alert") -> str:
    """Put the tally in one line; `what` says what was counted as statements."""
    told = [f"{tally.submissions} {plural(what, tally.submissions)}"]
    total = tally.deliveries.total()
    words = sorted(tally.deliveries, key=lambda word: (_rank(word), word))
    kinds = ", ".join(f"{tally.deliveries[word]} {word}" for word in words)
    told.append(
        f"{total} {'delivery' if total == 1 else 'deliveries'}{f' ({kinds})' if kinds else ''}"
    )
    for count, text in (
        (tally.earlier, "left by earlier runs"),
        (tally.faulty, f"faulty {plural('line', tally.faulty)}"),
        (tally.unaccepted, "not accepted"),
        (tally.impossible, "not possible"),
        (tally.failures, f"{plural('failure', tally.failures)} to plan"),
        (tally.unplanned, "still to be planned"),
        (tally.unmatched, "matched no rule"),
        (tally.idle, "of which nothing was sent"),
        (tally.suppressed, "suppressed"),
        (tally.repairs, plural("repair", tally.repairs)),
    ):
        if count:
            told.append(f"{count} {text}")
    return ", ".join(told)


def _rank(word: str) -> int:
    return _FIRST.index(word) if word in _FIRST else len(_FIRST)


def plural(word: str, count: int) -> str:
    """Return a word in its right number."""
    return word if count == 1 else f"{word}s"
