"""The planner: turns accepted statements into what waits for incidents."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from hostspec.alert import Alert
from hostspec.delivery import inbox, ledger, lineup, sharing
from hostspec.delivery.digest import digest
from hostspec.delivery.line import Waiting
from hostspec.delivery.writer import Writer
from hostspec.incident import Incident, Place
from hostspec.kernel.calling import told
from hostspec.kernel.planning import Plan, Planning
from hostspec.kernel.plugins import Plugins
from hostspec.kernel.rules import Rule
from hostspec.parts import Identity, Status
from hostspec.store.database import Database
from hostspec.store.errors import StoreError, UnstorableError
from hostspec.store.tables import UtcTime, alerts

_log = logging.getLogger("hostspec.planning")

BATCH: Final = 100
"""Statements that are planned in one transaction, at the most."""

LONGEST: Final = 0.2
"""Seconds of planning after which what is planned is written down, however few they are."""

OVER: Final = "its problem is over"
"""Why nothing is replayed."""


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

    def plan(self, now: float) -> int | None:
        """Plan some of what waits to be planned.

        Returns:
            how many statements; None where another process plans.
        """
        with self._database.read() as connection:
            if not sharing.turn(connection, sharing.PLANNING):
                return None
            found = inbox.unplanned(connection, BATCH)
            made = list(self._in_time(connection, found, now))
            # the turn lasts until this transaction ends: nobody plans the same beside it
            return self._keep(made, now) if made else 0

    def _keep(self, made: Sequence[_Made], now: float) -> int:
        try:
            return self._writer.run(lambda writing: self._write(writing, made, now))
        except Exception as error:
            if _is_of_the_store(error):
                raise
            # one of them cannot be written, and costs none of the others
            return sum(self._alone(each, now) for each in made)

    def _in_time(
        self, connection: sa.Connection, found: Iterable[inbox.Statement], now: float
    ) -> Iterator[_Made]:
        """Plan statements until it has taken so long that what is planned had better be sent."""
        started = time.monotonic()
        for statement in _until_one_comes_again(found):
            yield self._planned(connection, statement, now)
            if time.monotonic() - started > LONGEST:
                return

    def _alone(self, made: _Made, now: float) -> bool:
        try:
            return bool(self._writer.run(lambda writing: self._write(writing, [made], now)))
        except Exception as error:
            if _is_of_the_store(error):
                raise
            failed = _failed(made.statement, error)  # whatever a plugin put into a delivery
        return bool(self._writer.run(lambda writing: self._write(writing, [failed], now)))

    def _planned(self, connection: sa.Connection, statement: inbox.Statement, now: float) -> _Made:
        world = _World(connection, replays=statement.replays is not None)
        try:
            alert = statement.alert()
            known = _known(connection, alert.identity)
            idle = _idle(statement, alert, known, now)
            if idle:
                return _Made(statement, None, inbox.Note(idle))
            plan = self.make(alert, world)
        except DBAPIError:
            raise
        except Exception as error:  # noqa: BLE001 -- one statement never costs the others
            return _failed(statement, error)
        if statement.replays is not None:
            plan = _only(plan, ledger.place_of(connection, statement.replays))
        for failure in plan.failures:
            _log.error("alert %s: %s", alert.key, failure)
        return _Made(statement, plan, _noted(plan), world.seen_at, world.seen_held, world.holding)

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
        return planning.plan(matching)

    def _write(self, connection: sa.Connection, made: Sequence[_Made], now: float) -> int:
        sharing.lock(connection, {place for each in made for place in each.places})
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
        if made.statement.replays is None:
            _remember(connection, alert, now)
        for place in made.plan.joined:
            ledger.hold(connection, _found(connection, place).id, alert.identity, now)
        for place in made.plan.released:
            self._release(connection, _found(connection, place), alert.identity, now)
        for delivery in made.plan.deliveries:
            new = Waiting(delivery, accepted_at=made.statement.accepted_at)
            statement_id = made.statement.statement_id
            lineup.enqueue(connection, self._plugins.actions, new, statement_id, now)
        return True

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
    """A plan, and what it looked at: versions of incidents, None for none; and their places."""

    statement: inbox.Statement
    plan: Plan | None
    note: inbox.Note
    seen_at: Mapping[Place, tuple[int, int] | None] = attrs.field(factory=dict)
    seen_held: Mapping[Identity, frozenset[tuple[int, int]]] = attrs.field(factory=dict)
    holding: frozenset[Place] = frozenset()

    @property
    def places(self) -> frozenset[Place]:
        """Every place that it looked at, or changes something at."""
        return self.holding.union(self.seen_at, self.plan.places if self.plan else ())


class _World:
    """The incidents as planning sees them; it keeps account of what was looked at."""

    def __init__(self, connection: sa.Connection, *, replays: bool) -> None:
        self._connection = connection
        self._replays = replays
        self.seen_at: dict[Place, tuple[int, int] | None] = {}
        self.seen_held: dict[Identity, frozenset[tuple[int, int]]] = {}
        self.holding: frozenset[Place] = frozenset()

    def at(self, place: Place) -> Incident | None:
        """Give the incident at a place, where somebody holds one open.

        One that nobody holds is about to be resolved: what fires now opens the next one. One that
        the provider took no trigger of is opened by what is replayed.
        """
        found = ledger.incident_at(self._connection, place)
        self.seen_at[place] = _version(found)
        if found is None or (self._replays and not found.episode.told):
            return None
        return found.incident if found.incident.holders else None

    def held_by(self, alert: Identity) -> tuple[Incident, ...]:
        """Give the incidents that an alert holds open."""
        found = ledger.held_by(self._connection, alert)
        self.seen_held[alert] = _versions(found)
        self.holding = self.holding.union(each.incident.place for each in found)
        return tuple(each.incident for each in found)


def _version(found: ledger.StoredIncident | None) -> tuple[int, int] | None:
    return (found.id, found.version) if found else None


def _versions(found: Iterable[ledger.StoredIncident]) -> frozenset[tuple[int, int]]:
    return frozenset((each.id, each.version) for each in found)


def _found(connection: sa.Connection, place: Place) -> ledger.StoredIncident:
    found = ledger.incident_at(connection, place)
    assert found is not None  # noqa: S101 -- planning saw it, and nothing has changed since
    return found


def _until_one_comes_again(found: Iterable[inbox.Statement]) -> Iterator[inbox.Statement]:
    """Give statements up to the second one of an alert: it is planned from what the first left.

    What came after that waits for it, for several alerts may be about one incident.
    """
    seen: set[Identity] = set()
    for statement in found:
        if statement.identity in seen:
            return
        seen.add(statement.identity)
        yield statement


def _is_of_the_store(error: Exception) -> bool:
    """Say whether the database itself fails, and not on what was to be written."""
    return isinstance(error, StoreError) and not isinstance(error, UnstorableError)


def _failed(statement: inbox.Statement, error: Exception) -> _Made:
    failure = f"could not be planned: {told(error)}"
    _log.error("alert %s: %s", statement.identity.key, failure)
    return _Made(statement, None, inbox.Note(failures=(failure,)))


def _idle(statement: inbox.Statement, alert: Alert, known: sa.Row[Any] | None, now: float) -> str:
    """Say why nothing is done about a statement; nothing, where something is."""
    if known is None:
        return ""
    if statement.replays is not None:
        return OVER if known.status == Status.RESOLVED else ""
    moment, newest = alert.updated_at, known.updated_at
    # one that lies ahead was accepted while this host's own clock was wrong
    if moment and newest and moment < newest and newest.timestamp() <= now:
        return f"older than what is known: {newest.isoformat()} is the newest"
    return ""


def _only(plan: Plan, place: Place | None) -> Plan:
    """Leave of a plan what concerns one place."""
    return attrs.evolve(
        plan,
        deliveries=tuple(each for each in plan.deliveries if each.place == place),
        joined=tuple(each for each in plan.joined if each == place),
        released=(),
    )


def _known(connection: sa.Connection, alert: Identity) -> sa.Row[Any] | None:
    """Give what an alert said last."""
    which = sa.select(alerts).where(alerts.c.digest == digest(alert))
    return connection.execute(which).first()


def _remember(connection: sa.Connection, alert: Alert, now: float) -> None:
    """Keep what an alert said last; who acknowledges what is over begins nothing."""
    connection.execute(
        _REMEMBER,
        {
            "digest": digest(alert.identity),
            "scope": alert.scope,
            "key": alert.key,
            "status": alert.status,
            "updated_at": alert.updated_at,
            "now": now,
        },
    )


_REMEMBER: Final = sa.text(
    "INSERT INTO alerts (digest, scope, key, status, updated_at, seen_at)"
    " VALUES (:digest, :scope, :key, :status, :updated_at, :now)"
    " ON CONFLICT (digest) DO UPDATE SET status ="
    " CASE WHEN alerts.status = 'resolved' AND excluded.status = 'acknowledged'"
    " THEN alerts.status ELSE excluded.status END,"
    " updated_at = coalesce(excluded.updated_at, alerts.updated_at), seen_at = excluded.seen_at"
).bindparams(sa.bindparam("updated_at", type_=UtcTime()))


def _noted(plan: Plan) -> inbox.Note:
    """Say what a statement came to, where it is not a delivery."""
    remark = ""
    if not plan.places:
        remark = "no rule matches" if plan.alert.status is Status.FIRING else "nothing is open"
    if plan.failures or plan.suppressions:
        remark = ""
    return inbox.Note(remark, tuple(map(str, plan.failures)), plan.suppressions)
