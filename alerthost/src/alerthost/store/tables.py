"""The tables of the database after the newest migration."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from alerthost.store.columns import Digest, Moment, Number, UtcTime, metadata

installations: Final = sa.Table(
    "installations",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,  # ids of removed rows are never reused
)

rules: Final = sa.Table(
    "rules",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sqlite_autoincrement=True,  # ids of removed rows are never reused
)
"""The rules of the console, in the order of their positions; a body is a table of the file."""

pending_installs: Final = sa.Table(
    "pending_installs",
    metadata,
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("used", sa.Boolean, nullable=False),
)


def _partial_index(name: str, *columns: Any, where: Any, unique: bool = False) -> None:
    # migrations create PostgreSQL's indexes; `postgresql_where` would import its dialect
    sa.Index(name, *columns, unique=unique, sqlite_where=where)


submissions: Final = sa.Table(
    "submissions",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("submission_id", sa.Text, nullable=False, unique=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("accepted_at", Moment, nullable=False),
    sa.Column("planned_at", Moment),
    sa.Column("note", sa.Text),
    sa.Column("replays", Number),
    sa.Column("digest", Digest, nullable=False, server_default=""),
    sa.Column("scope_digest", Digest, nullable=False, server_default=""),
    sa.Column("urgency", Moment, nullable=False, server_default="0"),
    sa.Column("size", sa.Integer, nullable=False, server_default="0"),
    sa.Column("outcome", sa.Text, nullable=False, server_default=""),
    sa.Column("fairness_key", Digest, nullable=False, server_default=""),
    sa.Column("lifetime", sa.Double),
    sa.Column("cause", sa.Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,  # ids are in the order of the commits
)
PENDING: Final = submissions.c.planned_at.is_(None)
"""Condition of submissions that are not planned yet, as in the indexes."""

_partial_index("ix_submissions_urgency", submissions.c.urgency, submissions.c.id, where=PENDING)
_partial_index(
    "ix_submissions_fairness_key",
    submissions.c.fairness_key,
    submissions.c.urgency,
    submissions.c.id,
    where=PENDING,
)
_partial_index("ix_submissions_digest", submissions.c.digest, submissions.c.id, where=PENDING)
_partial_index(
    "ix_submissions_scope_digest",
    submissions.c.scope_digest,
    submissions.c.accepted_at,
    where=PENDING,
)
OUTCOME: Final = submissions.c.outcome != sa.literal_column("''")
"""Condition of submissions without a delivery, as in the index."""

_partial_index("ix_submissions_outcome", submissions.c.outcome, submissions.c.id, where=OUTCOME)
_partial_index(
    "ix_submissions_planned_at",
    submissions.c.planned_at,
    where=submissions.c.planned_at.is_not(None),
)

alerts: Final = sa.Table(
    "alerts",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("updated_at", UtcTime),
    sa.Column("seen_at", Moment, nullable=False),
    sa.Column("digest", Digest, nullable=False, unique=True),
    sa.Column("started_at", UtcTime),
    sa.Column("expires_at", Moment),
    sa.Column("lifetime", sa.Double),
    sa.Column("fires_since", Moment),
    sa.Column("waits_until", Moment),
    sa.Column("waiting", sa.Text, nullable=False, server_default="[]"),
    sa.Column("waiting_row", Number),
)
sa.Index("ix_alerts_seen_at", alerts.c.seen_at)
_partial_index("ix_alerts_expires_at", alerts.c.expires_at, where=alerts.c.expires_at.is_not(None))
_partial_index(
    "ix_alerts_waits_until", alerts.c.waits_until, where=alerts.c.waits_until.is_not(None)
)

expected_heartbeats: Final = sa.Table(
    "expected_heartbeats",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("period", sa.Double, nullable=False),
    sa.Column("heard_at", Moment),
    sa.Column("due", Moment),
    sa.Column("missed_at", Moment),
)

planners: Final = sa.Table(
    "planners",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("submissions", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
)
"""The submissions that each process is planning, to find the one that kills processes."""

workers: Final = sa.Table(
    "workers",
    metadata,
    sa.Column("worker_id", sa.Text, primary_key=True),
    sa.Column("seen_at", Moment, nullable=False),
)
"""The live workers on a PostgreSQL server, each with its last beat by the server's clock."""

lanes: Final = sa.Table(
    "lanes",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("installation", sa.Text, nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="healthy"),
    sa.Column("due", Moment),
    sa.Column("leased_at", Moment, nullable=False, server_default="0"),
    sa.Column("budgets", sa.Text, nullable=False, server_default="[]"),
    sa.UniqueConstraint("installation", "destination"),
)
_partial_index("ix_lanes_due", lanes.c.due, where=lanes.c.due.is_not(None))

channels: Final = sa.Table(
    "channels",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("lane_id", Number, sa.ForeignKey("lanes.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("since", Moment, nullable=False),
    sa.Column("due", Moment, nullable=False),
    sa.Column("first_due", Moment, nullable=False),
    sa.Column("last_success_at", Moment, nullable=False),
)
sa.Index("ix_channels_lane_id", channels.c.lane_id)

incidents: Final = sa.Table(
    "incidents",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("lane_id", Number, sa.ForeignKey("lanes.id"), nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("installation", sa.Text, nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("correlation_key", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("handle", sa.Text),
    sa.Column("rules", sa.Text, nullable=False),
    sa.Column("follow_ups", sa.Text, nullable=False),
    sa.Column("may_be_open", sa.Boolean, nullable=False),
    sa.Column("trigger_delivered", sa.Boolean, nullable=False),
    sa.Column("unconfirmed", sa.Boolean, nullable=False),
    sa.Column("orphaned", sa.Boolean, nullable=False),
    sa.Column("opened_at", Moment, nullable=False),
    sa.Column("changed_at", Moment, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("budgets", sa.Text, nullable=False, server_default="[]"),
    sa.Column("digest", Digest, nullable=False, server_default=""),
    sa.Column("summary", sa.Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)
_partial_index("uq_incidents_digest", incidents.c.digest, unique=True, where=incidents.c.active)
_partial_index("ix_incidents_orphaned", incidents.c.id, where=incidents.c.orphaned)
_partial_index("ix_incidents_changed_at", incidents.c.changed_at, where=incidents.c.active)
_partial_index("ix_incidents_ended_at", incidents.c.changed_at, where=~incidents.c.active)

holders: Final = sa.Table(
    "holders",
    metadata,
    sa.Column(
        "incident_id", Number, sa.ForeignKey("incidents.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("digest", Digest, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
)
sa.Index("ix_holders_digest", holders.c.digest)

deliveries: Final = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("uid", sa.Text, nullable=False),
    sa.Column(
        "incident_id", Number, sa.ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False
    ),
    sa.Column("lane_id", Number, sa.ForeignKey("lanes.id"), nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("submission_id", sa.Text, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("is_head", sa.Boolean, nullable=False),
    sa.Column("urgency", Moment, nullable=False),
    sa.Column("due", Moment, nullable=False),
    sa.Column("accepted_at", Moment, nullable=False),
    sa.Column("coalesced", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("worker_id", sa.Text),
    sa.Column("lease_until", Moment),
    sa.Column("tried_at", Moment),
    sa.Column("failing_since", Moment),
    sa.Column("own_failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("is_repeat", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("expected_handle", sa.Text),
    sa.Column("outcome", sa.Text, nullable=False, server_default=""),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("late_reported", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("finished_at", Moment),
    sa.Column("attempt_log", sa.Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)
_partial_index(
    "ix_deliveries_head",
    deliveries.c.lane_id,
    deliveries.c.urgency,
    deliveries.c.id,
    where=deliveries.c.is_head,
)
_partial_index(
    "ix_deliveries_channel",
    deliveries.c.lane_id,
    deliveries.c.channel,
    deliveries.c.attempts,
    deliveries.c.urgency,
    deliveries.c.id,
    where=deliveries.c.is_head,
)
_partial_index(
    "ix_deliveries_due", deliveries.c.lane_id, deliveries.c.due, where=deliveries.c.is_head
)
URGENT: Final = sa.or_(
    deliveries.c.operation == sa.literal_column("'resolve'"),
    deliveries.c.severity == sa.literal_column("'critical'"),
)
"""Condition of deliveries that may use the reserved share of a budget, as in the index."""

_partial_index(
    "ix_deliveries_urgent_head",
    deliveries.c.lane_id,
    deliveries.c.urgency,
    deliveries.c.id,
    where=sa.and_(deliveries.c.is_head, URGENT),
)
sa.Index("ix_deliveries_incident_id", deliveries.c.incident_id, deliveries.c.position)
sa.Index("ix_deliveries_state", deliveries.c.state, deliveries.c.finished_at)
sa.Index("ix_deliveries_submission_id", deliveries.c.submission_id)
sa.Index("ix_deliveries_lane_id", deliveries.c.lane_id, deliveries.c.id)
_partial_index(
    "ix_deliveries_in_flight", deliveries.c.lane_id, where=deliveries.c.worker_id.is_not(None)
)

_partial_index(
    "ix_deliveries_accepted_at",
    deliveries.c.accepted_at,
    where=sa.and_(deliveries.c.finished_at.is_(None), ~deliveries.c.late_reported),
)

budgets: Final = sa.Table(
    "budgets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("allowed", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("used", sa.Text, nullable=False),
    sa.Column("paused_until", Moment, nullable=False),
)

clock: Final = sa.Table(
    "clock",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("seen_at", Moment, nullable=False),
    sa.Column("steady_since", Moment, nullable=False),
)

receipts: Final = sa.Table(
    "receipts",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("hook", sa.Text, nullable=False),
    sa.Column("worker_id", sa.Text, nullable=False),
    sa.Column("uid", sa.Text, nullable=False),
    sa.Column("delivery", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
sa.Index("ix_receipts_worker_id", receipts.c.worker_id, receipts.c.id)

activity: Final = sa.Table(
    "activity",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("after", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
"""Changes by operators: when, their role and address, and the state before and after."""

STATE: Final = tuple(
    table for table in metadata.sorted_tables if table not in {workers, pending_installs}
)
"""All tables but `workers`, which is about processes, and `pending_installs`, which end within an
hour: one refers only to those before it."""
