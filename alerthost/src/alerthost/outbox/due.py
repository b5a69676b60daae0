"""Accepts submissions at due times: the resolve of an alert that expired.

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
from alerthost.outbox.timing import LEAST_LIFETIME
from alerthost.store.tables import PENDING, alerts, submissions
from hostspec.alert import Alert, Identity, Status


def accept_due(uow: UnitOfWork, most: int) -> int:
    """Accept the resolves of expired alerts; return how many."""
    rows = _find_expired(uow, most)
    for row in rows:
        reported = dt.datetime.fromtimestamp(row.expires_at - row.lifetime, dt.UTC)
        cause = f"expired: not reported since {reported:%Y-%m-%d %H:%M:%S} UTC"
        over = Alert(row.key, cause, status=Status.RESOLVED, scope=row.scope)
        inbox.accept_own(uow, over, cause)
    if rows:
        done = sa.update(alerts).where(alerts.c.id.in_([row.id for row in rows]))
        uow.connection.execute(done.values(expires_at=None, lifetime=None))
    return len(rows)


def _find_expired(uow: UnitOfWork, most: int) -> Sequence[Any]:
    """Return the rows of expired alerts, which are locked then.

    An alert with a pending submission was reported: planning it moves the due time.
    """
    due = {"now": uow.now, "most": most}
    rows = uow.connection.execute(_EXPIRED, due).all()
    if rows and backend.lock(uow.connection, [Identity(row.scope, row.key) for row in rows]):
        locked = {row.id for row in rows}
        rows = [row for row in uow.connection.execute(_EXPIRED, due) if row.id in locked]
    return rows


def postpone(connection: sa.Connection, now: float, seconds: float) -> int:
    """Move due times by the seconds in which nothing could be reported; return for how many alerts.

    The seconds are negative if a clock was set back.
    """
    moved = alerts.c.expires_at + sa.literal(seconds, sa.Double())
    soonest: sa.ColumnElement[float] = sa.literal(now + LEAST_LIFETIME, sa.Double())
    found = connection.execute(
        sa.update(alerts)
        .where(alerts.c.expires_at.is_not(None))
        .values(expires_at=sa.case((moved < soonest, soonest), else_=moved))
    )
    return found.rowcount


_IS_PENDING: Final = (
    sa.select(submissions.c.id).where(PENDING, submissions.c.digest == alerts.c.digest).exists()
)
_EXPIRED: Final = (
    sa.select(alerts)
    .where(alerts.c.expires_at <= sa.bindparam("now", type_=sa.Double()), ~_IS_PENDING)
    .order_by(alerts.c.expires_at)
    .limit(sa.bindparam("most"))
)
