"""Makes the tables of an empty database by the statements of the first migration.

That takes a tenth of the time of all migrations.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from alerthost.store import migrations

migrate = migrations.upgrade
"""Runs the real migrations."""

_recorded: dict[str, list[tuple[str, Any]]] = {}


def make(connection: sa.Connection) -> None:
    """Bring a database to this version; replay the recorded statements if it is empty."""
    if sa.inspect(connection).get_table_names():
        migrate(connection)
        return
    kind = connection.dialect.name
    if kind not in _recorded:
        _recorded[kind] = _record(connection)
        return
    for statement, parameters in _recorded[kind]:
        connection.exec_driver_sql(statement, parameters or None)


def _record(connection: sa.Connection) -> list[tuple[str, Any]]:
    """Migrate; return the statements that changed something."""
    submissions: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.lstrip().startswith(("SELECT", "PRAGMA")):
            submissions.append((statement, parameters))

    event.listen(connection, "after_cursor_execute", note)
    migrate(connection)
    event.remove(connection, "after_cursor_execute", note)
    return submissions
