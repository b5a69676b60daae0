"""Queues many deliveries fast: the engine plans one, and the database copies its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from instant import engine_on
from measuring import alert

from alerthost.store.database import Database
from alerthost.store.tables import deliveries, holders, incidents


def queue(database: Database, count: int, lane: str) -> None:
    """Queue triggers of many incidents in one lane, beside the one of the original."""
    engine = engine_on(database)
    engine.accept_many([alert(number, scope=lane, severity="error") for number in range(2)])
    engine.drain(1)  # plans both, and tries one
    with database.begin() as connection:
        queued = sa.select(deliveries).where(deliveries.c.state == "queued").limit(1)
        original = connection.execute(queued).one()
        first = connection.execute(sa.select(sa.func.max(incidents.c.id))).scalar_one()
        (key,) = connection.execute(
            sa.select(incidents.c.correlation_key).where(incidents.c.id == original.incident_id)
        ).one()
        numbers = sa.select(sa.literal(1).label("n")).cte(recursive=True)
        numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n < count))

        def copy(
            table: sa.Table, which: sa.ColumnElement[bool], changes: Mapping[str, Any]
        ) -> None:
            """Copy a row so many times, with some columns changed."""
            values: dict[str, Any] = {column.name: column for column in table.c} | dict(changes)
            rows = sa.select(*values.values()).select_from(table.join(numbers, sa.true()))
            connection.execute(sa.insert(table).from_select(list(values), rows.where(which)))

        n = sa.cast(numbers.c.n, sa.Text)
        incident = first + numbers.c.n
        of_original = incidents.c.id == original.incident_id
        copy(
            incidents,
            of_original,
            {"id": incident, "correlation_key": key + n, "digest": incidents.c.digest + n},
        )
        of_original = holders.c.incident_id == original.incident_id
        copy(
            holders,
            of_original,
            {"incident_id": incident, "key": key + n, "digest": holders.c.digest + n},
        )
        body = sa.func.replace(deliveries.c.body, key, key + n)
        last = connection.execute(sa.select(sa.func.max(deliveries.c.id))).scalar_one()
        copy(
            deliveries,
            deliveries.c.id == original.id,
            {
                "id": last + numbers.c.n,
                "uid": n,
                "incident_id": incident,
                "submission_id": n,
                "body": body,
            },
        )
