"""Places and alerts are found by a digest: PostgreSQL's indexes take no row of any length."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TOGETHER = 10_000  # rows


def upgrade() -> None:
    """Give places and alerts their digests, and index those instead."""
    _add_digests("incidents", "action", "installation", "destination", "correlation_key")
    op.drop_index("uq_incidents_place", "incidents")
    op.create_index(
        "uq_incidents_digest",
        "incidents",
        ["digest"],
        unique=True,
        sqlite_where=sa.text("active = 1"),
        postgresql_where=sa.text("active"),
    )
    _add_digests("alerts", "scope", "key")
    with op.batch_alter_table("alerts") as alerts:
        alerts.alter_column("digest", server_default=None)
        alerts.drop_constraint(op.f("uq_alerts_scope_key"), type_="unique")
        alerts.create_unique_constraint(op.f("uq_alerts_digest"), ["digest"])
    _make_holders_anew()


def _make_holders_anew() -> None:
    old = sa.table("holders", *map(sa.column, ("incident_id", "scope", "key", "number")))
    rows = [
        {**row, "digest": _digest(row["scope"], row["key"])}
        for row in op.get_bind().execute(sa.select(old)).mappings()
    ]
    op.drop_table("holders")
    new = op.create_table(
        "holders",
        sa.Column("incident_id", _NUMBER, nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incidents.id"],
            name=op.f("fk_holders_incident_id_incidents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("incident_id", "digest", name=op.f("pk_holders")),
    )
    op.create_index("ix_holders_digest", "holders", ["digest"], unique=False)
    op.bulk_insert(new, rows)


def _add_digests(name: str, *parts: str) -> None:
    op.add_column(name, sa.Column("digest", sa.String(32), server_default="", nullable=False))
    table = sa.table(name, *map(sa.column, ("id", "digest", *parts)))
    filled = (
        sa.update(table).where(table.c.id == sa.bindparam("row")).values(digest=sa.bindparam("new"))
    )
    for rows in _in_groups(sa.select(table).order_by(table.c.id), table.c.id):
        given = [{"row": row["id"], "new": _digest(*(row[part] for part in parts))} for row in rows]
        op.get_bind().execute(filled, given)


def _in_groups(
    query: sa.Select[Any], number: sa.ColumnElement[Any]
) -> Iterator[list[sa.RowMapping]]:
    last = 0
    while rows := [*op.get_bind().execute(query.where(number > last).limit(_TOGETHER)).mappings()]:
        yield rows
        last = rows[-1]["id"]


def _digest(*parts: str) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
