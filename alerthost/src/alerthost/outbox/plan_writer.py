"""Writes planned submissions together: few queries for many incidents."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import attrs

from alerthost.outbox import backend, delivery_store, enqueue, inbox, incident_store, lane_store
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import Coalesced, QueuedDelivery, coalesce_queue
from alerthost.outbox.incident_store import StoredIncident
from alerthost.outbox.retry_policy import ProviderState
from alerthost.outbox.snapshot import IncidentView, Snapshot, record_alert_states
from alerthost.outbox.submission import Note, Submission
from hostspec.alert import Alert, Identity
from hostspec.delivery import Delivery, IncidentRef, Operation
from hostspec.plugins.planning import Plan


@attrs.frozen(eq=False)
class PlannedSubmission:
    """A planned submission.

    Attributes:
        plan: None if it changes nothing.
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


def write_plans(uow: UnitOfWork, made: Sequence[PlannedSubmission]) -> Sequence[PlannedSubmission]:
    """Write plans, in order; return those that are written.

    An outdated plan is not written, nor are later plans of the same alert: their submissions stay
    pending.
    """
    backend.lock(uow.connection, {ref for each in made for ref in each.refs})
    pending = inbox.still_pending(uow.connection, [each.submission.row for each in made])
    batch = _Batch(uow)
    batch.load(
        {each.submission.identity for each in made if each.view and not each.repeats},
        {ref for each in made for ref in each.refs},
    )
    outdated: set[Identity] = set()
    written: list[PlannedSubmission] = []
    for run in _group_runs(each for each in made if each.submission.row in pending):
        alert = run[0].submission.identity
        if alert in outdated or not batch.add(run):
            outdated.add(alert)
        else:
            written += run
    batch.write()
    inbox.record_planned(uow, {each.submission.row: each.note for each in written})
    record_alert_states(
        uow.connection, [(each.news, each.submission.accepted_at) for each in written if each.news]
    )
    return written


def _group_runs(made: Iterable[PlannedSubmission]) -> Iterator[list[PlannedSubmission]]:
    """Group consecutive plans so that the last one of a group supersedes the others."""
    run: list[PlannedSubmission] = []
    for each in made:
        if run and not run[-1].is_repeated_by(each):
            yield run
            run = []
        run.append(each)
    if run:
        yield run


@attrs.frozen
class _Only:
    """A delivery that becomes the only queued one of its incident; None is a new incident."""

    incident: StoredIncident | None
    new: QueuedDelivery
    submission_id: str


class _Batch:
    """Deliveries that one transaction enqueues; it holds the locks of their incidents.

    Deliveries to incidents with an empty queue are written together. Any other delivery is
    enqueued alone, after all earlier ones are written.
    """

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self._snapshot = Snapshot(uow.connection)
        self._with_delivered: Sequence[int] = ()
        self._delivered: Mapping[int, Delivery] | None = None
        self._queued: Collection[int] = ()
        self._lanes: dict[tuple[str, str], int] = {}
        self._pending: list[_Only] = []
        self._alerts: set[Identity] = set()
        self._changed: dict[IncidentRef, Identity] = {}
        self._used: set[IncidentRef] = set()

    def load(self, alerts: Collection[Identity], refs: Collection[IncidentRef]) -> None:
        """Read incidents by their alerts and by reference, in a fixed number of queries."""
        self._snapshot.load_incidents(alerts, refs)
        found = [each for ref in refs if (each := self._snapshot.at(ref))]
        self._queued = delivery_store.with_queued(self._uow.connection, [each.id for each in found])
        self._with_delivered = [each.id for each in found if each.provider_state.trigger_delivered]

    def add(self, run: Sequence[PlannedSubmission]) -> bool:
        """Add the plans of a run, unless an incident that they depend on has changed."""
        made = run[-1]
        if made.plan is None:
            return True
        alert = made.plan.alert.identity
        self._catch_up(alert, made.refs)
        if made.repeats:
            for repeats in zip(*(each.queued for each in run), strict=True):
                self._enqueue_repeats(repeats)
            return True
        if made.view is None or made.view.is_outdated(self._snapshot):
            return False
        for ref in made.plan.joined:
            incident_store.hold(self._uow, self._open(ref).id, alert)
            self._note_change(ref, alert)
        for ref in made.plan.released:
            self._release(ref, alert)
        for new, submission_id in made.queued:
            self._enqueue(new, submission_id)
        return True

    def _catch_up(self, alert: Identity, refs: Collection[IncidentRef]) -> None:
        """Write all pending deliveries if a plan depends on them, and reread its incidents."""
        if alert in self._alerts or not self._changed.keys().isdisjoint(refs):
            self.write()
            for ref, changed in self._changed.items():
                self._snapshot.forget(changed, ref)
            self._alerts.clear()
            self._changed.clear()

    def _release(self, ref: IncidentRef, alert: Identity) -> None:
        """Remove an alert from the holders of an open incident; without holders it is over."""
        found = self._open(ref)
        incident_store.release(self._uow, found.id, alert)
        if set(found.incident.holders) <= {alert}:  # its action sends no resolve
            incident_store.close_incident(self._uow, found.id)
        self._note_change(ref, alert)

    def _enqueue(self, new: QueuedDelivery, submission_id: str) -> None:
        """Enqueue a delivery."""
        only = self._as_only(new, submission_id)
        if only is None:
            self.write()
            enqueue.add(self._uow, new, submission_id)
        else:
            self._pending.append(only)
        self._note_change(new.delivery.ref, new.delivery.alert)

    def _enqueue_repeats(self, repeats: Sequence[tuple[QueuedDelivery, str]]) -> None:
        """Enqueue triggers of one incident, each superseded by the last."""
        last, submission_id = repeats[-1]
        if len(repeats) == 1:
            self._enqueue(last, submission_id)
            return
        self.write()
        enqueue.add_repeats(self._uow, repeats)
        self._note_change(last.delivery.ref, last.delivery.alert)

    def _open(self, ref: IncidentRef) -> StoredIncident:
        found = self._snapshot.at(ref)
        assert found is not None  # noqa: S101 -- the plan saw it, and it has not changed since
        return found

    def _note_change(self, ref: IncidentRef, alert: Identity) -> None:
        self._alerts.add(alert)
        self._changed[ref] = alert
        self._used.add(ref)

    def _as_only(self, new: QueuedDelivery, submission_id: str) -> _Only | None:
        """Return a delivery as the only queued one of its incident; None if there are others."""
        delivery = new.delivery
        if delivery.ref in self._used:
            return None
        found = self._snapshot.at(delivery.ref)
        if found and found.id in self._queued:
            return None
        if found and delivery.operation is Operation.TRIGGER:
            if delivery.alert not in found.incident.holders:
                return None
            new = attrs.evolve(new, repeat=enqueue.is_repeat(found, delivery, self._find_delivered))
        action = self._uow.actions.get(delivery.ref.action)
        provider_state = found.provider_state if found else ProviderState()
        if action and coalesce_queue((new,), provider_state, action) != Coalesced((new,)):
            return None
        return _Only(found, new, submission_id)

    def _find_delivered(self) -> Mapping[int, Delivery]:
        """Return the newest delivered triggers of all incidents, read once."""
        if self._delivered is None:
            self._delivered = delivery_store.find_delivered_triggers(
                self._uow.connection, self._with_delivered
            )
        return self._delivered

    def write(self) -> None:
        """Write all pending deliveries."""
        if not self._pending:
            return
        uow, pending = self._uow, self._pending
        self._pending = []
        opened = incident_store.open_incidents(
            uow,
            [
                (each.new, self._lane(each.new.delivery.ref))
                for each in pending
                if each.incident is None
            ],
        )
        triggered: dict[int, Mapping[str, object]] = {}
        released: dict[int, Identity] = {}
        rows = []
        for each in pending:
            delivery, found = each.new.delivery, each.incident
            if found is None:
                number, lane = opened[delivery.ref], self._lane(delivery.ref)
            else:
                number, lane = found.id, found.lane_id
                if delivery.operation is Operation.TRIGGER:
                    triggered[number] = incident_store.after_trigger(found, each.new)
                elif (
                    delivery.operation is Operation.RESOLVE
                    and delivery.alert in found.incident.holders
                ):
                    released[number] = delivery.alert
            rows.append(
                delivery_store.build_only_row(number, lane, each.new, each.submission_id, uow.now)
            )
        incident_store.update_incidents(uow, triggered)
        incident_store.release_each(uow, released)
        delivery_store.insert_all(uow.connection, rows)
        lane_store.wake(uow, *{row["lane_id"] for row in rows})

    def _lane(self, ref: IncidentRef) -> int:
        key = ref.installation, ref.destination
        if key not in self._lanes:
            self._lanes[key] = lane_store.lane_of(self._uow.connection, ref)
        return self._lanes[key]
