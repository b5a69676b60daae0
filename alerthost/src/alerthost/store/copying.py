"""Copy all rows of one database to another, from SQLite or PostgreSQL to either."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.tables import STATE

BATCH: Final = 500
"""Rows per transaction, at most."""

BATCH_SIZE: Final = 8 * 1024 * 1024
"""Characters per transaction; only the last row may exceed it."""

FETCHED: Final = 10
"""Rows that the driver reads ahead."""

Row = Mapping[str, Any]


def count(source: Database) -> int:
    """Return how many rows `copy` processes: each one is copied and compared.

    Raises:
        StoreError: the database cannot be read.
    """
    with source.read() as connection:
        return 2 * sum(_count(connection, table) for table in STATE)


def copy(source: Database, target: Database, advance: Callable[[int], object]) -> int:
    """Copy all rows, then compare every row.

    Continues an interrupted copy. Other writers to the source wait, or are refused.

    Args:
        source: the database to copy; it is only migrated to this program's version.
        target: an empty database, or one with a part of the same rows.
        advance: called with the number of rows after they are copied, and after they are compared.

    Returns:
        the number of copied rows.

    Raises:
        StoreError: a database failed, or the target contains other rows; rows copied so far stay
            there, and the next copy continues.
    """
    if source.name == target.name:
        message = f"{source.name} cannot be copied to itself; name another database"
        raise StoreError(message)
    target.migrate()
    with source.begin_exclusive() as reading:
        for table in STATE:
            _refuse_larger(reading, target, table)
        for table in STATE:
            for rows in _batches(reading, table):
                _write(target, table, rows)
                advance(len(rows))
            with target.begin() as writing:
                _continue_after(writing, table, _last_id(reading, table))
        copied = 0
        for table in STATE:
            for rows in _batches(reading, table):
                with target.read() as connection:
                    if _found(connection, table, rows) != {_key(table, row): row for row in rows}:
                        _refuse(target, table)
                copied += len(rows)
                advance(len(rows))
            with target.read() as connection:
                if _count(connection, table) != _count(reading, table):
                    _refuse(target, table)
    return copied


def _batches(connection: sa.Connection, table: sa.Table) -> Iterator[Sequence[Row]]:
    """Yield rows in batches that fit into memory."""
    which = sa.select(table).order_by(*table.primary_key).execution_options(yield_per=FETCHED)
    rows: list[Row] = []
    size = 0
    for row in connection.execute(which).mappings():
        rows.append(dict(row))
        size += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(rows) == BATCH or size > BATCH_SIZE:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _refuse_larger(reading: sa.Connection, target: Database, table: sa.Table) -> None:
    """Refuse a target with more rows than the source, before anything is written."""
    with target.read() as connection:
        if _count(connection, table) > _count(reading, table):
            _refuse(target, table)


def _write(target: Database, table: sa.Table, rows: Sequence[Row]) -> None:
    with target.begin() as connection:
        there = _found(connection, table, rows)
        for row in rows:
            if there.get(_key(table, row), row) != row:
                _refuse(target, table)
        new = [row for row in rows if _key(table, row) not in there]
        if new:
            connection.execute(sa.insert(table), new)


def _refuse(target: Database, table: sa.Table) -> None:
    message = f"{target.name} contains other {table.name}; name an empty database"
    raise StoreError(message)


def _found(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Row]
) -> dict[tuple[Any, ...], Row]:
    """Return the rows of a table with the same keys, by key."""
    wanted = [_key(table, row) for row in rows]
    keys: Sequence[Any] = wanted if len(wanted[0]) > 1 else [key for (key,) in wanted]
    which = sa.select(table).where(_key_of(table).in_(keys))
    found = (dict(row) for row in connection.execute(which).mappings())
    return {_key(table, row): row for row in found}


def _key_of(table: sa.Table) -> sa.ColumnElement[Any]:
    columns = tuple(table.primary_key)
    return columns[0] if len(columns) == 1 else sa.tuple_(*columns)


def _key(table: sa.Table, row: Row) -> tuple[Any, ...]:
    return tuple(row[column.name] for column in table.primary_key)


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


# the copy, too, never reuses the id of a removed row


def _has_id(table: sa.Table) -> bool:
    return [column.name for column in table.primary_key] == ["id"]


def _last_id(connection: sa.Connection, table: sa.Table) -> int:
    """Return the last id that a table assigned; 0 for none."""
    if not _has_id(table):
        return 0
    last = connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0
    if connection.dialect.name == "sqlite":
        assigned = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :table")
    else:
        assigned = sa.text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:table, 'id'))")
    return max(last, connection.execute(assigned, {"table": table.name}).scalar() or 0)


def _continue_after(connection: sa.Connection, table: sa.Table, last: int) -> None:
    """Set the id after which a table continues."""
    if not last:
        return
    values = {"table": table.name, "last": last}
    if connection.dialect.name == "sqlite":
        changed = connection.execute(_UPDATE_SEQUENCE, values).rowcount
        if not changed and table.dialect_options["sqlite"]["autoincrement"]:
            connection.execute(_INSERT_SEQUENCE, values)
    else:
        connection.execute(_SET_SEQUENCE, values)


_UPDATE_SEQUENCE: Final = sa.text("UPDATE sqlite_sequence SET seq = :last WHERE name = :table")
_INSERT_SEQUENCE: Final = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :last)")
_SET_SEQUENCE: Final = sa.text("SELECT setval(pg_get_serial_sequence(:table, 'id'), :last)")
