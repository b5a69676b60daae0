"""Operations on deliveries, submissions and incidents, for the operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from alerthost.outbox import (
    activity,
    backend,
    delivery_store,
    enqueue,
    inbox,
    incident_store,
    notifier,
    orphans,
)
from alerthost.outbox.activity import Actor, Change
from alerthost.outbox.admin_lists import AdminLists
from alerthost.outbox.admin_queries import AdminQueries
from alerthost.outbox.admin_rows import AdminError, no_delivery
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import QueuedDelivery
from alerthost.outbox.group_commit import Resources, Writer
from alerthost.outbox.retry_policy import GIVEN_UP, DeliveryState
from alerthost.outbox.submission import OVER, SubmissionOutcome, new_id
from alerthost.store.database import Database
from alerthost.store.tables import deliveries, incidents, submissions
from hostspec.action import AnyAction
from hostspec.alert import Alert, Identity, Status
from hostspec.delivery import Delivery, IncidentRef, Operation
from hostspec.errors import describe_error
from hostspec.forking import of_its_process
from hostspec.plugins.registry import Plugins


@of_its_process
class Admin(AdminQueries):
    """Shows an operator the work of engines, and changes it; needs no running engine.

    Every method raises StoreError when the database cannot be read or written. A change
    with an actor (``by``) is recorded as activity, in the same transaction.

    Args:
        clock: returns the time, in seconds of the epoch.
        writer: commits; None for one of its own.

    Attributes:
        lists: for pages.
    """

    def __init__(
        self,
        database: Database,
        plugins: Plugins,
        clock: Callable[[], float],
        writer: Writer | None = None,
    ) -> None:
        super().__init__(database, plugins, clock)
        self._resources = Resources(database, plugins, clock, writer or Writer(database))
        self.lists = AdminLists(database, plugins, clock)

    def record(self, actor: Actor, change: Change) -> None:
        """Record a change as activity."""
        self._resources.run(lambda uow: activity.record(uow, actor, change))

    def replay(self, number: int, *, as_is: bool = False, by: Actor | None = None) -> str | None:
        """Send a delivery again that was given up.

        A resolve is sent again while its incident may be open and no alert holds it. Any other
        delivery is planned again from the last state of its alert, by the current rules, unless
        its problem is over.

        Args:
            number: of the delivery, as `deliveries` lists it.
            as_is: send it as it was planned, even if its problem is over.
            by: the operator, for the activity log.

        Returns:
            the id of the new submission; None if its problem is over.

        Raises:
            AdminError: there is no such delivery, or it was not given up.
        """
        return self._resources.run(lambda uow: self._replay(uow, number, by, as_is=as_is))

    def discard_delivery(self, number: int, *, by: Actor | None = None) -> None:
        """Discard a delivery: it is never sent.

        Raises:
            AdminError: there is no such delivery, it is being sent now, or it is finished.
        """
        self._resources.run(lambda uow: self._discard_delivery(uow, number, by))

    def discard_submission(
        self, submission_id: str, *, by: Actor | None = None
    ) -> SubmissionOutcome:
        """Discard a failed or dead submission: it stays in the history, as discarded.

        Returns:
            its outcome before.

        Raises:
            AdminError: there is no such submission, or it is neither failed nor dead.
        """
        return self._resources.run(lambda uow: _discard(uow, submission_id, by))

    def acknowledge(self, number: int, *, by: Actor | None = None) -> str:
        """Acknowledge an incident by hand.

        Returns:
            the id of the submission of the acknowledge.

        Raises:
            AdminError: there is no such incident, it is not open, or its action is gone or cannot
                acknowledge.
        """
        return self._resources.run(lambda uow: self._acknowledge(uow, number, by))

    def resolve(self, number: int, *, by: Actor | None = None) -> str | None:
        """Resolve an incident by hand, whichever alerts hold it open.

        Returns:
            the id of the submission of the resolve; None where the action has none, and the
            incident is only ended in the store.

        Raises:
            AdminError: there is no such incident, it is over, or its action is gone.
        """
        return self._resources.run(lambda uow: self._resolve(uow, number, by))

    def forget(self, number: int, *, by: Actor | None = None) -> None:
        """End an incident in the store alone, and discard its queued deliveries.

        Raises:
            AdminError: there is no such incident, or it is over.
        """
        self._resources.run(lambda uow: self._forget(uow, number, by))

    def _replay(self, uow: UnitOfWork, number: int, by: Actor | None, *, as_is: bool) -> str | None:
        row = _found(uow.connection, number)
        submission_id = self._replay_row(uow, row, as_is=as_is)
        after = OVER if submission_id is None else f"submission {submission_id}"
        activity.record(uow, by, Change("replayed", f"delivery {number}", row.state, after))
        return submission_id

    def _replay_row(self, uow: UnitOfWork, row: sa.Row[Any], *, as_is: bool) -> str | None:
        number = row.id
        delivery = _delivery(row)
        stored = incident_store.get(uow.connection, row.incident_id)
        follows_up = row.operation != Operation.TRIGGER
        if stored.orphaned and follows_up and orphans.may_replay(row):
            return orphans.send(uow, stored, delivery)
        if row.state not in GIVEN_UP:
            message = f"the delivery {number} was not given up: it is {row.state}"
            raise AdminError(message)
        if as_is or delivery.operation is not Operation.TRIGGER:
            # a delivery that only records an ended problem follows up no incident
            if not (as_is or delivery.over or _is_of_use(uow.connection, delivery)):
                delivery_store.finish(uow, number, DeliveryState.DISCARDED, reason=OVER)
                return None
            if delivery.ref.action not in self._plugins.actions:
                message = f"the action {delivery.ref.action} is gone"
                raise AdminError(message)
            submission_id = new_id()
            new = QueuedDelivery(delivery, accepted_at=row.accepted_at)
            enqueue.add(uow, new, submission_id)
        else:
            alert = inbox.find_last_firing(uow.connection, delivery.alert)
            if alert is None:
                message = f"the submissions of the alert {delivery.alert.key} are not kept any more"
                raise AdminError(message)
            submission_id = inbox.replay(uow.connection, alert, number, uow.now)
        delivery_store.finish(uow, number, DeliveryState.COALESCED, reason="replayed")
        return submission_id

    def _discard_delivery(self, uow: UnitOfWork, number: int, by: Actor | None) -> None:
        row = _found(uow.connection, number)
        if row.worker_id is not None:
            raise _being_sent(number)
        if row.state != DeliveryState.QUEUED and row.state not in GIVEN_UP:
            message = f"the delivery {number} is finished: it is {row.state}"
            raise AdminError(message)
        delivery = _delivery(row) if row.state == DeliveryState.QUEUED else None
        if delivery:
            notifier.end_unsent(
                uow,
                number,
                DeliveryState.DISCARDED,
                orphans.DISCARDED_BY_HAND,
                hook=notifier.UNDELIVERED,
            )
        else:  # observers know already that it was given up
            delivery_store.finish(
                uow, number, DeliveryState.DISCARDED, reason=orphans.DISCARDED_BY_HAND
            )
        stored = incident_store.find_open(uow.connection, _ref(uow.connection, row))
        waits = delivery_store.promote(uow, row.incident_id)
        if delivery and not waits:
            orphans.orphan_again(uow, row.incident_id, delivery)
        # an ended incident stays ended: another one may be open for its reference
        if stored and stored.id == row.incident_id and not waits:
            # an operator who discards a confirming resolve takes responsibility for the doubt
            again = row.submission_id != delivery_store.CONFIRMATION
            enqueue.end(uow, stored, stored.provider_state, again=again)
        activity.record(
            uow, by, Change("discarded", f"delivery {number}", row.state, DeliveryState.DISCARDED)
        )

    def _acknowledge(self, uow: UnitOfWork, number: int, by: Actor | None) -> str:
        row, _ = _incident(uow.connection, number)
        stored = incident_store.get(uow.connection, number)
        if not row.active or Operation.ACKNOWLEDGE not in stored.incident.follow_ups:
            message = f"the incident {number} cannot be acknowledged"
            raise AdminError(message)
        delivery = self._follow_up(stored, Status.ACKNOWLEDGED)
        if delivery is None:
            message = f"the action {row.action} cannot acknowledge"
            raise AdminError(message)
        submission_id = new_id()
        enqueue.add(uow, QueuedDelivery(delivery, accepted_at=uow.now), submission_id)
        activity.record(
            uow, by, Change("acknowledged", f"incident {number}", row.state, "acknowledge queued")
        )
        return submission_id

    def _resolve(self, uow: UnitOfWork, number: int, by: Actor | None) -> str | None:
        row, queued = _incident(uow.connection, number)
        if queued and not row.active:
            return queued
        submission_id = self._resolve_row(uow, row)
        before = "orphaned" if row.orphaned else row.state
        after = "ended here only" if submission_id is None else "resolve queued"
        activity.record(uow, by, Change("resolved", f"incident {number}", before, after))
        return submission_id

    def _resolve_row(self, uow: UnitOfWork, row: sa.Row[Any]) -> str | None:
        number = row.id
        stored = incident_store.get(uow.connection, number)
        if row.orphaned:
            self._action(row.action)
            closing = orphans.resolving(uow, stored)
            if closing is None:
                message = f"the action {row.action} cannot close the orphaned incident {number}"
                raise AdminError(message)
            return orphans.send(uow, stored, closing)
        delivery = self._follow_up(stored, Status.RESOLVED)
        for each in stored.incident.holders:
            incident_store.release(uow, number, each)
        if delivery is None or Operation.RESOLVE not in stored.incident.follow_ups:
            incident_store.close_incident(uow, number)
            return None
        submission_id = new_id()
        new = QueuedDelivery(delivery, accepted_at=uow.now)
        enqueue.add(uow, new, submission_id)
        return submission_id

    def _action(self, name: str) -> AnyAction:
        action = self._plugins.actions.get(name)
        if action is None:
            message = f"the action {name} is gone; enable its plugin first"
            raise AdminError(message)
        return action

    def _follow_up(self, stored: incident_store.StoredIncident, status: Status) -> Delivery | None:
        """Return the follow-up of an incident, as if one of its alerts asked for it."""
        name = stored.incident.ref.action
        action = self._action(name)
        held = stored.incident.holders
        alert = held[0] if held else Identity("", stored.incident.ref.correlation_key)
        try:
            return action.follow_up(
                stored.incident, Alert(alert.key, scope=alert.scope, status=status)
            )
        except BaseException as error:  # noqa: BLE001 -- whatever a plugin does
            message = f"the action {name} could not follow up: it {describe_error(error)}"
            raise AdminError(message) from None

    def _forget(self, uow: UnitOfWork, number: int, by: Actor | None) -> None:
        row, _ = _incident(uow.connection, number)
        for each in delivery_store.find_queued_rows(uow.connection, number):
            if each.worker_id is not None:
                raise _being_sent(each.id)
            notifier.end_unsent(
                uow,
                each.id,
                DeliveryState.DISCARDED,
                orphans.DISCARDED_BY_HAND,
                hook=notifier.UNDELIVERED,
            )
        incident_store.close_incident(uow, number, orphaned=False)
        before = "orphaned" if row.orphaned else row.state
        activity.record(uow, by, Change("forgot", f"incident {number}", before, "ended here only"))


def _discard(uow: UnitOfWork, submission_id: str, by: Actor | None) -> SubmissionOutcome:
    this = submissions.c.submission_id == submission_id
    outcome = uow.connection.execute(sa.select(submissions.c.outcome).where(this)).scalar()
    if outcome is None:
        message = f"there is no submission {submission_id}"
        raise AdminError(message)
    if outcome not in {SubmissionOutcome.FAILED, SubmissionOutcome.DEAD}:
        message = f"the submission {submission_id} is neither failed nor dead"
        raise AdminError(message)
    discarded = sa.update(submissions).where(this).values(outcome=SubmissionOutcome.DISCARDED)
    uow.connection.execute(discarded)
    after = SubmissionOutcome.DISCARDED
    activity.record(uow, by, Change("discarded", f"submission {submission_id}", outcome, after))
    return SubmissionOutcome(outcome)


def _being_sent(number: int) -> AdminError:
    return AdminError(f"the delivery {number} is being sent now; try again")


def _incident(connection: sa.Connection, number: int) -> tuple[sa.Row[Any], str | None]:
    """Return an incident, locked, and the submission whose resolve of it is queued, or None.

    Raises:
        AdminError: there is no such incident, or it is over.
    """
    which = sa.select(incidents).where(incidents.c.id == number)
    row = connection.execute(which).first()
    if row and backend.lock(connection, [incident_store.ref_of(row)]):
        row = connection.execute(which).first()
    resolve = sa.select(deliveries.c.submission_id).where(
        delivery_store.IS_QUEUED,
        deliveries.c.operation == Operation.RESOLVE,
        deliveries.c.incident_id == number,
    )
    queued = connection.execute(resolve.limit(1)).scalar()
    if row is None or not (row.active or row.orphaned or queued):
        message = f"there is no open incident {number}"
        raise AdminError(message)
    return row, queued


def _is_of_use(connection: sa.Connection, delivery: Delivery) -> bool:
    """Check that a follow-up still applies to its incident, and its holders agree."""
    found = incident_store.find_open(connection, delivery.ref)
    if found is None:
        return False
    if delivery.operation is Operation.RESOLVE:
        return found.provider_state.needs_resolve and not found.incident.holders
    return delivery.alert in found.incident.holders


def _found(connection: sa.Connection, number: int) -> sa.Row[Any]:
    row = delivery_store.find_row(connection, number)
    if row and backend.lock(connection, [_ref(connection, row)]):
        row = delivery_store.find_row(connection, number)
    if row is None:
        raise no_delivery(number)
    return row


def _ref(connection: sa.Connection, row: sa.Row[Any]) -> IncidentRef:
    """Return the incident of a delivery's row, even if the delivery cannot be read."""
    return incident_store.get(connection, row.incident_id).incident.ref


def _delivery(row: sa.Row[Any]) -> Delivery:
    """Return the delivery of a row.

    Raises:
        AdminError: it cannot be read.
    """
    try:
        return delivery_store.delivery_of(row)
    except Exception:  # noqa: BLE001 -- an unreadable delivery ends no change of many
        message = f"the delivery {row.id} cannot be read, so it is never sent"
        raise AdminError(message) from None
