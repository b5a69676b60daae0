"""Queries of deliveries, submissions and incidents, for the operator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from alerthost.outbox import delivery_store, heartbeat_store, inbox, incident_store
from alerthost.outbox.admin_rows import (
    IS_BLOCKED,
    ROWS,
    TOGETHER,
    Backlog,
    Blocked,
    DeliveryRow,
    IncidentRow,
    Load,
    SubmissionStatus,
    Unsent,
    build_delivery_row,
    build_delivery_rows,
    build_incident_rows,
    build_statuses,
    follows_up,
    no_delivery,
)
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat, HeartbeatRow
from alerthost.outbox.heartbeat import is_worked_on
from alerthost.outbox.lane_store import FAILS, OF_DELIVERY
from alerthost.outbox.retry_policy import GIVEN_UP, DeliveryState, LaneState
from alerthost.outbox.serialisation import chunks
from alerthost.outbox.submission import Note, SubmissionOutcome
from alerthost.store.database import Database
from alerthost.store.tables import (
    OUTCOME,
    PENDING,
    alerts,
    channels,
    deliveries,
    incidents,
    lanes,
    submissions,
)
from hostspec.alert import Alert, Identity
from hostspec.delivery import Incident, Operation
from hostspec.forking import of_its_process
from hostspec.plugins.registry import Plugins


@of_its_process
class AdminQueries:
    """Reads deliveries, submissions and incidents; needs no running engine.

    Every method raises StoreError when the database cannot be read.

    Args:
        clock: returns the time, in seconds of the epoch.
    """

    def __init__(self, database: Database, plugins: Plugins, clock: Callable[[], float]) -> None:
        self._database = database
        self._plugins = plugins
        self._clock = clock

    def _all(self, query: sa.Executable, **values: object) -> Sequence[sa.Row[Any]]:
        with self._database.read() as connection:
            return connection.execute(query, values).all()

    @property
    def exists(self) -> bool:
        """Whether there is a database to look into."""
        return self._database.exists

    def is_worked_on(self, wait: float = 0.0) -> bool:
        """Return whether a process delivers from the database now; this one counts, too.

        Args:
            wait: seconds to wait on PostgreSQL for the next sign of life of a worker; without it,
                a worker counts for some seconds after it was killed.
        """
        return self.exists and is_worked_on(self._database, wait)

    def heartbeats(self, expected: Iterable[ExpectedHeartbeat]) -> tuple[HeartbeatRow, ...]:
        """Return the states of expected heartbeats, in their order."""
        if not self.exists:
            return tuple(map(HeartbeatRow, expected))
        with self._database.read() as connection:
            return heartbeat_store.read_rows(connection, expected)

    def deliveries(
        self,
        states: Collection[DeliveryState] = (),
        *,
        blocked: bool | None = None,
        most: int = 100,
    ) -> tuple[DeliveryRow, ...]:
        """Return deliveries, the newest first.

        Args:
            states: those in one of these; empty for all.
            blocked: those that are blocked, or those that are not; None for both.
            most: the number of deliveries to return at most.
        """
        which = ROWS.order_by(deliveries.c.id.desc()).limit(most)
        if states:
            which = which.where(deliveries.c.state.in_(list(states)))
        if blocked is not None:
            which = which.where(IS_BLOCKED if blocked else ~IS_BLOCKED)
        with self._database.read() as connection:
            return tuple(build_delivery_rows(connection, which))

    def delivery(self, number: int) -> DeliveryRow:
        """Return one delivery.

        Raises:
            AdminError: there is no such delivery.
            StoreError: the database cannot be read.
        """
        with self._database.read() as connection:
            row = connection.execute(ROWS.where(deliveries.c.id == number)).first()
            if row is None:
                raise no_delivery(number)
            return build_delivery_row(row, delivery_store.load_bodies(connection, [number])[number])

    def numbers(self, states: Collection[DeliveryState]) -> tuple[int, ...]:
        """Return the numbers of all deliveries in some states, the oldest first."""
        which = sa.select(deliveries.c.id).where(deliveries.c.state.in_(list(states)))
        return tuple(row.id for row in self._all(which.order_by(deliveries.c.id)))

    def unsettled(self) -> tuple[int, Mapping[DeliveryState, int]]:
        """Count the blocked deliveries, and the queued and given-up ones by state."""
        with self._database.read() as connection:
            blocked = connection.execute(_BLOCKED_TOTAL).scalar_one()
            rows = connection.execute(_COUNTS).all()
        return blocked, {DeliveryState(state): count for state, count in rows}

    def statuses(self, submission_ids: Sequence[str]) -> tuple[SubmissionStatus, ...]:
        """Return the status of submissions, in their order; an unknown one counts as pending."""
        found: list[SubmissionStatus] = []
        with self._database.read() as connection:
            for first in range(0, len(submission_ids), TOGETHER):
                found += build_statuses(connection, submission_ids[first : first + TOGETHER])
        return tuple(found)

    def unsent(self, outcome: SubmissionOutcome, *, most: int = 100) -> tuple[Unsent, ...]:
        """Return submissions without deliveries, or with fewer than asked for, newest first."""
        return tuple(
            Unsent(
                row.submission_id,
                Identity(row.scope, row.key),
                SubmissionOutcome(row.outcome),
                inbox.read_note(row.note) or Note(),
                row.accepted_at,
            )
            for row in self._all(_UNSENT, outcome=outcome, most=most)
        )

    def unfinished(self, most: int) -> tuple[SubmissionStatus, ...]:
        """Return the submissions with work left: pending, or with deliveries that are due.

        A delivery whose channel fails counts as due, for it is tried when an engine starts.

        Args:
            most: how many; those with the most recent deliveries first.
        """
        queued = (
            sa.select(deliveries.c.submission_id)
            .join(incidents, incidents.c.id == deliveries.c.incident_id)
            .outerjoin(channels, OF_DELIVERY)
            .where(
                delivery_store.IS_QUEUED,
                sa.or_(
                    deliveries.c.due <= self._clock(), sa.and_(FAILS, deliveries.c.attempts > 0)
                ),
            )
            .order_by(deliveries.c.id.desc())
            .limit(most)
        )
        pending = (
            sa.select(submissions.c.submission_id)
            .where(PENDING)
            .order_by(submissions.c.id)
            .limit(most)
        )
        with self._database.read() as connection:
            found = [*connection.execute(queued).scalars(), *connection.execute(pending).scalars()]
        return self.statuses([*dict.fromkeys(found)][:most])

    def recent_alerts(self, most: int) -> Iterator[Alert]:
        """Yield the last accepted alerts, the newest first."""
        if not self.exists:
            return
        with self._database.read() as connection:
            newest = sa.select(submissions.c.id, submissions.c.size)
            found = connection.execute(newest.order_by(submissions.c.id.desc()).limit(most)).all()
            for numbers in chunks(found):
                for submission in inbox.load(connection, numbers):
                    yield submission.alert()

    def blocked(self) -> tuple[Blocked, ...]:
        """Return the blocked lanes, once for each action and each credential."""
        return tuple(
            Blocked(incident_store.ref_of(row), row.reason, row.since, row.queued)
            for row in self._all(_BLOCKED)
        )

    def backlog(self) -> Backlog:
        """Count pending submissions, queued deliveries, and alerts that rules wait for."""
        with self._database.read() as connection:
            pending, first = connection.execute(_COUNT_PENDING).one()
            queued, second = connection.execute(_COUNT_QUEUED).one()
            waiting = connection.execute(_COUNT_WAITING).scalar_one()
        oldest = min((each for each in (first, second) if each), default=None)
        return Backlog(pending, queued, oldest, waiting)

    def load(self) -> Load:
        """Count pending submissions by scope, and queued deliveries by lane."""
        with self._database.read() as connection:
            pending = connection.execute(_BY_SCOPE).all()
            queued = connection.execute(_BY_LANE).all()
        return Load(
            {row.scope_digest: row.number for row in pending},
            {(row.installation, row.destination): row.number for row in queued},
        )

    def incidents(
        self, *, orphaned: bool = False, installation: str | None = None, most: int = 100
    ) -> tuple[IncidentRow, ...]:
        """Return open incidents, in the order in which they are forgotten; no records.

        An orphaned incident counts as open while its resolve is queued.

        Args:
            orphaned: return the orphaned ones instead.
            installation: those in one; None for all.
            most: the number of incidents to return at most.
        """
        wanted = [incidents.c.orphaned] if orphaned else [incidents.c.active, _IS_RESOLVING]
        found: list[sa.Row[Any]] = []
        with self._database.read() as connection:
            for each in wanted:  # one by one, so that each uses its index
                which = sa.select(incidents).where(each, follows_up(self._plugins))
                which = which.order_by(incidents.c.changed_at).limit(most)
                if installation is not None:
                    which = which.where(incidents.c.installation == installation)
                found += connection.execute(which)
            found = sorted(found, key=lambda row: row.changed_at)[:most]
            return tuple(
                row
                for first in range(0, len(found), TOGETHER)
                for row in build_incident_rows(connection, found[first : first + TOGETHER])
            )

    def ways(self) -> Mapping[tuple[str, str], int]:
        """Count the open incidents by the action and the installation that lead to them."""
        ways = self._all(_WAYS.where(follows_up(self._plugins)))
        return {(way.action, way.installation): way.count_ for way in ways}

    def handles(self) -> Sequence[tuple[Incident, int]]:
        """Return one open incident of each handle and destination, and how many there are."""
        with self._database.read() as connection:
            rows = connection.execute(_HANDLES.where(follows_up(self._plugins))).all()
            found = [incident_store.find(connection, row.first) for row in rows]
        counts = [row.count_ for row in rows]
        return [(each.incident, n) for each, n in zip(found, counts, strict=True) if each]

    def count_open(self, installation: str) -> int:
        """Count the open incidents in one installation."""
        return sum(count for (_, there), count in self.ways().items() if there == installation)


_COUNTS: Final = (
    sa.select(deliveries.c.state, sa.func.count())
    .where(deliveries.c.state.in_([DeliveryState.QUEUED, *GIVEN_UP]))
    .group_by(deliveries.c.state)
)

_IS_QUEUED_BLOCKED: Final = sa.and_(delivery_store.IS_QUEUED, channels.c.state == LaneState.BLOCKED)

_BLOCKED_TOTAL: Final = (
    sa.select(sa.func.count())
    .select_from(deliveries)
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .join(channels, OF_DELIVERY)
    .where(_IS_QUEUED_BLOCKED)
)

_BLOCKED_COUNT: Final = (
    sa.select(
        channels.c.id, sa.func.min(incidents.c.id).label("first"), sa.func.count().label("queued")
    )
    .select_from(deliveries)
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .join(channels, OF_DELIVERY)
    .where(_IS_QUEUED_BLOCKED)
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
        incidents.c.action, incidents.c.installation, incidents.c.destination, incidents.c.handle
    )
    .order_by("first")
)

_COUNT_PENDING: Final = sa.select(sa.func.count(), sa.func.min(submissions.c.accepted_at)).where(
    PENDING
)

_COUNT_WAITING: Final = sa.select(sa.func.count()).where(alerts.c.waits_until.is_not(None))

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

_COUNT_QUEUED: Final = sa.select(sa.func.count(), sa.func.min(deliveries.c.accepted_at)).where(
    delivery_store.IS_QUEUED
)
