"""Copies everything from one database to another, of the same kind or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.tables import metadata

BATCH: Final = 500
"""Most rows written in one transaction."""

BATCH_SIZE: Final = 8 * 1024 * 1024
"""Characters of the rows that are written in one transaction; the last one may go beyond it."""

FETCHED: Final = 10
"""Rows that the driver reads ahead."""

Row = Mapping[str, Any]


def count(source: Database) -> int:
    """Describe how many rows `copy` will go through: each one twice.

    Raises:
        StoreError: the database cannot be read.
    """
    with source.read() as connection:
        return 2 * sum(_count(connection, table) for table in metadata.sorted_tables)


def copy(source: Database, target: Database, advance: Callable[[int], object]) -> int:
    """Copy all rows, and compare them afterwards, one by one.

    What an earlier copy that was interrupted left in the target is not written again. Nobody
    else writes to the source meanwhile: who tries waits, or is refused.

    Args:
        source: read; it stays as it is, but for being brought to this program's version.
        target: written; it is empty, or holds a part of the same rows.
        advance: told of rows as they are copied, and again as they are compared.

    Returns:
        how many rows were copied.

    Raises:
        StoreError: one of them cannot be used, or the target holds something else; what was
            copied until then stays, and another copy goes on from there.
    """
    if source.name == target.name:
        message = f"{source.name} cannot be copied to itself"
        raise StoreError(message)
    target.migrate()
    with source.begin_exclusive() as reading:
        tables = metadata.sorted_tables
        for table in tables:
            _refuse_others(reading, target, table)
        for table in tables:
            for rows in _batches(reading, table):
                _write(target, table, rows)
                advance(len(rows))
            with target.begin() as writing:
                _number_on(writing, table, _last_number(reading, table))
        copied = 0
        for table in tables:
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
    """Read rows in groups that fit into memory, however large their bodies are."""
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


def _refuse_others(reading: sa.Connection, target: Database, table: sa.Table) -> None:
    """Refuse a target that holds more rows than the source, before anything is written."""
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
    message = f"{target.name} holds other {table.name} than what is copied; name an empty database"
    raise StoreError(message)


def _found(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Row]
) -> dict[tuple[Any, ...], Row]:
    """Return the rows of a table that have the keys of others."""
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


# the number of something that was removed is given to nothing else, in the copy neither


def _is_numbered(table: sa.Table) -> bool:
    return [column.name for column in table.primary_key] == ["id"]


def _last_number(connection: sa.Connection, table: sa.Table) -> int:
    """Return the last number that a table gave to a row; 0 for none."""
    if not _is_numbered(table):
        return 0
    last = connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0
    if connection.dialect.name == "sqlite":
        given = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :table")
    else:
        given = sa.text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:table, 'id'))")
    return max(last, connection.execute(given, {"table": table.name}).scalar() or 0)


def _number_on(connection: sa.Connection, table: sa.Table, last: int) -> None:
    """Let a table go on with the number after the last one."""
    if not last:
        return
    values = {"table": table.name, "last": last}
    if connection.dialect.name == "sqlite":
        changed = connection.execute(_NUMBER_ON_SQLITE, values).rowcount
        if not changed and table.dialect_options["sqlite"]["autoincrement"]:
            connection.execute(_NUMBER_SQLITE, values)
    else:
        connection.execute(_NUMBER_ON_POSTGRESQL, values)


_NUMBER_ON_SQLITE: Final = sa.text("UPDATE sqlite_sequence SET seq = :last WHERE name = :table")
_NUMBER_SQLITE: Final = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :last)")
_NUMBER_ON_POSTGRESQL: Final = sa.text("SELECT setval(pg_get_serial_sequence(:table, 'id'), :last)")
