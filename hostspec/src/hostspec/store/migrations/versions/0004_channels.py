"""Failures are kept for each channel of a lane: the deliveries under one credential."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table of channels; lanes that failed are tried at once."""
    op.create_table(
        "channels",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("lane_id", _NUMBER, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("first_due", sa.Double(), nullable=False),
        sa.Column("got_through_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["lane_id"], ["lanes.id"], name=op.f("fk_channels_lane_id_lanes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
    )
    op.create_index("ix_channels_lane_id", "channels", ["lane_id"], unique=False)
    lanes = sa.table("lanes", sa.column("state"), sa.column("due"))
    op.execute(sa.update(lanes).where(lanes.c.state != "healthy").values(state="healthy", due=0.0))
    for name in ("reason", "failures", "got_through_at"):
        op.drop_column("lanes", name)
    op.drop_column("deliveries", "first_tried_at")
    op.add_column("deliveries", sa.Column("tried_at", sa.Double()))
    op.add_column("deliveries", sa.Column("failing_since", sa.Double()))
    op.add_column(
        "deliveries", sa.Column("strikes", sa.Integer(), server_default="0", nullable=False)
    )
