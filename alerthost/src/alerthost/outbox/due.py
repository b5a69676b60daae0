"""Accepts submissions at due times: resolves of expired alerts, and alerts that rules wait for.

A submission is accepted in the transaction that removes its due time, so that a process which is
killed loses none and doubles none.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from alerthost.outbox import backend, inbox
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.submission import STILL_FIRES
from alerthost.outbox.timing import LEAST_LIFETIME
from alerthost.store.tables import PENDING, alerts, submissions
from hostspec.alert import Alert, Identity, Status


def accept_due(uow: UnitOfWork, most: int) -> int:
    """Accept the resolves of expired alerts, and again those that rules wait for; return how many.

    An alert with a pending submission was reported: planning it changes the due times.
    """
    expired = _find(uow, _EXPIRED, most)
    for row in expired:
        reported = dt.datetime.fromtimestamp(row.expires_at - row.lifetime, dt.UTC)
        cause = f"expired: not reported since {reported:%Y-%m-%d %H:%M:%S} UTC"
        over = Alert(row.key, cause, status=Status.RESOLVED, scope=row.scope)
        inbox.accept_own(uow, over, cause)
    _remove(uow, expired, expires_at=None, lifetime=None)
    waiting = _find(uow, _WAITING, most)
    for row in waiting:
        inbox.accept_again(uow, row.waiting_row, STILL_FIRES)
    _remove(uow, waiting, waits_until=None)
    return max(len(expired), len(waiting))


def _find(uow: UnitOfWork, query: sa.Select[Any], most: int) -> Sequence[Any]:
    """Return the rows of alerts whose time is due, which are locked then."""
    due = {"now": uow.now, "most": most}
    rows = uow.connection.execute(query, due).all()
    if rows and backend.lock(uow.connection, [Identity(row.scope, row.key) for row in rows]):
        locked = {row.id for row in rows}
        rows = [row for row in uow.connection.execute(query, due) if row.id in locked]
    return rows


def _remove(uow: UnitOfWork, rows: Sequence[Any], **times: None) -> None:
    if rows:
        which = alerts.c.id.in_([row.id for row in rows])
        uow.connection.execute(sa.update(alerts).where(which).values(**times))


def postpone(connection: sa.Connection, now: float, seconds: float) -> int:
    """Move due times by the seconds in which nothing could be reported; return for how many alerts.

    The seconds are negative if a clock was set back.
    """
    soonest: sa.ColumnElement[float] = sa.literal(now + LEAST_LIFETIME, sa.Double())
    by: sa.ColumnElement[float] = sa.literal(seconds, sa.Double())

    def moved(time: sa.Column[float]) -> sa.ColumnElement[float]:
        return sa.case((time + by < soonest, soonest), else_=time + by)

    times = alerts.c.expires_at, alerts.c.waits_until
    found = connection.execute(
        sa.update(alerts)
        .where(sa.or_(*(each.is_not(None) for each in times)))
        .values({each: moved(each) for each in times})
    )
    since = alerts.c.fires_since
    connection.execute(sa.update(alerts).where(since.is_not(None)).values(fires_since=since + by))
    return found.rowcount


_IS_PENDING: Final = (
    sa.select(submissions.c.id).where(PENDING, submissions.c.digest == alerts.c.digest).exists()
)


def _due(time: sa.Column[Any]) -> sa.Select[Any]:
    now: sa.BindParameter[float] = sa.bindparam("now", type_=sa.Double())
    query = sa.select(alerts).where(time <= now, ~_IS_PENDING)
    return query.order_by(time).limit(sa.bindparam("most"))


_EXPIRED: Final = _due(alerts.c.expires_at)
_WAITING: Final = _due(alerts.c.waits_until)
