"""A commit that a restart would not find is an error: SQLite's files are compared."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.tables import submissions

Harm = Callable[[Path], object]
OpenDatabase = Callable[..., Database]


def store(database: Database, name: str) -> None:
    """Store a row as the engine does, and verify the files."""
    values = {"submission_id": name, "scope": "", "key": name, "body": "x" * 3000, "accepted_at": 0}
    with database.begin() as connection:
        connection.execute(sa.insert(submissions).values(values))
    database.verify()


@pytest.fixture
def file(database: Database, tmp_path: Path) -> Path:
    """Fill a database, partly in its write-ahead log only."""
    for number in range(5):
        store(database, str(number))
    return tmp_path / "alerthost.db"


@pytest.fixture
def url() -> str:
    return "sqlite:///alerthost.db"


def log_of(file: Path) -> Path:
    return file.with_name("alerthost.db-wal")


def replace_by_copy(file: Path) -> None:
    copy = file.with_name("backup.db")
    copy.write_bytes(file.read_bytes())
    copy.rename(file)


def halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty_log_unseen(file: Path) -> None:
    """Replace the log by a hole, as a commit after its truncation does."""
    size = log_of(file).stat().st_size
    os.truncate(log_of(file), 0)
    os.truncate(log_of(file), size)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (Path.unlink, "alerthost.db was deleted while in use"),
        (lambda file: log_of(file).unlink(), "alerthost.db-wal was deleted while in use"),
        (
            lambda file: file.with_name("alerthost.db-shm").unlink(),
            "alerthost.db-shm was deleted while in use",
        ),
        (replace_by_copy, "alerthost.db was replaced by another file while in use"),
        (lambda file: os.truncate(file, 0), "was truncated while in use"),
        (halve, "was truncated while in use"),
        (lambda file: os.truncate(log_of(file), 0), "was truncated while in use"),
        (lambda file: halve(log_of(file)), "was truncated while in use"),
        (empty_log_unseen, "was truncated while in use"),
    ],
)
def test_nothing_is_stored_in_lost_files(
    harm: Harm, reason: str, database: Database, file: Path
) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(5, 10):
        store(database, str(number))

    harm(file)

    for attempt in ("first", "second"):
        with pytest.raises(StoreError, match=reason) as raised:
            store(database, attempt)
        assert "restore a backup if the file is lost, and start again" in str(raised.value)
    with pytest.raises(StoreError, match=reason):
        database.verify()


def test_a_truncated_log_is_not_filled_with_zeros(database: Database, file: Path) -> None:
    size = file.stat().st_size
    os.truncate(log_of(file), 100)
    with pytest.raises(StoreError, match="was truncated"):
        store(database, "new")
    assert (log_of(file).stat().st_size, file.stat().st_size) == (100, size)


@pytest.mark.parametrize("statement", ["PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM"])
def test_another_program_may_shrink_the_files(
    statement: str, database: Database, file: Path
) -> None:
    with database.begin() as connection:
        connection.execute(sa.delete(submissions).where(submissions.c.key != "0"))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.verify()
        connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store(database, "new")
    database.verify()


def test_a_new_connection_to_another_file_is_refused(database: Database, file: Path) -> None:
    replace_by_copy(file)
    with (
        database.engine.connect(),
        pytest.raises(StoreError, match="was replaced by another file"),
        database.read(),
    ):
        pass


def test_a_lock_during_the_comparison_is_no_damage(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.truncate(log_of(file), 0)
    monkeypatch.setattr(database._sqlite, "connect", _busy)
    with pytest.raises(StoreError, match="is locked"):
        store(database, "new")


def _busy() -> sqlite3.Connection:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorname = "SQLITE_BUSY"
    raise error


def test_files_may_change_while_no_connection_is_open(database: Database, file: Path) -> None:
    database.close()
    replace_by_copy(file)
    store(database, "new")


# --- at the start ----------------------------------------------------------------------------


@pytest.fixture
def killed(file: Path, tmp_path: Path) -> Path:
    """Return the files as a killed process leaves them."""
    folder = tmp_path / "killed"
    folder.mkdir()
    for each in tmp_path.glob("alerthost.db*"):
        shutil.copy(each, folder)
    return folder


def corrupt(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("harm", [Path.unlink, halve, corrupt, lambda log: os.truncate(log, 0)])
def test_a_log_lost_before_the_start_is_reported(
    harm: Harm, killed: Path, open_database: OpenDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    harm(killed / "alerthost.db-wal")
    with open_database(f"sqlite:///{killed}/alerthost.db") as database:
        database.engine.connect().close()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "alerthost.db-wal lost" in record.message
    assert "pages since the last run" in record.message


def test_a_complete_log_is_not_reported(
    killed: Path, open_database: OpenDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    with open_database(f"sqlite:///{killed}/alerthost.db") as database:
        store(database, "new")
    assert not caplog.records


@pytest.mark.parametrize("size", [100, 20_000])
def test_an_unusable_index_is_ignored(
    size: int, killed: Path, open_database: OpenDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    (killed / "alerthost.db-shm").write_bytes(os.urandom(size))
    with open_database(f"sqlite:///{killed}/alerthost.db") as database:
        store(database, "new")
    assert not caplog.records


def test_a_damaged_database_is_found_at_the_start(database: Database, file: Path) -> None:
    database.check()
    database.close()
    content = file.read_bytes()
    start = content.rindex(b"x" * 100) // 4096 * 4096
    file.write_bytes(content[:start] + b"\xa5" * 4096 + content[start + 4096 :])
    with pytest.raises(StoreError, match=r"alerthost\.db is damaged; restore a backup$"):
        database.check()


@pytest.mark.parametrize(("whole", "copied"), [(False, 9), (True, 8)])
def test_sqlites_report_confirms_a_truncation(
    *, whole: bool, copied: int, database: Database, file: Path
) -> None:
    os.truncate(log_of(file), 0)
    assert database._sqlite
    with pytest.raises(StoreError, match="was truncated"):
        database._sqlite.files.confirm(whole=whole, frames=9, copied=copied, page_size=4096)


def test_on_windows_the_error_names_the_alternatives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    found = importlib.util.find_spec("alerthost.store.files")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)

    with pytest.raises(StoreError, match=r"does not work on Windows; use PostgreSQL .* or WSL"):
        module.Files(tmp_path / "alerthost.db")
