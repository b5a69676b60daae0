"""The queues of incidents: read together, changed in memory, and written together."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend, delivery_store, incident_store, lane_store, notifier
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import Coalesced, QueuedDelivery, coalesce_queue
from alerthost.outbox.incident_store import LONGEST_SUMMARY, NewIncident, StoredIncident
from alerthost.outbox.retry_policy import DeliveryState, ProviderState
from alerthost.outbox.snapshot import Snapshot
from hostspec.alert import Identity
from hostspec.delivery import Delivery, Incident, IncidentRef, Operation
from hostspec.text import shorten

SUPERSEDED: Final = "superseded by another delivery of the same incident"
NEVER_SENT: Final = "its problem was over before it was sent"
"""Why queued deliveries are not sent."""

CONFIRMS_EARLY: Final = (
    "sent early, since the alert fires again and an earlier delivery may have arrived late"
)
"""Why a confirming resolve is sent early, for the operator."""


@attrs.define(eq=False)
class _Queue:
    """An incident and its queue, as they will be written.

    Attributes:
        before: the incident as it is stored; None for a new one.
        rows: the stored rows of the queue, by their ids.
        deliveries: in order; a new one has a negative id until it is written.
        in_flight: another delivery of the incident is being sent.
        changed: plans made from the stored incident are outdated.
        triggered: its confirming resolve is sent early.
        requeued: its deliveries have changed.
        id: the row of the incident.
        lane_id: the row of its lane.
    """

    incident: Incident
    before: StoredIncident | None = None
    rows: Mapping[int, sa.Row[Any]] = attrs.field(factory=dict)
    deliveries: tuple[QueuedDelivery, ...] = ()
    in_flight: bool = False
    provider_state: ProviderState = attrs.field(factory=ProviderState)
    summary: str = ""
    active: bool = True
    changed: bool = False
    triggered: bool = False
    requeued: bool = False
    id: int = 0
    lane_id: int = 0


class Queues:
    """The queues of some incidents; the caller holds the locks of the incidents.

    Attributes:
        snapshot: the incidents after all changes so far.
    """

    def __init__(self, uow: UnitOfWork) -> None:
        self.snapshot = Snapshot(uow.connection)
        self._uow = uow
        self._rows: dict[int, dict[int, sa.Row[Any]]] = {}
        self._open: dict[IncidentRef, _Queue] = {}
        self._all: list[_Queue] = []
        self._new: list[tuple[_Queue, str]] = []
        self._ended: list[tuple[_Queue, QueuedDelivery, DeliveryState, str]] = []
        self._with_delivered: list[int] = []
        self._delivered: Mapping[int, Delivery] | None = None

    def load(self, alerts: Collection[Identity], refs: Collection[IncidentRef]) -> None:
        """Read incidents by their alerts and by reference, and their queues."""
        self.snapshot.load_incidents(alerts, refs)
        found = [each for ref in refs if (each := self.snapshot.at(ref))]
        self._load_rows([each.id for each in found])
        self._with_delivered += [each.id for each in found if each.provider_state.trigger_delivered]

    def _load_rows(self, incidents: Sequence[int]) -> None:
        for row in delivery_store.find_rows_of_queues(self._uow.connection, incidents):
            self._rows.setdefault(row.incident_id, {})[row.id] = row

    def hold(self, ref: IncidentRef, alert: Identity) -> None:
        """Add an alert to the holders of an open incident."""
        queue = self._find(ref)
        self.snapshot.hold(ref, alert)
        self._follow(queue)

    def release(self, ref: IncidentRef, alert: Identity) -> None:
        """Remove an alert from the holders of an open incident; without holders it is over."""
        queue = self._find(ref)
        self.snapshot.release(ref, alert)
        self._follow(queue)
        if not queue.incident.holders:  # its action sends no resolve
            self._close(queue)

    def add(self, new: QueuedDelivery, submission_id: str, *, planned: bool = False) -> None:
        """Add a delivery to the queue of its incident; open the incident if necessary.

        Args:
            new: the delivery.
            submission_id: of its submission.
            planned: it comes from the plan of an alert, and not from the operator. The resolve of
                an unknown alert may close what another host has opened.
        """
        delivery, summary = new.delivery, shorten(new.summary, LONGEST_SUMMARY)
        if self.snapshot.at(delivery.ref) is None:
            self.snapshot.apply_delivery(delivery)
            queue = self._put(_Queue(self.snapshot.get(delivery.ref).incident, summary=summary))
            queue.provider_state = ProviderState(
                may_be_open=planned
                and delivery.operation is Operation.RESOLVE
                and not self._uow.is_record(delivery.ref.action)
            )
        else:
            queue = self._find(delivery.ref)
            self.snapshot.apply_delivery(delivery)
            self._follow(queue)
            if delivery.operation is Operation.TRIGGER:
                queue.summary = summary or queue.summary
                queue.changed = queue.triggered = True
                new = attrs.evolve(new, repeat=self._is_repeat(queue, delivery))
        added = self._numbered(queue, new, submission_id)
        self._coalesce(queue, (*queue.deliveries, added), submission_id)

    def recoalesce(self, stored: StoredIncident) -> None:
        """Coalesce the queue of an incident again, whose state at its provider has changed."""
        self._load_rows([stored.id])
        self.snapshot.put(stored)
        queue = self._find(stored.incident.ref)
        if queue.deliveries and not queue.in_flight:
            last = [*queue.rows.values()][-1]
            self._coalesce(queue, queue.deliveries, last.submission_id)

    def _find(self, ref: IncidentRef) -> _Queue:
        """Return the queue of an open incident."""
        return self._open.get(ref) or self._put(self._read(self.snapshot.get(ref)))

    def _put(self, queue: _Queue) -> _Queue:
        self._open[queue.incident.ref] = queue
        self._all.append(queue)
        return queue

    def _read(self, stored: StoredIncident) -> _Queue:
        rows = self._rows.get(stored.id, {})
        waiting = {number: row for number, row in rows.items() if row.worker_id is None}
        return _Queue(
            stored.incident,
            before=stored,
            rows=waiting,
            deliveries=tuple(map(delivery_store.queued_delivery_of, waiting.values())),
            in_flight=len(waiting) < len(rows),
            provider_state=stored.provider_state,
            summary=stored.summary,
            id=stored.id,
            lane_id=stored.lane_id,
        )

    def _follow(self, queue: _Queue) -> None:
        """Take over the incident from the snapshot."""
        incident = self.snapshot.get(queue.incident.ref).incident
        queue.changed = queue.changed or incident.holders != queue.incident.holders
        queue.incident = incident

    def _close(self, queue: _Queue) -> None:
        """End an incident: no alert holds it, and nothing follows it up."""
        queue.active, queue.changed = False, True
        queue.incident = attrs.evolve(queue.incident, holders=())
        del self._open[queue.incident.ref]
        self.snapshot.close(queue.incident.ref)

    def _numbered(self, queue: _Queue, new: QueuedDelivery, submission_id: str) -> QueuedDelivery:
        self._new.append((queue, submission_id))
        return attrs.evolve(new, id=-len(self._new))

    def _coalesce(
        self, queue: _Queue, deliveries: Sequence[QueuedDelivery], submission_id: str
    ) -> None:
        action = self._uow.actions.get(queue.incident.ref.action)
        if action is None:  # the attempt reports the missing action
            result = Coalesced(tuple(deliveries))
        else:
            result = coalesce_queue(
                deliveries, queue.provider_state, action, in_flight=queue.in_flight
            )
        self._end(queue, result.coalesced, DeliveryState.COALESCED, SUPERSEDED)
        self._end(queue, result.discarded, DeliveryState.DISCARDED, NEVER_SENT)
        queue.requeued = True
        queue.deliveries = tuple(
            self._numbered(queue, each, submission_id) if each.id is None else each
            for each in result.kept
        )
        for each in result.redirected:
            self._redirect(each, submission_id)
        if not (queue.deliveries or queue.in_flight or queue.provider_state.may_be_open):
            self._close(queue)

    def _end(
        self, queue: _Queue, each: Sequence[QueuedDelivery], state: DeliveryState, reason: str
    ) -> None:
        self._ended += [(queue, delivery, state, reason) for delivery in each]

    def _redirect(self, each: QueuedDelivery, submission_id: str) -> None:
        ref = each.delivery.ref
        backend.lock(self._uow.connection, [ref])
        self.load((), [ref])
        self.add(each, submission_id)

    def _is_repeat(self, queue: _Queue, delivery: Delivery) -> bool:
        """Check that a trigger equals the last one delivered since its incident was opened."""
        resolves = any(each.delivery.operation is Operation.RESOLVE for each in queue.deliveries)
        if queue.in_flight or resolves or not queue.provider_state.trigger_delivered:
            return False
        if self._delivered is None:
            self._delivered = delivery_store.find_delivered_triggers(
                self._uow.connection, self._with_delivered
            )
        last = self._delivered.get(queue.id)
        known = (last.severity, last.message) if last else None
        return known == (delivery.severity, delivery.message)

    def write(self) -> None:
        """Write all changes, once."""
        uow = self._uow
        early = [
            row.id
            for each in self._all
            if each.triggered
            for row in each.rows.values()
            if row.submission_id == delivery_store.CONFIRMATION
        ]
        delivery_store.expedite_confirmations(uow, early, CONFIRMS_EARLY)
        known = [each for each in self._all if each.before and each.changed]
        incident_store.write_changes(
            uow,
            [(each.id, each.incident, each.summary, each.active) for each in known],
        )
        moved = [(each, *_moved_holders(each)) for each in known]
        incident_store.move_holders(
            uow,
            [(each.id, alert) for each, gone, _ in moved for alert in gone],
            [(each.id, alert) for each, _, added in moved for alert in added],
        )
        # after the incidents that they follow are closed
        self._insert_incidents([each for each in self._all if each.before is None])
        self._write_deliveries()

    def _insert_incidents(self, new: Sequence[_Queue]) -> None:
        """Insert incidents; those that follow one another under one reference, one by one."""
        if not new:
            return
        lanes = lane_store.lanes_of(self._uow.connection, [each.incident.ref for each in new])
        for each in new:
            each.lane_id = lanes[each.incident.ref.installation, each.incident.ref.destination]
        for run in _with_distinct_refs(new):
            numbers = incident_store.insert_incidents(
                self._uow,
                [
                    NewIncident(
                        each.incident,
                        each.lane_id,
                        each.summary,
                        active=each.active,
                        may_be_open=each.provider_state.may_be_open,
                    )
                    for each in run
                ],
            )
            for each, number in zip(run, numbers, strict=True):
                each.id = number

    def _write_deliveries(self) -> None:
        uow = self._uow
        requeued = [queue for queue in self._all if queue.requeued]
        placed = {number: place for queue in requeued for number, place in _placed(queue).items()}
        over = {"is_head": False, "finished_at": uow.now}
        ended = {
            each.id: (each, {"state": state, "reason": reason, **over})
            for _, each, state, reason in self._ended
        }
        final = placed | ended
        new = [
            delivery_store.build_row(
                queue.id, queue.lane_id, final[-number][0], submission_id, uow.now
            )
            | final[-number][1]
            for number, (queue, submission_id) in enumerate(self._new, start=1)
        ]
        delivery_store.insert_all(uow.connection, new)
        delivery_store.update_all(uow.connection, _of_rows(placed))
        delivery_store.update_all(uow.connection, _of_rows(ended))
        superseded = []
        for queue, each, _, reason in self._ended:
            number = each.id or 0
            if number > 0:
                superseded.append(notifier.Reported.of_row(queue.rows[number], reason))
            else:
                row = new[-number - 1]
                superseded.append(notifier.Reported(row["uid"], row["body"], 0, reason=reason))
        notifier.record(uow.connection, notifier.SUPERSEDED, superseded)
        lane_store.wake(
            uow, *{each.lane_id for each in requeued if each.deliveries and not each.in_flight}
        )


_Final: TypeAlias = "tuple[QueuedDelivery, dict[str, Any]]"
"""A delivery as it will be written, and the columns that its queue sets."""


def _placed(queue: _Queue) -> Mapping[int | None, _Final]:
    """Return the deliveries of a queue by id; the head is as urgent as any delivery behind it."""
    urgency = min(map(delivery_store.urgency_of, queue.deliveries), default=0.0)
    return {
        each.id: (
            each,
            {
                "position": position,
                "is_head": position == 1 and not queue.in_flight,
                "urgency": urgency,
                "coalesced": each.coalesced,
                "accepted_at": each.accepted_at,
            },
        )
        for position, each in enumerate(queue.deliveries, start=1)
    }


def _of_rows(final: Mapping[int | None, _Final]) -> Sequence[dict[str, Any]]:
    """Return the changes of stored deliveries."""
    return [{"number": n, **columns} for n, (_, columns) in final.items() if n and n > 0]


def _moved_holders(queue: _Queue) -> tuple[Sequence[Identity], Sequence[Identity]]:
    """Return the holders to remove, and those to add behind the others, in order."""
    assert queue.before is not None  # noqa: S101 -- a new incident is inserted with its holders
    before, after = queue.before.incident.holders, queue.incident.holders
    left = iter(before)
    stay = tuple(itertools.takewhile(lambda alert: alert in left, after))
    return [alert for alert in before if alert not in stay], after[len(stay) :]


def _with_distinct_refs(queues: Sequence[_Queue]) -> Iterator[Sequence[_Queue]]:
    """Split queues, in order, so that no part has two of one incident reference."""
    part: dict[IncidentRef, _Queue] = {}
    for queue in queues:
        if queue.incident.ref in part:
            yield [*part.values()]
            part = {}
        part[queue.incident.ref] = queue
    yield [*part.values()]
