"""The planner: turns accepted statements into what waits for incidents."""

from __future__ import annotations

import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from alerthost.outbox import backend, delivery_store, inbox, poison
from alerthost.outbox.batch import Batch
from alerthost.outbox.coalescing import QueuedDelivery
from alerthost.outbox.group_commit import Writer
from alerthost.outbox.heartbeat import Presence
from alerthost.outbox.snapshot import AlertState, IncidentView, Snapshot, record_alert_states
from alerthost.outbox.unit_of_work import UnitOfWork
from alerthost.store.database import Database
from alerthost.store.errors import StoreError, UnstorableError
from hostspec.alert import Alert, Identity, Status
from hostspec.delivery import IncidentRef, Operation
from hostspec.errors import describe_error
from hostspec.inprocess.memory import IncidentMemory
from hostspec.plugins import Rule
from hostspec.plugins.planning import LATE_REPEAT, Incidents, Plan, PlanBuilder, is_late_repeat
from hostspec.plugins.registry import Plugins

_log = logging.getLogger("hostspec.planning")

LONGEST: Final = 0.2
"""Seconds of planning after which what is planned is written down, however few they are."""

LINES: Final = 16
"""Lines of incidents that are written at once on a server, at most: each takes several round
trips, for which an urgent submission waits."""

NOTHING_OPEN: Final = "nothing is open"

ORPHANED: Final = (
    "its incident is orphaned: the key that opened it is not configured any more; it is resolved"
    " when the key is back"
)
"""What an alert that is over is answered, for the operator."""

HANGING: Final = 60.0
"""Seconds of planning one submission after which it is logged."""

OVER: Final = "its problem is over"
"""Why nothing is replayed."""

WatchPlanned: TypeAlias = Callable[[inbox.Submission, inbox.Note], None]
"""Is called with each planned submission, and its failures and suppressions."""


class Planner:
    """Plans what was accepted, statement by statement, in the order of the commits.

    PlanBuilder itself happens outside of transactions, for rules and extensions take their time;
    what it looked at is looked at again when it is written down, and what has changed meanwhile
    is planned again.

    Args:
        database: where everything is.
        writer: commits.
        plugins: whose actions plan.
        rules: which alerts start which actions.
        watch: is called with each submission, once its plan is committed; it never raises.
    """

    def __init__(
        self,
        database: Database,
        writer: Writer,
        plugins: Plugins,
        rules: Iterable[Rule],
        watch: WatchPlanned,
    ) -> None:
        self._database = database
        self._writer = writer
        self._plugins = plugins
        self._rules = tuple(rules)
        self._watch = watch
        self._records = any(
            use.action.capabilities.record for rule in self._rules for use in rule.actions
        )
        self._begun: tuple[float, inbox.Submission] | None = None
        self._hanging = 0
        self._lines = LINES if database.file is None else inbox.BATCH
        self._most = self._lines
        self._turns = inbox.RoundRobin()

    def plan(self, now: float, presence: Presence | None = None) -> int | None:
        """Plan some of the pending submissions.

        Args:
            now: the time.
            presence: this process; None where its death need not be noticed.

        Returns:
            how many submissions; None where another process plans.
        """
        with self._database.read() as connection:
            if not backend.turn(connection, backend.PLANNING):
                return None
            for left in poison.find_abandoned(connection, presence) if presence else ():
                if pending := sorted(inbox.still_pending(connection, left.rows)):
                    return self._plan_suspect(connection, left, pending[0], now, presence)
                self._mark(functools.partial(poison.clear, names=[left.name]))
            found = inbox.find_pending(connection, self._most, self._turns)
            # the turn lasts until this transaction ends: no other process plans the same
            return self._plan_marked(connection, found, now, presence, attempts=0)

    def _plan_suspect(
        self,
        connection: sa.Connection,
        left: poison.Mark,
        row: int,
        now: float,
        presence: Presence | None,
    ) -> int:
        """Plan a submission alone that a process may have died of, or dead-letter it."""
        found = inbox.load(connection, [row])
        if left.attempts < poison.MOST_TRIES:
            return self._plan_marked(connection, found, now, presence, attempts=left.attempts + 1)
        note = inbox.Note(failures=(inbox.DEAD,))
        return self._keep([_Made(found[0], None, note)], now)

    def _plan_marked(
        self,
        connection: sa.Connection,
        found: Sequence[inbox.Submission],
        now: float,
        presence: Presence | None,
        *,
        attempts: int,
    ) -> int:
        if not found:
            return 0
        if presence:
            rows = tuple(each.row for each in found)
            self._mark(
                functools.partial(
                    poison.write_mark, mark=poison.Mark(presence.name, rows, attempts)
                )
            )
        made = list(self._in_time(connection, found, now))
        if presence:
            self._mark(functools.partial(poison.clear, names=[presence.name]))
        return self._keep(made, now)

    def _mark(self, work: Callable[[sa.Connection], None]) -> None:
        """Write a hint; by the writer, which makes room, where the disk is full."""
        try:
            with self._database.begin_unsynced() as marking:
                work(marking)
        except StoreError:
            self._writer.run(work)

    def note_hanging(self) -> None:
        """Log, once, a submission whose planning does not end."""
        begun = self._begun
        if begun is None:
            return
        since, submission = begun
        if time.monotonic() - since > HANGING and submission.row != self._hanging:
            self._hanging = submission.row
            _log.error(
                "alert %s: a rule or plugin has not answered for %.0f s, and nothing else is"
                " planned; restart this process",
                submission.identity.key,
                HANGING,
            )

    def _keep(self, made: Sequence[_Made], now: float) -> int:
        try:
            return self._write_all(made, now)
        except Exception as error:
            if _is_of_the_store(error):
                raise
            # one of them cannot be written, and costs none of the others
            alone = (self._alone(each, now) for each in made)
            return sum(itertools.takewhile(bool, alone))

    def _write_all(self, made: Sequence[_Made], now: float) -> int:
        """Write plans down in one transaction; return how many are written."""
        written = self._writer.run(
            lambda writing: self._write(UnitOfWork(writing, now, self._plugins.actions), made)
        )
        for each in written:
            self._watch(each.submission, each.note)
        return len(written)

    def _in_time(
        self, connection: sa.Connection, found: Sequence[inbox.Submission], now: float
    ) -> Iterator[_Made]:
        """Plan submissions until it takes too long, or the plans come to enough lines.

        Where they come to few lines, because they repeat each other or match no rule, more of
        them are read the next time.
        """
        started = time.monotonic()
        lines = 0
        before: _Made | None = None
        world = Snapshot(connection)
        world.load({submission.identity for submission in found})
        for submission in found:
            self._begun = time.monotonic(), submission
            made = self._planned(world, submission, now)
            self._begun = None
            yield made
            if before is None or not before.is_repeated_by(made):
                lines += len(made.plan.refs) if made.plan else 0
            before = made
            if lines >= self._lines or time.monotonic() - started > LONGEST:
                self._most = self._lines
                return
        self._most = min(2 * self._most, inbox.BATCH)

    def _alone(self, made: _Made, now: float) -> int:
        try:
            return self._write_all([made], now)
        except Exception as error:
            if _is_of_the_store(error):
                raise
            failed = _failed(made.submission, error)  # whatever a plugin put into a delivery
        return self._write_all([failed], now)

    def _planned(self, world: Snapshot, submission: inbox.Submission, now: float) -> _Made:
        replays = submission.replays is not None
        look = IncidentView(world, replays=replays)
        try:
            alert = submission.alert()
            idle = _idle(submission, alert, world.known(alert.identity), now)
            if idle and not self._records:
                return _Made(submission, None, inbox.Note(idle))
            plan = self.make(alert, look)
            if idle:
                plan = self._recorded(plan)
        except DBAPIError:
            raise
        except Exception as error:  # noqa: BLE001 -- one submission never costs the others
            return _failed(submission, error)
        if submission.replays is not None:
            plan = _only(plan, delivery_store.find_ref(world.connection, submission.replays))
        news = not (replays or idle)
        world.assume(plan, submission.accepted_at, replayed=not news)
        repeats = not replays and self._may_repeat(plan)
        note = _noted(plan)
        if idle and not plan.deliveries:
            note = attrs.evolve(note, remark=idle)
        if note.remark == NOTHING_OPEN and world.is_orphaned(alert.identity):
            note = attrs.evolve(note, remark=ORPHANED)
        return _Made(submission, plan, note, look, repeats=repeats, news=news)

    def _recorded(self, plan: Plan) -> Plan:
        """Return the records of a plan: they are sent however old their alert is."""
        actions = self._plugins.actions.items()
        recording = {name for name, action in actions if action.capabilities.record}
        return attrs.evolve(
            plan,
            deliveries=tuple(each for each in plan.deliveries if each.ref.action in recording),
            joined=tuple(ref for ref in plan.joined if ref.action in recording),
            released=tuple(ref for ref in plan.released if ref.action in recording),
            suppressions=tuple(each for each in plan.suppressions if each.action in recording),
        )

    def _may_repeat(self, plan: Plan) -> bool:
        """Check that a plan triggers only, through actions that coalesce, whatever is open.

        Such a plan is the same whichever incidents are open, and of several the last one speaks.
        """
        able = [self._plugins.actions[each.ref.action].capabilities for each in plan.deliveries]
        return (
            plan.alert.status is Status.FIRING
            and not plan.joined
            and all(each.idempotent and each.coalesce for each in able)
            and all(each.operation is Operation.TRIGGER for each in plan.deliveries)
        )

    def lanes_of(self, alert: Alert) -> frozenset[inbox.Lane]:
        """Return the lanes of what an alert opens while it fires: installation, destination."""
        alert = attrs.evolve(alert, status=Status.FIRING)
        refs = (each.ref for each in self.make(alert, IncidentMemory()).deliveries)
        return frozenset((ref.installation, ref.destination) for ref in refs)

    def make(self, alert: Alert, incidents: Incidents) -> Plan:
        """Make the plan of one alert: rules speak for what fires, incidents for all else."""
        planning = PlanBuilder(self._plugins, incidents, alert)
        matching: list[Rule] = []
        if alert.status is Status.FIRING:
            matching = [rule for rule in self._rules if planning.matches(rule)]
            for rule in matching:
                planning.open(rule)
        else:
            planning.follow_up()
        return planning.plan(matching)

    def _write(self, uow: UnitOfWork, made: Sequence[_Made]) -> Sequence[_Made]:
        """Write plans down, in order; return those that are written.

        Where the incidents that a plan looked at have changed, it is made again later, and with
        it every later one about the same alert.
        """
        backend.lock(uow.connection, {ref for each in made for ref in each.refs})
        pending = inbox.still_pending(uow.connection, [each.submission.row for each in made])
        batch = Batch(uow)
        batch.load(
            {each.submission.identity for each in made if each.look and not each.repeats},
            {ref for each in made for ref in each.refs},
        )
        left: set[Identity] = set()
        written: list[_Made] = []
        for run in _runs(each for each in made if each.submission.row in pending):
            alert = run[0].submission.identity
            if alert in left or not self._apply(batch, run):
                left.add(alert)
            else:
                written += run
        batch.write()
        inbox.record_planned(uow, {each.submission.row: each.note for each in written})
        record_alert_states(
            uow.connection,
            [(each.said, each.submission.accepted_at) for each in written if each.said],
        )
        return written

    def _apply(self, batch: Batch, run: Sequence[_Made]) -> bool:
        """Write down the plans of a run, unless an incident they are made from has changed."""
        made = run[-1]
        if made.plan is None:
            return True
        alert = made.plan.alert.identity
        batch.catch_up(alert, made.refs)
        if made.repeats:
            for repeats in zip(*(each.waiting for each in run), strict=True):
                batch.enqueue_repeats(repeats)
            return True
        if made.look is None or made.look.is_outdated(batch.snapshot):
            return False
        for ref in made.plan.joined:
            batch.hold(ref, alert)
        for ref in made.plan.released:
            batch.release(ref, alert)
        for new, submission_id in made.waiting:
            batch.enqueue(new, submission_id)
        return True


@attrs.frozen(eq=False)
class _Made:
    """A plan that is to be written.

    Attributes:
        submission: the submission.
        plan: None where nothing is done about it.
        note: its result beside its deliveries.
        look: what the plan looked at.
        repeats: the plan is the same whatever is open, and the next one of the alert that says
            the same speaks for it.
        news: the submission becomes the newest state of its alert.
    """

    submission: inbox.Submission
    plan: Plan | None
    note: inbox.Note
    look: IncidentView | None = None
    repeats: bool = False
    news: bool = True

    @property
    def refs(self) -> frozenset[IncidentRef]:
        """Every place that it looked at, or changes something at."""
        seen = self.look.refs if self.look else frozenset[IncidentRef]()
        return seen.union(self.plan.refs if self.plan else ())

    @property
    def said(self) -> Alert | None:
        """The alert, where it is news about it: neither a replay nor an older submission is."""
        return self.plan.alert if self.plan and self.news else None

    @property
    def waiting(self) -> Sequence[tuple[QueuedDelivery, str]]:
        """The deliveries as they are put in line, with the submission's id."""
        assert self.plan is not None  # noqa: S101 -- only plans are put in line
        accepted_at, name = self.submission.accepted_at, self.submission.submission_id
        summary = self.plan.alert.summary
        return [
            (QueuedDelivery(each, accepted_at=accepted_at, summary=summary), name)
            for each in self.plan.deliveries
        ]

    def is_repeated_by(self, other: _Made) -> bool:
        """Check that another plan of the same alert, made right after, speaks for this one."""
        return (
            self.repeats
            and other.repeats
            and self.submission.identity == other.submission.identity
            and self._shape == other._shape
        )

    @property
    def _shape(self) -> Sequence[object]:
        planned = self.plan.deliveries if self.plan else ()
        return [(each.ref, each.alert, each.rules, each.follow_ups) for each in planned]


def _runs(made: Iterable[_Made]) -> Iterator[list[_Made]]:
    """Group plans that follow each other so that the last one of a group speaks for all."""
    run: list[_Made] = []
    for each in made:
        if run and not run[-1].is_repeated_by(each):
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def _is_of_the_store(error: Exception) -> bool:
    """Check whether the database itself fails, and not on what was to be written."""
    return isinstance(error, StoreError) and not isinstance(error, UnstorableError)


def _failed(submission: inbox.Submission, error: Exception) -> _Made:
    note = inbox.Note(failures=(f"could not be planned: it {describe_error(error)}",))
    return _Made(submission, None, note)


def _idle(submission: inbox.Submission, alert: Alert, known: AlertState | None, now: float) -> str:
    """Describe why nothing is done about a statement; nothing, where something is."""
    if known is None:
        return ""
    if submission.replays is not None:
        return OVER if known.status is Status.RESOLVED else ""
    if is_late_repeat(
        alert, known.ended, known.updated_at, submission.accepted_at - known.accepted_at
    ):
        return LATE_REPEAT
    moment, newest = alert.updated_at, known.updated_at
    # one that lies ahead was accepted while this host's own clock was wrong
    if moment and newest and moment < newest and newest.timestamp() <= now:
        return f"{inbox.OLDER}: {newest.isoformat()} is the newest"
    return ""


def _only(plan: Plan, ref: IncidentRef | None) -> Plan:
    """Leave of a plan what concerns one place."""
    return attrs.evolve(
        plan,
        deliveries=tuple(each for each in plan.deliveries if each.ref == ref),
        joined=tuple(each for each in plan.joined if each == ref),
        released=(),
    )


def _noted(plan: Plan) -> inbox.Note:
    """Describe what a statement came to, where it is not a delivery."""
    remark = ""
    if not plan.refs:
        remark = inbox.NO_RULE if plan.alert.status is Status.FIRING else NOTHING_OPEN
    if plan.failures or plan.suppressions:
        remark = ""
    return inbox.Note(remark, tuple(map(str, plan.failures)), plan.suppressions)
