"""Reads and writes incidents and the alerts that hold them open."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import lane_store
from alerthost.outbox.backend import UnitOfWork
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


def open_incident(
    uow: UnitOfWork, delivery: Delivery, summary: str, **known: Any
) -> StoredIncident:
    """Open an incident that the alert of a delivery holds; its provider state is unknown."""
    key = delivery.ref.installation, delivery.ref.destination
    lane = lane_store.lanes_of(uow.connection, [delivery.ref])[key]
    incident = Incident.opened_by(delivery, IncidentState.RESOLVED)
    shortened = shorten(summary, LONGEST_SUMMARY)
    (number,) = insert_incidents(uow, [NewIncident(incident, lane, shortened)], **known)
    return StoredIncident(number, lane, 0, incident, ProviderState(), uow.now, shortened)


@attrs.frozen
class NewIncident:
    """An incident to insert; no message about it was sent yet."""

    incident: Incident
    lane_id: int
    summary: str
    active: bool = True
    may_be_open: bool = False


def insert_incidents(uow: UnitOfWork, new: Sequence[NewIncident], **known: Any) -> Sequence[int]:
    """Insert incidents with different references, and their holders; return their rows.

    Args:
        uow: the transaction.
        new: the incidents.
        known: columns that differ from those of an incident without a handle.
    """
    rows = [{**_incident_row(each, uow.now), **known} for each in new]
    ids = {row.digest: row.id for row in uow.connection.execute(_NEW_INCIDENTS, rows)}
    numbers = [ids[row["digest"]] for row in rows]
    held = [
        _holder_row(number, alert) | {"number": place}
        for number, each in zip(numbers, new, strict=True)
        for place, alert in enumerate(each.incident.holders)
    ]
    if held:
        uow.connection.execute(_NEW_HOLDERS, held)
    return numbers


def _incident_row(new: NewIncident, now: float) -> dict[str, Any]:
    ref = new.incident.ref
    return {
        "action": ref.action,
        "installation": ref.installation,
        "destination": ref.destination,
        "correlation_key": ref.correlation_key,
        "digest": digest(ref),
        "lane_id": new.lane_id,
        "state": IncidentState.RESOLVED,
        "handle": None,
        "may_be_open": new.may_be_open,
        "trigger_delivered": False,
        "unconfirmed": False,
        "orphaned": False,
        "opened_at": now,
        "changed_at": now,
        "version": 0,
        **_changing_columns(new.incident, new.summary, active=new.active),
    }


def _changing_columns(incident: Incident, summary: str, *, active: bool) -> dict[str, Any]:
    return {
        "severity": incident.severity,
        "rules": _list_text(incident.rules),
        "follow_ups": _list_text(incident.follow_ups),
        "summary": summary,
        "active": active,
    }


@functools.lru_cache(maxsize=256)
def _list_text(names: tuple[str, ...]) -> str:
    """Return the stored text of a list; a rule's are always the same."""
    return json.dumps(list(dict.fromkeys(names)))


def write_changes(uow: UnitOfWork, changed: Sequence[tuple[int, Incident, str, bool]]) -> None:
    """Change incidents, given with their rows, their summaries, and whether they are active.

    Plans made from their earlier versions are outdated.
    """
    rows = [
        {"number": number, "now": uow.now, **_changing_columns(incident, summary, active=active)}
        for number, incident, summary, active in changed
    ]
    if rows:
        uow.connection.execute(_CHANGE, rows)


_CHANGE: Final = (
    sa.update(incidents)
    .where(incidents.c.id == sa.bindparam("number"))
    .values(
        version=incidents.c.version + 1,
        changed_at=sa.bindparam("now"),
        **{
            name: sa.bindparam(name)
            for name in ("severity", "rules", "follow_ups", "summary", "active")
        },
    )
)


def move_holders(
    uow: UnitOfWork,
    gone: Sequence[tuple[int, Identity]],
    added: Sequence[tuple[int, Identity]],
) -> None:
    """Remove holders of incidents, given by their rows, and add others behind those left."""
    if gone:
        rows = [{"number": number, "name": digest(alert)} for number, alert in gone]
        uow.connection.execute(_RELEASE, rows)
    if added:
        uow.connection.execute(_HOLD, [_holder_row(number, alert) for number, alert in added])


def _holder_row(incident: int, alert: Identity) -> dict[str, Any]:
    return {
        "incident_id": incident,
        "digest": digest(alert),
        "scope": alert.scope,
        "key": alert.key,
    }


_NEW_HOLDERS: Final = sa.insert(holders)
_HOLD: Final = sa.text(
    "INSERT INTO holders (incident_id, digest, scope, key, number)"
    " SELECT :incident_id, :digest, :scope, :key, coalesce(max(number), -1) + 1"
    " FROM holders WHERE incident_id = :incident_id"
)


def update_incident(uow: UnitOfWork, number: int, **changes: Any) -> None:
    """Change an incident; plans made from its earlier version are outdated."""
    uow.connection.execute(
        sa.update(incidents)
        .where(incidents.c.id == number)
        .values(version=incidents.c.version + 1, changed_at=uow.now, **changes)
    )


def record_provider_state(
    uow: UnitOfWork, number: int, provider_state: ProviderState, **changes: Any
) -> None:
    """Record the state of an incident at its provider; no plan depends on it."""
    uow.connection.execute(
        sa.update(incidents).where(incidents.c.id == number),
        {**attrs.asdict(provider_state), "changed_at": uow.now, **changes},
    )
    if changes:
        lane_store.follow_incidents(uow.connection, [number])


@attrs.frozen
class ProviderChange:
    """The known state of an incident at its provider after an attempt.

    Attributes:
        handle: as stored; None for none.
        budgets: the names of those that the attempt counted against.
    """

    state: ProviderState
    handle: str | None
    budgets: str


def record_provider_changes(uow: UnitOfWork, changes: Mapping[int, ProviderChange]) -> None:
    """Record the states of incidents, given by their rows, at their provider after attempts."""
    rows = [
        {
            **attrs.asdict(each.state),
            "number": number,
            "changed_at": uow.now,
            "handle": each.handle,
            "budgets": each.budgets,
        }
        for number, each in changes.items()
    ]
    uow.connection.execute(_PROVIDER_CHANGE, rows)
    lane_store.follow_incidents(uow.connection, [*changes])


def close_incident(uow: UnitOfWork, number: int, **changes: Any) -> None:
    """End an incident: no alert holds it, and nothing follows it up."""
    update_incident(uow, number, active=False, **changes)
    if not changes.get("orphaned"):  # a later resolve finds an orphaned incident by its holders
        release_all(uow.connection, number)


def close_incidents(uow: UnitOfWork, numbers: Collection[int]) -> None:
    """End several incidents, as `close_incident` does."""
    if numbers:
        uow.connection.execute(_CLOSE, {"numbers": numbers, "now": uow.now})
        release_all(uow.connection, *numbers)


def release_all(connection: sa.Connection, *numbers: int) -> None:
    """Remove all holders of incidents."""
    connection.execute(_RELEASE_ALL, {"numbers": numbers})


def hold(uow: UnitOfWork, number: int, alert: Identity) -> None:
    """Add an alert to the holders of an incident."""
    of_incident = holders.c.incident_id == number
    held = sa.select(holders).where(of_incident, holders.c.digest == digest(alert))
    if uow.connection.execute(held).first() is None:
        move_holders(uow, (), [(number, alert)])
        update_incident(uow, number)


def release(uow: UnitOfWork, number: int, alert: Identity) -> None:
    """Remove a holder of an incident."""
    move_holders(uow, [(number, alert)], ())
    update_incident(uow, number)


_PROVIDER_CHANGE: Final = (
    sa.update(incidents)
    .where(incidents.c.id == sa.bindparam("number"))
    .values(
        {
            name: sa.bindparam(name)
            for name in (
                *(each.name for each in attrs.fields(ProviderState)),
                *("changed_at", "handle", "budgets"),
            )
        }
    )
)
_CLOSE: Final = (
    sa.update(incidents)
    .where(incidents.c.id.in_(sa.bindparam("numbers", expanding=True)))
    .values(active=False, changed_at=sa.bindparam("now"), version=incidents.c.version + 1)
)
_RELEASE_ALL: Final = sa.delete(holders).where(
    holders.c.incident_id.in_(sa.bindparam("numbers", expanding=True))
)
_RELEASE: Final = sa.delete(holders).where(
    holders.c.incident_id == sa.bindparam("number"), holders.c.digest == sa.bindparam("name")
)
_HOLDERS: Final = (
    sa.select(holders.c.incident_id, holders.c.scope, holders.c.key)
    .where(holders.c.incident_id.in_(sa.bindparam("numbers", expanding=True)))
    .order_by(holders.c.incident_id, holders.c.number)
)
_NEW_INCIDENTS: Final = sa.insert(incidents).returning(incidents.c.id, incidents.c.digest)


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
            rules=_read_texts(row.rules),
            follow_ups=_read_operations(row.follow_ups),
        ),
        provider_state=provider_state_of(row),
        opened_at=row.opened_at,
        summary=row.summary,
        orphaned=row.orphaned,
    )


@functools.lru_cache(maxsize=1024)
def _read_texts(stored: str) -> tuple[str, ...]:
    """Read the names of rules; there are few."""
    return tuple(json.loads(stored))


@functools.lru_cache(maxsize=64)
def _read_operations(stored: str) -> tuple[Operation, ...]:
    return tuple(map(Operation, json.loads(stored)))


def provider_state_of(row: sa.Row[Any]) -> ProviderState:
    """Return the state of an incident's row at its provider."""
    return ProviderState(
        state=IncidentState(row.state),
        may_be_open=row.may_be_open,
        trigger_delivered=row.trigger_delivered,
        unconfirmed=row.unconfirmed,
    )


def ref_of(row: sa.Row[Any]) -> IncidentRef:
    """Return the reference of an incident's row."""
    return IncidentRef(row.action, row.installation, row.destination, row.correlation_key)


def dump_handle(handle: Handle) -> str:
    """Return a handle as it is stored."""
    return json.dumps(to_json(Outcome(OutcomeKind.DELIVERED, handle=handle))["handle"])
