"""The planner: turns accepted submissions into queued deliveries."""

from __future__ import annotations

import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from alerthost.outbox import backend, delivery_store, inbox, poison
from alerthost.outbox.group_commit import Resources
from alerthost.outbox.heartbeat import Presence
from alerthost.outbox.plan_writer import PlannedSubmission, write_plans
from alerthost.outbox.proposing import Proposed, Proposer
from alerthost.outbox.snapshot import IncidentView, Snapshot
from alerthost.outbox.submission import (
    DEAD,
    NO_RULE,
    NOTHING_OPEN,
    UNKNOWN,
    Note,
    Submission,
)
from alerthost.store.errors import StoreError
from hostspec.alert import Status
from hostspec.delivery import Operation
from hostspec.errors import describe_error
from hostspec.plugins.planning import Plan, Proposal

_log = logging.getLogger("hostspec.planning")

BATCH_SECONDS: Final = 0.2
"""Seconds of planning after which the plans made so far are written."""

ORPHANED: Final = (
    "its incident is orphaned: the key that opened it is not configured any more; it is resolved"
    " when the key is back"
)
"""Why the resolve of an alert sends nothing, for the operator."""

HANGING_AFTER: Final = 60.0
"""Seconds after which the planning of one submission is logged as hanging."""


WatchPlanned: TypeAlias = Callable[[Submission, Note], None]
"""Called with each planned submission and its note."""


class Planner:
    """Plans accepted submissions; those about one alert in the order of their commits.

    Plans are made outside of write transactions, since rules and overrides take time. When a plan
    is written, the incidents that it depends on are read again; if one has changed, the submission
    is planned again.

    Args:
        proposer: asks the rules.
        watch: called with each submission after its plan is committed; it never raises.
    """

    def __init__(self, resources: Resources, proposer: Proposer, watch: WatchPlanned) -> None:
        self._resources = resources
        self._database = resources.database
        self._plugins = resources.plugins
        self._proposer = proposer
        self._watch = watch
        self._begun: tuple[float, Submission] | None = None
        self._hanging = 0
        self._turns = inbox.RoundRobin()

    def plan(self, now: float, presence: Presence | None = None) -> int | None:
        """Plan some of the pending submissions.

        Returns:
            number of planned submissions; None if another process is planning.
        """
        with self._database.read() as connection:
            if not backend.take_turn(connection, backend.PLANNING):
                return None
            if presence is not None:
                for left in poison.find_abandoned(connection, presence):
                    if pending := sorted(inbox.still_pending(connection, left.rows)):
                        return self._plan_suspect(connection, left, pending[0], now, presence)
                    self._mark(functools.partial(poison.clear, names=[left.name]))
            found = inbox.find_pending(connection, inbox.BATCH, self._turns)
            # the lock lasts until this transaction ends: no other process plans the same
            return self._plan_marked(connection, found, now, presence, attempts=0)

    def _plan_suspect(
        self,
        connection: sa.Connection,
        left: poison.Mark,
        row: int,
        now: float,
        presence: Presence,
    ) -> int:
        """Plan a submission alone that may have ended a process, or dead-letter it.

        Nothing is planned while it is not known whether the last attempt ended its process.
        """
        found = inbox.load(connection, [row])
        tries = min(left.attempts + 1, poison.MOST_TRIES)
        if left.attempts < tries or presence.is_alive(left.name):
            return self._plan_marked(connection, found, now, presence, attempts=tries)
        if not presence.gone([left.name]):
            return 0
        note = Note(failures=(DEAD,))
        return self._write_or_isolate([PlannedSubmission(found[0], None, note)], now)

    def _plan_marked(
        self,
        connection: sa.Connection,
        found: Sequence[Submission],
        now: float,
        presence: Presence | None,
        *,
        attempts: int,
    ) -> int:
        if not found:
            return 0
        if presence:
            mark = poison.Mark(presence.name, tuple(each.row for each in found), attempts)
            self._mark(functools.partial(poison.write_mark, mark=mark))
        made = self._plan_together(connection, found, now)
        if presence:
            self._mark(functools.partial(poison.clear, names=[presence.name]))
        return self._write_or_isolate(made, now)

    def _mark(self, work: Callable[[sa.Connection], None]) -> None:
        """Write a mark; on a full disk through the writer, which uses the reserve."""
        try:
            with self._database.begin_unsynced() as marking:
                work(marking)
        except StoreError:
            self._resources.writer.run(work)

    def note_hanging(self) -> None:
        """Log a submission whose planning hangs, once."""
        begun = self._begun
        if begun is None:
            return
        since, submission = begun
        if time.monotonic() - since > HANGING_AFTER and submission.row != self._hanging:
            self._hanging = submission.row
            _log.error(
                "alert %s: a rule or plugin has not returned for %.0f s, which blocks planning;"
                " restart this process",
                submission.identity.key,
                HANGING_AFTER,
            )

    def _write_or_isolate(self, made: Sequence[PlannedSubmission], now: float) -> int:
        """Write plans together; if one cannot be written, it must not block the others."""
        try:
            return self._write_all(made, now)
        except Exception as error:
            if backend.is_store_failure(error):
                raise
            if len(made) > 1:
                alone = (self._write_or_isolate([each], now) for each in made)
                return sum(itertools.takewhile(bool, alone))
            failed = _failed(made[0].submission, error)  # a plugin returned an unstorable value
        return self._write_all([failed], now)

    def _write_all(self, made: Sequence[PlannedSubmission], now: float) -> int:
        """Write plans in one transaction; return the number of written ones."""
        written = self._resources.run(lambda uow: write_plans(uow, made), now)
        for each in written:
            self._watch(each.submission, each.note)
        return len(written)

    def _plan_together(
        self, connection: sa.Connection, found: Sequence[Submission], now: float
    ) -> Sequence[PlannedSubmission]:
        """Plan submissions until time is up: ask the rules first, then read the incidents."""
        snapshot = Snapshot(connection)
        snapshot.load_alerts({submission.identity for submission in found})
        proposed = list(self._propose_in_time(snapshot, found, now))
        snapshot.load_incidents(
            {each.submission.identity for each in proposed},
            {ref for each in proposed for ref in each.refs},
        )
        unknown = {ref for each in proposed if each.is_resolve for ref in each.refs}
        snapshot.load_resolved(unknown, now)
        return [self._settle(snapshot, each) for each in proposed]

    def _propose_in_time(
        self, snapshot: Snapshot, found: Sequence[Submission], now: float
    ) -> Iterator[Proposed]:
        started = time.monotonic()
        for submission in found:
            self._begun = time.monotonic(), submission
            yield self._proposer.propose(snapshot, submission, now)
            self._begun = None
            if time.monotonic() - started > BATCH_SECONDS:
                return

    def _settle(self, snapshot: Snapshot, proposed: Proposed) -> PlannedSubmission:
        submission = proposed.submission
        if proposed.error is not None:
            return _failed(submission, proposed.error)
        if proposed.proposal is None:
            return PlannedSubmission(submission, None, Note(proposed.no_effect), fed=proposed.fed)
        try:
            return self._plan_proposal(snapshot, proposed, proposed.proposal)
        except DBAPIError:
            raise
        except Exception as error:  # noqa: BLE001 -- one submission must not block the others
            return _failed(submission, error)

    def _plan_proposal(
        self, snapshot: Snapshot, proposed: Proposed, proposal: Proposal
    ) -> PlannedSubmission:
        submission, no_effect = proposed.submission, proposed.no_effect
        replays = submission.replays is not None
        view = IncidentView(snapshot, replays=replays)
        plan = proposal.settle(self._plugins, view)
        if no_effect:
            plan = self._only_records(plan)
        if submission.replays is not None:
            plan = _restrict(plan, snapshot.connection, submission.replays)
        if submission.cause:
            plan = _noted(plan, submission.cause)
        snapshot.apply(plan)
        note = _note_of(plan)
        if no_effect and not plan.deliveries:
            note = attrs.evolve(note, remark=no_effect)
        if note.remark == NOTHING_OPEN and snapshot.is_orphaned(submission.identity):
            note = attrs.evolve(note, remark=ORPHANED)
        elif note.remark == NOTHING_OPEN and proposed.ended:
            note = attrs.evolve(note, remark=proposed.ended)
        elif proposed.waits:
            note = attrs.evolve(note, remark=proposed.waits)
        elif note.remark == NOTHING_OPEN and proposed.is_resolve and proposed.is_new:
            note = attrs.evolve(note, remark=UNKNOWN)
        return PlannedSubmission(
            submission,
            plan,
            note,
            view,
            depends=replays or not self._is_independent(plan),
            is_news=not (replays or no_effect),
            times=proposed.times,
        )

    def _only_records(self, plan: Plan) -> Plan:
        """Return the records of a plan, which are sent even if their alert is outdated."""
        actions = self._plugins.actions.items()
        recording = {name for name, action in actions if action.capabilities.record}
        return attrs.evolve(
            plan,
            deliveries=tuple(each for each in plan.deliveries if each.ref.action in recording),
            joined=tuple(ref for ref in plan.joined if ref.action in recording),
            released=tuple(ref for ref in plan.released if ref.action in recording),
            suppressions=tuple(each for each in plan.suppressions if each.action in recording),
        )

    def _is_independent(self, plan: Plan) -> bool:
        """Check that a plan is the same whichever incidents are open: of triggers that repeat."""
        able = [self._plugins.actions[each.ref.action].capabilities for each in plan.deliveries]
        return (
            plan.alert.status is Status.FIRING
            and not plan.joined
            and all(each.idempotent for each in able)
            and all(each.operation is Operation.TRIGGER for each in plan.deliveries)
        )


def _failed(submission: Submission, error: Exception) -> PlannedSubmission:
    """Return a submission whose planning or writing failed."""
    note = Note(failures=(f"could not be planned: it {describe_error(error)}",))
    return PlannedSubmission(submission, None, note)


def _restrict(plan: Plan, connection: sa.Connection, number: int) -> Plan:
    """Return the part of a plan that concerns the incident of a delivery, unless it was pruned."""
    found = delivery_store.load_deliveries(connection, [number])
    refs = {each.ref for each in found.values()}
    return attrs.evolve(
        plan,
        deliveries=tuple(each for each in plan.deliveries if each.ref in refs),
        joined=tuple(each for each in plan.joined if each in refs),
        released=(),
    )


def _noted(plan: Plan, cause: str) -> Plan:
    """Return a plan whose deliveries say why the engine itself accepted the submission."""
    noted = (attrs.evolve(each, notes=(*each.notes, cause)) for each in plan.deliveries)
    return attrs.evolve(plan, deliveries=tuple(noted))


def _note_of(plan: Plan) -> Note:
    """Return why a plan has no deliveries, or fewer than its rules ask for."""
    remark = ""
    if not plan.refs:
        remark = NO_RULE if plan.alert.status is Status.FIRING else NOTHING_OPEN
    if plan.failures or plan.suppressions:
        remark = ""
    return Note(remark, tuple(map(str, plan.failures)), plan.suppressions)
