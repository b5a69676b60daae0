"""Reads and writes incidents and the alerts that hold them open."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import lane_store
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import QueuedDelivery
from alerthost.outbox.retry_policy import ProviderState
from alerthost.outbox.serialisation import digest
from alerthost.store.tables import holders, incidents
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
)
from hostspec.text import shorten
from hostspec.values import to_json

LONGEST_SUMMARY: Final = 200
"""Most characters of a summary that are stored with an incident."""


@attrs.frozen
class StoredIncident:
    """A row of the table of incidents.

    Attributes:
        id: its row.
        lane_id: the row of its lane.
        version: number of changes that planning depends on.
        incident: the incident as actions see it.
        provider_state: its known state at the provider.
        opened_at: when this host opened it.
        summary: of the alert that triggered it last, shortened.
    """

    id: int
    lane_id: int
    version: int
    incident: Incident
    provider_state: ProviderState
    opened_at: float
    summary: str = ""
    orphaned: bool = False


def find_open(connection: sa.Connection, ref: IncidentRef) -> StoredIncident | None:
    """Return the open incident for a reference, or None."""
    return _one(connection, incidents.c.active, incidents.c.digest == digest(ref))


def find(connection: sa.Connection, number: int) -> StoredIncident | None:
    """Return an incident by its row, or None."""
    return _one(connection, incidents.c.id == number)


def get(connection: sa.Connection, number: int) -> StoredIncident:
    """Return an incident by its row, which exists."""
    found = find(connection, number)
    assert found is not None  # noqa: S101 -- the caller holds a delivery or a row of it
    return found


def find_all_open(
    connection: sa.Connection, refs: Iterable[IncidentRef]
) -> Mapping[IncidentRef, StoredIncident]:
    """Return the open incidents for references, in a fixed number of queries."""
    rows = connection.execute(_AT, {"digests": [digest(each) for each in refs]}).all()
    return {each.incident.ref: each for each in incidents_of(connection, rows)}


_AT: Final = sa.select(incidents).where(
    incidents.c.active, incidents.c.digest.in_(sa.bindparam("digests", expanding=True))
)


@attrs.frozen
class AlertIncidents:
    """The incidents of an alert.

    Attributes:
        open: the incidents that it holds open, the oldest first.
        orphaned: whether one of its incidents is orphaned.
    """

    open: tuple[StoredIncident, ...] = ()
    orphaned: bool = False


def find_by_alerts(
    connection: sa.Connection, alerts: Iterable[Identity]
) -> Mapping[Identity, AlertIncidents]:
    """Return the incidents of each of some alerts, in a fixed number of queries."""
    names = {digest(each): each for each in alerts}
    found = connection.execute(_HELD, {"digests": list(names)}).all()
    rows = sorted({row.id: row for row in found}.values(), key=lambda row: row.id)
    stored = {each.id: each for each in incidents_of(connection, [r for r in rows if r.active])}
    of_alert: dict[str, set[int]] = {}
    orphaned = {row.held_by for row in found if row.orphaned}
    for row in found:
        of_alert.setdefault(row.held_by, set()).add(row.id)
    return {
        alert: AlertIncidents(
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
    """Open an incident that the alert of a delivery holds; its provider state is unknown."""
    lane = lane_store.lane_of(uow.connection, delivery.ref)
    opening = [(QueuedDelivery(delivery, summary=summary), lane)]
    (number,) = open_incidents(uow, opening, **known).values()
    incident = Incident.opened_by(delivery, IncidentState.RESOLVED)
    shortened = shorten(summary, LONGEST_SUMMARY)
    return StoredIncident(number, lane, 0, incident, ProviderState(), uow.now, shortened)


def open_incidents(
    uow: UnitOfWork, opening: Sequence[tuple[QueuedDelivery, int]], **known: Any
) -> Mapping[IncidentRef, int]:
    """Open several incidents; return their rows.

    Args:
        uow: the transaction.
        opening: the trigger of each incident, with the row of its lane.
        known: columns that differ from those of an active incident without a handle.
    """
    if not opening:
        return {}
    rows = [
        {**_incident_row(new.delivery, lane, uow.now, new.summary), **known}
        for new, lane in opening
    ]
    ids = {row.digest: row.id for row in uow.connection.execute(_NEW_INCIDENTS, rows)}
    numbers = {
        new.delivery.ref: ids[row["digest"]] for row, (new, _) in zip(rows, opening, strict=True)
    }
    held = [_holder_row(numbers[new.delivery.ref], new.delivery.alert, 0) for new, _ in opening]
    uow.connection.execute(_NEW_HOLDER, held)
    return numbers


def _incident_row(delivery: Delivery, lane: int, now: float, summary: str) -> dict[str, Any]:
    return {
        **attrs.asdict(delivery.ref),
        "digest": digest(delivery.ref),
        "lane_id": lane,
        "active": True,
        "state": IncidentState.RESOLVED,
        "severity": delivery.severity,
        "handle": None,
        "rules": json.dumps(list(dict.fromkeys(delivery.rules))),
        "follow_ups": json.dumps(list(dict.fromkeys(delivery.follow_ups))),
        "may_be_open": False,
        "trigger_delivered": False,
        "unconfirmed": False,
        "orphaned": False,
        "opened_at": now,
        "changed_at": now,
        "version": 0,
        "summary": shorten(summary, LONGEST_SUMMARY),
    }


def after_trigger(found: StoredIncident, new: QueuedDelivery) -> Mapping[str, Any]:
    """Return the rules, severity and summary of an incident after one more trigger."""
    merged = merge_trigger(found.incident, new.delivery)
    return {
        "severity": merged.severity,
        "rules": json.dumps(merged.rules),
        "follow_ups": json.dumps(merged.follow_ups),
        "summary": shorten(new.summary, LONGEST_SUMMARY) or found.summary,
    }


def merge_trigger(incident: Incident, delivery: Delivery) -> Incident:
    """Return an incident with the severity, the rules and the follow-ups of one more trigger."""
    return attrs.evolve(
        incident,
        severity=delivery.severity,
        rules=tuple(dict.fromkeys((*incident.rules, *delivery.rules))),
        follow_ups=tuple(dict.fromkeys((*incident.follow_ups, *delivery.follow_ups))),
    )


def update_incident(uow: UnitOfWork, number: int, **changes: Any) -> None:
    """Change an incident; plans made from its earlier version are outdated."""
    update_incidents(uow, {number: changes})


def update_incidents(uow: UnitOfWork, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Change incidents, given by their rows, as `update_incident` does; all in the same columns."""
    rows = [{"number": number, "changed_at": uow.now, **each} for number, each in changes.items()]
    if rows:
        columns: dict[str, Any] = {name: sa.bindparam(name) for name in rows[0] if name != "number"}
        query = sa.update(incidents).where(incidents.c.id == sa.bindparam("number"))
        uow.connection.execute(query.values(version=incidents.c.version + 1, **columns), rows)


def record_provider_state(
    uow: UnitOfWork, number: int, provider_state: ProviderState, **changes: Any
) -> None:
    """Record the state of an incident at its provider; no plan depends on it."""
    uow.connection.execute(
        sa.update(incidents).where(incidents.c.id == number),
        {**attrs.asdict(provider_state), "changed_at": uow.now, **changes},
    )


def close_incident(uow: UnitOfWork, number: int, **changes: Any) -> None:
    """End an incident: no alert holds it, and nothing follows it up."""
    update_incident(uow, number, active=False, **changes)
    if not changes.get("orphaned"):  # a later resolve finds an orphaned incident by its holders
        release_all(uow.connection, number)


def release_all(connection: sa.Connection, number: int) -> None:
    """Remove all holders of an incident."""
    connection.execute(sa.delete(holders).where(holders.c.incident_id == number))


def hold(uow: UnitOfWork, number: int, alert: Identity) -> None:
    """Add an alert to the holders of an incident."""
    of_incident = holders.c.incident_id == number
    held = sa.select(holders).where(of_incident, holders.c.digest == digest(alert))
    if uow.connection.execute(held).first() is None:
        next_position = sa.func.coalesce(sa.func.max(holders.c.number), -1) + 1
        position = uow.connection.execute(sa.select(next_position).where(of_incident)).scalar_one()
        uow.connection.execute(_NEW_HOLDER, _holder_row(number, alert, position))
        update_incident(uow, number)


def _holder_row(incident: int, alert: Identity, position: int) -> dict[str, Any]:
    key = {"digest": digest(alert), **attrs.asdict(alert)}
    return {"incident_id": incident, "number": position, **key}


def release(uow: UnitOfWork, number: int, alert: Identity) -> None:
    """Remove an alert from the holders of an incident."""
    done = uow.connection.execute(
        sa.delete(holders).where(holders.c.incident_id == number, holders.c.digest == digest(alert))
    )
    if done.rowcount:
        update_incident(uow, number)


def release_each(uow: UnitOfWork, alerts: Mapping[int, Identity]) -> None:
    """Remove one holder of each of several incidents, given by their rows."""
    rows = [{"number": number, "name": digest(alert)} for number, alert in alerts.items()]
    if rows:
        uow.connection.execute(_RELEASE, rows)
        update_incidents(uow, {number: {} for number in alerts})


_RELEASE: Final = sa.delete(holders).where(
    holders.c.incident_id == sa.bindparam("number"), holders.c.digest == sa.bindparam("name")
)
_HOLDERS: Final = (
    sa.select(holders.c.incident_id, holders.c.scope, holders.c.key)
    .where(holders.c.incident_id.in_(sa.bindparam("numbers", expanding=True)))
    .order_by(holders.c.incident_id, holders.c.number)
)
_NEW_INCIDENTS: Final = sa.insert(incidents).returning(incidents.c.id, incidents.c.digest)
_NEW_HOLDER: Final = sa.insert(holders)


def _one(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> StoredIncident | None:
    row = connection.execute(sa.select(incidents).where(*which)).first()
    return incidents_of(connection, [row])[0] if row else None


def incidents_of(
    connection: sa.Connection, rows: Sequence[sa.Row[Any]]
) -> Sequence[StoredIncident]:
    """Return the incidents of rows, with their holders, in one query."""
    held: dict[int, list[Identity]] = {row.id: [] for row in rows}
    if rows:
        for each in connection.execute(_HOLDERS, {"numbers": list(held)}):
            held[each.incident_id].append(Identity(each.scope, each.key))
    return [incident_of(row, tuple(held[row.id])) for row in rows]


def incident_of(row: sa.Row[Any], held: tuple[Identity, ...] = ()) -> StoredIncident:
    """Return the incident of a row; its holders are in another table."""
    return StoredIncident(
        id=row.id,
        lane_id=row.lane_id,
        version=row.version,
        incident=Incident(
            ref=ref_of(row),
            state=IncidentState(row.state),
            severity=Severity(row.severity),
            handle=json.loads(row.handle) if row.handle else None,
            holders=held,
            rules=tuple(json.loads(row.rules)),
            follow_ups=tuple(map(Operation, json.loads(row.follow_ups))),
        ),
        provider_state=ProviderState(
            state=IncidentState(row.state),
            may_be_open=row.may_be_open,
            trigger_delivered=row.trigger_delivered,
            unconfirmed=row.unconfirmed,
        ),
        opened_at=row.opened_at,
        summary=row.summary,
        orphaned=row.orphaned,
    )


def ref_of(row: sa.Row[Any]) -> IncidentRef:
    """Return the reference of an incident's row."""
    return IncidentRef(row.action, row.installation, row.destination, row.correlation_key)


def dump_handle(handle: Handle) -> str:
    """Return a handle as it is stored."""
    return json.dumps(to_json(Outcome(OutcomeKind.DELIVERED, handle=handle))["handle"])
