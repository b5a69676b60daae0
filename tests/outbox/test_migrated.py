"""After an update, the work of an earlier version continues."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from engines import EITHER, START, Clock, World

from alerthost.store.database import Database
from alerthost.store.migrations import FOLDER, VERSION_TABLE

VERSIONS = Path(__file__).parents[1] / "store" / "versions"
FILLED = sorted(path for path in VERSIONS.glob("*.sql"))


def fill(database: Database, file: Path) -> None:
    """Restore the database of an older version."""
    if database.file is not None:
        read(database.file, file)
        return
    with sa.create_engine("sqlite://").connect() as kept, database.engine.begin() as server:
        kept.connection.executescript(file.read_text(encoding="utf-8"))  # type: ignore[attr-defined]
        server.execute(sa.text("DROP SCHEMA public CASCADE"))
        server.execute(sa.text("CREATE SCHEMA public"))
        upgrade(server, file.stem)
        tables = sa.MetaData()
        tables.reflect(server)
        for table in tables.sorted_tables:
            if table.name != VERSION_TABLE:
                copy(kept, server, table)


def read(database: Path, file: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.executescript(file.read_text(encoding="utf-8"))
    connection.close()


def upgrade(server: sa.Connection, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes.update(connection=server, version_table=VERSION_TABLE)
    command.upgrade(config, version)


def copy(kept: sa.Connection, server: sa.Connection, table: sa.Table) -> None:
    rows = kept.execute(sa.text(f"SELECT * FROM {table.name}")).mappings().all()
    flags = {each.name for each in table.c if isinstance(each.type, sa.Boolean)}
    for row in rows:
        values = {name: bool(value) if name in flags else value for name, value in row.items()}
        server.execute(sa.insert(table), values)
    if rows and "id" in table.c:
        number = sa.text("SELECT setval(pg_get_serial_sequence(:table, 'id'), :last)")
        server.execute(number, {"table": table.name, "last": max(row["id"] for row in rows)})


@EITHER
@pytest.mark.parametrize("file", FILLED, ids=lambda path: path.stem)
def test_queued_deliveries_of_an_older_version_are_delivered(
    file: Path, database: Database
) -> None:
    fill(database, file)
    world = World(database, Clock(START + 60))
    assert world.open_keys == ["open", "waiting"]

    assert sorted(world.drain()) == ["trigger accepted", "trigger waiting"]
    world.accept("open", "resolved")
    assert world.drain() == ["resolve open"]
    assert world.page.sent[-1].handle == {"id": 1}
    assert world.engine.admin.replay(2)
    assert world.drain() == ["trigger refused"]
