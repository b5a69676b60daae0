"""Reads and writes incidents, their lines and their lanes; decides nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any, Final

import attrs
import sqlalchemy as sa

from hostspec.delivery.line import HEAD_START, Line, Waiting
from hostspec.delivery.verdict import DeliveryState, Episode
from hostspec.incident import Delivery, Incident, IncidentState, Operation, Place
from hostspec.parts import Identity, Severity
from hostspec.store.tables import deliveries, holders, incidents, lanes
from hostspec.values import from_json, to_json

WAITING: Final = deliveries.c.state == DeliveryState.WAITING


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
    """

    id: int
    lane_id: int
    version: int
    incident: Incident
    episode: Episode
    opened_at: float


def incident_at(connection: sa.Connection, place: Place) -> StoredIncident | None:
    """Give the incident at a place, where one is not over."""
    return _one(connection, *_is_at(place), incidents.c.active)


def incident(connection: sa.Connection, number: int) -> StoredIncident | None:
    """Give an incident by its row."""
    return _one(connection, incidents.c.id == number)


def held_by(connection: sa.Connection, alert: Identity) -> tuple[StoredIncident, ...]:
    """Give the incidents that an alert holds open, the oldest first."""
    rows = connection.execute(
        sa.select(incidents)
        .join(holders, holders.c.incident_id == incidents.c.id)
        .where(_is_holder(alert), incidents.c.active)
        .order_by(incidents.c.id)
    ).all()
    return tuple(_stored(connection, row) for row in rows)


def open_incident(connection: sa.Connection, delivery: Delivery, now: float) -> StoredIncident:
    """Begin an incident; nothing is known of it at the provider yet."""
    place = delivery.place
    number = connection.execute(
        sa.insert(incidents).values(
            **attrs.asdict(place),
            lane_id=lane_of(connection, place),
            active=True,
            state=IncidentState.RESOLVED,
            severity=delivery.severity,
            rules=as_json(delivery.rules),
            follow_ups=as_json(delivery.follow_ups),
            may_be_open=False,
            told=False,
            in_doubt=False,
            stranded=False,
            opened_at=now,
            changed_at=now,
            version=0,
        )
    ).inserted_primary_key
    assert number  # noqa: S101 -- the table has a primary key
    found = incident(connection, number[0])
    assert found  # noqa: S101 -- just made
    return found


def update_incident(connection: sa.Connection, number: int, now: float, **changes: Any) -> None:
    """Change an incident, so that what was planned from it before is planned anew."""
    version = incidents.c.version + 1
    connection.execute(
        sa.update(incidents)
        .where(incidents.c.id == number)
        .values(version=version, changed_at=now, **changes)
    )


def note_episode(connection: sa.Connection, number: int, episode: Episode, now: float) -> None:
    """Write down what is known at the provider; planning does not look at it."""
    connection.execute(
        sa.update(incidents)
        .where(incidents.c.id == number)
        .values(**attrs.asdict(episode), changed_at=now)
    )


def close_incident(connection: sa.Connection, number: int, now: float, **changes: Any) -> None:
    """End an incident: nobody holds it, and nothing follows it up."""
    update_incident(connection, number, now, active=False, **changes)
    connection.execute(sa.delete(holders).where(holders.c.incident_id == number))


def hold(connection: sa.Connection, number: int, alert: Identity, now: float) -> None:
    """Let an alert hold an incident open, beside those who hold it already."""
    held = sa.select(holders).where(holders.c.incident_id == number, _is_holder(alert))
    if connection.execute(held).first() is None:
        count = sa.select(sa.func.count()).where(holders.c.incident_id == number)
        connection.execute(
            sa.insert(holders).values(
                incident_id=number,
                scope=alert.scope,
                key=alert.key,
                number=connection.execute(count).scalar_one(),
            )
        )
        update_incident(connection, number, now)


def release(connection: sa.Connection, number: int, alert: Identity, now: float) -> None:
    """Let an alert let go of an incident."""
    done = connection.execute(
        sa.delete(holders).where(holders.c.incident_id == number, _is_holder(alert))
    )
    if done.rowcount:
        update_incident(connection, number, now)


def lane_of(connection: sa.Connection, place: Place) -> int:
    """Give the row of the lane that leads to a place."""
    key = {"installation": place.installation, "destination": place.destination}
    statement = sa.select(lanes.c.id).filter_by(**key)
    found = connection.execute(statement).scalar()
    if found is None:
        connection.execute(_NEW_LANE, key)
        found = connection.execute(statement).scalar_one()
    return int(found)


def waiting(connection: sa.Connection, number: int) -> tuple[tuple[Waiting, ...], bool]:
    """Give what waits for an incident, in order, and whether something of it is being sent."""
    rows = connection.execute(
        sa.select(deliveries)
        .where(deliveries.c.incident_id == number, WAITING)
        .order_by(deliveries.c.place_in_line)
    ).all()
    line = tuple(
        Waiting(
            delivery=delivery_of(row),
            id=row.id,
            collapsed=row.collapsed,
            accepted_at=row.accepted_at,
            tried=row.attempts > 0,
        )
        for row in rows
        if row.holder is None
    )
    return line, len(line) < len(rows)


def write_line(
    connection: sa.Connection,
    stored: StoredIncident,
    line: Line,
    statement_id: str,
    now: float,
    *,
    due: float | None = None,
) -> None:
    """Write down what waits for an incident from now on.

    Args:
        connection: of the transaction.
        stored: the incident.
        line: what is kept, and what is not.
        statement_id: of the statement that new deliveries carry.
        now: the time.
        due: when new deliveries may be sent first; None for now.
    """
    for left, state in ((line.collapsed, DeliveryState.COLLAPSED), (line.dropped, _DROPPED)):
        for each in left:
            if each.id is not None:
                finish(connection, each.id, state, now)
    for number, each in enumerate(line.kept, start=1):
        place = {"place_in_line": number, "collapsed": each.collapsed, "is_head": False}
        if each.id is None:
            connection.execute(
                sa.insert(deliveries).values(
                    uid=uuid.uuid4().hex,
                    incident_id=stored.id,
                    lane_id=stored.lane_id,
                    statement_id=statement_id,
                    operation=each.delivery.operation,
                    severity=each.delivery.severity,
                    body=json.dumps(to_json(each.delivery)),
                    state=DeliveryState.WAITING,
                    urgency=0.0,
                    due=now if due is None else due,
                    accepted_at=each.accepted_at,
                    **place,
                )
            )
        else:
            connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.id == each.id)
                .values(accepted_at=each.accepted_at, **place)
            )
    promote(connection, stored.id, now)


_DROPPED: Final = DeliveryState.DROPPED


def promote(connection: sa.Connection, number: int, now: float) -> bool:
    """Make the first of an incident's line its head, unless something of it is being sent.

    The head is as urgent as the most urgent that waits behind it.

    Returns:
        whether something waits or is being sent.
    """
    rows = connection.execute(
        sa.select(
            deliveries.c.id,
            deliveries.c.lane_id,
            deliveries.c.holder,
            deliveries.c.severity,
            deliveries.c.accepted_at,
        )
        .where(deliveries.c.incident_id == number, WAITING)
        .order_by(deliveries.c.place_in_line)
    ).all()
    if rows and all(row.holder is None for row in rows):
        urgency = min(row.accepted_at - HEAD_START[Severity(row.severity)] for row in rows)
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.id == rows[0].id)
            .values(is_head=True, urgency=urgency)
        )
        wake(connection, rows[0].lane_id, now)
    return bool(rows)


def wake(connection: sa.Connection, lane: int, now: float) -> None:
    """Let a lane be looked at now, unless it waits for something to be mended."""
    connection.execute(
        sa.update(lanes)
        .where(lanes.c.id == lane, sa.or_(lanes.c.due.is_(None), lanes.c.state == "healthy"))
        .values(due=now)
    )


def finish(
    connection: sa.Connection, number: int, state: DeliveryState, now: float, **changes: Any
) -> None:
    """End a delivery."""
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.id == number)
        .values(
            state=state, is_head=False, holder=None, lease_until=None, finished_at=now, **changes
        )
    )


def delivery_of(row: sa.Row[Any]) -> Delivery:
    """Read a delivery's body."""
    return from_json(Delivery, json.loads(row.body))


_NEW_LANE: Final = sa.text(
    "INSERT INTO lanes (installation, destination) VALUES (:installation, :destination)"
    " ON CONFLICT (installation, destination) DO NOTHING"
)


def _is_at(place: Place) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(incidents.c[name] == value for name, value in attrs.asdict(place).items())


def _is_holder(alert: Identity) -> sa.ColumnElement[bool]:
    return sa.and_(holders.c.scope == alert.scope, holders.c.key == alert.key)


def _one(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> StoredIncident | None:
    row = connection.execute(sa.select(incidents).where(*which)).first()
    return _stored(connection, row) if row else None


def _stored(connection: sa.Connection, row: sa.Row[Any]) -> StoredIncident:
    held = connection.execute(
        sa.select(holders.c.scope, holders.c.key)
        .where(holders.c.incident_id == row.id)
        .order_by(holders.c.number)
    )
    return StoredIncident(
        id=row.id,
        lane_id=row.lane_id,
        version=row.version,
        incident=Incident(
            place=Place(row.action, row.installation, row.destination, row.correlation_key),
            state=IncidentState(row.state),
            severity=Severity(row.severity),
            handle=json.loads(row.handle) if row.handle else None,
            holders=tuple(Identity(each.scope, each.key) for each in held),
            rules=tuple(json.loads(row.rules)),
            follow_ups=tuple(map(Operation, json.loads(row.follow_ups))),
        ),
        episode=Episode(
            state=IncidentState(row.state),
            may_be_open=row.may_be_open,
            told=row.told,
            in_doubt=row.in_doubt,
        ),
        opened_at=row.opened_at,
    )


def as_json(texts: Iterable[str]) -> str:
    """Write texts as they are kept with an incident, each once."""
    return json.dumps(list(dict.fromkeys(texts)))
