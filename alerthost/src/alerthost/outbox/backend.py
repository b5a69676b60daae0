"""Transactions on SQLite and PostgreSQL: units of work, locks, turns, conflicts, and the clock.

SQLite lets one transaction write at a time, on one machine; nothing of this is needed there. On
PostgreSQL transactions run side by side, and each statement sees the commits before it.
A transaction that reads, decides and writes first takes the locks of everything that it decides
about; they are released when it ends.

Locks are taken in this order: turns, incident references, identities, lanes, budgets; of one
kind, in the order of their numbers or names. Where the order cannot be known beforehand,
PostgreSQL detects the deadlock and rolls back one transaction, which is run again.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from alerthost.outbox.serialisation import names_of
from alerthost.store.database import Database
from alerthost.store.errors import StoreError, UnstorableError
from hostspec.action import AnyAction
from hostspec.alert import Identity
from hostspec.delivery import IncidentRef

PLANNING: Final = "planning"
"""The turn of planning."""

MAINTENANCE: Final = "maintenance"
"""The turn of maintenance."""

MANY: Final = 250
"""Locks that one transaction takes one by one; the server has room for some thousands in all."""

RENEW: Final = 10.0
"""Seconds after which the server is asked for the time again."""

POLL: Final = 0.5
"""Seconds between two checks for submissions of other processes on this machine."""

POLL_SERVER: Final = 0.05
"""The same on a server, where a process that accepts may have no workers."""

SERVER_TIME: Final[sa.ColumnElement[float]] = sa.literal_column(
    "CAST(extract(epoch FROM clock_timestamp()) AS double precision)", sa.Double()
)
"""The time of a PostgreSQL server, in seconds of the epoch."""

_CONFLICTS: Final = ("40P01", "40001")
"""SQLSTATEs of a transaction that was undone because of others that ran beside it."""


Actions: TypeAlias = Mapping[str, AnyAction]
"""The actions that send, by name."""


@attrs.frozen
class UnitOfWork:
    """Everything that functions which change deliveries in one transaction share.

    Attributes:
        now: the time that changes are recorded with, in seconds of the epoch.
        observes_delivered: an observer of this process is called for delivered deliveries.
    """

    connection: sa.Connection
    now: float
    actions: Actions
    observes_delivered: bool = True

    def may_repeat(self, name: str) -> bool:
        """Check that an action may send a delivery again which may have arrived."""
        action = self.actions.get(name)
        return action is None or action.capabilities.idempotent

    def is_record(self, name: str) -> bool:
        """Check that an action sends records, which open nothing."""
        action = self.actions.get(name)
        return action is not None and action.capabilities.record


def is_server(connection: sa.Connection) -> bool:
    """Check whether other transactions write beside this one."""
    return connection.dialect.name == "postgresql"


def lock(connection: sa.Connection, things: Iterable[IncidentRef | Identity]) -> bool:
    """Lock incident references or alert identities until the transaction ends.

    Pass all things of one kind that the transaction needs. Return whether rows that were read
    before may have changed, and must be read again.
    """
    if not is_server(connection):
        return False
    numbers: dict[int, set[int]] = {}
    for each in things:
        kind, number = numbers_of(each)
        numbers.setdefault(kind, set()).add(number)
    for kind, of_kind in numbers.items():
        if len(of_kind) > MANY:
            connection.execute(_LOCK_ALL, {"every": kind})
        else:
            connection.execute(_LOCK, {"every": kind, "numbers": sorted(of_kind)})
    return True


def numbers_of(thing: IncidentRef | Identity) -> tuple[int, int]:
    """Return the numbers of the locks that `lock` takes: its kind's, and its own."""
    kind = type(thing).__name__
    return _number(kind), _number(kind, *names_of(thing))


def try_lock_each(connection: sa.Connection, refs: Mapping[int, IncidentRef]) -> Sequence[int]:
    """Lock the references of rows that no other transaction has locked; return their rows."""
    if not is_server(connection):
        return tuple(refs)
    numbers = [numbers_of(ref) for ref in refs.values()]
    which = {"ids": [*refs], "numbers": [number for _, number in numbers], "every": numbers[0][0]}
    return connection.execute(_TRY_LOCK, which).scalars().all()


def take_turn(connection: sa.Connection, name: str) -> bool:
    """Take a turn until the transaction ends, unless another process has it; return whether."""
    if not is_server(connection):
        return True
    return bool(connection.execute(_TURN, {"number": _number(name)}).scalar())


def is_conflict(error: StoreError) -> bool:
    """Check whether a transaction was undone because of others, so that it may be run again."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and getattr(cause.orig, "sqlstate", None) in _CONFLICTS


def is_store_failure(error: Exception) -> bool:
    """Check that the database itself fails, rather than reject a value."""
    return isinstance(error, StoreError) and not isinstance(error, UnstorableError)


def is_unreachable(error: StoreError) -> bool:
    """Check whether the server cannot be reached or does not answer."""
    cause = error.__cause__
    if isinstance(cause, DBAPIError):
        return isinstance(cause, OperationalError) and getattr(cause.orig, "sqlstate", None) is None
    return True


def poll_interval(database: Database) -> float:
    """Return the seconds between two checks for submissions of other processes."""
    return POLL if database.file else POLL_SERVER


def clock(database: Database) -> Callable[[], float]:
    """Return the clock that all processes on a database share, in seconds of the epoch."""
    return time.time if database.file else ServerClock(database)


class ServerClock:
    """The server's clock, for machines whose own ones differ.

    The server is asked now and then; in between, time is counted here. A process that was
    stopped for longer asks first.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._ahead: float | None = None
        self._asked_at = 0.0

    def __call__(self) -> float:
        """Return the time.

        Raises:
            StoreError: the server was never asked, and cannot be.
        """
        with self._lock:
            if self._ahead is None or _elapsed() - self._asked_at > RENEW:
                self._ask()
            return _elapsed() + (self._ahead or 0.0)

    def _ask(self) -> None:
        try:
            with self._database.read() as connection:
                before = _elapsed()
                now = connection.execute(_NOW).scalar_one()
                after = _elapsed()
        except StoreError:
            if self._ahead is None:
                raise
        else:
            self._ahead = now - (before + after) / 2
        self._asked_at = _elapsed()


def _elapsed() -> float:
    """Count seconds, those included in which the machine slept, where the system can."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _number(*name: str) -> int:
    """Return the number of an advisory lock: 64 bits that its name comes to."""
    digest = hashlib.blake2b(json.dumps(name).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


_LOCK: Final = sa.text(
    "WITH every AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(:every))"
    " SELECT pg_advisory_xact_lock(number)"
    " FROM every, unnest(CAST(:numbers AS bigint[])) AS number"
)
_TRY_LOCK: Final = sa.text(
    "SELECT id FROM unnest(CAST(:ids AS bigint[]), CAST(:numbers AS bigint[]))"
    " AS wanted(id, number) WHERE pg_try_advisory_xact_lock_shared(:every)"
    " AND pg_try_advisory_xact_lock(number)"
)
_LOCK_ALL: Final = sa.text("SELECT pg_advisory_xact_lock(:every)")
_TURN: Final = sa.text("SELECT pg_try_advisory_xact_lock(:number)")
_NOW: Final = sa.select(SERVER_TIME)
