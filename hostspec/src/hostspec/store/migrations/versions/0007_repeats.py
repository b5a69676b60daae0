"""Repeats that change nothing are marked: they go behind everything else."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the mark of deliveries."""
    op.add_column(
        "deliveries",
        sa.Column("repeats", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
