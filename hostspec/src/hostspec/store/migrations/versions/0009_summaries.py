"""The summary of each incident, so that it is listed without the bodies of its alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column; an open incident gets its summary with its next trigger."""
    op.add_column("incidents", sa.Column("summary", sa.Text(), nullable=False, server_default=""))
