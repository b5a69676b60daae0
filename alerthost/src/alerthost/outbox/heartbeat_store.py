"""Records the signs of life of other programs, and accepts alerts about missed ones.

The heartbeats of this engine's own workers are something else (`alerthost.outbox.heartbeat`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa

from alerthost.outbox import backend, inbox
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat, HeartbeatRow, identity_of
from alerthost.outbox.group_commit import log_afterwards
from alerthost.store.tables import PENDING, expected_heartbeats, submissions
from hostspec.alert import Alert, Status

_log = logging.getLogger("hostspec")

MISSED: Final = "the heartbeat was missed"
"""Why the engine accepts a firing alert."""

HEARD: Final = "the heartbeat was heard again"
"""Why the engine accepts the resolve of that alert."""


def read_rows(
    connection: sa.Connection, heartbeats: Iterable[ExpectedHeartbeat]
) -> tuple[HeartbeatRow, ...]:
    """Return the states of heartbeats, in their order."""
    rows = {row.key: row for row in connection.execute(sa.select(expected_heartbeats))}
    return tuple(
        HeartbeatRow(each, row.heard_at, row.due, row.missed_at)
        if (row := rows.get(each.key))
        else HeartbeatRow(each)
        for each in heartbeats
    )


def hear(uow: UnitOfWork, heartbeat: ExpectedHeartbeat) -> float:
    """Record a sign of life, and resolve the alert about a missed one; return the next due time."""
    row = _lock(uow, heartbeat.key)
    if row is not None and row.missed_at is not None:
        alert = identity_of(row.scope, row.key)
        resolved = Alert(alert.key, HEARD, status=Status.RESOLVED, scope=alert.scope)
        backend.lock(uow.connection, [alert])
        inbox.accept_own(uow, resolved, HEARD)
        log_afterwards(_log, logging.WARNING, "the heartbeat %s was heard again", row.key)
    due = uow.now + heartbeat.period
    _write(uow, heartbeat, heard_at=uow.now, due=due, missed_at=None)
    return due


def accept_missed(uow: UnitOfWork, heartbeats: Iterable[ExpectedHeartbeat]) -> int:
    """Accept alerts about missed heartbeats, and expect the new ones; return how many alerts."""
    rows = {row.key: row for row in uow.connection.execute(sa.select(expected_heartbeats))}
    return sum(_check(uow, each, rows.get(each.key)) for each in heartbeats)


def _check(uow: UnitOfWork, heartbeat: ExpectedHeartbeat, row: sa.Row[Any] | None) -> bool:
    """Check one heartbeat; return whether it is missed from now on."""
    if _is_as_expected(uow, heartbeat, row):
        return False
    row = _lock(uow, heartbeat.key)
    if row is None:
        _write(uow, heartbeat, heard_at=None, due=uow.now + heartbeat.period, missed_at=None)
    elif row.due is not None and row.period != heartbeat.period:  # the configuration changed
        due = row.due + heartbeat.period - row.period
        _write(uow, heartbeat, heard_at=row.heard_at, due=due, missed_at=None)
    elif not _is_as_expected(uow, heartbeat, row):
        backend.lock(uow.connection, [heartbeat.identity])
        inbox.accept_own(uow, heartbeat.missed(row.heard_at, uow.now), MISSED)
        _write(uow, heartbeat, heard_at=row.heard_at, due=None, missed_at=uow.now)
        log_afterwards(_log, logging.WARNING, "the heartbeat %s was missed", row.key)
        return True
    return False


def _is_as_expected(uow: UnitOfWork, heartbeat: ExpectedHeartbeat, row: sa.Row[Any] | None) -> bool:
    if row is None:
        return False
    if row.due is None:
        return True
    if row.period != heartbeat.period:
        return False
    if row.due > uow.now:
        return True
    # a sign of life may be among the alerts that are not planned yet
    return heartbeat.matches is not None and _has_reports(uow.connection, row.due)


def _has_reports(connection: sa.Connection, before: float) -> bool:
    """Check whether reports of senders are pending that were accepted in time."""
    in_time = submissions.c.accepted_at <= before
    query = sa.select(submissions.c.id).where(PENDING, in_time, submissions.c.cause == "")
    return connection.execute(query.limit(1)).first() is not None


def _lock(uow: UnitOfWork, key: str) -> sa.Row[Any] | None:
    """Lock a heartbeat, and return its row."""
    backend.lock(uow.connection, [identity_of("", key)])
    return uow.connection.execute(_ROW, {"key": key}).first()


def _write(uow: UnitOfWork, heartbeat: ExpectedHeartbeat, **times: float | None) -> None:
    values = {"key": heartbeat.key, "scope": heartbeat.scope, "period": heartbeat.period, **times}
    uow.connection.execute(_WRITE, values)


def postpone(connection: sa.Connection, now: float) -> int:
    """Expect every heartbeat that is not missed from now on again; return how many."""
    expected = sa.update(expected_heartbeats).where(expected_heartbeats.c.due.is_not(None))
    due: sa.ColumnElement[float] = sa.literal(now, sa.Double()) + expected_heartbeats.c.period
    return connection.execute(expected.values(due=due)).rowcount


_ROW: Final = sa.select(expected_heartbeats).where(expected_heartbeats.c.key == sa.bindparam("key"))
_WRITE: Final = sa.text(
    "INSERT INTO expected_heartbeats (key, scope, period, heard_at, due, missed_at)"
    " VALUES (:key, :scope, :period, :heard_at, :due, :missed_at)"
    " ON CONFLICT (key) DO UPDATE SET scope = excluded.scope, period = excluded.period,"
    " heard_at = excluded.heard_at, due = excluded.due, missed_at = excluded.missed_at"
).bindparams(
    *(sa.bindparam(name, type_=sa.Double()) for name in ("heard_at", "due", "missed_at", "period"))
)
