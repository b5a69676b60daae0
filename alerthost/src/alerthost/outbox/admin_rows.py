"""Rows that `Admin` shows: deliveries, submissions, incidents, blocked lanes, and counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import attempts, delivery_store, inbox, incident_store
from alerthost.outbox.attempts import PastAttempt
from alerthost.outbox.lane_store import GATE, OF_DELIVERY
from alerthost.outbox.retry_policy import DeliveryState, LaneState
from alerthost.outbox.serialisation import chunks, load_delivery
from alerthost.outbox.submission import Note, SubmissionOutcome
from alerthost.store.tables import channels, deliveries, incidents, submissions
from hostspec.alert import Identity, Severity
from hostspec.delivery import Delivery, Incident, IncidentRef, Operation, OutcomeKind
from hostspec.plugins.registry import Plugins


class AdminError(Exception):
    """An operation is not possible; the message says why."""


@attrs.frozen
class DeliveryRow:
    """A delivery; times are in seconds of the epoch.

    Attributes:
        delivery: the planned delivery; in a list without its message. Of one that cannot be read,
            only the operation, the incident and the severity are known, and its alert is named by
            the correlation key.
        is_readable: whether its stored text can be read.
        sending: whether it is being sent now.
        coalesced: number of deliveries that were coalesced into it.
        due: when it may be tried next.
        finished_at: None while it is queued.
        outcome: of the last attempt; None before the first.
        reason: of the outcome, in the provider's words where it sent any.
        lane: the state of its channel: its action, destination and credential.
        lane_reason: why its channel is in that state.
        next_try: when the next attempt is made at the earliest; None where it is finished, being
            sent, or queued behind another delivery of its incident.
        log: its first and its last attempts.
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
    is_readable: bool = True
    log: tuple[PastAttempt, ...] = ()

    @property
    def blocked(self) -> bool:
        """Whether it is queued until the operator repairs something."""
        return self.state is DeliveryState.QUEUED and self.lane is LaneState.BLOCKED


@attrs.frozen
class SubmissionStatus:
    """The status of a submission.

    Attributes:
        note: its failures and suppressions; None while it is pending.
        entries: its deliveries.
    """

    submission_id: str
    note: Note | None
    entries: tuple[DeliveryRow, ...]

    @property
    def settled(self) -> bool:
        """Whether each delivery is finished, or blocked until the operator acts."""
        return self.note is not None and all(
            each.blocked or each.state is not DeliveryState.QUEUED for each in self.entries
        )


@attrs.frozen
class Unsent:
    """A submission without deliveries, or with fewer than its rules ask for.

    Attributes:
        outcome: why.
        note: its failures and suppressions.
        accepted_at: in seconds of the epoch.
    """

    submission_id: str
    alert: Identity
    outcome: SubmissionOutcome
    note: Note
    accepted_at: float


@attrs.frozen
class IncidentRow:
    """An incident; times are in seconds of the epoch.

    Attributes:
        incident: its reference, state, holders and handle.
        open: it is followed up here; False for one that ended.
        may_be_open: the provider may hold it open.
        trigger_delivered: the provider accepted a trigger of the present episode.
        orphaned: the key that opened it is not configured any more.
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
    """Deliveries of one lane that are blocked until the operator repairs something.

    Attributes:
        ref: of one of their incidents.
        reason: why, in the words of the last failure.
        since: when it was noticed, in seconds of the epoch.
        queued: number of deliveries.
    """

    ref: IncidentRef
    reason: str
    since: float
    queued: int


@attrs.frozen
class Backlog:
    """The size of the backlog.

    Attributes:
        pending: submissions that are not planned yet.
        queued: deliveries that are to be sent.
        oldest: when the oldest of all of them was accepted; None for an empty backlog.
        waiting: alerts for which a rule waits whether they still fire; no part of the backlog.
    """

    pending: int
    queued: int
    oldest: float | None
    waiting: int = 0


@attrs.frozen
class Load:
    """The size of the backlog by scope and by lane.

    Attributes:
        pending: submissions that are not planned yet, by the digest of their scope.
        queued: deliveries that are to be sent, by the installation and destination of their lane.
    """

    pending: Mapping[str, int] = attrs.field(factory=dict)
    queued: Mapping[tuple[str, str], int] = attrs.field(factory=dict)


UNREADABLE: Final = "it cannot be read"
"""The reason of a delivery whose stored text is damaged."""

_LANE: Final = sa.func.coalesce(channels.c.state, LaneState.HEALTHY)

IS_BLOCKED: Final = _LANE == LaneState.BLOCKED

ROWS: Final[sa.Select[Any]] = (
    sa.select(
        *(each for each in deliveries.c if each is not deliveries.c.body),
        incidents.c.action,
        incidents.c.installation,
        incidents.c.destination,
        incidents.c.correlation_key,
        sa.func.length(deliveries.c.body).label("size"),
        _LANE.label("lane_state"),
        sa.func.coalesce(channels.c.reason, "").label("lane_reason"),
        GATE.label("gate"),
    )
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .outerjoin(channels, OF_DELIVERY)
)


def build_delivery_rows(
    connection: sa.Connection, which: sa.Select[Any], given: Mapping[str, Any] | None = None
) -> Iterator[DeliveryRow]:
    """Yield deliveries without their messages: the bodies of few are in memory at once."""
    rows = connection.execute(which, given or {}).all()
    of_number = {row.id: row for row in rows}
    for numbers in chunks(rows):
        for number, body in delivery_store.load_bodies(connection, numbers).items():
            found = build_delivery_row(of_number[number], body)
            yield attrs.evolve(found, delivery=attrs.evolve(found.delivery, message={}))


def build_delivery_row(row: sa.Row[Any], body: str) -> DeliveryRow:
    """Build a delivery row from a row of `ROWS` and the stored text of its delivery."""
    is_readable = True
    try:
        delivery = load_delivery(body)
    except Exception:  # noqa: BLE001 -- an unreadable delivery hides no other
        is_readable = False
        ref = incident_store.ref_of(row)
        alert = Identity("", ref.correlation_key)
        delivery = Delivery(Operation(row.operation), ref, alert, Severity(row.severity))
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
        reason=row.reason or ("" if is_readable else UNREADABLE),
        lane=LaneState(row.lane_state),
        lane_reason=row.lane_reason,
        next_try=max(row.due, row.gate) if row.is_head else None,
        is_readable=is_readable,
        log=attempts.read(row.attempt_log),
    )


def build_statuses(
    connection: sa.Connection, submission_ids: Sequence[str]
) -> Iterator[SubmissionStatus]:
    """Yield the status of each of some submissions, in their order."""
    rows = connection.execute(_NOTES, {"ids": submission_ids})
    noted = {row.submission_id: inbox.read_note(row.note) for row in rows}
    entries: dict[str, list[DeliveryRow]] = {}
    for entry in build_delivery_rows(connection, _OF_SUBMISSIONS, {"ids": submission_ids}):
        entries.setdefault(entry.submission_id, []).append(entry)
    for each in submission_ids:
        found = tuple(entries.get(each, ()))
        # an operation of the operator has deliveries, but no submission
        note = noted[each] if each in noted else (Note() if found else None)
        yield SubmissionStatus(each, note, found)


TOGETHER: Final = 500
"""Submissions or incidents per query: databases limit the number of parameters."""


_NOTES: Final = sa.select(submissions.c.submission_id, submissions.c.note).where(
    submissions.c.submission_id.in_(sa.bindparam("ids", expanding=True))
)

_OF_SUBMISSIONS: Final = ROWS.where(
    deliveries.c.submission_id.in_(sa.bindparam("ids", expanding=True))
).order_by(deliveries.c.id)


def follows_up(plugins: Plugins) -> sa.ColumnElement[bool]:
    """Select incidents whose action follows them up: all but those of records."""
    actions = plugins.actions
    records = [name for name, action in actions.items() if action.capabilities.record]
    return incidents.c.action.not_in(records)


def build_incident_rows(
    connection: sa.Connection, rows: Sequence[sa.Row[Any]]
) -> Iterator[IncidentRow]:
    """Yield incidents, with the alerts that hold them open."""
    for row, stored in zip(rows, incident_store.incidents_of(connection, rows), strict=True):
        yield IncidentRow(
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


def no_delivery(number: int) -> AdminError:
    """Return the error that a delivery does not exist."""
    return AdminError(f"there is no delivery {number}")
