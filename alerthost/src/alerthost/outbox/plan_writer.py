"""Writes planned submissions together, with a fixed number of statements."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import attrs

from alerthost.outbox import backend, delivery_store, heartbeat_store, inbox
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import QueuedDelivery
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat
from alerthost.outbox.queues import Queues
from alerthost.outbox.serialisation import chunks
from alerthost.outbox.snapshot import IncidentView, Snapshot, record_alert_states
from alerthost.outbox.submission import Note, Submission
from alerthost.outbox.timing import NOTHING_DUE, AlertTimes
from hostspec.alert import Alert, Identity
from hostspec.delivery import IncidentRef
from hostspec.plugins.planning import Plan


@attrs.frozen(eq=False)
class PlannedSubmission:
    """A planned submission.

    Attributes:
        plan: None if it changes nothing.
        view: the incidents that the plan has seen.
        depends: the plan depends on them.
        is_news: the submission becomes the newest state of its alert.
        times: the due times of the alert then.
        fed: the expected heartbeats that it is a sign of.
    """

    submission: Submission
    plan: Plan | None
    note: Note
    view: IncidentView | None = None
    depends: bool = False
    is_news: bool = True
    times: AlertTimes = NOTHING_DUE
    fed: tuple[ExpectedHeartbeat, ...] = ()

    @functools.cached_property
    def refs(self) -> frozenset[IncidentRef]:
        """The incidents that it depends on or changes."""
        seen = self.view.refs if self.view else frozenset[IncidentRef]()
        return seen.union(self.plan.refs if self.plan else ())

    def is_outdated(self, current: Snapshot) -> bool:
        """Check that a plan made from the current incidents may differ."""
        return self.depends and self.view is not None and self.view.is_outdated(current)

    @property
    def news(self) -> Alert | None:
        """The new state of the alert; None for a replay or an outdated submission."""
        return self.plan.alert if self.plan and self.is_news else None

    @property
    def queued(self) -> Sequence[QueuedDelivery]:
        """The deliveries to enqueue."""
        assert self.plan is not None  # noqa: S101 -- only plans are enqueued
        accepted_at, summary = self.submission.accepted_at, self.plan.alert.summary
        return [
            QueuedDelivery(each, accepted_at=accepted_at, summary=summary)
            for each in self.plan.deliveries
        ]


def write_plans(uow: UnitOfWork, made: Sequence[PlannedSubmission]) -> Sequence[PlannedSubmission]:
    """Write plans, in order; return those that are written.

    An outdated plan is not written, nor are later plans of the same alert: their submissions stay
    pending.
    """
    backend.lock(uow.connection, (ref for each in made for ref in each.refs))
    pending = inbox.still_pending(uow.connection, [each.submission.row for each in made])
    outdated: set[Identity] = set()
    written: list[PlannedSubmission] = []
    for part in _parts(uow, [each for each in made if each.submission.row in pending]):
        queues = Queues(uow)
        alerts = {each.submission.identity for each in part}
        queues.load(alerts, {ref for each in part for ref in each.refs})
        for each in part:
            alert = each.submission.identity
            if alert in outdated or each.is_outdated(queues.snapshot):
                outdated.add(alert)
            else:
                _enqueue(queues, each)
                written.append(each)
        queues.write()
    inbox.record_planned(uow, {each.submission.row: each.note for each in written})
    record_alert_states(
        uow.connection,
        [(each.news, each.submission.accepted_at, each.times) for each in written if each.news],
    )
    for each in written:
        for heartbeat in each.fed:
            heartbeat_store.hear(uow, heartbeat)
    return written


@attrs.frozen
class _Sized:
    """The size of the queues that a plan is added to, in bytes; ``id`` is its position."""

    id: int
    size: int


def _parts(
    uow: UnitOfWork, made: Sequence[PlannedSubmission]
) -> Iterator[Sequence[PlannedSubmission]]:
    """Split plans, in order, into parts whose queues fit into memory together; often into one."""
    sizes = delivery_store.find_queue_sizes(
        uow.connection, (ref for each in made for ref in each.refs)
    )
    sized = [
        _Sized(position, sum(sizes.get(ref, 0) for ref in each.refs))
        for position, each in enumerate(made)
    ]
    for positions in chunks(sized):
        yield [made[position] for position in positions]


def _enqueue(queues: Queues, made: PlannedSubmission) -> None:
    """Change the holders of incidents, and add deliveries to their queues."""
    if made.plan is None:
        return
    alert = made.submission.identity
    for ref in made.plan.joined:
        queues.hold(ref, alert)
    for ref in made.plan.released:
        queues.release(ref, alert)
    for new in made.queued:
        queues.add(new, made.submission.submission_id, planned=True)
