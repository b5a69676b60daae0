"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DIGEST = TIME = sa.String(32)


def _create_index(
    name: str,
    table: str,
    columns: list[str],
    where: str | None = None,
    on_sqlite: str | None = None,
) -> None:
    """Create an index; a partial one of a condition that SQLite may write differently."""
    op.create_index(
        name,
        table,
        columns,
        sqlite_where=sa.text(on_sqlite or where) if where else None,
        postgresql_where=sa.text(where) if where else None,
    )


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "activity",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "pending_installs",
        sa.Column("state", sa.Text(), primary_key=True),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "alerts",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("updated_at", TIME),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("digest", DIGEST, nullable=False, unique=True),
        sa.Column("started_at", TIME),
        sa.Column("expires_at", sa.Double()),
        sa.Column("lifetime", sa.Double()),
        sa.Column("fires_since", sa.Double()),
        sa.Column("waits_until", sa.Double()),
        sa.Column("waiting", sa.Text(), server_default="[]", nullable=False),
        sa.Column("waiting_row", NUMBER),
    )
    _create_index("ix_alerts_seen_at", "alerts", ["seen_at"])
    _create_index("ix_alerts_expires_at", "alerts", ["expires_at"], "expires_at IS NOT NULL")
    _create_index("ix_alerts_waits_until", "alerts", ["waits_until"], "waits_until IS NOT NULL")
    op.create_table(
        "expected_heartbeats",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("period", sa.Double(), nullable=False),
        sa.Column("heard_at", sa.Double()),
        sa.Column("due", sa.Double()),
        sa.Column("missed_at", sa.Double()),
    )
    op.create_table(
        "budgets",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("allowed", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("used", sa.Text(), nullable=False),
        sa.Column("paused_until", sa.Double(), nullable=False),
    )
    op.create_table(
        "clock",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("steady_since", sa.Double(), nullable=False),
    )
    op.create_table(
        "installations",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "rules",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "lanes",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("installation", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="healthy", nullable=False),
        sa.Column("due", sa.Double()),
        sa.Column("leased_at", sa.Double(), server_default="0", nullable=False),
        sa.Column("budgets", sa.Text(), server_default="[]", nullable=False),
        sa.UniqueConstraint("installation", "destination"),
    )
    _create_index("ix_lanes_due", "lanes", ["due"], "due IS NOT NULL")
    op.create_table(
        "planners",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("submissions", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
    )
    op.create_table(
        "receipts",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("hook", sa.Text(), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("delivery", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    _create_index("ix_receipts_worker_id", "receipts", ["worker_id", "id"])
    op.create_table(
        "submissions",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("submission_id", sa.Text(), nullable=False, unique=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("accepted_at", sa.Double(), nullable=False),
        sa.Column("planned_at", sa.Double()),
        sa.Column("note", sa.Text()),
        sa.Column("replays", NUMBER),
        sa.Column("digest", DIGEST, server_default="", nullable=False),
        sa.Column("scope_digest", DIGEST, server_default="", nullable=False),
        sa.Column("urgency", sa.Double(), server_default="0", nullable=False),
        sa.Column("size", sa.Integer(), server_default="0", nullable=False),
        sa.Column("outcome", sa.Text(), server_default="", nullable=False),
        sa.Column("fairness_key", DIGEST, server_default="", nullable=False),
        sa.Column("lifetime", sa.Double()),
        sa.Column("cause", sa.Text(), server_default="", nullable=False),
        sqlite_autoincrement=True,
    )
    _create_index("ix_submissions_digest", "submissions", ["digest", "id"], "planned_at IS NULL")
    _create_index("ix_submissions_outcome", "submissions", ["outcome", "id"], "outcome != ''")
    _create_index(
        "ix_submissions_planned_at", "submissions", ["planned_at"], "planned_at IS NOT NULL"
    )
    _create_index(
        "ix_submissions_scope_digest",
        "submissions",
        ["scope_digest", "accepted_at"],
        "planned_at IS NULL",
    )
    _create_index(
        "ix_submissions_fairness_key",
        "submissions",
        ["fairness_key", "urgency", "id"],
        "planned_at IS NULL",
    )
    _create_index("ix_submissions_urgency", "submissions", ["urgency", "id"], "planned_at IS NULL")
    op.create_table(
        "workers",
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("pk_workers")),
    )
    op.create_table(
        "channels",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("lane_id", NUMBER, sa.ForeignKey("lanes.id"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("first_due", sa.Double(), nullable=False),
        sa.Column("last_success_at", sa.Double(), nullable=False),
    )
    _create_index("ix_channels_lane_id", "channels", ["lane_id"])
    op.create_table(
        "incidents",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("lane_id", NUMBER, sa.ForeignKey("lanes.id"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("installation", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("correlation_key", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("handle", sa.Text()),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("follow_ups", sa.Text(), nullable=False),
        sa.Column("may_be_open", sa.Boolean(), nullable=False),
        sa.Column("trigger_delivered", sa.Boolean(), nullable=False),
        sa.Column("unconfirmed", sa.Boolean(), nullable=False),
        sa.Column("orphaned", sa.Boolean(), nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("budgets", sa.Text(), server_default="[]", nullable=False),
        sa.Column("digest", DIGEST, server_default="", nullable=False),
        sa.Column("summary", sa.Text(), server_default="", nullable=False),
        sqlite_autoincrement=True,
    )
    _create_index("ix_incidents_changed_at", "incidents", ["changed_at"], "active", "active = 1")
    _create_index("ix_incidents_ended_at", "incidents", ["changed_at"], "NOT active", "active = 0")
    _create_index("ix_incidents_orphaned", "incidents", ["id"], "orphaned", "orphaned = 1")
    op.create_index(
        "uq_incidents_digest",
        "incidents",
        ["digest"],
        unique=True,
        sqlite_where=sa.text("active = 1"),
        postgresql_where=sa.text("active"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column(
            "incident_id", NUMBER, sa.ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("lane_id", NUMBER, sa.ForeignKey("lanes.id"), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("submission_id", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("is_head", sa.Boolean(), nullable=False),
        sa.Column("urgency", sa.Double(), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("accepted_at", sa.Double(), nullable=False),
        sa.Column("coalesced", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("worker_id", sa.Text()),
        sa.Column("lease_until", sa.Double()),
        sa.Column("tried_at", sa.Double()),
        sa.Column("failing_since", sa.Double()),
        sa.Column("own_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_repeat", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("expected_handle", sa.Text()),
        sa.Column("outcome", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("late_reported", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        sa.Column("attempt_log", sa.Text(), server_default="", nullable=False),
        sqlite_autoincrement=True,
    )
    _create_index("ix_deliveries_in_flight", "deliveries", ["lane_id"], "worker_id IS NOT NULL")
    _create_index(
        "ix_deliveries_head",
        "deliveries",
        ["lane_id", "urgency", "id"],
        "is_head",
        on_sqlite="is_head = 1",
    )
    _create_index(
        "ix_deliveries_channel",
        "deliveries",
        ["lane_id", "channel", "attempts", "urgency", "id"],
        "is_head",
        on_sqlite="is_head = 1",
    )
    _create_index(
        "ix_deliveries_due", "deliveries", ["lane_id", "due"], "is_head", on_sqlite="is_head = 1"
    )
    _create_index(
        "ix_deliveries_accepted_at",
        "deliveries",
        ["accepted_at"],
        "finished_at IS NULL AND NOT late_reported",
        on_sqlite="finished_at IS NULL AND late_reported = 0",
    )
    _create_index("ix_deliveries_incident_id", "deliveries", ["incident_id", "position"])
    _create_index("ix_deliveries_state", "deliveries", ["state", "finished_at"])
    _create_index("ix_deliveries_submission_id", "deliveries", ["submission_id"])
    _create_index("ix_deliveries_lane_id", "deliveries", ["lane_id", "id"])
    op.create_index(
        "ix_deliveries_urgent_head",
        "deliveries",
        ["lane_id", "urgency", "id"],
        unique=False,
        sqlite_where=sa.text("is_head = 1 AND (operation = 'resolve' OR severity = 'critical')"),
        postgresql_where=sa.text("is_head AND (operation = 'resolve' OR severity = 'critical')"),
    )
    op.create_table(
        "holders",
        sa.Column(
            "incident_id",
            NUMBER,
            sa.ForeignKey("incidents.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("digest", DIGEST, primary_key=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
    )
    _create_index("ix_holders_digest", "holders", ["digest"])
