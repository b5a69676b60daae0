"""Every older database is migrated to this version, once."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from stored import CANARY, Account

from alerthost.store.columns import metadata
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.installations import Installations
from alerthost.store.migrations import FOLDER, VERSION_TABLE
from hostspec import Secret, structure
from hostspec.settings import secrets

VERSIONS = Path(__file__).parent / "versions"
HISTORY = FOLDER / "versions"
KEY = "c3RvcmUta2V5LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nzg="
"""The key of the kept databases."""

OpenDatabase = Callable[..., Database]

pytestmark = pytest.mark.usefixtures("every_database_is_migrated")


@pytest.fixture
def upgrades(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record every migration."""
    ran: list[str] = []
    upgrade = command.upgrade

    def recorded(config: object, revision: str) -> None:
        ran.append(revision)
        upgrade(config, revision)

    monkeypatch.setattr(command, "upgrade", recorded)
    return ran


def test_the_migrations_create_the_tables(database: Database) -> None:
    database.migrate()
    with database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


def test_constraints_have_the_names_of_the_convention(database: Database) -> None:
    database.migrate()
    with database.read() as connection:
        (unique,) = sa.inspect(connection).get_unique_constraints("installations")
    assert unique["name"] == "uq_installations_name"


def test_a_database_is_migrated_once(
    database: Database, url: str, open_database: OpenDatabase, upgrades
) -> None:
    database.migrate()
    database.migrate()
    open_database(url).migrate()
    assert upgrades == ["head"]


def test_a_migration_done_by_another_program_is_not_repeated(
    database: Database, url: str, open_database: OpenDatabase, upgrades, monkeypatch
) -> None:
    other = open_database(url)
    is_behind = Database._is_behind

    def found(self: Database, connection: sa.Connection) -> bool:
        monkeypatch.setattr(Database, "_is_behind", is_behind)
        behind = is_behind(self, connection)
        connection.rollback()
        other.migrate()
        return behind

    monkeypatch.setattr(Database, "_is_behind", found)
    database.migrate()
    assert upgrades == ["head"]


def test_reading_migrates_an_older_database(
    database: Database, key: Secret, tmp_path: Path
) -> None:
    (tmp_path / "alerthost.db").touch()  # older than the first version; a server's is so too
    assert Installations(database, key).all() == ()
    with database.read() as connection:
        assert sa.inspect(connection).has_table("installations")


@pytest.mark.parametrize("file", sorted(VERSIONS.glob("*.sql")), ids=lambda file: file.stem)
def test_a_filled_database_of_every_version_is_still_read(
    file: Path, open_database: OpenDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(tmp_path / "alerthost.db") as connection:
        connection.executescript(file.read_text(encoding="utf-8"))
    connection.close()
    monkeypatch.setenv("STORE_KEY", KEY)
    kept = Installations(open_database(), Secret("env:STORE_KEY"))

    first, second = kept.all()
    assert [(each.name, each.version) for each in (first, second)] == [("acme", 2), ("ümlaut", 1)]
    assert first.distrust_reason(strict=True) == second.distrust_reason(strict=True) == ""
    account = structure(Account, first.settings)
    assert {path: secret.reveal() for path, secret in secrets(account) if path != "keys[0]"} == {
        "token": CANARY,
        "keys[1]": CANARY,
        "headers.$sealed": CANARY,
    }
    assert account.keys[0] == Secret("env:PD_KEY")
    assert second.created_at.isoformat() == "2026-11-23T09:00:00.000001+00:00"


def test_the_files_of_migrations_are_numbered_in_their_order() -> None:
    """A database is known as current by these numbers, without Alembic."""
    script = ScriptDirectory(str(HISTORY.parent))
    newest_first = [each.revision for each in script.walk_revisions()]
    numbers = sorted(path.name[:4] for path in HISTORY.glob("[0-9]*.py"))
    assert newest_first[::-1] == numbers


def test_a_database_of_every_version_is_kept() -> None:
    made = {path.name[:4] for path in HISTORY.glob("[0-9]*.py")}
    assert made == {path.stem for path in VERSIONS.glob("*.sql")}
    assert "0001" in made


def test_a_database_of_a_newer_program_is_refused_unchanged(
    database: Database, url: str, open_database: OpenDatabase
) -> None:
    database.migrate()
    with database.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    newer = open_database(url)
    message = r" was written by a newer version of alerthost \(9999\); update alerthost$"
    for use in (newer.read, newer.begin):
        with pytest.raises(StoreError, match=message), use():
            pass
    with pytest.raises(StoreError, match=message):
        newer.migrate()


def test_a_database_of_another_program_is_refused_unchanged(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "alerthost.db") as connection:
        connection.execute("CREATE TABLE installations (other)")
    connection.close()
    with pytest.raises(
        StoreError, match=r"alerthost\.db cannot be used: table installations already exists$"
    ):
        open_database().migrate()
    with sqlite3.connect(tmp_path / "alerthost.db") as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert tables == [("installations",)]


def test_a_migration_changes_no_logging_of_the_host(database: Database) -> None:
    def state() -> list[tuple[str, int, bool, list[logging.Handler]]]:
        loggers = [logging.getLogger(), *map(logging.getLogger, ("alembic", "sqlalchemy"))]
        return [(each.name, each.level, each.disabled, each.handlers[:]) for each in loggers]

    before = state()
    database.migrate()
    assert state() == before


def test_no_migration_imports_the_current_tables() -> None:
    """A migration must not change with the tables."""
    for path in HISTORY.glob("[0-9]*.py"):
        assert not re.search("hostspec|alerthost", path.read_text(encoding="utf-8"))
