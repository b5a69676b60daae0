"""Reads and writes incidents, their lines and their lanes; decides nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import body
from alerthost.outbox.coalescing import HEAD_START, REPEAT, STRIKE, Waiting
from alerthost.outbox.digest import digest
from alerthost.outbox.retry_policy import DeliveryState, Episode
from alerthost.outbox.unit_of_work import UnitOfWork
from alerthost.store.tables import channels, deliveries, holders, incidents, lanes
from hostspec.alert import Identity, Severity
from hostspec.delivery import (
    Delivery,
    Handle,
    Incident,
    IncidentRef,
    IncidentState,
    Operation,
    Outcome,
    OutcomeKind,
    Receipt,
)
from hostspec.text import shorten
from hostspec.values import to_json

WAITING: Final = deliveries.c.state == DeliveryState.QUEUED

SETTLING: Final = "settle"
"""Stands as statement of a resolve that is sent again, when nothing can be late any more."""

LONGEST_SUMMARY: Final = 200
"""Characters of a summary that are kept with an incident."""

AHEAD: Final = "ahead"
"""Stands as statement of such a resolve that goes at once, ahead of what fires again."""


@attrs.frozen
class StoredIncident:
    """An incident as it was read.

    Attributes:
        id: its row.
        lane_id: the row of its lane.
        version: counts what planning looks at.
        incident: what an action is asked with.
        episode: what is known of it at the provider.
        opened_at: when it was opened here.
        summary: of the alert that triggered it last, bounded.
    """

    id: int
    lane_id: int
    version: int
    incident: Incident
    episode: Episode
    opened_at: float
    summary: str = ""


def incident_at(connection: sa.Connection, ref: IncidentRef) -> StoredIncident | None:
    """Return the incident at a place, where one is not over."""
    return _one(connection, incidents.c.active, _is_at(ref))


def incident(connection: sa.Connection, number: int) -> StoredIncident | None:
    """Return an incident by its row."""
    return _one(connection, incidents.c.id == number)


def incidents_at(
    connection: sa.Connection, refs: Iterable[IncidentRef]
) -> Mapping[IncidentRef, StoredIncident]:
    """Return the open incidents at places, in a fixed number of queries."""
    rows = connection.execute(_AT, {"digests": [digest(each) for each in refs]}).all()
    return {each.incident.ref: each for each in _stored_all(connection, rows)}


_AT: Final = sa.select(incidents).where(
    incidents.c.active, incidents.c.digest.in_(sa.bindparam("digests", expanding=True))
)


@attrs.frozen
class Held:
    """The incidents of an alert.

    Attributes:
        open: those that it holds open, the oldest first.
        orphaned: whether one of its incidents is orphaned.
    """

    open: tuple[StoredIncident, ...] = ()
    orphaned: bool = False


def held_by(connection: sa.Connection, alerts: Iterable[Identity]) -> Mapping[Identity, Held]:
    """Return the incidents of each of some alerts, in a fixed number of queries."""
    names = {digest(each): each for each in alerts}
    found = connection.execute(_HELD, {"digests": list(names)}).all()
    rows = sorted({row.id: row for row in found}.values(), key=lambda row: row.id)
    stored = {each.id: each for each in _stored_all(connection, [r for r in rows if r.active])}
    of_alert: dict[str, set[int]] = {}
    orphaned = {row.held_by for row in found if row.orphaned}
    for row in found:
        of_alert.setdefault(row.held_by, set()).add(row.id)
    return {
        alert: Held(
            tuple(stored[n] for n in sorted(of_alert.get(name, ())) if n in stored),
            name in orphaned,
        )
        for name, alert in names.items()
    }


_HELD: Final = (
    sa.select(incidents, holders.c.digest.label("held_by"))
    .select_from(holders)
    .join(incidents, incidents.c.id == holders.c.incident_id)
    .where(
        holders.c.digest.in_(sa.bindparam("digests", expanding=True)),
        sa.or_(incidents.c.active, incidents.c.orphaned),
    )
)


def open_incident(
    uow: UnitOfWork, delivery: Delivery, summary: str, **known: Any
) -> StoredIncident:
    """Begin an incident that its alert holds; nothing else is known of it at the provider yet."""
    lane = lane_of(uow.connection, delivery.ref)
    values = {**new_incident(delivery, lane, uow.now, summary), **known}
    made = uow.connection.execute(_NEW_INCIDENT, values)
    number = made.inserted_primary_key[0] if made.inserted_primary_key else 0
    uow.connection.execute(_NEW_HOLDER, new_holder(number, delivery.alert, 0))
    incident = Incident(
        ref=delivery.ref,
        state=IncidentState.RESOLVED,
        severity=delivery.severity,
        holders=(delivery.alert,),
        rules=delivery.rules,
        follow_ups=delivery.follow_ups,
    )
    return StoredIncident(number, lane, 0, incident, Episode(), uow.now, values["summary"])


def open_incidents(
    uow: UnitOfWork, opening: Sequence[tuple[Waiting, int]]
) -> Mapping[IncidentRef, int]:
    """Open incidents as `open_incident` does; return their rows.

    Args:
        uow: the transaction.
        opening: their first deliveries, each at another place, with the rows of the lanes.
    """
    if not opening:
        return {}
    rows = [new_incident(new.delivery, lane, uow.now, new.summary) for new, lane in opening]
    ids = {row.digest: row.id for row in uow.connection.execute(_NEW_INCIDENTS, rows)}
    numbers = [ids[row["digest"]] for row in rows]
    held = [
        new_holder(number, new.delivery.alert, 0)
        for number, (new, _) in zip(numbers, opening, strict=True)
    ]
    uow.connection.execute(_NEW_HOLDER, held)
    return {new.delivery.ref: number for number, (new, _) in zip(numbers, opening, strict=True)}


def new_incident(delivery: Delivery, lane: int, now: float, summary: str) -> dict[str, Any]:
    """Build the row of an incident that a delivery opens."""
    return {
        **attrs.asdict(delivery.ref),
        "digest": digest(delivery.ref),
        "lane_id": lane,
        "active": True,
        "state": IncidentState.RESOLVED,
        "severity": delivery.severity,
        "handle": None,
        "rules": as_json(delivery.rules),
        "follow_ups": as_json(delivery.follow_ups),
        "may_be_open": False,
        "trigger_delivered": False,
        "in_doubt": False,
        "orphaned": False,
        "opened_at": now,
        "changed_at": now,
        "version": 0,
        "summary": bounded(summary),
    }


def bounded(summary: str) -> str:
    """Return a summary as it is kept with an incident: of a very long one the beginning."""
    return shorten(summary, LONGEST_SUMMARY)


def update_incident(uow: UnitOfWork, number: int, **changes: Any) -> None:
    """Change an incident, so that what was planned from it before is planned again."""
    update_incidents(uow, {number: changes})


def update_incidents(uow: UnitOfWork, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Change incidents as `update_incident` does, given by their rows; all in the same columns."""
    rows = [{"number": number, "changed_at": uow.now, **each} for number, each in changes.items()]
    if rows:
        columns: dict[str, Any] = {name: sa.bindparam(name) for name in rows[0] if name != "number"}
        query = sa.update(incidents).where(incidents.c.id == sa.bindparam("number"))
        uow.connection.execute(query.values(version=incidents.c.version + 1, **columns), rows)


def note_episode(uow: UnitOfWork, number: int, episode: Episode, **changes: Any) -> None:
    """Write down what is known at the provider; planning does not look at it."""
    uow.connection.execute(
        sa.update(incidents).where(incidents.c.id == number),
        {**attrs.asdict(episode), "changed_at": uow.now, **changes},
    )


def reopen_incident(uow: UnitOfWork, number: int) -> None:
    """Take up an incident again that was over."""
    update_incident(uow, number, active=True)


def close_incident(uow: UnitOfWork, number: int, **changes: Any) -> None:
    """End an incident: nobody holds it, and nothing follows it up."""
    update_incident(uow, number, active=False, **changes)
    if not changes.get("orphaned"):  # a later resolve of its alerts needs the holders
        release_all(uow.connection, number)


def release_all(connection: sa.Connection, number: int) -> None:
    """Release an incident from all its alerts."""
    connection.execute(sa.delete(holders).where(holders.c.incident_id == number))


def hold(uow: UnitOfWork, number: int, alert: Identity) -> None:
    """Let an alert hold an incident open, beside those who hold it already."""
    held = sa.select(holders).where(holders.c.incident_id == number, _is_holder(alert))
    if uow.connection.execute(held).first() is None:
        last = sa.select(sa.func.max(holders.c.number)).where(holders.c.incident_id == number)
        after = uow.connection.execute(last).scalar()
        ref = 0 if after is None else after + 1
        uow.connection.execute(_NEW_HOLDER, new_holder(number, alert, ref))
        update_incident(uow, number)


def new_holder(number: int, alert: Identity, ref: int) -> dict[str, Any]:
    """Build the row of an alert that holds an incident open."""
    name = {"digest": digest(alert), **attrs.asdict(alert)}
    return {"incident_id": number, "number": ref, **name}


def release(uow: UnitOfWork, number: int, alert: Identity) -> None:
    """Let an alert let go of an incident."""
    done = uow.connection.execute(
        sa.delete(holders).where(holders.c.incident_id == number, _is_holder(alert))
    )
    if done.rowcount:
        update_incident(uow, number)


def release_all_of(uow: UnitOfWork, alerts: Mapping[int, Identity]) -> None:
    """Release incidents, given by their rows, each from one of the alerts that hold it."""
    rows = [{"number": number, "name": digest(alert)} for number, alert in alerts.items()]
    if rows:
        uow.connection.execute(_RELEASE, rows)
        update_incidents(uow, {number: {} for number in alerts})


_RELEASE: Final = sa.delete(holders).where(
    holders.c.incident_id == sa.bindparam("number"), holders.c.digest == sa.bindparam("name")
)


def lane_of(connection: sa.Connection, ref: IncidentRef) -> int:
    """Return the row of the lane that leads to a place."""
    key = {"installation": ref.installation, "destination": ref.destination}
    statement = sa.select(lanes.c.id).filter_by(**key)
    found = connection.execute(statement).scalar()
    if found is None:
        connection.execute(_NEW_LANE, key)
        found = connection.execute(statement).scalar_one()
    return int(found)


def waiting(connection: sa.Connection, number: int) -> tuple[tuple[Waiting, ...], bool]:
    """Return what waits for an incident, in order, and whether something of it is being sent."""
    rows = rows_waiting(connection, number)
    line = tuple(waiting_of(row) for row in rows if row.worker_id is None)
    return line, len(line) < len(rows)


def rows_waiting(connection: sa.Connection, number: int) -> Sequence[sa.Row[Any]]:
    """Return the deliveries of an incident that are not finished, what is being sent first."""
    return connection.execute(_ROWS, {"number": number}).all()


_ROWS: Final = (
    sa.select(deliveries)
    .where(deliveries.c.incident_id == sa.bindparam("number"), WAITING)
    .order_by(deliveries.c.position)
)


def waiting_of(row: sa.Row[Any]) -> Waiting:
    """Read a delivery as it stands in its line."""
    return Waiting(
        delivery=delivery_of(row),
        id=row.id,
        coalesced=row.coalesced,
        accepted_at=row.accepted_at,
        tried=row.attempts > 0,
        repeat=row.is_repeat,
    )


def place_of(connection: sa.Connection, number: int) -> IncidentRef | None:
    """Return the place of a delivery by its row; None where it is not kept any more."""
    found = deliveries_at(connection, [number])
    return found[number].ref if found else None


def deliveries_at(connection: sa.Connection, numbers: Sequence[int]) -> Mapping[int, Delivery]:
    """Return deliveries by their rows, in this order."""
    rows = connection.execute(_BODIES, {"numbers": numbers})
    found = {row.id: body.read(row.body) for row in rows}
    return {number: found[number] for number in numbers if number in found}


_BODIES: Final = sa.select(deliveries.c.id, deliveries.c.body).where(
    deliveries.c.id.in_(sa.bindparam("numbers", expanding=True))
)


def statement_of(connection: sa.Connection, waiting: Waiting) -> str:
    """Return the id of the statement that a delivery in line comes from."""
    which = sa.select(deliveries.c.submission_id).where(deliveries.c.id == waiting.id)
    return str(connection.execute(which).scalar_one())


def with_queued(connection: sa.Connection, numbers: Collection[int]) -> Collection[int]:
    """Return which incidents, given by their rows, have unfinished deliveries."""
    if not numbers:
        return ()
    return frozenset(connection.execute(_WITH_QUEUED, {"numbers": numbers}).scalars())


_WITH_QUEUED: Final = (
    sa.select(deliveries.c.incident_id)
    .where(deliveries.c.incident_id.in_(sa.bindparam("numbers", expanding=True)), WAITING)
    .distinct()
)


def newest(connection: sa.Connection, number: int, operation: Operation) -> Delivery | None:
    """Return the newest delivery of a kind that an incident had, waiting or finished."""
    row = connection.execute(
        sa.select(deliveries)
        .where(deliveries.c.incident_id == number, deliveries.c.operation == operation)
        .order_by(deliveries.c.id.desc())
        .limit(1)
    ).first()
    return delivery_of(row) if row else None


def newest_taken(connection: sa.Connection, numbers: Collection[int]) -> Mapping[int, Delivery]:
    """Return the newest trigger that the provider took of each of some incidents."""
    rows = connection.execute(_TAKEN, {"numbers": numbers})
    return {row.incident_id: delivery_of(row) for row in rows}


_TAKEN: Final = sa.select(deliveries).where(
    deliveries.c.id.in_(
        sa.select(sa.func.max(deliveries.c.id))
        .where(
            deliveries.c.incident_id.in_(sa.bindparam("numbers", expanding=True)),
            deliveries.c.operation == Operation.TRIGGER,
            deliveries.c.state == DeliveryState.DELIVERED,
        )
        .group_by(deliveries.c.incident_id)
    )
)


def write_line(  # noqa: PLR0913 -- one argument for each thing a line is written from
    uow: UnitOfWork,
    stored: StoredIncident,
    line: Sequence[Waiting],
    submission_id: str,
    *,
    flying: bool = False,
    due: float | None = None,
    reason: str = "",
) -> None:
    """Write down what waits for an incident from now on; its first is its head.

    The head is as urgent as the most urgent that waits behind it.

    Args:
        uow: the transaction.
        stored: the incident.
        line: what is to be sent, in order.
        submission_id: of the statement that new deliveries carry.
        flying: something of it is being sent now, so that nothing may be sent beside it.
        due: when new deliveries may be sent first; None for now.
        reason: why new deliveries are sent, where their statement does not tell.
    """
    urgency = min(map(_urgency, line), default=0.0)
    for number, each in enumerate(line, start=1):
        values: dict[str, Any] = {
            "position": number,
            "coalesced": each.coalesced,
            "accepted_at": each.accepted_at,
            "is_head": number == 1 and not flying,
            "urgency": urgency,
        }
        if each.id is None:
            new = _new_row(
                stored.id, stored.lane_id, each, submission_id, uow.now if due is None else due
            )
            add_all(uow.connection, [new | values | {"reason": reason}])
        else:
            changed = sa.update(deliveries).where(deliveries.c.id == each.id)
            uow.connection.execute(changed, values)
    if line and not flying:
        wake(uow, stored.lane_id)


def only_row(
    incident: int, lane: int, new: Waiting, submission_id: str, now: float
) -> dict[str, Any]:
    """Build the row of the only queued delivery of an incident."""
    return {
        **_new_row(incident, lane, new, submission_id, now),
        "position": 1,
        "coalesced": new.coalesced,
        "accepted_at": new.accepted_at,
        "is_head": True,
        "urgency": _urgency(new),
        "reason": "",
    }


def add_all(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert deliveries."""
    connection.execute(_NEW_DELIVERY, rows)


def hasten(uow: UnitOfWork, number: int, reason: str) -> None:
    """Let a resolve go at once that would have been sent again: something fires again.

    Something may still be late, so that it does not end the doubt any more.
    """
    uow.connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.incident_id == number,
            WAITING,
            deliveries.c.submission_id == SETTLING,
            deliveries.c.worker_id.is_(None),
        )
        .values(submission_id=AHEAD, due=uow.now, reason=reason)
    )


def add(uow: UnitOfWork, stored: StoredIncident, new: Waiting, submission_id: str) -> int:
    """Write a delivery down that is in no line; give its row."""
    row = _new_row(stored.id, stored.lane_id, new, submission_id, uow.now) | _in_no_line(new)
    made = uow.connection.execute(_NEW_DELIVERY, row)
    return int(made.inserted_primary_key[0]) if made.inserted_primary_key else 0


def add_coalesced(
    uow: UnitOfWork, stored: StoredIncident, new: Sequence[tuple[Waiting, str]], reason: str
) -> Sequence[Mapping[str, Any]]:
    """Insert coalesced deliveries, given with the ids of their submissions; return the rows."""
    over = {"state": DeliveryState.COALESCED, "reason": reason, "finished_at": uow.now}
    rows = [
        _new_row(stored.id, stored.lane_id, each, submission_id, uow.now) | _in_no_line(each) | over
        for each, submission_id in new
    ]
    uow.connection.execute(_NEW_DELIVERY, rows)
    return rows


def _in_no_line(new: Waiting) -> dict[str, Any]:
    return {
        "position": 0,
        "coalesced": new.coalesced,
        "accepted_at": new.accepted_at,
        "is_head": False,
        "urgency": 0.0,
    }


def _new_row(
    incident: int, lane: int, new: Waiting, submission_id: str, due: float
) -> dict[str, Any]:
    return {
        "uid": uuid.uuid4().hex,
        "incident_id": incident,
        "lane_id": lane,
        "submission_id": submission_id,
        "operation": new.delivery.operation,
        "severity": new.delivery.severity,
        "body": body.write(new.delivery),
        "state": DeliveryState.QUEUED,
        "due": due,
        "is_repeat": new.repeat,
    }


def _urgency(waiting: Waiting) -> float:
    early = HEAD_START[waiting.delivery.severity]
    return waiting.accepted_at - early + REPEAT * waiting.repeat


def promote(uow: UnitOfWork, number: int) -> bool:
    """Make the first of an incident's line its head, unless something of it is being sent.

    Returns:
        whether something waits or is being sent.
    """
    rows = uow.connection.execute(_LINE, {"number": number}).all()
    if rows and all(row.worker_id is None for row in rows):
        urgency = min(
            row.accepted_at - HEAD_START[Severity(row.severity)] + REPEAT * row.is_repeat
            for row in rows
        )
        urgency += STRIKE * rows[0].own_failures
        uow.connection.execute(
            sa.update(deliveries).where(deliveries.c.id == rows[0].id),
            {"is_head": True, "urgency": urgency},
        )
        wake(uow, rows[0].lane_id)
    return bool(rows)


_LINE: Final = (
    sa.select(
        deliveries.c.id,
        deliveries.c.lane_id,
        deliveries.c.worker_id,
        deliveries.c.severity,
        deliveries.c.accepted_at,
        deliveries.c.own_failures,
        deliveries.c.is_repeat,
    )
    .where(deliveries.c.incident_id == sa.bindparam("number"), WAITING)
    .order_by(deliveries.c.position)
)


def wake(uow: UnitOfWork, lane: int) -> None:
    """Schedule a lane for now; where it fails, for when a first attempt may be made."""
    wake_all(uow, [lane])


def wake_all(uow: UnitOfWork, numbers: Collection[int]) -> None:
    """Schedule lanes as `wake` does; in the order in which they are locked."""
    uow.connection.execute(_WAKE, [{"lane": lane, "now": uow.now} for lane in sorted(numbers)])


_NOW: Final[sa.BindParameter[float]] = sa.bindparam("now", type_=sa.Double())
_FIRST_DUE: Final = (
    sa.select(sa.func.min(channels.c.first_due))
    .where(channels.c.lane_id == lanes.c.id, channels.c.failures > 0)
    .correlate(lanes)
    .scalar_subquery()
)
_SOON: Final = sa.case(
    (sa.and_(lanes.c.state != "healthy", _FIRST_DUE > _NOW), _FIRST_DUE), else_=_NOW
)
_WAKE: Final = (
    sa.update(lanes)
    .where(
        lanes.c.id == sa.bindparam("lane"),
        sa.or_(lanes.c.due.is_(None), lanes.c.due > _SOON),
    )
    .values(due=_SOON)
)


def finish(uow: UnitOfWork, number: int, state: DeliveryState, **changes: Any) -> None:
    """End a delivery."""
    uow.connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.id == number)
        .values(
            state=state,
            is_head=False,
            worker_id=None,
            lease_until=None,
            finished_at=uow.now,
            **changes,
        )
    )


def delivery_of(row: sa.Row[Any]) -> Delivery:
    """Read a delivery's body."""
    return body.read(row.body)


def receipt_of(row: sa.Row[Any], reason: str = "") -> Receipt:
    """Return what observers are told of a delivery's row."""
    last = Outcome(OutcomeKind(row.outcome), row.reason) if row.outcome else None
    return Receipt(row.uid, delivery_of(row), last, row.attempts, reason)


_HOLDERS: Final = (
    sa.select(holders.c.scope, holders.c.key)
    .where(holders.c.incident_id == sa.bindparam("number"))
    .order_by(holders.c.number)
)
_HOLDERS_OF_ALL: Final = (
    sa.select(holders.c.incident_id, holders.c.scope, holders.c.key)
    .where(holders.c.incident_id.in_(sa.bindparam("numbers", expanding=True)))
    .order_by(holders.c.incident_id, holders.c.number)
)
_NEW_INCIDENT: Final = sa.insert(incidents)
_NEW_INCIDENTS: Final = _NEW_INCIDENT.returning(incidents.c.id, incidents.c.digest)
_NEW_HOLDER: Final = sa.insert(holders)
_NEW_DELIVERY: Final = sa.insert(deliveries)
_NEW_LANE: Final = sa.text(
    "INSERT INTO lanes (installation, destination) VALUES (:installation, :destination)"
    " ON CONFLICT (installation, destination) DO NOTHING"
)


def _is_at(ref: IncidentRef) -> sa.ColumnElement[bool]:
    return incidents.c.digest == digest(ref)


def _is_holder(alert: Identity) -> sa.ColumnElement[bool]:
    return holders.c.digest == digest(alert)


def _one(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> StoredIncident | None:
    row = connection.execute(sa.select(incidents).where(*which)).first()
    return _stored(connection, row) if row else None


def _stored_all(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> Sequence[StoredIncident]:
    held: dict[int, list[Identity]] = {row.id: [] for row in rows}
    if rows:
        for each in connection.execute(_HOLDERS_OF_ALL, {"numbers": list(held)}):
            held[each.incident_id].append(Identity(each.scope, each.key))
    return [stored_of(row, tuple(held[row.id])) for row in rows]


def _stored(connection: sa.Connection, row: sa.Row[Any]) -> StoredIncident:
    return stored_of(row, holders_of(connection, row.id))


def holders_of(connection: sa.Connection, number: int) -> tuple[Identity, ...]:
    """Return the alerts that hold an incident open."""
    held = connection.execute(_HOLDERS, {"number": number})
    return tuple(Identity(each.scope, each.key) for each in held)


def stored_of(row: sa.Row[Any], held: tuple[Identity, ...] = ()) -> StoredIncident:
    """Read an incident's row; its holders are in a table of their own."""
    return StoredIncident(
        id=row.id,
        lane_id=row.lane_id,
        version=row.version,
        incident=Incident(
            ref=place_at(row),
            state=IncidentState(row.state),
            severity=Severity(row.severity),
            handle=json.loads(row.handle) if row.handle else None,
            holders=held,
            rules=tuple(json.loads(row.rules)),
            follow_ups=tuple(map(Operation, json.loads(row.follow_ups))),
        ),
        episode=Episode(
            state=IncidentState(row.state),
            may_be_open=row.may_be_open,
            trigger_delivered=row.trigger_delivered,
            in_doubt=row.in_doubt,
        ),
        opened_at=row.opened_at,
        summary=row.summary,
    )


def place_at(row: sa.Row[Any]) -> IncidentRef:
    """Read the place of an incident's row."""
    return IncidentRef(row.action, row.installation, row.destination, row.correlation_key)


def handle_as_json(handle: Handle) -> str:
    """Write a handle as it is kept."""
    return json.dumps(to_json(Outcome(OutcomeKind.DELIVERED, handle=handle))["handle"])


def as_json(texts: Iterable[str]) -> str:
    """Write texts as they are kept with an incident, each once."""
    return json.dumps(list(dict.fromkeys(texts)))
