"""The hot queries use their indexes, so that they stay fast with a large backlog."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from engines import World

from alerthost.outbox import (
    admin_lists,
    admin_queries,
    admin_rows,
    delivery_store,
    due,
    heads,
    inbox,
    leasing,
    maintenance,
    repeats,
    snapshot,
)
from alerthost.store.tables import deliveries, incidents

MANY = range(300)
"""As many rows as a batch has: SQLite expects that some indexes find less."""

HOT = {
    "unplanned": (inbox._PENDING, "ix_submissions_urgency"),
    "pending of a fairness key": (inbox._PENDING_OF_KEY, "ix_submissions_fairness_key"),
    "behind": (inbox._BEHIND, "ix_submissions_urgency"),
    "unplanned of an alert": (inbox._OF_ALERT, "ix_submissions_digest"),
    "ready lanes": (leasing._READY, "ix_lanes_due"),
    "ready healthy lanes": (leasing._HEALTHY_READY, "ix_lanes_due"),
    "any due": (leasing._ANY_DUE, "ix_lanes_due"),
    "any ready": (leasing._ANY_READY, "ix_lanes_due"),
    "head": (
        heads._FIRST_HEADS[False].params(lanes=MANY, now=1.0, far=2.0, most=3),
        "ix_deliveries_head",
    ),
    "urgent head": (heads._URGENT_HEAD, "ix_deliveries_urgent_head"),
    "channels": (heads._CHANNELS, "ix_deliveries_channel"),
    "untried head of a channel": (heads._UNTRIED, "ix_deliveries_channel"),
    "tried head of a channel": (heads._TRIED, "ix_deliveries_channel"),
    "later head": (
        heads._LATER.params(lanes=MANY, now=1.0, far=2.0),
        "ix_deliveries_due",
    ),
    "in flight": (maintenance._HELD_LEASES, "ix_deliveries_in_flight"),
    "line": (delivery_store._QUEUES.params(numbers=MANY), "ix_deliveries_incident_id"),
    "held by": (snapshot._HELD.params(digests=MANY), "ix_holders_digest"),
    "incidents at": (snapshot._AT.params(digests=MANY), "uq_incidents_digest"),
    "resolved a moment ago": (
        snapshot._RESOLVED.params(digests=MANY, since=1.0, until=2.0),
        "ix_incidents_ended_at",
    ),
    "known alerts": (repeats._KNOWN.params(digests=MANY), "ix_holders_digest"),
    "incidents of sizes": (delivery_store._SIZES.params(digests=MANY), "uq_incidents_digest"),
    "sizes of queues": (
        delivery_store._SIZES.params(digests=MANY),
        "ix_deliveries_incident_id",
    ),
    "queues": (
        delivery_store._OF_QUEUES.params(numbers=MANY),
        "ix_deliveries_incident_id",
    ),
    "taken": (
        delivery_store._DELIVERED_TRIGGERS.params(numbers=MANY),
        "ix_deliveries_incident_id",
    ),
    "incident at": (
        sa.select(incidents).where(incidents.c.active, incidents.c.digest == "1"),
        "uq_incidents_digest",
    ),
    "backlog of submissions": (admin_queries._COUNT_PENDING, "ix_submissions_"),
    "unsent": (admin_queries._UNSENT, "ix_submissions_outcome"),
    "backlog by scope": (admin_queries._BY_SCOPE, "ix_submissions_scope_digest"),
    "backlog of deliveries": (admin_queries._COUNT_QUEUED, "ix_deliveries_state"),
    "statuses": (
        admin_rows.ROWS.where(deliveries.c.submission_id == "1").order_by(deliveries.c.id),
        "ix_deliveries_submission_id",
    ),
    "open incidents": (admin_lists._OPEN, "ix_incidents_changed_at"),
    "deliveries of a lane": (
        admin_rows.ROWS.where(deliveries.c.lane_id == 1).order_by(deliveries.c.id.desc()),
        "ix_deliveries_lane_id",
    ),
    "deliveries that ended last": (
        admin_rows.ROWS.where(deliveries.c.state == "dead").order_by(
            deliveries.c.finished_at.desc(), deliveries.c.id.desc()
        ),
        "ix_deliveries_state",
    ),
    "incidents that changed last": (
        sa.select(incidents)
        .where(incidents.c.active)
        .order_by(incidents.c.changed_at.desc(), incidents.c.id.desc()),
        "ix_incidents_changed_at",
    ),
    "incidents that ended last": (
        sa.select(incidents)
        .where(~incidents.c.active)
        .order_by(incidents.c.changed_at.desc(), incidents.c.id.desc()),
        "ix_incidents_ended_at",
    ),
    "late": (maintenance._LATE, "ix_deliveries_accepted_at"),
    "ahead": (maintenance._AHEAD, "ix_deliveries_accepted_at"),
    "silent": (maintenance._SILENT, "ix_incidents_changed_at"),
    "finished": (maintenance._FINISHED, "ix_deliveries_state"),
    "ended": (maintenance._ENDED, "ix_incidents_ended_at"),
    "planned": (maintenance._PLANNED, "ix_submissions_planned_at"),
    "quiet": (maintenance._QUIET, "ix_alerts_seen_at"),
    "waiting": (due._WAITING.params(now=1.0, most=1), "ix_alerts_waits_until"),
    "number of waiting": (admin_queries._COUNT_WAITING, "ix_alerts_waits_until"),
    "expired": (due._EXPIRED.params(now=1.0, most=1), "ix_alerts_expires_at"),
}


@pytest.mark.parametrize("name", HOT)
def test_a_hot_query_uses_its_index(world: World, name: str) -> None:
    query, index = HOT[name]
    world.database.migrate()
    options = {"render_postcompile": True}
    engine = world.database.engine
    compiled = query.params(before=1.0).compile(engine, compile_kwargs=options)
    known = {name: bound.value for name, bound in compiled.binds.items()}
    values = [known.get(name) for name in compiled.positiontup or ()]
    given = tuple(1 if each is None else each for each in values)
    with world.database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", given)
        steps = [str(row.detail) for row in plan]

    assert any(index in step for step in steps), steps
    assert not any("USE TEMP B-TREE" in step for step in steps), steps
    scans = [step for step in steps if step.startswith("SCAN") and step != "SCAN names"]
    assert all("INDEX" in step for step in scans), steps  # `names` are of a recursive query
