"""Planned submissions: a plan with the incidents that it depends on, before it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from alerthost.outbox.coalescing import QueuedDelivery
from alerthost.outbox.snapshot import AlertState, IncidentView
from alerthost.outbox.submission import NO_RULE, OLDER, OVER, Note, Submission
from hostspec.alert import Alert, Status
from hostspec.delivery import IncidentRef
from hostspec.errors import describe_error
from hostspec.plugins.planning import LATE_REPEAT, Plan, is_late_repeat

NOTHING_OPEN: Final = "no open incident"


@attrs.frozen(eq=False)
class PlannedSubmission:
    """A planned submission.

    Attributes:
        submission: the submission.
        plan: None if it changes nothing.
        note: why it came to no delivery, or fewer.
        view: the incidents that the plan depends on.
        repeats: the plan does not depend on open incidents; a later one with the same deliveries
            supersedes it.
        is_news: the submission becomes the newest state of its alert.
    """

    submission: Submission
    plan: Plan | None
    note: Note
    view: IncidentView | None = None
    repeats: bool = False
    is_news: bool = True

    @property
    def refs(self) -> frozenset[IncidentRef]:
        """The incidents that it depends on or changes."""
        seen = self.view.refs if self.view else frozenset[IncidentRef]()
        return seen.union(self.plan.refs if self.plan else ())

    @property
    def news(self) -> Alert | None:
        """The new state of the alert; None for a replay or an outdated submission."""
        return self.plan.alert if self.plan and self.is_news else None

    @property
    def queued(self) -> Sequence[tuple[QueuedDelivery, str]]:
        """The deliveries to enqueue, each with the submission's id."""
        assert self.plan is not None  # noqa: S101 -- only plans are enqueued
        accepted_at, submission_id = self.submission.accepted_at, self.submission.submission_id
        summary = self.plan.alert.summary
        return [
            (QueuedDelivery(each, accepted_at=accepted_at, summary=summary), submission_id)
            for each in self.plan.deliveries
        ]

    def is_repeated_by(self, other: PlannedSubmission) -> bool:
        """Check that the next plan of the same alert supersedes this one."""
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


def group_runs(made: Iterable[PlannedSubmission]) -> Iterator[list[PlannedSubmission]]:
    """Group consecutive plans so that the last one of a group supersedes the others."""
    run: list[PlannedSubmission] = []
    for each in made:
        if run and not run[-1].is_repeated_by(each):
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def failed(submission: Submission, error: Exception) -> PlannedSubmission:
    """Return a submission whose planning or writing failed."""
    note = Note(failures=(f"could not be planned: it {describe_error(error)}",))
    return PlannedSubmission(submission, None, note)


def find_reason(submission: Submission, alert: Alert, known: AlertState | None, now: float) -> str:
    """Return why a submission changes nothing; empty if it may."""
    if known is None:
        return ""
    if submission.replays is not None:
        return OVER if known.status is Status.RESOLVED else ""
    if is_late_repeat(
        alert, known.ended, known.updated_at, submission.accepted_at - known.accepted_at
    ):
        return LATE_REPEAT
    moment, newest = alert.updated_at, known.updated_at
    # a newest state in the future was accepted while the clock of this host was wrong
    if moment and newest and moment < newest and newest.timestamp() <= now:
        return f"{OLDER}: {newest.isoformat()} is the newest"
    return ""


def restrict(plan: Plan, ref: IncidentRef | None) -> Plan:
    """Return the part of a plan that concerns one incident."""
    return attrs.evolve(
        plan,
        deliveries=tuple(each for each in plan.deliveries if each.ref == ref),
        joined=tuple(each for each in plan.joined if each == ref),
        released=(),
    )


def note_of(plan: Plan) -> Note:
    """Return why a plan has no deliveries, or fewer than its rules ask for."""
    remark = ""
    if not plan.refs:
        remark = NO_RULE if plan.alert.status is Status.FIRING else NOTHING_OPEN
    if plan.failures or plan.suppressions:
        remark = ""
    return Note(remark, tuple(map(str, plan.failures)), plan.suppressions)
