"""Submissions of several scopes and destinations take turns at being planned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_PENDING = sa.text("planned_at IS NULL")


def upgrade() -> None:
    """Add the turn of submissions: of those that are not planned yet, their scope."""
    column = sa.Column("turn", sa.String(32), server_default="", nullable=False)
    op.add_column("statements", column)
    op.execute("UPDATE statements SET turn = scope_digest WHERE planned_at IS NULL")
    op.create_index(
        "ix_statements_turn",
        "statements",
        ["turn", "urgency", "id"],
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    )
