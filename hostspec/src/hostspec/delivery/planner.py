"""The planner: turns accepted statements into what waits for incidents."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs
import sqlalchemy as sa

from hostspec.action import AnyAction
from hostspec.alert import Alert
from hostspec.delivery import inbox, ledger
from hostspec.delivery.line import Waiting, join
from hostspec.delivery.writer import Writer
from hostspec.incident import Delivery, Incident, Operation, Place
from hostspec.kernel.planning import Plan, Planning
from hostspec.kernel.plugins import Plugins
from hostspec.kernel.rules import Rule
from hostspec.merge import merge
from hostspec.parts import Identity, Status
from hostspec.store.database import Database
from hostspec.store.tables import alerts

_log = logging.getLogger("hostspec.planning")

BATCH: Final = 100
"""Statements that are planned in one transaction, at the most."""


class Planner:
    """Plans what was accepted, statement by statement, in the order of the commits.

    Planning itself happens outside of transactions, for rules and extensions take their time;
    what it looked at is looked at again when it is written down, and what has changed meanwhile
    is planned anew.

    Args:
        database: where everything is.
        writer: commits.
        plugins: whose actions plan.
        rules: which alerts start which actions.
    """

    def __init__(
        self, database: Database, writer: Writer, plugins: Plugins, rules: Iterable[Rule]
    ) -> None:
        self._database = database
        self._writer = writer
        self._plugins = plugins
        self._rules = tuple(rules)

    def plan(self, now: float) -> int:
        """Plan some of what waits to be planned; say how many statements."""
        with self._database.read() as connection:
            found = inbox.unplanned(connection, BATCH)
            made = [self._planned(connection, statement) for statement in _first_of_each(found)]
        if not made:
            return 0
        return self._writer.run(lambda connection: self._write(connection, made, now))

    def _planned(self, connection: sa.Connection, statement: inbox.Statement) -> _Made:
        world = _World(connection)
        known = _last_of(connection, statement.alert.identity)
        if _is_stale(statement.alert, known):
            note = f"older than what is known: {known} is the newest"
            return _Made(statement, None, {}, {}, note)
        plan = self.make(statement.alert, world)
        for failure in plan.failures:
            _log.error("alert %s: %s", statement.alert.key, failure)
        return _Made(statement, plan, world.seen_at, world.seen_held, _told(plan))

    def make(self, alert: Alert, world: _World) -> Plan:
        """Make the plan of one alert: rules speak for what fires, incidents for all else."""
        planning = Planning(self._plugins, world, alert)
        matching: list[Rule] = []
        if alert.status is Status.FIRING:
            matching = [rule for rule in self._rules if planning.matches(rule)]
            for rule in matching:
                planning.open(rule)
        else:
            planning.follow_up()
        return Plan(
            alert,
            tuple(rule.name for rule in matching),
            merge(planning.deliveries),
            tuple(planning.joined),
            tuple(planning.released),
            tuple(planning.failures),
            tuple(planning.suppressions),
        )

    def _write(self, connection: sa.Connection, made: Sequence[_Made], now: float) -> int:
        return sum(self._apply(connection, each, now) for each in made)

    def _apply(self, connection: sa.Connection, made: _Made, now: float) -> bool:
        """Write a plan down, if what it looked at is as it was; else it is planned anew."""
        found = {place: ledger.incident_at(connection, place) for place in made.seen_at}
        unchanged = {place: _version(each) for place, each in found.items()} == made.seen_at
        held = {alert: _versions(ledger.held_by(connection, alert)) for alert in made.seen_held}
        if not unchanged or held != made.seen_held:
            return False
        if not inbox.planned(connection, made.statement, now, made.note):
            return False
        if made.plan is None:
            return True
        alert = made.plan.alert
        _remember(connection, alert, now)
        for place in made.plan.joined:
            for each in _some(ledger.incident_at(connection, place)):
                ledger.hold(connection, each.id, alert.identity, now)
        for place in made.plan.released:
            for each in _some(ledger.incident_at(connection, place)):
                self._release(connection, each, alert.identity, now)
        for delivery in made.plan.deliveries:
            new = Waiting(delivery, accepted_at=made.statement.accepted_at)
            self.enqueue(connection, new, made.statement.statement_id, now)
        return True

    def enqueue(
        self, connection: sa.Connection, new: Waiting, statement_id: str, now: float
    ) -> None:
        """Put a delivery in the line of its incident, which it may open."""
        delivery = new.delivery
        found = ledger.incident_at(connection, delivery.place)
        if found is None:
            found = ledger.open_incident(connection, delivery, now)
            waiting, flying = (), False
        else:
            if delivery.operation is Operation.TRIGGER:
                _repeat(connection, found, delivery, now)
            elif delivery.operation is Operation.RESOLVE:
                # firing again while the resolve waits, its alert holds the incident anew
                ledger.release(connection, found.id, delivery.alert, now)
            waiting, flying = ledger.waiting(connection, found.id)
        action: AnyAction = self._plugins.actions[delivery.place.action]
        line = join(waiting, new, found.episode, action, flying=flying)
        ledger.write_line(connection, found, line, statement_id, now, flying=flying)
        for each in line.elsewhere:
            self.enqueue(connection, each, statement_id, now)
        if not line.kept and not flying and not found.episode.may_be_open:
            ledger.close_incident(connection, found.id, now)

    def _release(
        self,
        connection: sa.Connection,
        found: ledger.StoredIncident,
        alert: Identity,
        now: float,
    ) -> None:
        ledger.release(connection, found.id, alert, now)
        if set(found.incident.holders) <= {alert}:
            # nobody holds it any more, and nothing closes it at the provider
            ledger.close_incident(connection, found.id, now)


@attrs.frozen
class _Made:
    """A plan, and what it looked at: versions of incidents, None for none."""

    statement: inbox.Statement
    plan: Plan | None
    seen_at: Mapping[Place, tuple[int, int] | None]
    seen_held: Mapping[Identity, frozenset[tuple[int, int]]]
    note: str


class _World:
    """The incidents as planning sees them; it keeps account of what was looked at."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.seen_at: dict[Place, tuple[int, int] | None] = {}
        self.seen_held: dict[Identity, frozenset[tuple[int, int]]] = {}

    def at(self, place: Place) -> Incident | None:
        """Give the incident at a place, where one is not over."""
        found = ledger.incident_at(self._connection, place)
        self.seen_at[place] = _version(found)
        return found.incident if found else None

    def held_by(self, alert: Identity) -> tuple[Incident, ...]:
        """Give the incidents that an alert holds open."""
        found = ledger.held_by(self._connection, alert)
        self.seen_held[alert] = _versions(found)
        return tuple(each.incident for each in found)


def _version(found: ledger.StoredIncident | None) -> tuple[int, int] | None:
    return (found.id, found.version) if found else None


def _versions(found: Iterable[ledger.StoredIncident]) -> frozenset[tuple[int, int]]:
    return frozenset((each.id, each.version) for each in found)


def _some(found: ledger.StoredIncident | None) -> Iterator[ledger.StoredIncident]:
    if found:
        yield found


def _first_of_each(found: Iterable[inbox.Statement]) -> Iterator[inbox.Statement]:
    """Give the first statement of each alert: the second is planned from what the first left."""
    seen: set[Identity] = set()
    for statement in found:
        if statement.alert.identity not in seen:
            seen.add(statement.alert.identity)
            yield statement


def _repeat(
    connection: sa.Connection, found: ledger.StoredIncident, delivery: Delivery, now: float
) -> None:
    """Let a trigger add its alert, rules and severity to the incident."""
    incident = found.incident
    ledger.hold(connection, found.id, delivery.alert, now)
    ledger.update_incident(
        connection,
        found.id,
        now,
        severity=delivery.severity,
        rules=ledger.as_json((*incident.rules, *delivery.rules)),
        follow_ups=ledger.as_json((*incident.follow_ups, *delivery.follow_ups)),
    )


def _last_of(connection: sa.Connection, alert: Identity) -> str | None:
    which = sa.select(alerts.c.updated_at).where(
        alerts.c.scope == alert.scope, alerts.c.key == alert.key
    )
    return connection.execute(which).scalar()


def _remember(connection: sa.Connection, alert: Alert, now: float) -> None:
    connection.execute(
        _REMEMBER,
        {
            "scope": alert.scope,
            "key": alert.key,
            "status": alert.status,
            "updated_at": alert.updated_at.isoformat() if alert.updated_at else None,
            "now": now,
        },
    )


_REMEMBER: Final = sa.text(
    "INSERT INTO alerts (scope, key, status, updated_at, seen_at)"
    " VALUES (:scope, :key, :status, :updated_at, :now)"
    " ON CONFLICT (scope, key) DO UPDATE SET status = excluded.status,"
    " updated_at = coalesce(excluded.updated_at, alerts.updated_at), seen_at = excluded.seen_at"
)


def _is_stale(alert: Alert, known: str | None) -> bool:
    return bool(known and alert.updated_at and alert.updated_at.isoformat() < known)


def _told(plan: Plan) -> str:
    """Say what a statement came to, where it is not a delivery."""
    told = [str(failure) for failure in plan.failures]
    told += [f"suppressed by {each.plugin}: {each.reason}" for each in plan.suppressions]
    if not (plan.deliveries or told or plan.joined or plan.released):
        told.append("no rule matches" if plan.alert.status is Status.FIRING else "nothing is open")
    return "; ".join(told)
