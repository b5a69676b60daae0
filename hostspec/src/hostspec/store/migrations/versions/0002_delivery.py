"""What the delivery engine keeps: statements, incidents, deliveries, lanes and budgets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables of the delivery engine."""
    op.create_table(
        "alerts",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=True),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        sa.UniqueConstraint("scope", "key", name=op.f("uq_alerts_scope_key")),
    )
    op.create_index("ix_alerts_seen_at", "alerts", ["seen_at"], unique=False)
    op.create_table(
        "budgets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("allowed", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("used", sa.Text(), nullable=False),
        sa.Column("paused_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_budgets")),
    )
    op.create_table(
        "lanes",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("installation", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="healthy", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("due", sa.Double(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claimed_at", sa.Double(), server_default="0", nullable=False),
        sa.Column("got_through_at", sa.Double(), server_default="0", nullable=False),
        sa.Column("budgets", sa.Text(), server_default="[]", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lanes")),
        sa.UniqueConstraint(
            "installation", "destination", name=op.f("uq_lanes_installation_destination")
        ),
    )
    op.create_index(
        "ix_lanes_due",
        "lanes",
        ["due"],
        unique=False,
        sqlite_where=sa.text("due IS NOT NULL"),
        postgresql_where=sa.text("due IS NOT NULL"),
    )
    op.create_table(
        "receipts",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("hook", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("teller", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipts")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_receipts_teller", "receipts", ["teller", "id"], unique=False)
    op.create_table(
        "statements",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("statement_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("accepted_at", sa.Double(), nullable=False),
        sa.Column("planned_at", sa.Double(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("replays", _NUMBER, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_statements")),
        sa.UniqueConstraint("statement_id", name=op.f("uq_statements_statement_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_statements_planned_at",
        "statements",
        ["planned_at"],
        unique=False,
        sqlite_where=sa.text("planned_at IS NOT NULL"),
        postgresql_where=sa.text("planned_at IS NOT NULL"),
    )
    op.create_index(
        "ix_statements_unplanned",
        "statements",
        ["id"],
        unique=False,
        sqlite_where=sa.text("planned_at IS NULL"),
        postgresql_where=sa.text("planned_at IS NULL"),
    )
    op.create_table(
        "incidents",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("lane_id", _NUMBER, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("installation", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("correlation_key", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=True),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("follow_ups", sa.Text(), nullable=False),
        sa.Column("may_be_open", sa.Boolean(), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("in_doubt", sa.Boolean(), nullable=False),
        sa.Column("stranded", sa.Boolean(), nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("budgets", sa.Text(), server_default="[]", nullable=False),
        sa.ForeignKeyConstraint(["lane_id"], ["lanes.id"], name=op.f("fk_incidents_lane_id_lanes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_incidents_changed_at", "incidents", ["active", "changed_at"], unique=False)
    op.create_index(
        "uq_incidents_place",
        "incidents",
        ["action", "installation", "destination", "correlation_key"],
        unique=True,
        sqlite_where=sa.text("active = 1"),
        postgresql_where=sa.text("active"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("incident_id", _NUMBER, nullable=False),
        sa.Column("lane_id", _NUMBER, nullable=False),
        sa.Column("statement_id", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("place_in_line", sa.Integer(), nullable=False),
        sa.Column("is_head", sa.Boolean(), nullable=False),
        sa.Column("urgency", sa.Double(), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("accepted_at", sa.Double(), nullable=False),
        sa.Column("collapsed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("first_tried_at", sa.Double(), nullable=True),
        sa.Column("promised", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("late_told", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incidents.id"],
            name=op.f("fk_deliveries_incident_id_incidents"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["lane_id"], ["lanes.id"], name=op.f("fk_deliveries_lane_id_lanes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("uid", name=op.f("uq_deliveries_uid")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_deliveries_flying",
        "deliveries",
        ["lane_id"],
        unique=False,
        sqlite_where=sa.text("holder IS NOT NULL"),
        postgresql_where=sa.text("holder IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_head",
        "deliveries",
        ["lane_id", "urgency", "id"],
        unique=False,
        sqlite_where=sa.text("is_head = 1"),
        postgresql_where=sa.text("is_head"),
    )
    op.create_index(
        "ix_deliveries_urgent_head",
        "deliveries",
        ["lane_id", "urgency", "id"],
        unique=False,
        sqlite_where=sa.text("is_head = 1 AND (operation = 'resolve' OR severity = 'critical')"),
        postgresql_where=sa.text("is_head AND (operation = 'resolve' OR severity = 'critical')"),
    )
    op.create_index(
        "ix_deliveries_in_time",
        "deliveries",
        ["accepted_at"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NULL AND late_told = 0"),
        postgresql_where=sa.text("finished_at IS NULL AND NOT late_told"),
    )
    op.create_index(
        "ix_deliveries_line", "deliveries", ["incident_id", "place_in_line"], unique=False
    )
    op.create_index("ix_deliveries_state", "deliveries", ["state", "finished_at"], unique=False)
    op.create_index("ix_deliveries_statement_id", "deliveries", ["statement_id"], unique=False)
    op.create_table(
        "holders",
        sa.Column("incident_id", _NUMBER, nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incidents.id"],
            name=op.f("fk_holders_incident_id_incidents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("incident_id", "scope", "key", name=op.f("pk_holders")),
    )
    op.create_index("ix_holders_scope_key", "holders", ["scope", "key"], unique=False)
