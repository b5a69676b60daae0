"""Lists for the console: services, incidents, deliveries, submissions and activity.

Each list is read page by page: a page starts after the last row of the one before, by key, so that
the last page is as fast as the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import attrs
import sqlalchemy as sa

from alerthost.outbox import activity, delivery_store, inbox
from alerthost.outbox.activity import Activity
from alerthost.outbox.admin_rows import (
    IS_BLOCKED,
    ROWS,
    UNREADABLE,
    DeliveryRow,
    IncidentRow,
    build_delivery_row,
    build_delivery_rows,
    build_incident_rows,
    follows_up,
)
from alerthost.outbox.admin_services import Service, read_services
from alerthost.outbox.retry_policy import DeliveryState
from alerthost.outbox.serialisation import chunks
from alerthost.outbox.submission import Note, Submission, SubmissionOutcome
from alerthost.store.database import Database
from alerthost.store.tables import (
    OUTCOME,
    channels,
    deliveries,
    incidents,
    lanes,
    submissions,
)
from hostspec.alert import Alert, Severity
from hostspec.plugins.registry import Plugins

_T = TypeVar("_T")


@attrs.frozen
class Page(Generic[_T]):
    """Rows of a list, and the key that the next page starts after; None on the last page."""

    rows: tuple[_T, ...]
    after: int | None


@attrs.frozen
class IncidentFilter:
    """Selects incidents.

    Attributes:
        active: those that are open, or those that ended.
        orphaned: those whose key is gone; `active` does not matter then.
        service: the installation and the destination; None for all.
        text: part of the summary or the key, in any case.
    """

    active: bool = True
    orphaned: bool = False
    service: tuple[str, str] | None = None
    severity: Severity | None = None
    text: str = ""


@attrs.frozen
class DeliveryFilter:
    """Selects deliveries.

    Attributes:
        state: None for all.
        blocked: of the queued ones, those that are blocked, or those that are not; None for both.
        service: the installation and the destination; None for all.
        upto: the highest number; None for no limit.
    """

    state: DeliveryState | None = None
    blocked: bool | None = None
    service: tuple[str, str] | None = None
    upto: int | None = None


@attrs.frozen
class SubmissionRow:
    """A submission, with the result of planning it.

    Attributes:
        alert: as it was accepted; of one that cannot be read, only its identity.
        accepted_at: in seconds of the epoch.
        note: None while it is pending.
        outcome: why it has no delivery, or fewer than its rules ask for; None if it has all.
        is_replay: whether it plans a delivery again.
        deliveries: without their messages.
        cause: why `alerthost` itself accepted it; empty if a sender submitted it.
    """

    id: int
    submission_id: str
    alert: Alert
    accepted_at: float
    note: Note | None
    outcome: SubmissionOutcome | None
    is_replay: bool
    deliveries: tuple[DeliveryRow, ...]
    cause: str = ""


class AdminLists:
    """Reads lists page by page.

    Every method raises StoreError when the database cannot be read.

    Args:
        clock: returns the time, in seconds of the epoch.
    """

    def __init__(self, database: Database, plugins: Plugins, clock: Callable[[], float]) -> None:
        self._database = database
        self._plugins = plugins
        self._clock = clock

    def services(self) -> tuple[Service, ...]:
        """Return all services that anything was sent to, or is queued for."""
        with self._database.read() as connection:
            return read_services(connection, self._clock())

    def incidents(self, which: IncidentFilter, after: int | None, most: int) -> Page[IncidentRow]:
        """Return incidents, those that changed last first; no records."""
        query = sa.select(incidents).where(follows_up(self._plugins))
        if which.orphaned:
            query = query.where(incidents.c.orphaned)
        else:
            query = query.where(incidents.c.active if which.active else ~incidents.c.active)
        if which.service is not None:
            installation, destination = which.service
            query = query.where(
                incidents.c.installation == installation, incidents.c.destination == destination
            )
        if which.severity is not None:
            query = query.where(incidents.c.severity == which.severity)
        if which.text:
            query = query.where(
                incidents.c.summary.icontains(which.text, autoescape=True)
                | incidents.c.correlation_key.icontains(which.text, autoescape=True)
            )
        with self._database.read() as connection:
            query = _newest(connection, query, incidents.c.changed_at, incidents.c.id, after)
            rows, last = _first(connection.execute(query.limit(most + 1)).all(), most)
            return Page(tuple(build_incident_rows(connection, rows)), last)

    def incident(self, number: int) -> IncidentRow | None:
        """Return one incident, or None."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(incidents).where(incidents.c.id == number)).first()
            return next(iter(build_incident_rows(connection, [row])), None) if row else None

    def open_incidents(self) -> int:
        """Count the open incidents, records included, without reading them."""
        with self._database.read() as connection:
            return connection.execute(_OPEN).scalar_one()

    def history(self, incident: int, after: int | None, most: int) -> Page[DeliveryRow]:
        """Return the deliveries of an incident with their messages, the newest first."""
        query = ROWS.where(deliveries.c.incident_id == incident).order_by(deliveries.c.id.desc())
        if after is not None:
            query = query.where(deliveries.c.id < after)
        with self._database.read() as connection:
            rows, last = _first(connection.execute(query.limit(most + 1)).all(), most)
            found = delivery_store.load_bodies(connection, [row.id for row in rows])
            return Page(tuple(build_delivery_row(row, found[row.id]) for row in rows), last)

    def deliveries(self, which: DeliveryFilter, after: int | None, most: int) -> Page[DeliveryRow]:
        """Return deliveries without their messages, the newest first.

        Those in one final state come in the order in which they ended.
        """
        with self._database.read() as connection:
            query = _selected(connection, ROWS, which)
            if which.state in _ENDED and which.service is None:
                query = _newest(connection, query, deliveries.c.finished_at, deliveries.c.id, after)
            else:
                query = query.order_by(deliveries.c.id.desc())
                if after is not None:
                    query = query.where(deliveries.c.id < after)
            found = tuple(build_delivery_rows(connection, query.limit(most + 1)))
        return Page(found[:most], found[most - 1].id if len(found) > most else None)

    def count(self, which: DeliveryFilter) -> int:
        """Count deliveries."""
        query = sa.select(sa.func.count()).select_from(_OF_DELIVERIES)
        with self._database.read() as connection:
            return int(connection.execute(_selected(connection, query, which)).scalar_one())

    def numbers(self, which: DeliveryFilter, after: int, most: int) -> Sequence[int]:
        """Return the numbers of deliveries beyond one, the oldest first."""
        query = sa.select(deliveries.c.id).select_from(_OF_DELIVERIES)
        query = query.where(deliveries.c.id > after).order_by(deliveries.c.id).limit(most)
        with self._database.read() as connection:
            return connection.execute(_selected(connection, query, which)).scalars().all()

    def last_delivery(self) -> int:
        """Return the highest number of a delivery, or 0."""
        with self._database.read() as connection:
            return connection.execute(_LAST).scalar_one() or 0

    def submissions(
        self, outcome: SubmissionOutcome | None, after: int | None, most: int
    ) -> Page[SubmissionRow]:
        """Return submissions, the newest first; with one outcome, or all."""
        query = _SUBMISSIONS.order_by(submissions.c.id.desc())
        if outcome is not None:
            query = query.where(OUTCOME, submissions.c.outcome == outcome)
        if after is not None:
            query = query.where(submissions.c.id < after)
        with self._database.read() as connection:
            rows, last = _first(connection.execute(query.limit(most + 1)).all(), most)
            return Page(tuple(_submission_rows(connection, rows)), last)

    def marker(self) -> tuple[object, ...]:
        """Return values that differ after most changes of what the lists show; quickly."""
        with self._database.read() as connection:
            return tuple(connection.execute(_MARKER).one())

    def unclosed(self, installation: str) -> Mapping[str, tuple[int, int]]:
        """Count the open and the orphaned incidents in an installation by destination."""
        query = _UNCLOSED.where(follows_up(self._plugins))
        with self._database.read() as connection:
            rows = connection.execute(query, {"installation": installation}).all()
        return {row.destination: (row.open, row.orphaned) for row in rows}

    def changes(self, verb: str, prefix: str, most: int) -> tuple[Activity, ...]:
        """Return the newest changes of one verb about subjects with a prefix."""
        query = activity.entries_of(verb, prefix)
        with self._database.read() as connection:
            return tuple(map(activity.build, connection.execute(query, {"most": most})))

    def activity(self, after: int | None, most: int) -> Page[Activity]:
        """Return the changes by operators, the newest first."""
        query, given = activity.ENTRIES, {"most": most + 1}
        if after is not None:
            query, given = activity.ENTRIES_BEFORE, {**given, "before": after}
        with self._database.read() as connection:
            rows, last = _first(connection.execute(query, given).all(), most)
        return Page(tuple(map(activity.build, rows)), last)


def _first(rows: Sequence[Any], most: int) -> tuple[Sequence[sa.Row[Any]], int | None]:
    """Return at most so many rows, and the key of the last one if there are more."""
    return rows[:most], rows[most - 1].id if len(rows) > most else None


def _newest(
    connection: sa.Connection,
    query: sa.Select[Any],
    moment: sa.ColumnElement[Any],
    key: sa.ColumnElement[Any],
    after: int | None,
) -> sa.Select[Any]:
    """Order rows by a moment, the newest first, and select those after one."""
    if after is not None:
        last = connection.execute(sa.select(moment).where(key == after)).scalar()
        if last is not None:
            query = query.where(moment <= last, sa.or_(moment < last, key < after))
    return query.order_by(moment.desc(), key.desc())


def _selected(
    connection: sa.Connection, query: sa.Select[Any], which: DeliveryFilter
) -> sa.Select[Any]:
    if which.state is not None:
        query = query.where(deliveries.c.state == which.state)
        if which.state is DeliveryState.QUEUED:  # so that the index has them in order
            query = query.where(deliveries.c.finished_at.is_(None))
    if which.blocked is not None:
        query = query.where(IS_BLOCKED if which.blocked else ~IS_BLOCKED)
    if which.service is not None:
        installation, destination = which.service
        lane = connection.execute(
            _LANE, {"installation": installation, "destination": destination}
        ).scalar()
        # deliveries in other states are few, and found by their state
        column = deliveries.c.lane_id if which.state in _COMMON else deliveries.c.lane_id + 0
        query = query.where(column == (lane or 0))
    if which.upto is not None:
        query = query.where(deliveries.c.id <= which.upto)
    return query


def _submission_rows(
    connection: sa.Connection, rows: Sequence[sa.Row[Any]]
) -> Iterator[SubmissionRow]:
    of_submission: dict[str, list[DeliveryRow]] = {}
    which = deliveries.c.submission_id.in_([row.submission_id for row in rows])
    for each in build_delivery_rows(connection, ROWS.where(which).order_by(deliveries.c.id)):
        of_submission.setdefault(each.submission_id, []).append(each)
    by_number = {row.id: row for row in rows}
    for numbers in chunks(rows):
        for submission in inbox.load(connection, numbers):
            row = by_number[submission.row]
            yield SubmissionRow(
                id=row.id,
                submission_id=row.submission_id,
                alert=_alert_of(submission),
                accepted_at=row.accepted_at,
                note=inbox.read_note(row.note),
                outcome=SubmissionOutcome(row.outcome) if row.outcome else None,
                is_replay=row.replays is not None,
                deliveries=tuple(of_submission.get(row.submission_id, ())),
                cause=submission.cause,
            )


def _alert_of(submission: Submission) -> Alert:
    """Return the alert of a submission; of an unreadable one, only its identity is known."""
    try:
        return submission.alert()
    except Exception:  # noqa: BLE001 -- an unreadable submission hides no other
        return Alert(submission.identity.key, UNREADABLE, scope=submission.identity.scope)


_ENDED: Final = frozenset(DeliveryState) - {DeliveryState.QUEUED}

_COMMON: Final = (
    None,
    DeliveryState.DELIVERED,
    DeliveryState.COALESCED,
    DeliveryState.DISCARDED,
)
"""States that many deliveries of a lane are in; None for all."""

_OF_DELIVERIES: Final = ROWS.get_final_froms()[0]

_LANE: Final = sa.select(lanes.c.id).where(
    lanes.c.installation == sa.bindparam("installation"),
    lanes.c.destination == sa.bindparam("destination"),
)

_OPEN: Final = sa.select(sa.func.count()).where(incidents.c.active)

_UNCLOSED: Final = (
    sa.select(
        incidents.c.destination,
        sa.func.count().filter(incidents.c.active).label("open"),
        sa.func.count().filter(incidents.c.orphaned).label("orphaned"),
    )
    .where(
        incidents.c.installation == sa.bindparam("installation"),
        sa.or_(incidents.c.active, incidents.c.orphaned),
    )
    .group_by(incidents.c.destination)
    .order_by(incidents.c.destination)
)

_MARKER: Final = sa.select(
    sa.select(sa.func.max(submissions.c.id)).scalar_subquery(),
    sa.select(sa.func.max(deliveries.c.id)).scalar_subquery(),
    *(
        sa.select(sa.func.max(deliveries.c.finished_at))
        .where(deliveries.c.state == state)
        .scalar_subquery()
        for state in sorted(_ENDED)
    ),
    *(
        sa.select(sa.func.max(incidents.c.changed_at)).where(each).scalar_subquery()
        for each in (incidents.c.active, ~incidents.c.active)
    ),
    sa.select(sa.func.sum(channels.c.failures)).scalar_subquery(),
    sa.select(sa.func.max(activity.TABLE.c.id)).scalar_subquery(),
)

_LAST: Final = sa.select(sa.func.max(deliveries.c.id))

_SUBMISSIONS: Final = sa.select(
    submissions.c.id,
    submissions.c.submission_id,
    submissions.c.accepted_at,
    submissions.c.note,
    submissions.c.outcome,
    submissions.c.replays,
    submissions.c.size,
)
