"""What an operator sees of the engine's work, and what they may do about it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import (
    backend,
    delivery_store,
    enqueue,
    inbox,
    incident_store,
    notifier,
    orphans,
)
from alerthost.outbox.channels import FAILS, GATE, OF_DELIVERY
from alerthost.outbox.coalescing import QueuedDelivery
from alerthost.outbox.group_commit import Writer
from alerthost.outbox.heartbeat import is_worked_on
from alerthost.outbox.inbox import Note, SubmissionOutcome
from alerthost.outbox.retry_policy import DeliveryState, LaneState
from alerthost.outbox.serialisation import chunks
from alerthost.outbox.unit_of_work import UnitOfWork
from alerthost.store.database import Database
from alerthost.store.tables import (
    OUTCOME,
    PENDING,
    channels,
    deliveries,
    incidents,
    lanes,
    submissions,
)
from hostspec.alert import Alert, Identity, Status
from hostspec.delivery import Delivery, Incident, IncidentRef, Operation, OutcomeKind
from hostspec.errors import describe_error
from hostspec.forking import of_its_process
from hostspec.plugins.registry import Plugins

GIVEN_UP: Final = (
    DeliveryState.DEAD,
    DeliveryState.REJECTED,
    DeliveryState.UNCERTAIN,
    DeliveryState.ORPHANED,
)
"""States of deliveries that a person may want to replay."""


class AdminError(Exception):
    """What was asked for cannot be done; the message says why, for a person."""


@attrs.frozen
class DeliveryRow:
    """A delivery as it stands.

    Attributes:
        id: its number.
        incident_id: the number of its incident.
        submission_id: of the statement that it comes from.
        delivery: the planned delivery; in a list without its message.
        state: how far it has come.
        sending: it is being sent now.
        attempts: how many were made.
        coalesced: how many others it stands for.
        accepted_at: when its statement was accepted, in seconds of the epoch.
        due: when it may be tried next.
        finished_at: when it was finished; None while it waits.
        outcome: of the last attempt; None before the first.
        reason: why, in the provider's words where it gave any.
        lane: the state of its channel: its action, destination and credential.
        lane_reason: why its channel is in that state.
        next_try: when the next attempt is made at the earliest, in seconds of the epoch; None
            where it is finished, being sent, or queued behind another delivery of its incident.
    """

    id: int
    incident_id: int
    submission_id: str
    delivery: Delivery
    state: DeliveryState
    sending: bool
    attempts: int
    coalesced: int
    accepted_at: float
    due: float
    finished_at: float | None
    outcome: OutcomeKind | None
    reason: str
    lane: LaneState
    lane_reason: str
    next_try: float | None = None

    @property
    def held(self) -> bool:
        """Whether it waits for a person to mend something."""
        return self.state is DeliveryState.QUEUED and self.lane is LaneState.BLOCKED


@attrs.frozen
class SubmissionStatus:
    """What became of a statement.

    Attributes:
        submission_id: the statement's.
        note: what it came to beside its deliveries; None while it is not planned yet.
        entries: its deliveries.
    """

    submission_id: str
    note: Note | None
    entries: tuple[DeliveryRow, ...]

    @property
    def settled(self) -> bool:
        """Whether nothing more happens by itself: all is finished, or waits for a person."""
        return self.note is not None and all(
            each.held or each.state is not DeliveryState.QUEUED for each in self.entries
        )


@attrs.frozen
class Unsent:
    """A submission that came to no delivery, or to fewer than its rules ask for.

    Attributes:
        submission_id: the submission's.
        alert: that it is about.
        outcome: why.
        note: its failures and suppressions.
        accepted_at: when it was accepted, in seconds of the epoch.
    """

    submission_id: str
    alert: Identity
    outcome: SubmissionOutcome
    note: Note
    accepted_at: float


@attrs.frozen
class IncidentRow:
    """An incident as it stands.

    Attributes:
        id: its number.
        incident: what is known of it.
        open: it is followed up here; False for one that ended.
        may_be_open: the provider may hold it open.
        trigger_delivered: the provider accepted a trigger of the present episode.
        orphaned: what opened it is not held any more, so that nobody here can close it.
        opened_at: when it began, in seconds of the epoch.
        changed_at: when something was said of it last.
        summary: of the alert that triggered it last, bounded; empty where it is not known.
    """

    id: int
    incident: Incident
    open: bool
    may_be_open: bool
    trigger_delivered: bool
    orphaned: bool
    opened_at: float
    changed_at: float
    summary: str = ""


@attrs.frozen
class Blocked:
    """Deliveries of one lane that wait until the operator repairs something.

    Attributes:
        place: of one of their incidents.
        reason: why, in the words of the last failure.
        since: when it was noticed, in seconds of the epoch.
        waiting: how many deliveries.
    """

    ref: IncidentRef
    reason: str
    since: float
    waiting: int


@attrs.frozen
class Backlog:
    """How much waits.

    Attributes:
        unplanned: statements that are not planned yet.
        waiting: deliveries to be sent.
        oldest: when the oldest of all of them was accepted; None where nothing waits.
    """

    unplanned: int
    waiting: int
    oldest: float | None


@attrs.frozen
class Load:
    """How much is queued by whom, and where to.

    Attributes:
        pending: submissions that are not planned yet, by the digest of their scope.
        queued: deliveries that are to be sent, by the installation and destination of their lane.
    """

    pending: Mapping[str, int] = attrs.field(factory=dict)
    queued: Mapping[tuple[str, str], int] = attrs.field(factory=dict)


@of_its_process
class Admin:
    """What an operator sees and does; it needs no engine that runs.

    Args:
        database: where everything is.
        plugins: whose actions follow up.
        clock: gives the time, in seconds of the epoch.
        writer: commits; None for one of its own.
    """

    def __init__(
        self,
        database: Database,
        plugins: Plugins,
        clock: Callable[[], float],
        writer: Writer | None = None,
    ) -> None:
        self._database = database
        self._plugins = plugins
        self._clock = clock
        self._writer = writer or Writer(database)

    @property
    def _no_record(self) -> sa.ColumnElement[bool]:
        actions = self._plugins.actions
        records = [name for name, action in actions.items() if action.capabilities.record]
        return incidents.c.action.not_in(records)

    @property
    def exists(self) -> bool:
        """Whether there is a database to look into."""
        return self._database.exists

    def is_worked_on(self) -> bool:
        """Return whether a process delivers from the database now; this one counts, too.

        Raises:
            StoreError: the database cannot be read.
        """
        return self.exists and is_worked_on(self._database)

    def deliveries(
        self,
        states: Collection[DeliveryState] = (),
        *,
        held: bool | None = None,
        most: int = 100,
    ) -> tuple[DeliveryRow, ...]:
        """Return deliveries, the newest first.

        Args:
            states: those in one of these; empty for all.
            held: whether their lane waits for a person to mend something; None for both.
            most: how many.

        Raises:
            StoreError: the database cannot be read.
        """
        which = _ENTRIES.order_by(deliveries.c.id.desc()).limit(most)
        if states:
            which = which.where(deliveries.c.state.in_(list(states)))
        if held is not None:
            which = which.where(_HELD if held else ~_HELD)
        with self._database.read() as connection:
            return tuple(_entries(connection, which))

    def delivery(self, number: int) -> DeliveryRow:
        """Return one delivery.

        Raises:
            AdminError: there is no such delivery.
            StoreError: the database cannot be read.
        """
        with self._database.read() as connection:
            row = connection.execute(_ENTRIES.where(deliveries.c.id == number)).first()
            if row is None:
                raise _no_delivery(number)
            return _entry(row, delivery_store.load_deliveries(connection, [number])[number])

    def numbers(self, states: Collection[DeliveryState]) -> tuple[int, ...]:
        """Return the numbers of all deliveries in some states, the oldest first.

        Raises:
            StoreError: the database cannot be read.
        """
        which = sa.select(deliveries.c.id).where(deliveries.c.state.in_(list(states)))
        with self._database.read() as connection:
            return tuple(connection.execute(which.order_by(deliveries.c.id)).scalars())

    def unsettled(self) -> tuple[int, Mapping[DeliveryState, int]]:
        """Count what is not done with: deliveries that are held, and all by state.

        Counted are those that wait, and those that were given up.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._database.read() as connection:
            held = connection.execute(_HELD_COUNT).scalar_one()
            rows = connection.execute(_COUNTS).all()
        return held, {DeliveryState(state): count for state, count in rows}

    def statuses(self, submission_ids: Sequence[str]) -> tuple[SubmissionStatus, ...]:
        """Describe what became of statements, in their order; one that is not known is not planned.

        Raises:
            StoreError: the database cannot be read.
        """
        found: list[SubmissionStatus] = []
        with self._database.read() as connection:
            for first in range(0, len(submission_ids), _TOGETHER):
                found += _fates(connection, submission_ids[first : first + _TOGETHER])
        return tuple(found)

    def unsent(self, outcome: SubmissionOutcome, *, most: int = 100) -> tuple[Unsent, ...]:
        """Return submissions that came to no delivery, or to fewer than asked for, newest first.

        Args:
            outcome: why.
            most: how many.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._database.read() as connection:
            rows = connection.execute(_UNSENT, {"outcome": outcome, "most": most}).all()
        return tuple(
            Unsent(
                row.submission_id,
                Identity(row.scope, row.key),
                SubmissionOutcome(row.outcome),
                inbox.read_note(row.note) or Note(),
                row.accepted_at,
            )
            for row in rows
        )

    def unfinished(self, most: int) -> tuple[SubmissionStatus, ...]:
        """Return the submissions with work left: not planned yet, or with deliveries that are due.

        A delivery whose channel fails counts as due, for it is tried when an engine starts.

        Args:
            most: how many; those with the most recent deliveries first.

        Raises:
            StoreError: the database cannot be read.
        """
        queued = (
            sa.select(deliveries.c.submission_id)
            .join(incidents, incidents.c.id == deliveries.c.incident_id)
            .outerjoin(channels, OF_DELIVERY)
            .where(
                delivery_store.IS_QUEUED,
                sa.or_(
                    deliveries.c.due <= self._clock(),
                    sa.and_(FAILS, deliveries.c.attempts > 0),
                ),
            )
            .order_by(deliveries.c.id.desc())
            .limit(most)
        )
        unplanned = (
            sa.select(submissions.c.submission_id)
            .where(PENDING)
            .order_by(submissions.c.id)
            .limit(most)
        )
        with self._database.read() as connection:
            found = [
                *connection.execute(queued).scalars(),
                *connection.execute(unplanned).scalars(),
            ]
        return self.statuses([*dict.fromkeys(found)][:most])

    def recent_alerts(self, most: int) -> Iterator[Alert]:
        """Yield the last accepted alerts, the newest first.

        Args:
            most: how many.

        Raises:
            StoreError: the database cannot be read.
        """
        if not self.exists:
            return
        with self._database.read() as connection:
            newest = sa.select(submissions.c.id, submissions.c.size)
            found = connection.execute(newest.order_by(submissions.c.id.desc()).limit(most)).all()
            for numbers in chunks(found):
                for submission in inbox.load(connection, numbers):
                    yield submission.alert()

    def blocked(self) -> tuple[Blocked, ...]:
        """Return the lanes that wait for a repair, once for each action and each credential.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._database.read() as connection:
            return tuple(
                Blocked(incident_store.ref_of(row), row.reason, row.since, row.queued)
                for row in connection.execute(_BLOCKED)
            )

    def backlog(self) -> Backlog:
        """Describe how much waits.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._database.read() as connection:
            unplanned, first = connection.execute(_UNPLANNED).one()
            waiting, second = connection.execute(_WAITING).one()
        return Backlog(
            unplanned, waiting, min((each for each in (first, second) if each), default=None)
        )

    def load(self) -> Load:
        """Count pending submissions by scope, and queued deliveries by lane.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._database.read() as connection:
            pending = connection.execute(_BY_SCOPE).all()
            queued = connection.execute(_BY_LANE).all()
        return Load(
            {row.scope_digest: row.number for row in pending},
            {(row.installation, row.destination): row.number for row in queued},
        )

    def incidents(
        self,
        *,
        orphaned: bool = False,
        installation: str | None = None,
        most: int = 100,
    ) -> tuple[IncidentRow, ...]:
        """Return open incidents, in the order in which they are forgotten; no records.

        An orphaned incident counts as open from when its resolve is queued until it is delivered.

        Args:
            orphaned: give those instead that nobody here can close any more.
            installation: those in one; None for all.
            most: how many.

        Raises:
            StoreError: the database cannot be read.
        """
        wanted = [incidents.c.orphaned] if orphaned else [incidents.c.active, _IS_RESOLVING]
        found: list[sa.Row[Any]] = []
        with self._database.read() as connection:
            for each in wanted:  # one by one, so that each uses its index
                which = sa.select(incidents).where(each, self._no_record)
                which = which.order_by(incidents.c.changed_at).limit(most)
                if installation is not None:
                    which = which.where(incidents.c.installation == installation)
                found += connection.execute(which)
            found.sort(key=lambda row: row.changed_at)
            return tuple(_case(connection, row) for row in found[:most])

    def ways(self) -> Mapping[tuple[str, str], int]:
        """Count the open incidents by the action and the installation that lead to them.

        Raises:
            StoreError: the database cannot be read.
        """
        which = _WAYS.where(self._no_record)
        with self._database.read() as connection:
            return {(way.action, way.installation): way.count_ for way in connection.execute(which)}

    def handles(self) -> Sequence[tuple[Incident, int]]:
        """Return one open incident of each handle and destination, and how many there are.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._database.read() as connection:
            rows = connection.execute(_HANDLES.where(self._no_record)).all()
            found = [incident_store.find(connection, row.first) for row in rows]
        counts = [row.count_ for row in rows]
        return [(each.incident, n) for each, n in zip(found, counts, strict=True) if each]

    def replay(self, number: int, *, as_is: bool = False) -> str | None:
        """Try a delivery again that was given up.

        A resolve is sent again while its incident may be open and nobody holds it. Anything
        else is planned again from what its alert said last, by the rules of today; a problem
        that is over pages nobody.

        Args:
            number: the delivery's.
            as_is: send it as it was planned, whatever has become of its problem.

        Returns:
            the id of the statement that comes of it; None where nothing is to be sent any more.

        Raises:
            AdminError: there is no such delivery, or it was not given up.
            StoreError: the database cannot be written.
        """
        now = self._clock()
        return self._writer.run(
            lambda writing: self._replay(
                UnitOfWork(writing, now, self._plugins.actions), number, as_is=as_is
            )
        )

    def discard_delivery(self, number: int) -> None:
        """Discard a delivery: it is never sent.

        Raises:
            AdminError: there is no such delivery, it is being sent now, or it is finished.
            StoreError: the database cannot be written.
        """
        now = self._clock()
        self._writer.run(
            lambda writing: self._discard_delivery(
                UnitOfWork(writing, now, self._plugins.actions), number
            )
        )

    def discard_submission(self, submission_id: str) -> SubmissionOutcome:
        """Discard a failed or dead submission: it stays in the history, as discarded.

        Returns:
            its outcome before.

        Raises:
            AdminError: there is no such submission, or it is neither failed nor dead.
            StoreError: the database cannot be written.
        """
        return self._writer.run(lambda writing: _discard(writing, submission_id))

    def resolve(self, number: int) -> str | None:
        """Resolve an incident by hand, whoever holds it open.

        Returns:
            the id of the statement that the resolve goes by; None where the provider cannot be
            told, so that the incident is forgotten here only.

        Raises:
            AdminError: there is no such incident, it is over, or its action is gone.
            StoreError: the database cannot be written.
        """
        now = self._clock()
        return self._writer.run(
            lambda writing: self._resolve(UnitOfWork(writing, now, self._plugins.actions), number)
        )

    def count_open(self, installation: str) -> int:
        """Count the open incidents in one installation.

        Raises:
            StoreError: the database cannot be read.
        """
        ways = self.ways().items()
        return sum(count for (_, there), count in ways if there == installation)

    def forget(self, number: int) -> None:
        """End an incident here alone, and drop what waits for it: somebody else closed it.

        Raises:
            AdminError: there is no such incident, or it is over.
            StoreError: the database cannot be written.
        """
        now = self._clock()
        self._writer.run(
            lambda writing: self._forget(UnitOfWork(writing, now, self._plugins.actions), number)
        )

    def _replay(self, uow: UnitOfWork, number: int, *, as_is: bool) -> str | None:
        row = _found(uow.connection, number)
        delivery = delivery_store.delivery_of(row)
        orphaned = incident_store.find(uow.connection, row.incident_id)
        if orphaned and _is_orphaned(uow.connection, row) and orphans.may_replay(row):
            return orphans.send(uow, orphaned, delivery)
        if row.state not in GIVEN_UP:
            message = f"the delivery {number} was not given up: it is {row.state}"
            raise AdminError(message)
        if as_is or delivery.operation is not Operation.TRIGGER:
            # what records a problem that is over follows nothing up, and is wanted all the same
            if not (as_is or delivery.over or _is_of_use(uow.connection, delivery)):
                delivery_store.finish(uow, number, DeliveryState.DISCARDED, reason=_OVER)
                return None
            if delivery.ref.action not in self._plugins.actions:
                message = f"the action {delivery.ref.action} is gone"
                raise AdminError(message)
            submission_id = inbox.new_id()
            new = QueuedDelivery(delivery, accepted_at=row.accepted_at)
            enqueue.add(uow, new, submission_id)
        else:
            body = inbox.find_last_firing(uow.connection, delivery.alert)
            if body is None:
                message = f"what the alert {delivery.alert.key} said is not kept any more"
                raise AdminError(message)
            submission_id = inbox.replay(uow.connection, delivery.alert, body, number, uow.now)
        delivery_store.finish(uow, number, DeliveryState.COALESCED, reason="replayed")
        return submission_id

    def _discard_delivery(self, uow: UnitOfWork, number: int) -> None:
        row = _found(uow.connection, number)
        if row.worker_id is not None:
            raise _being_sent(number)
        if row.state != DeliveryState.QUEUED and row.state not in GIVEN_UP:
            message = f"the delivery {number} is finished: it is {row.state}"
            raise AdminError(message)
        if row.state == DeliveryState.QUEUED:
            notifier.drop(
                uow,
                number,
                DeliveryState.DISCARDED,
                orphans.DROPPED_BY_HAND,
                hook=notifier.UNDELIVERED,
            )
        else:  # that it was given up was told before
            delivery_store.finish(
                uow, number, DeliveryState.DISCARDED, reason=orphans.DROPPED_BY_HAND
            )
        delivery = delivery_store.delivery_of(row)
        stored = incident_store.find_open(uow.connection, delivery.ref)
        waits = delivery_store.promote(uow, row.incident_id)
        if not waits and row.state == DeliveryState.QUEUED:
            orphans.orphan_again(uow, row.incident_id, delivery)
        # one that is over already stays so: another one may be open at its place
        if stored and stored.id == row.incident_id and not waits:
            # who drops the resolve that would end a doubt takes it upon himself
            again = row.submission_id != delivery_store.CONFIRMATION
            enqueue.end(uow, stored, stored.provider_state, again=again)

    def _resolve(self, uow: UnitOfWork, number: int) -> str | None:
        row = _incident(uow.connection, number)
        queued = _queued_resolve(uow.connection, number)
        if row is None or not (row.active or row.orphaned or queued):
            raise _no_incident(number)
        if queued and not row.active:
            return queued
        stored = incident_store.find(uow.connection, number)
        assert stored is not None  # noqa: S101 -- it was just read
        action = self._plugins.actions.get(row.action)
        if action is None:
            message = f"the action {row.action} is gone; enable its plugin first"
            raise AdminError(message)
        if row.orphaned:
            closing = orphans.resolving(uow, stored)
            if closing is None:
                message = f"the action {row.action} cannot close the orphaned incident {number}"
                raise AdminError(message)
            return orphans.send(uow, stored, closing)
        held = stored.incident.holders
        alert = held[0] if held else Identity("", row.correlation_key)
        said = Alert(alert.key, scope=alert.scope, status=Status.RESOLVED)
        try:
            delivery = action.follow_up(stored.incident, said)
        except Exception as error:  # noqa: BLE001 -- whatever a plugin does
            message = f"the action {row.action} could not follow up: it {describe_error(error)}"
            raise AdminError(message) from None
        for each in held:
            incident_store.release(uow, number, each)
        if delivery is None or Operation.RESOLVE not in stored.incident.follow_ups:
            incident_store.close_incident(uow, number)
            return None
        submission_id = inbox.new_id()
        new = QueuedDelivery(delivery, accepted_at=uow.now)
        enqueue.add(uow, new, submission_id)
        return submission_id

    def _forget(self, uow: UnitOfWork, number: int) -> None:
        row = _incident(uow.connection, number)
        queued = _queued_resolve(uow.connection, number)
        if row is None or not (row.active or row.orphaned or queued):
            raise _no_incident(number)
        for each in delivery_store.find_queued_rows(uow.connection, number):
            if each.worker_id is not None:
                raise _being_sent(each.id)
            notifier.drop(
                uow,
                each.id,
                DeliveryState.DISCARDED,
                orphans.DROPPED_BY_HAND,
                hook=notifier.UNDELIVERED,
            )
        incident_store.close_incident(uow, number, orphaned=False)


def _discard(connection: sa.Connection, submission_id: str) -> SubmissionOutcome:
    this = submissions.c.submission_id == submission_id
    outcome = connection.execute(sa.select(submissions.c.outcome).where(this)).scalar()
    if outcome is None:
        message = f"there is no submission {submission_id}"
        raise AdminError(message)
    if outcome not in {SubmissionOutcome.FAILED, SubmissionOutcome.DEAD}:
        message = f"the submission {submission_id} is neither failed nor dead"
        raise AdminError(message)
    discarded = sa.update(submissions).where(this).values(outcome=SubmissionOutcome.DISCARDED)
    connection.execute(discarded)
    return SubmissionOutcome(outcome)


_OVER: Final = "its problem is over"
_LANE: Final = sa.func.coalesce(channels.c.state, LaneState.HEALTHY)
_HELD: Final = _LANE == LaneState.BLOCKED
_ENTRIES: Final[sa.Select[Any]] = (
    sa.select(
        *(each for each in deliveries.c if each is not deliveries.c.body),
        sa.func.length(deliveries.c.body).label("size"),
        _LANE.label("lane_state"),
        sa.func.coalesce(channels.c.reason, "").label("lane_reason"),
        GATE.label("gate"),
    )
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .outerjoin(channels, OF_DELIVERY)
)
_COUNTS: Final = (
    sa.select(deliveries.c.state, sa.func.count())
    .where(deliveries.c.state.in_([DeliveryState.QUEUED, *GIVEN_UP]))
    .group_by(deliveries.c.state)
)
_IS_BLOCKED: Final = sa.and_(delivery_store.IS_QUEUED, channels.c.state == LaneState.BLOCKED)
_HELD_COUNT: Final = (
    sa.select(sa.func.count())
    .select_from(deliveries)
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .join(channels, OF_DELIVERY)
    .where(_IS_BLOCKED)
)
_BLOCKED_COUNT: Final = (
    sa.select(
        channels.c.id, sa.func.min(incidents.c.id).label("first"), sa.func.count().label("queued")
    )
    .select_from(deliveries)
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .join(channels, OF_DELIVERY)
    .where(_IS_BLOCKED)
    .group_by(channels.c.id)
    .subquery()
)
_BLOCKED: Final = (
    sa.select(incidents, channels.c.reason, channels.c.since, _BLOCKED_COUNT.c.queued)
    .join(_BLOCKED_COUNT, _BLOCKED_COUNT.c.first == incidents.c.id)
    .join(channels, channels.c.id == _BLOCKED_COUNT.c.id)
    .order_by(channels.c.since, channels.c.id)
)
_QUEUED_RESOLVES: Final = sa.select(deliveries.c.incident_id).where(
    delivery_store.IS_QUEUED, deliveries.c.operation == Operation.RESOLVE
)
_IS_RESOLVING: Final = sa.and_(
    ~incidents.c.active,
    ~incidents.c.orphaned,
    incidents.c.may_be_open,
    incidents.c.id.in_(_QUEUED_RESOLVES),
)
_WAYS: Final = (
    sa.select(incidents.c.action, incidents.c.installation, sa.func.count().label("count_"))
    .where(incidents.c.active)
    .group_by(incidents.c.action, incidents.c.installation)
)
_HANDLES: Final = (
    sa.select(sa.func.min(incidents.c.id).label("first"), sa.func.count().label("count_"))
    .where(incidents.c.active, incidents.c.handle.is_not(None))
    .group_by(
        incidents.c.action,
        incidents.c.installation,
        incidents.c.destination,
        incidents.c.handle,
    )
    .order_by("first")
)
_UNPLANNED: Final = sa.select(sa.func.count(), sa.func.min(submissions.c.accepted_at)).where(
    PENDING
)
_UNSENT: Final = (
    sa.select(
        submissions.c.submission_id,
        submissions.c.scope,
        submissions.c.key,
        submissions.c.outcome,
        submissions.c.note,
        submissions.c.accepted_at,
    )
    .where(OUTCOME, submissions.c.outcome == sa.bindparam("outcome"))
    .order_by(submissions.c.id.desc())
    .limit(sa.bindparam("most"))
)
_BY_SCOPE: Final = (
    sa.select(submissions.c.scope_digest, sa.func.count().label("number"))
    .where(PENDING)
    .group_by(submissions.c.scope_digest)
)
_BY_LANE: Final = (
    sa.select(lanes.c.installation, lanes.c.destination, sa.func.count().label("number"))
    .select_from(deliveries)
    .join(lanes, lanes.c.id == deliveries.c.lane_id)
    .where(delivery_store.IS_QUEUED)
    .group_by(lanes.c.id, lanes.c.installation, lanes.c.destination)
)
_WAITING: Final = sa.select(sa.func.count(), sa.func.min(deliveries.c.accepted_at)).where(
    delivery_store.IS_QUEUED
)


def _entries(
    connection: sa.Connection, which: sa.Select[Any], given: Mapping[str, Any] | None = None
) -> Iterator[DeliveryRow]:
    """Yield deliveries without their messages: the bodies of few are in memory at once."""
    rows = connection.execute(which, given or {}).all()
    of_number = {row.id: row for row in rows}
    for numbers in chunks(rows):
        for number, found in delivery_store.load_deliveries(connection, numbers).items():
            yield _entry(of_number[number], attrs.evolve(found, message={}))


def _entry(row: sa.Row[Any], delivery: Delivery) -> DeliveryRow:
    return DeliveryRow(
        id=row.id,
        incident_id=row.incident_id,
        submission_id=row.submission_id,
        delivery=delivery,
        state=DeliveryState(row.state),
        sending=row.worker_id is not None,
        attempts=row.attempts,
        coalesced=row.coalesced,
        accepted_at=row.accepted_at,
        due=row.due,
        finished_at=row.finished_at,
        outcome=OutcomeKind(row.outcome) if row.outcome else None,
        reason=row.reason,
        lane=LaneState(row.lane_state),
        lane_reason=row.lane_reason,
        next_try=max(row.due, row.gate) if row.is_head else None,
    )


def _fates(connection: sa.Connection, submission_ids: Sequence[str]) -> Iterator[SubmissionStatus]:
    rows = connection.execute(_NOTES, {"ids": submission_ids})
    noted = {row.submission_id: inbox.read_note(row.note) for row in rows}
    entries: dict[str, list[DeliveryRow]] = {}
    for entry in _entries(connection, _OF_STATEMENTS, {"ids": submission_ids}):
        entries.setdefault(entry.submission_id, []).append(entry)
    for each in submission_ids:
        found = tuple(entries.get(each, ()))
        # what a person did is no statement of a host's: it has deliveries alone
        note = noted[each] if each in noted else (Note() if found else None)
        yield SubmissionStatus(each, note, found)


_TOGETHER: Final = 500
"""Statements that are asked for at once: databases take only so many parameters."""

_NOTES: Final = sa.select(submissions.c.submission_id, submissions.c.note).where(
    submissions.c.submission_id.in_(sa.bindparam("ids", expanding=True))
)
_OF_STATEMENTS: Final = _ENTRIES.where(
    deliveries.c.submission_id.in_(sa.bindparam("ids", expanding=True))
).order_by(deliveries.c.id)


def _case(connection: sa.Connection, row: sa.Row[Any]) -> IncidentRow:
    stored = incident_store.incident_of(row, incident_store.holders_of(connection, row.id))
    return IncidentRow(
        id=row.id,
        incident=stored.incident,
        open=row.active,
        may_be_open=row.may_be_open,
        trigger_delivered=row.trigger_delivered,
        orphaned=row.orphaned,
        opened_at=row.opened_at,
        changed_at=row.changed_at,
        summary=row.summary,
    )


def _found(connection: sa.Connection, number: int) -> sa.Row[Any]:
    which = sa.select(deliveries).where(deliveries.c.id == number)
    row = connection.execute(which).first()
    if row and backend.lock(connection, [delivery_store.delivery_of(row).ref]):
        row = connection.execute(which).first()
    if row is None:
        raise _no_delivery(number)
    return row


def _is_orphaned(connection: sa.Connection, row: sa.Row[Any]) -> bool:
    """Return whether a follow-up is of an incident that is still orphaned."""
    orphaned = sa.select(incidents.c.orphaned).where(incidents.c.id == row.incident_id)
    follows_up = row.operation != Operation.TRIGGER
    return follows_up and bool(connection.execute(orphaned).scalar())


def _no_delivery(number: int) -> AdminError:
    return AdminError(f"there is no delivery {number}")


def _no_incident(number: int) -> AdminError:
    return AdminError(f"there is no open incident {number}")


def _being_sent(number: int) -> AdminError:
    return AdminError(f"the delivery {number} is being sent now; try again")


def _incident(connection: sa.Connection, number: int) -> sa.Row[Any] | None:
    """Return an incident; nobody else decides about it meanwhile."""
    which = sa.select(incidents).where(incidents.c.id == number)
    row = connection.execute(which).first()
    if row and backend.lock(connection, [incident_store.ref_of(row)]):
        row = connection.execute(which).first()
    return row


def _queued_resolve(connection: sa.Connection, number: int) -> str | None:
    """Return the id of the submission whose resolve of an incident is queued, or None."""
    which = sa.select(deliveries.c.submission_id).where(
        delivery_store.IS_QUEUED,
        deliveries.c.operation == Operation.RESOLVE,
        deliveries.c.incident_id == number,
    )
    return connection.execute(which.limit(1)).scalar()


def _is_of_use(connection: sa.Connection, delivery: Delivery) -> bool:
    """Check whether an incident is there that a follow-up speaks of, and its alerts agree."""
    found = incident_store.find_open(connection, delivery.ref)
    if found is None:
        return False
    if delivery.operation is Operation.RESOLVE:
        return found.provider_state.needs_resolve and not found.incident.holders
    return delivery.alert in found.incident.holders
