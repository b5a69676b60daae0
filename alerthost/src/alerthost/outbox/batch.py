"""Enqueues the deliveries of one transaction together: few queries for many incidents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import attrs

from alerthost.outbox import delivery_store, enqueue, incident_store, lane_store
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import Coalesced, QueuedDelivery, coalesce_queue
from alerthost.outbox.incident_store import StoredIncident
from alerthost.outbox.retry_policy import ProviderState
from alerthost.outbox.snapshot import Snapshot
from hostspec.alert import Identity
from hostspec.delivery import Delivery, IncidentRef, Operation


@attrs.frozen
class _Only:
    """A delivery that becomes the only queued one of its incident; None is a new incident."""

    incident: StoredIncident | None
    new: QueuedDelivery
    submission_id: str


class Batch:
    """Deliveries that one transaction enqueues.

    Deliveries to incidents with an empty queue are written together. Any other delivery is
    enqueued alone, after all earlier ones are written.

    Args:
        uow: the transaction, which holds the locks of the incidents.

    Attributes:
        snapshot: the stored incidents.
    """

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self.snapshot: Final = Snapshot(uow.connection)
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
        self.snapshot.load_incidents(alerts, refs)
        found = [each for ref in refs if (each := self.snapshot.at(ref))]
        self._queued = delivery_store.with_queued(self._uow.connection, [each.id for each in found])
        self._with_delivered = [each.id for each in found if each.provider_state.trigger_delivered]

    def catch_up(self, alert: Identity, refs: Collection[IncidentRef]) -> None:
        """Write all pending deliveries if a plan depends on them, and reread its incidents."""
        if alert in self._alerts or not self._changed.keys().isdisjoint(refs):
            self.write()
            for ref, changed in self._changed.items():
                self.snapshot.forget(changed, ref)
            self._alerts.clear()
            self._changed.clear()

    def hold(self, ref: IncidentRef, alert: Identity) -> None:
        """Add an alert to the holders of an open incident."""
        incident_store.hold(self._uow, self._open(ref).id, alert)
        self._note_change(ref, alert)

    def release(self, ref: IncidentRef, alert: Identity) -> None:
        """Remove an alert from the holders of an open incident; without holders it is over."""
        found = self._open(ref)
        incident_store.release(self._uow, found.id, alert)
        if set(found.incident.holders) <= {alert}:  # its action sends no resolve
            incident_store.close_incident(self._uow, found.id)
        self._note_change(ref, alert)

    def enqueue(self, new: QueuedDelivery, submission_id: str) -> None:
        """Enqueue a delivery."""
        only = self._as_only(new, submission_id)
        if only is None:
            self.write()
            enqueue.add(self._uow, new, submission_id)
        else:
            self._pending.append(only)
        self._note_change(new.delivery.ref, new.delivery.alert)

    def enqueue_repeats(self, repeats: Sequence[tuple[QueuedDelivery, str]]) -> None:
        """Enqueue triggers of one incident, each superseded by the last."""
        last, submission_id = repeats[-1]
        if len(repeats) == 1:
            self.enqueue(last, submission_id)
            return
        self.write()
        enqueue.add_repeats(self._uow, repeats)
        self._note_change(last.delivery.ref, last.delivery.alert)

    def _open(self, ref: IncidentRef) -> StoredIncident:
        found = self.snapshot.at(ref)
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
        found = self.snapshot.at(delivery.ref)
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
                    triggered[number] = enqueue.after_trigger(found, each.new)
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
        lane_store.wake_all(uow, {row["lane_id"] for row in rows})

    def _lane(self, ref: IncidentRef) -> int:
        key = ref.installation, ref.destination
        if key not in self._lanes:
            self._lanes[key] = lane_store.lane_of(self._uow.connection, ref)
        return self._lanes[key]
