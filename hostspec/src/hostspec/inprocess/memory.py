"""Open incidents in memory, for hosts without a store."""

from __future__ import annotations

import datetime as dt
import time
from typing import Final

import attrs

from hostspec.alert import Alert, Identity
from hostspec.delivery import (
    Delivery,
    Incident,
    IncidentRef,
    IncidentState,
    Operation,
    Outcome,
    distinct,
)
from hostspec.forking import Locked
from hostspec.plugins.planning import RESOLVED_FOR, ended_episode, is_late_repeat

MOST_INCIDENTS: Final = 100_000
"""Incidents that are remembered; beyond them the least recently changed one is forgotten."""


@attrs.frozen
class _Ended:
    started_at: dt.datetime | None
    updated_at: dt.datetime | None
    noted_at: float = attrs.field(factory=time.monotonic)


class IncidentMemory(Locked):
    """The incidents that may be open. Safe to use from several threads."""

    def __init__(self, most: int = MOST_INCIDENTS) -> None:
        super().__init__()
        self._most = most
        self._incidents: dict[IncidentRef, Incident] = {}
        self._held: dict[Identity, dict[IncidentRef, None]] = {}
        self._ended: dict[Identity, _Ended] = {}
        self._resolved: dict[IncidentRef, float] = {}  # when, on the monotonic clock; oldest first

    def at(self, ref: IncidentRef) -> Incident | None:
        """Return the incident for a reference, if one may be open."""
        with self._lock:
            return self._incidents.get(ref)

    def held_by(self, alert: Identity) -> tuple[Incident, ...]:
        """Return the incidents that an alert holds open."""
        with self._lock:
            return tuple(self._incidents[ref] for ref in self._held.get(alert, ()))

    def is_resolved(self, ref: IncidentRef) -> bool:
        """Check whether an incident was resolved in the last `RESOLVED_FOR` seconds."""
        with self._lock:
            resolved_at = self._resolved.get(ref)
        return resolved_at is not None and time.monotonic() - resolved_at <= RESOLVED_FOR

    def is_late_repeat(self, alert: Alert) -> bool:
        """Check whether a firing alert repeats the episode that ended last."""
        with self._lock:
            ended = self._ended.get(alert.identity)
        if ended is None:
            return False
        age = time.monotonic() - ended.noted_at
        return is_late_repeat(alert, ended.started_at, ended.updated_at, age)

    def note(self, alert: Alert) -> None:
        """Remember which episode ended with an alert, until a newer one begins."""
        with self._lock:
            before = self._ended.pop(alert.identity, _Ended(None, None))
            started_at = ended_episode(alert, before.started_at)
            if started_at is None:
                return
            if len(self._ended) >= self._most:
                del self._ended[next(iter(self._ended))]
            updated_at = alert.updated_at or before.updated_at
            self._ended[alert.identity] = _Ended(started_at, updated_at)

    def join(self, ref: IncidentRef, alert: Identity) -> None:
        """Add a holder to an open incident."""
        with self._lock:
            incident = self._incidents.get(ref)
            if incident:
                self._put(attrs.evolve(incident, holders=distinct((incident.holders, (alert,)))))

    def release(self, ref: IncidentRef, alert: Identity) -> None:
        """Remove a holder from an incident; without holders it is forgotten."""
        with self._lock:
            incident = self._incidents.get(ref)
            if incident:
                self._release(incident, alert)

    def record(self, delivery: Delivery, outcome: Outcome, *, arrived: bool) -> None:
        """Record the outcome of an attempt; if it may have arrived, its incident may be open."""
        with self._lock:
            incident = self._incidents.get(delivery.ref)
            match delivery.operation:
                case Operation.TRIGGER if arrived:
                    self._resolved.pop(delivery.ref, None)
                    self._put(_opened(incident, delivery, outcome))
                case Operation.ACKNOWLEDGE if outcome.delivered and incident:
                    self._put(attrs.evolve(incident, state=IncidentState.ACKNOWLEDGED))
                case Operation.RESOLVE if outcome.delivered:
                    self._note_resolved(delivery.ref)
                    if incident:
                        self._release(incident, delivery.alert)

    def _note_resolved(self, ref: IncidentRef) -> None:
        self._resolved.pop(ref, None)
        if len(self._resolved) >= self._most:
            del self._resolved[next(iter(self._resolved))]
        self._resolved[ref] = time.monotonic()

    def _release(self, incident: Incident, alert: Identity) -> None:
        holders = tuple(holder for holder in incident.holders if holder != alert)
        if holders:
            self._put(attrs.evolve(incident, holders=holders))
        else:
            self._forget(incident)

    def _put(self, incident: Incident) -> None:
        before = self._incidents.get(incident.ref)
        if before:
            self._forget(before)
        elif len(self._incidents) >= self._most:
            self._forget(next(iter(self._incidents.values())))
        self._incidents[incident.ref] = incident
        for holder in incident.holders:
            self._held.setdefault(holder, {})[incident.ref] = None

    def _forget(self, incident: Incident) -> None:
        del self._incidents[incident.ref]
        for holder in incident.holders:
            refs = self._held[holder]
            del refs[incident.ref]
            if not refs:
                del self._held[holder]


def _opened(incident: Incident | None, delivery: Delivery, outcome: Outcome) -> Incident:
    """Return the incident after a trigger, with the alert as one more holder."""
    if incident is None:
        opened = Incident.opened_by(delivery, IncidentState.TRIGGERED)
        return attrs.evolve(opened, handle=outcome.handle)
    return attrs.evolve(
        incident,
        severity=delivery.severity,
        handle=incident.handle or outcome.handle,
        holders=distinct((incident.holders, (delivery.alert,))),
        rules=distinct((incident.rules, delivery.rules)),
        follow_ups=distinct((incident.follow_ups, delivery.follow_ups)),
    )
