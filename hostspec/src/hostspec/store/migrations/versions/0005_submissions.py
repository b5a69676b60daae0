"""Submissions have an urgency, a size and an outcome; episodes have a start."""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_PENDING = sa.text("planned_at IS NULL")
_OUTCOME = sa.text("outcome != ''")
_TOGETHER = 100  # rows


def upgrade() -> None:
    """Add the columns, and fill them for the submissions that are not planned yet."""
    for column in (
        sa.Column("digest", sa.String(32), server_default="", nullable=False),
        sa.Column("scope_digest", sa.String(32), server_default="", nullable=False),
        sa.Column("urgency", sa.Double(), server_default="0", nullable=False),
        sa.Column("size", sa.Integer(), server_default="0", nullable=False),
        sa.Column("outcome", sa.Text(), server_default="", nullable=False),
    ):
        op.add_column("statements", column)
    op.add_column("alerts", sa.Column("started_at", sa.String(32), nullable=True))
    op.create_table(
        "planners",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("statements", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_planners")),
    )
    _fill()
    op.drop_index("ix_statements_unplanned", "statements")
    for name, columns, which in (
        ("ix_statements_urgency", ["urgency", "id"], _PENDING),
        ("ix_statements_digest", ["digest", "id"], _PENDING),
        ("ix_statements_scope_digest", ["scope_digest", "accepted_at"], _PENDING),
        ("ix_statements_outcome", ["outcome", "id"], _OUTCOME),
    ):
        op.create_index(name, "statements", columns, sqlite_where=which, postgresql_where=which)


def _fill() -> None:
    names = ("id", "scope", "key", "body", "accepted_at", "planned_at")
    given = ("digest", "scope_digest", "urgency", "size")
    table = sa.table("statements", *map(sa.column, (*names, *given)))
    filled = (
        sa.update(table)
        .where(table.c.id == sa.bindparam("row"))
        .values(
            digest=sa.bindparam("alert"),
            scope_digest=sa.bindparam("whole_scope"),
            urgency=table.c.accepted_at,
            size=sa.func.length(table.c.body),
        )
    )
    pending = (
        sa.select(table.c.id, table.c.scope, table.c.key)
        .where(table.c.planned_at.is_(None))
        .order_by(table.c.id)
        .limit(_TOGETHER)
    )
    last = 0
    while rows := op.get_bind().execute(pending.where(table.c.id > last)).all():
        values = [
            {
                "row": row.id,
                "alert": _digest(row.scope, row.key),
                "whole_scope": _digest(row.scope, ""),
            }
            for row in rows
        ]
        op.get_bind().execute(filled, values)
        last = rows[-1].id


def _digest(*parts: str) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
