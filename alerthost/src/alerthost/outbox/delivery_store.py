"""Reads and writes deliveries and the queue of each incident."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from alerthost.outbox import incident_store, lane_store
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import HEAD_START, OWN_FAILURE_DELAY, REPEAT_DELAY, QueuedDelivery
from alerthost.outbox.retry_policy import DeliveryState
from alerthost.outbox.serialisation import digest, dump, load_delivery
from alerthost.store.tables import deliveries, incidents
from hostspec.alert import Severity
from hostspec.delivery import Delivery, IncidentRef, Operation, Outcome, OutcomeKind

IS_QUEUED: Final = deliveries.c.state == sa.literal_column("'queued'")

_IS_UNFINISHED: Final = deliveries.c.finished_at.is_(None)
"""The same of deliveries that are found by their incidents: SQLite would search for the state."""

CONFIRMATION: Final = "confirming resolve"
"""The submission id of a confirming resolve, which is sent when no attempt can arrive any more."""

EARLY_CONFIRMATION: Final = "early confirming resolve"
"""The submission id of a confirming resolve that is sent early, since the alert fires again."""


def find_queue(connection: sa.Connection, number: int) -> tuple[tuple[QueuedDelivery, ...], bool]:
    """Return the queue of an incident, in order, and whether another delivery is in flight."""
    rows = find_queued_rows(connection, number)
    queue = tuple(queued_delivery_of(row) for row in rows if row.worker_id is None)
    return queue, len(queue) < len(rows)


def find_queued_rows(connection: sa.Connection, number: int) -> Sequence[sa.Row[Any]]:
    """Return the unfinished deliveries of an incident, one in flight first."""
    return connection.execute(_ROWS, {"number": number}).all()


_ROWS: Final = (
    sa.select(deliveries)
    .where(deliveries.c.incident_id == sa.bindparam("number"), _IS_UNFINISHED)
    .order_by(deliveries.c.position)
)


def find_row(connection: sa.Connection, number: int) -> sa.Row[Any] | None:
    """Return the row of a delivery, or None."""
    return connection.execute(_ROW, {"number": number}).first()


_ROW: Final = sa.select(deliveries).where(deliveries.c.id == sa.bindparam("number"))


def queued_delivery_of(row: sa.Row[Any]) -> QueuedDelivery:
    """Return the queued delivery of a row."""
    return QueuedDelivery(
        delivery=delivery_of(row),
        id=row.id,
        coalesced=row.coalesced,
        accepted_at=row.accepted_at,
        tried=row.attempts > 0,
        repeat=row.is_repeat,
    )


def load_deliveries(connection: sa.Connection, numbers: Sequence[int]) -> Mapping[int, Delivery]:
    """Return deliveries by their rows, in the given order."""
    bodies = load_bodies(connection, numbers)
    return {number: load_delivery(body) for number, body in bodies.items()}


def load_bodies(connection: sa.Connection, numbers: Sequence[int]) -> Mapping[int, str]:
    """Return the stored texts of deliveries by their rows, in the given order."""
    rows = connection.execute(_BODIES, {"numbers": numbers})
    found = {row.id: row.body for row in rows}
    return {number: found[number] for number in numbers if number in found}


_BODIES: Final = sa.select(deliveries.c.id, deliveries.c.body).where(
    deliveries.c.id.in_(sa.bindparam("numbers", expanding=True))
)


def find_rows_of_queues(
    connection: sa.Connection, incidents: Sequence[int]
) -> Sequence[sa.Row[Any]]:
    """Return the unfinished deliveries of several incidents, each queue in order."""
    return connection.execute(_OF_QUEUES, {"numbers": incidents}).all() if incidents else ()


_OF_QUEUES: Final = (
    sa.select(deliveries)
    .where(deliveries.c.incident_id.in_(sa.bindparam("numbers", expanding=True)), _IS_UNFINISHED)
    .order_by(deliveries.c.incident_id, deliveries.c.position)
)


def find_queue_sizes(
    connection: sa.Connection, refs: Iterable[IncidentRef]
) -> Mapping[IncidentRef, int]:
    """Return the sizes in bytes of the queues of open incidents; empty ones are left out."""
    names = {digest(each): each for each in refs}
    rows = connection.execute(_SIZES, {"digests": [*names]}) if names else ()
    return {names[row.digest]: row.size for row in rows}


_SIZES: Final = (
    sa.select(incidents.c.digest, sa.func.sum(sa.func.length(deliveries.c.body)).label("size"))
    .join(deliveries, deliveries.c.incident_id == incidents.c.id)
    .where(
        incidents.c.active,
        incidents.c.digest.in_(sa.bindparam("digests", expanding=True)),
        _IS_UNFINISHED,
    )
    .group_by(incidents.c.digest)
)


def find_newest(connection: sa.Connection, number: int, operation: Operation) -> Delivery | None:
    """Return the newest delivery of an operation, queued or finished, of an incident."""
    row = connection.execute(
        sa.select(deliveries)
        .where(deliveries.c.incident_id == number, deliveries.c.operation == operation)
        .order_by(deliveries.c.id.desc())
        .limit(1)
    ).first()
    return delivery_of(row) if row else None


def find_delivered_triggers(
    connection: sa.Connection, numbers: Collection[int]
) -> Mapping[int, Delivery]:
    """Return the newest delivered trigger of each incident, given by their rows."""
    rows = connection.execute(_DELIVERED_TRIGGERS, {"numbers": numbers})
    return {row.incident_id: delivery_of(row) for row in rows}


_DELIVERED_TRIGGERS: Final = sa.select(deliveries).where(
    deliveries.c.id.in_(
        sa.select(sa.func.max(deliveries.c.id))
        .where(
            deliveries.c.incident_id.in_(sa.bindparam("numbers", expanding=True)),
            deliveries.c.operation == Operation.TRIGGER,
            deliveries.c.outcome == OutcomeKind.DELIVERED,  # their state has an index
        )
        .group_by(deliveries.c.incident_id)
    )
)


def write_queue(  # noqa: PLR0913 -- all of them describe the queue
    uow: UnitOfWork,
    stored: incident_store.StoredIncident,
    queue: Sequence[QueuedDelivery],
    submission_id: str,
    *,
    in_flight: bool = False,
    due: float | None = None,
    reason: str = "",
) -> None:
    """Insert the deliveries of an incident with an empty queue; the first becomes the head.

    The head is as urgent as the most urgent delivery behind it.

    Args:
        uow: the transaction.
        stored: the incident.
        queue: its new deliveries, in order.
        submission_id: of the deliveries.
        in_flight: another delivery of the incident is being sent, so none may start now.
        due: when they may be sent; None for now.
        reason: why they are sent, if no submission of an alert is the reason.
    """
    moment = uow.now if due is None else due
    urgency = min(map(urgency_of, queue))
    rows = [
        {
            **build_row(stored.id, stored.lane_id, each, submission_id, moment),
            "position": position,
            "is_head": position == 1 and not in_flight,
            "urgency": urgency,
            "reason": reason,
        }
        for position, each in enumerate(queue, start=1)
    ]
    insert_all(uow.connection, rows)
    if not in_flight:
        lane_store.wake(uow, stored.lane_id)


def insert_all(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert deliveries."""
    if rows:
        connection.execute(_NEW_DELIVERY, rows)


def update_all(connection: sa.Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """Change deliveries, given by their rows as ``number``: all in the same columns."""
    if changes:
        connection.execute(_update_of(tuple(changes[0])), changes)


@functools.cache
def _update_of(names: tuple[str, ...]) -> sa.Update:
    """Return the statement that changes some columns of a delivery."""
    columns: dict[str, Any] = {name: sa.bindparam(name) for name in names if name != "number"}
    return sa.update(deliveries).where(deliveries.c.id == sa.bindparam("number")).values(columns)


def expedite_confirmations(uow: UnitOfWork, numbers: Sequence[int], reason: str) -> None:
    """Send queued confirming resolves now, since their alerts fire again.

    Earlier attempts may still arrive, so they no longer confirm the incidents.
    """
    early = {"submission_id": EARLY_CONFIRMATION, "due": uow.now, "reason": reason}
    update_all(uow.connection, [{"number": number, **early} for number in numbers])


def build_row(
    incident: int, lane: int, new: QueuedDelivery, submission_id: str, due: float
) -> dict[str, Any]:
    """Build the row of a new delivery, without a place in its queue."""
    return {
        "uid": uuid.uuid4().hex,
        "incident_id": incident,
        "of_incident": incident,
        "lane_id": lane,
        "submission_id": submission_id,
        "operation": new.delivery.operation,
        "severity": new.delivery.severity,
        "body": dump(new.delivery),
        "state": DeliveryState.QUEUED,
        "due": due,
        "is_repeat": new.repeat,
        "position": 0,
        "coalesced": new.coalesced,
        "accepted_at": new.accepted_at,
        "is_head": False,
        "urgency": 0.0,
        "reason": "",
        "finished_at": None,
    }


def urgency_of(queued: QueuedDelivery) -> float:
    """Return the urgency of a queued delivery: the lower, the sooner it is sent."""
    return _urgency(queued.accepted_at, queued.delivery.severity, repeat=queued.repeat)


def _urgency(accepted_at: float, severity: Severity, *, repeat: bool) -> float:
    return accepted_at - HEAD_START[severity] + REPEAT_DELAY * repeat


def promote(uow: UnitOfWork, *numbers: int) -> Collection[int]:
    """Make the first queued delivery of incidents their head, unless another is in flight.

    Return the incidents, among those given by their rows, that have unfinished deliveries.
    """
    queues: dict[int, list[Any]] = {}
    found = uow.connection.execute(_QUEUES, {"numbers": numbers}).all()
    for row in sorted(found, key=lambda row: row.position):
        queues.setdefault(row.incident_id, []).append(row)
    heads = [rows for rows in queues.values() if all(row.worker_id is None for row in rows)]
    for rows in heads:
        urgency = min(
            _urgency(row.accepted_at, Severity(row.severity), repeat=row.is_repeat) for row in rows
        )
        urgency += OWN_FAILURE_DELAY * rows[0].own_failures
        update(uow.connection, rows[0].id, is_head=True, urgency=urgency)
    if heads:
        lane_store.wake(uow, *{rows[0].lane_id for rows in heads})
    return queues.keys()


_QUEUES: Final = sa.select(
    deliveries.c.id,
    deliveries.c.incident_id,
    deliveries.c.lane_id,
    deliveries.c.worker_id,
    deliveries.c.position,
    deliveries.c.severity,
    deliveries.c.accepted_at,
    deliveries.c.own_failures,
    deliveries.c.is_repeat,
).where(
    deliveries.c.incident_id.in_(sa.bindparam("numbers", expanding=True)),
    _IS_UNFINISHED,
)


def update(connection: sa.Connection, number: int, **changes: Any) -> None:
    """Change a delivery."""
    connection.execute(sa.update(deliveries).where(deliveries.c.id == number), changes)


def finish_delivered(uow: UnitOfWork, done: Iterable[tuple[int, Outcome, float, str]]) -> None:
    """End deliveries that the provider accepted, given with outcomes, times and logs."""
    ended = {"state": DeliveryState.DELIVERED, **_ENDED}
    rows = [
        {
            "number": number,
            "outcome": outcome.kind,
            "reason": outcome.reason,
            "finished_at": at,
            "attempt_log": log,
        }
        for number, outcome, at, log in done
    ]
    update_all(uow.connection, [row | ended for row in rows])


_ENDED: Final = {"is_head": False, "worker_id": None, "lease_until": None}
"""Columns of a delivery that has ended."""


def finish(uow: UnitOfWork, number: int, state: DeliveryState, **changes: Any) -> None:
    """End a delivery."""
    update(uow.connection, number, state=state, finished_at=uow.now, **_ENDED, **changes)


def delivery_of(row: sa.Row[Any]) -> Delivery:
    """Return the delivery of a row."""
    return load_delivery(row.body)


_NEW_DELIVERY: Final = sa.insert(deliveries).values(
    channel=sa.select(lane_store.CHANNEL_OF_INCIDENT)
    .where(incidents.c.id == sa.bindparam("of_incident"))
    .scalar_subquery()
)
