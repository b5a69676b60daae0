"""A snapshot of alerts and incidents for planning: the stored ones, changed by earlier plans.

A batch of submissions is planned before any of it is written, so each plan has to see the changes
of the plans before it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import incident_store
from alerthost.outbox.incident_store import StoredIncident
from alerthost.outbox.retry_policy import ProviderState
from alerthost.outbox.serialisation import digest
from alerthost.outbox.timing import NOTHING_DUE, AlertTimes
from alerthost.store.columns import Number, UtcTime
from alerthost.store.tables import alerts, holders, incidents
from hostspec.alert import Alert, Identity, Status
from hostspec.delivery import Delivery, Incident, IncidentRef, IncidentState, Operation
from hostspec.plugins.planning import RESOLVED_FOR, Plan, ended_episode


@attrs.frozen
class AlertState:
    """The newest state of an alert.

    Attributes:
        updated_at: the newest `updated_at` of all submissions, or None.
        ended: `started_at` of the last firing period; None if unknown, or if the alert fires again.
        times: its due times.
    """

    status: Status
    updated_at: dt.datetime | None
    ended: dt.datetime | None
    accepted_at: float
    times: AlertTimes = NOTHING_DUE

    @classmethod
    def after(
        cls, before: AlertState | None, alert: Alert, accepted_at: float, times: AlertTimes
    ) -> AlertState:
        """Return the state after a submission."""
        if before is None:
            return cls(alert.status, alert.updated_at, ended_episode(alert), accepted_at, times)
        return cls(
            before.status_after(alert),
            alert.updated_at or before.updated_at,
            ended_episode(alert, before.ended),
            accepted_at,
            times,
        )

    def status_after(self, alert: Alert) -> Status:
        """Return the status after a submission; an acknowledgement reopens no alert."""
        over = self.status is Status.RESOLVED and alert.status is Status.ACKNOWLEDGED
        return self.status if over else alert.status


class Snapshot:
    """Alerts and incidents as they will be after the plans made so far."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection: Final = connection
        self._alerts: dict[Identity, AlertState] = {}
        self._incidents: dict[IncidentRef, StoredIncident | None] = {}
        self._held: dict[Identity, dict[IncidentRef, None]] = {}
        self._orphaned: dict[Identity, bool] = {}
        self._resolved: frozenset[str] = frozenset()

    def load_alerts(self, which: Collection[Identity]) -> None:
        """Read the states of alerts, in one query."""
        names = {digest(each): each for each in which}
        for row in self.connection.execute(_ALERTS, {"digests": list(names)}):
            self._alerts[names[row.digest]] = AlertState(
                Status(row.status),
                row.updated_at,
                row.started_at,
                row.seen_at,
                _times_of(row),
            )

    def load_incidents(self, which: Collection[Identity], refs: Collection[IncidentRef]) -> None:
        """Read incidents by their alerts and by reference, in a fixed number of queries."""
        by_alert = find_by_alerts(self.connection, which) if which else {}
        for alert, held in by_alert.items():
            for each in held.open:
                self._incidents.setdefault(each.incident.ref, each)
            self._held[alert] = dict.fromkeys(each.incident.ref for each in held.open)
            self._orphaned[alert] = held.orphaned
        unknown = [each for each in refs if each not in self._incidents]
        if unknown:
            found = find_all_open(self.connection, unknown)
            self._incidents.update((ref, found.get(ref)) for ref in unknown)

    def load_resolved(self, refs: Collection[IncidentRef], now: float) -> None:
        """Read which incidents were resolved `RESOLVED_FOR` seconds around now, in one query."""
        if refs:  # a later time is that of a clock which was ahead
            around = {"since": now - RESOLVED_FOR, "until": now + RESOLVED_FOR}
            which = {"digests": [digest(each) for each in refs], **around}
            self._resolved = frozenset(self.connection.execute(_RESOLVED, which).scalars())

    def is_resolved(self, ref: IncidentRef) -> bool:
        """Return whether a loaded incident was resolved in these seconds."""
        return digest(ref) in self._resolved

    def is_orphaned(self, alert: Identity) -> bool:
        """Return whether an alert that was loaded has an orphaned incident."""
        return self._orphaned[alert]

    def alert_state(self, alert: Identity) -> AlertState | None:
        """Return the newest state of a loaded alert; None for a new one."""
        return self._alerts.get(alert)

    def at(self, ref: IncidentRef) -> StoredIncident | None:
        """Return the open incident for a loaded reference, or None."""
        return self._incidents[ref]

    def get(self, ref: IncidentRef) -> StoredIncident:
        """Return the open incident for a reference, which exists."""
        found = self.at(ref)
        assert found is not None  # noqa: S101 -- the caller has seen it
        return found

    def held_by(self, alert: Identity) -> tuple[StoredIncident, ...]:
        """Return the open incidents of a loaded alert, the oldest first."""
        found = (self.at(ref) for ref in self._held[alert])
        return tuple(each for each in found if each is not None)

    def apply_alert(self, alert: Alert, accepted_at: float, times: AlertTimes) -> None:
        """Apply a new state of an alert."""
        before = self._alerts.get(alert.identity)
        self._alerts[alert.identity] = AlertState.after(before, alert, accepted_at, times)

    def apply(self, plan: Plan) -> None:
        """Apply the changes that a plan will make to incidents when it is written."""
        alert = plan.alert.identity
        for ref in plan.joined:
            self.hold(ref, alert)
        for ref in plan.released:
            self.release(ref, alert)
            found = self.at(ref)
            if found and not found.incident.holders:
                self.close(ref)
        for delivery in plan.deliveries:
            self.apply_delivery(delivery)

    def apply_delivery(self, delivery: Delivery) -> None:
        """Apply the changes that enqueuing a delivery makes to its incident."""
        ref = delivery.ref
        found = self.at(ref)
        if found is None:
            incident = Incident.opened_by(delivery, IncidentState.RESOLVED)
            self._incidents[ref] = StoredIncident(0, 0, 0, incident, ProviderState(), 0.0)
            if delivery.operation is Operation.RESOLVE:  # nothing of this host is open
                self.release(ref, delivery.alert)
            else:
                self._held.setdefault(delivery.alert, {})[ref] = None
        elif delivery.operation is Operation.TRIGGER:
            merged = merge_trigger(found.incident, delivery)
            self.put(attrs.evolve(found, incident=merged))
            self.hold(ref, delivery.alert)
        elif delivery.operation is Operation.RESOLVE:
            self.release(ref, delivery.alert)

    def hold(self, ref: IncidentRef, alert: Identity) -> None:
        """Add an alert to the holders of an incident, if it is open."""
        found = self.at(ref)
        if found is not None and alert not in found.incident.holders:
            self._held.setdefault(alert, {})[ref] = None
            holders = (*found.incident.holders, alert)
            self.put(attrs.evolve(found, incident=attrs.evolve(found.incident, holders=holders)))

    def release(self, ref: IncidentRef, alert: Identity) -> None:
        """Remove an alert from the holders of an incident, if it is open."""
        self._held.get(alert, {}).pop(ref, None)
        found = self.at(ref)
        if found is not None:
            holders = tuple(each for each in found.incident.holders if each != alert)
            self.put(attrs.evolve(found, incident=attrs.evolve(found.incident, holders=holders)))

    def close(self, ref: IncidentRef) -> None:
        """End an open incident."""
        for held in self._held.values():
            held.pop(ref, None)
        self._incidents[ref] = None

    def put(self, stored: StoredIncident) -> None:
        """Replace an incident as it was read."""
        self._incidents[stored.incident.ref] = stored


class IncidentView:
    """The incidents that the plan of one submission reads, recorded to find out if it is outdated.

    Args:
        replays: the submission replays a delivery.
    """

    def __init__(self, snapshot: Snapshot, *, replays: bool) -> None:
        self._snapshot = snapshot
        self._replays = replays
        self._at: dict[IncidentRef, Incident | None] = {}
        self._held: dict[Identity, tuple[Incident, ...]] = {}

    def at(self, ref: IncidentRef) -> Incident | None:
        """Return the open incident for a reference, if an alert holds it.

        An incident without holders is about to be resolved, and a firing alert opens the next one.
        A replay opens an incident whose trigger was never delivered.
        """
        found = self._snapshot.at(ref)
        if found is None or (self._replays and not found.provider_state.trigger_delivered):
            seen = None
        else:
            seen = found.incident if found.incident.holders else None
        self._at[ref] = seen
        return seen

    def held_by(self, alert: Identity) -> tuple[Incident, ...]:
        """Return the open incidents of an alert."""
        self._held[alert] = tuple(each.incident for each in self._snapshot.held_by(alert))
        return self._held[alert]

    def is_resolved(self, ref: IncidentRef) -> bool:
        """Return whether an incident was resolved a moment ago."""
        return self._snapshot.is_resolved(ref)

    @property
    def refs(self) -> frozenset[IncidentRef]:
        """The references of all incidents that were read."""
        return frozenset(self._at).union(each.ref for held in self._held.values() for each in held)

    def is_outdated(self, current: Snapshot) -> bool:
        """Check that a plan made from the current incidents may differ."""
        now = IncidentView(current, replays=self._replays)
        return any(_differ((now.at(ref),), (seen,)) for ref, seen in self._at.items()) or any(
            _differ(now.held_by(alert), seen) for alert, seen in self._held.items()
        )


def _differ(now: tuple[Incident | None, ...], before: tuple[Incident | None, ...]) -> bool:
    """Compare incidents except for their state and handle, which attempts change."""
    return [*map(_planned_from, now)] != [*map(_planned_from, before)]


def _planned_from(incident: Incident | None) -> object:
    if incident is None:
        return None
    return attrs.evolve(incident, state=IncidentState.RESOLVED, handle=None)


_ALERTS: Final = sa.select(alerts).where(
    alerts.c.digest.in_(sa.bindparam("digests", expanding=True))
)


def _times_of(row: sa.Row[Any]) -> AlertTimes:
    return AlertTimes(
        row.expires_at,
        row.lifetime,
        row.fires_since,
        row.waits_until,
        tuple(json.loads(row.waiting)),
        row.waiting_row,
    )


def record_alert_states(
    connection: sa.Connection, news: Collection[tuple[Alert, float, AlertTimes]]
) -> None:
    """Store the newest states of alerts, as `AlertState.after` computes them."""
    rows = [
        {
            "digest": digest(alert.identity),
            "scope": alert.scope,
            "key": alert.key,
            "status": alert.status,
            "updated_at": alert.updated_at,
            "started_at": ended_episode(alert),
            "accepted_at": accepted_at,
            "expires_at": times.expires_at,
            "lifetime": times.lifetime,
            "fires_since": times.fires_since,
            "waits_until": times.waits_until,
            "waiting": json.dumps(times.waiting) if times.waiting else "[]",
            "waiting_row": times.row,
        }
        for alert, accepted_at, times in news
    ]
    if rows:
        connection.execute(_RECORD, rows)


_RECORD: Final = sa.text(
    "INSERT INTO alerts (digest, scope, key, status, updated_at, started_at, seen_at, expires_at,"
    " lifetime, fires_since, waits_until, waiting, waiting_row) VALUES (:digest, :scope, :key,"
    " :status, :updated_at, :started_at, :accepted_at, :expires_at, :lifetime, :fires_since,"
    " :waits_until, :waiting, :waiting_row)"
    " ON CONFLICT (digest) DO UPDATE SET status ="
    " CASE WHEN alerts.status = 'resolved' AND excluded.status = 'acknowledged'"
    " THEN alerts.status ELSE excluded.status END,"
    " started_at = CASE WHEN excluded.status = 'firing' THEN NULL"
    " ELSE coalesce(excluded.started_at, alerts.started_at) END,"
    " updated_at = coalesce(excluded.updated_at, alerts.updated_at), seen_at = excluded.seen_at,"
    " expires_at = excluded.expires_at, lifetime = excluded.lifetime,"
    " fires_since = excluded.fires_since, waits_until = excluded.waits_until,"
    " waiting = excluded.waiting, waiting_row = excluded.waiting_row"
).bindparams(
    *(sa.bindparam(name, type_=UtcTime()) for name in ("updated_at", "started_at")),
    *(
        sa.bindparam(name, type_=sa.Double())
        for name in ("expires_at", "lifetime", "fires_since", "waits_until")
    ),
    sa.bindparam("waiting_row", type_=Number),
)


def find_all_open(
    connection: sa.Connection, refs: Iterable[IncidentRef]
) -> Mapping[IncidentRef, StoredIncident]:
    """Return the open incidents for references, in a fixed number of queries."""
    rows = connection.execute(_AT, {"digests": [digest(each) for each in refs]}).all()
    return {each.incident.ref: each for each in incident_store.incidents_of(connection, rows)}


_AT: Final = sa.select(incidents).where(
    incidents.c.active, incidents.c.digest.in_(sa.bindparam("digests", expanding=True))
)
_RESOLVED: Final = sa.select(incidents.c.digest).where(
    ~incidents.c.active,
    ~incidents.c.orphaned,
    incidents.c.changed_at.between(
        sa.bindparam("since", type_=sa.Double()), sa.bindparam("until", type_=sa.Double())
    ),
    incidents.c.digest.in_(sa.bindparam("digests", expanding=True)),
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
    active = incident_store.incidents_of(connection, [row for row in rows if row.active])
    stored = {each.id: each for each in active}
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


def merge_trigger(incident: Incident, delivery: Delivery) -> Incident:
    """Return an incident with the severity, the rules and the follow-ups of one more trigger."""
    return attrs.evolve(
        incident,
        severity=delivery.severity,
        rules=tuple(dict.fromkeys((*incident.rules, *delivery.rules))),
        follow_ups=tuple(dict.fromkeys((*incident.follow_ups, *delivery.follow_ups))),
    )
