"""Orphaned incidents are found by an index: they are looked at again and again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the index."""
    op.create_index(
        "ix_incidents_stranded",
        "incidents",
        ["id"],
        unique=False,
        sqlite_where=sa.text("stranded = 1"),
        postgresql_where=sa.text("stranded"),
    )
