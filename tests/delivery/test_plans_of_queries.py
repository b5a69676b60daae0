"""The hot queries use their indexes, so that they stay fast however much waits."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from engines import World

from hostspec import Place
from hostspec.delivery import claiming, desk, inbox, keeping, ledger, takeover
from hostspec.store.tables import deliveries, incidents

HOT = {
    "unplanned": (inbox._UNPLANNED, "ix_statements_urgency"),
    "unplanned in turn": (inbox._OF_TURN, "ix_statements_turn"),
    "behind": (inbox._BEHIND, "ix_statements_urgency"),
    "unplanned of an alert": (inbox._OF_ALERT, "ix_statements_digest"),
    "ready lanes": (claiming._READY, "ix_lanes_due"),
    "ready healthy lanes": (claiming._HEALTHY_READY, "ix_lanes_due"),
    "any due": (claiming._ANY_DUE, "ix_lanes_due"),
    "any ready": (claiming._ANY_READY, "ix_lanes_due"),
    "head": (claiming._HEADS, "ix_deliveries_head"),
    "urgent head": (claiming._URGENT_HEAD, "ix_deliveries_urgent_head"),
    "flying": (takeover._HELD, "ix_deliveries_flying"),
    "line": (ledger._LINE, "ix_deliveries_line"),
    "held by": (ledger._HELD.params(digests=["a", "b"]), "ix_holders_digest"),
    "incidents at": (ledger._AT.params(digests=["a", "b"]), "uq_incidents_digest"),
    "with queued": (ledger._WITH_QUEUED.params(numbers=[1, 2]), "ix_deliveries_line"),
    "taken": (ledger._TAKEN.params(numbers=[1, 2]), "ix_deliveries_line"),
    "incident at": (
        sa.select(incidents).where(
            incidents.c.active, ledger._is_at(Place("pager.page", "acme", "all", "disk"))
        ),
        "uq_incidents_digest",
    ),
    "backlog of statements": (desk._UNPLANNED, "ix_statements_"),
    "unsent": (desk._UNSENT, "ix_statements_outcome"),
    "backlog by scope": (desk._BY_SCOPE, "ix_statements_scope_digest"),
    "backlog of deliveries": (desk._WAITING, "ix_deliveries_state"),
    "fates": (
        desk._ENTRIES.where(deliveries.c.statement_id == "1").order_by(deliveries.c.id),
        "ix_deliveries_statement_id",
    ),
    "late": (keeping._LATE, "ix_deliveries_in_time"),
    "ahead": (keeping._AHEAD, "ix_deliveries_in_time"),
    "silent": (keeping._SILENT, "ix_incidents_changed_at"),
    "finished": (keeping._FINISHED, "ix_deliveries_state"),
    "ended": (keeping._ENDED, "ix_incidents_changed_at"),
    "planned": (keeping._PLANNED, "ix_statements_planned_at"),
    "quiet": (keeping._QUIET, "ix_alerts_seen_at"),
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
    assert not any(step.startswith("SCAN") and "INDEX" not in step for step in steps), steps
