"""The inbox: statements that were accepted, and those that are not planned yet."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from hostspec.alert import Alert
from hostspec.store.tables import statements
from hostspec.values import from_json, to_json

_ACCEPT: Final = sa.text(
    "INSERT INTO statements (statement_id, scope, key, body, accepted_at)"
    " VALUES (:statement_id, :scope, :key, :body, :accepted_at)"
    " ON CONFLICT (statement_id) DO NOTHING"
)


@attrs.frozen
class Statement:
    """A statement that was accepted.

    Attributes:
        row: its number; the order of the numbers is that of the commits.
        statement_id: names it; a second one of the same id is the same statement.
        alert: what it says.
        accepted_at: when, in seconds of the epoch.
    """

    row: int
    statement_id: str
    alert: Alert
    accepted_at: float


def new_id() -> str:
    """Make the id of a statement that came without one."""
    return uuid.uuid4().hex


def rows_of(
    alerts: Iterable[tuple[str, Alert]], accepted_at: float
) -> Sequence[dict[str, str | float]]:
    """Make the rows of statements; outside of the transaction, for it takes its time."""
    return [
        {
            "statement_id": statement_id,
            "scope": alert.scope,
            "key": alert.key,
            "body": json.dumps(to_json(alert), ensure_ascii=False, separators=(",", ":")),
            "accepted_at": accepted_at,
        }
        for statement_id, alert in alerts
    ]


def accept(connection: sa.Connection, rows: Sequence[dict[str, str | float]]) -> None:
    """Write statements down; those that are there already stay as they are."""
    if rows:
        connection.execute(_ACCEPT, list(rows))


def unplanned(connection: sa.Connection, most: int) -> tuple[Statement, ...]:
    """Give the oldest statements that are not planned yet, in order."""
    rows = connection.execute(
        sa.select(statements)
        .where(statements.c.planned_at.is_(None))
        .order_by(statements.c.id)
        .limit(most)
    )
    return tuple(_read(row) for row in rows)


def planned(connection: sa.Connection, statement: Statement, now: float, note: str) -> bool:
    """Note that a statement is planned, and what is to be said of it.

    Returns:
        whether it was still to be planned.
    """
    values = {"number": statement.row, "now": now, "text": note}
    return bool(connection.execute(_PLANNED, values).rowcount)


_PLANNED: Final = (
    sa.update(statements)
    .where(statements.c.id == sa.bindparam("number"), statements.c.planned_at.is_(None))
    .values(planned_at=sa.bindparam("now"), note=sa.bindparam("text"))
)


def count_unplanned(connection: sa.Connection) -> int:
    """Count what is not planned yet."""
    which = sa.select(sa.func.count()).where(statements.c.planned_at.is_(None))
    return int(connection.execute(which).scalar_one())


def _read(row: sa.Row[Any]) -> Statement:
    alert = from_json(Alert, json.loads(row.body))
    return Statement(row.id, row.statement_id, alert, row.accepted_at)
