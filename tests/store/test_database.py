"""A database is durable and private, and its errors name the remedy."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from alerthost.store.database import Database
from alerthost.store.errors import StoreError, UnstorableError
from alerthost.store.postgresql import POOL_SIZE
from alerthost.store.tables import installations

PASSWORD = "p4ssw0rd-0123456789"
OpenDatabase = Callable[..., Database]


def add(database: Database, name: str = "acme", settings: str = "{}") -> None:
    now = dt.datetime.now(dt.UTC)
    values = {"provider": "paging", "name": name, "settings": settings, "version": 1}
    with database.begin() as connection:
        connection.execute(
            sa.insert(installations).values(**values, created_at=now, updated_at=now)
        )


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(sa.select(installations.c.name)))


def delete_all_and_fail(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(sa.delete(installations))
        raise LookupError


# --- transactions ----------------------------------------------------------------------------


def test_commits_are_kept_and_failures_rolled_back(database: Database) -> None:
    add(database)

    with pytest.raises(LookupError):
        delete_all_and_fail(database)
    assert names(database) == ["acme"]


def test_a_broken_constraint_is_raised(database: Database) -> None:
    add(database)
    with pytest.raises(IntegrityError):
        add(database)


def test_a_closed_database_can_be_used_again(database: Database) -> None:
    with database:
        add(database)
    assert names(database) == ["acme"]
    assert database.exists


# --- a SQLite file ---------------------------------------------------------------------------


def test_a_file_is_relative_to_the_configuration(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    (tmp_path / "100% a#b ü").mkdir()
    add(open_database("sqlite:///100% a#b ü/x.db"))
    assert (tmp_path / "100% a#b ü" / "x.db").exists()


def test_an_absolute_file_stays_where_it_is(open_database: OpenDatabase, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "x.db"
    add(open_database(f"sqlite:///{file}"))
    assert file.exists()


def test_no_file_is_made_before_something_is_written(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    database = open_database()
    assert not database.exists
    with pytest.raises(StoreError, match=r"alerthost\.db does not exist yet$"):
        names(database)
    assert list(tmp_path.iterdir()) == []


def test_file_and_companions_are_readable_by_the_owner_only(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        add(open_database())
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(
        ("alerthost.db", "alerthost.db-wal", "alerthost.db-shm"), stat.S_IRUSR | stat.S_IWUSR
    )


def test_every_connection_is_durable(open_database: OpenDatabase) -> None:
    database = open_database(lock_timeout=7)
    database.migrate()
    for begin in (database.begin, database.read, database.begin):
        with begin() as connection:
            settings = {
                pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
                for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        assert settings == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": 7000,
        }


def test_a_writing_transaction_takes_the_lock_at_once(open_database: OpenDatabase) -> None:
    database, other = open_database(), open_database(lock_timeout=0)
    add(database)
    with (
        database.begin(),
        pytest.raises(StoreError, match=r"alerthost\.db is locked by another program; try again$"),
    ):
        add(other, "late")
    assert names(other) == ["acme"]


def test_a_reader_sees_a_snapshot_and_blocks_no_writer(open_database: OpenDatabase) -> None:
    database, other = open_database(), open_database(lock_timeout=0)
    add(database)
    with database.read() as connection:
        count = sa.select(sa.func.count()).select_from(installations)
        assert connection.scalar(count) == 1
        add(other, "more")
        assert connection.scalar(count) == 1
    assert names(database) == ["acme", "more"]


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_locked_database_is_reported(
    lock: str, open_database: OpenDatabase, tmp_path: Path
) -> None:
    holder = sqlite3.connect(tmp_path / "alerthost.db", isolation_level=None)
    holder.execute("CREATE TABLE other (id)")
    holder.execute(lock)
    with pytest.raises(StoreError, match=r"alerthost\.db is locked by "):
        names(open_database(lock_timeout=0))
    holder.close()


def test_a_program_waits_for_another_at_the_first_start(
    open_database: OpenDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = sqlite3.connect(tmp_path / "alerthost.db", isolation_level=None)
    holder.execute("CREATE TABLE other (id)")
    holder.execute("BEGIN IMMEDIATE")
    # runs between two attempts
    monkeypatch.setattr(time, "sleep", lambda _: holder.rollback())
    add(open_database())
    holder.close()


def test_a_missing_folder_is_reported(open_database: OpenDatabase, tmp_path: Path) -> None:
    database = open_database("sqlite:///missing/x.db")
    assert not database.exists
    with pytest.raises(StoreError) as raised:
        add(database)
    assert str(raised.value) == (
        f"{tmp_path}/missing/x.db cannot be created: its folder does not exist; create it first"
    )


def test_a_file_instead_of_the_folder_is_reported(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/x\.db cannot be created: Not a directory; "):
        add(open_database("sqlite:///file/x.db"))


def test_a_folder_instead_of_the_file_is_reported(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    (tmp_path / "alerthost.db").mkdir()
    with pytest.raises(StoreError, match=r"alerthost\.db cannot be opened; this user needs "):
        add(open_database())


def test_a_file_that_is_not_a_database_is_refused_unchanged(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    file = tmp_path / "alerthost.db"
    file.write_text("[plugins]\n" * 100)
    for use in (names, add):
        with pytest.raises(
            StoreError, match=r"alerthost\.db is not a SQLite database; name another"
        ):
            use(open_database())
    assert file.read_text() == "[plugins]\n" * 100


def test_a_damaged_database_is_reported(open_database: OpenDatabase, tmp_path: Path) -> None:
    with open_database() as database:
        add(database, settings="x" * 100_000)
    file = tmp_path / "alerthost.db"
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    with pytest.raises(StoreError, match=r"alerthost\.db is damaged; restore a backup$"):
        names(open_database())


def test_a_full_database_is_reported_and_unchanged(open_database: OpenDatabase) -> None:
    database = open_database()
    add(database)

    @sa.event.listens_for(database.engine, "begin")
    def limit(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 12")

    with pytest.raises(StoreError, match=r"cannot grow: the disk is full; nothing was changed$"):
        add(database, "large", "x" * 100_000)
    assert names(database) == ["acme"]


NO_ROOM = """
import resource, signal, sys
from pathlib import Path
import sqlalchemy as sa
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.tables import installations
database = Database("sqlite:///alerthost.db", Path(sys.argv[1]))
database.migrate()
resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, resource.RLIM_INFINITY))
try:
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE installations SET settings = hex(zeroblob(100000))"))
except StoreError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def test_a_full_disk_is_reported_and_changes_nothing(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    with open_database() as database:
        add(database)
    message = run(NO_ROOM, tmp_path)
    assert message == (
        f"{tmp_path}/alerthost.db cannot be read or written: the disk fails or is full; "
        "nothing was changed\n"
    )
    with open_database() as database, database.read() as connection:
        assert connection.scalar(sa.select(installations.c.settings)) == "{}"


def run(program: str, *arguments: object) -> str:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.installations import Installations
warm, folder = map(Path, sys.argv[1:])
with Database("sqlite:///warm.db", warm) as database:
    database.migrate()  # whatever is imported later is imported now
    Installations(database, None).all()
root = os.geteuid() == 0
if root:
    os.seteuid(65534)
for use in (lambda database: Installations(database, None).all(), Database.migrate):
    with Database("sqlite:///alerthost.db", folder) as database:
        try:
            print("well", use(database))
        except StoreError as error:
            print(error)
if root:
    os.seteuid(0)
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a folder that another user can only read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield folder
        folder.chmod(0o755)


def test_a_read_only_folder_is_reported(public: Path, tmp_path: Path) -> None:
    public.chmod(0o555)
    assert run(UNPRIVILEGED, tmp_path, public).splitlines() == [
        "well ()",
        f"{public}/alerthost.db cannot be created: Permission denied; this user needs write "
        "permission for the file and its folder, even for reading",
    ]


def test_a_read_only_database_is_reported(public: Path, tmp_path: Path) -> None:
    with Database("sqlite:///alerthost.db", public) as database:
        add(database)
    (public / "alerthost.db").chmod(0o444)
    public.chmod(0o555)
    reading, writing = run(UNPRIVILEGED, tmp_path, public).splitlines()
    rights = "this user needs write permission for the file and its folder, even for reading"
    assert reading in (
        f"{public}/alerthost.db is read-only; {rights}",
        f"{public}/alerthost.db cannot be opened; {rights}",
    )
    assert writing == reading


def test_a_private_database_of_another_user_is_reported(public: Path, tmp_path: Path) -> None:
    with Database("sqlite:///alerthost.db", public) as database:
        add(database)
    (public / "alerthost.db").chmod(0)
    public.chmod(0o755)
    for message in run(UNPRIVILEGED, tmp_path, public).splitlines():
        assert message.startswith(f"{public}/alerthost.db cannot be opened; this user needs write")


# --- URLs ------------------------------------------------------------------------------------

RIGHT = "use sqlite:///alerthost.db or postgresql://USER@HOST/DATABASE"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", f"[store] url is not a database URL; {RIGHT}"),
        (f"alerthost.db {PASSWORD}", f"[store] url is not a database URL; {RIGHT}"),
        (f"postgresql://u@h:{PASSWORD}/db", f"[store] url is not a database URL; {RIGHT}"),
        (f"mysql://u:{PASSWORD}@h/db", f"[store] url names mysql, which is not supported; {RIGHT}"),
        (
            f"postgresql+asyncpg://u:{PASSWORD}@h/db",
            f"[store] url names postgresql+asyncpg, which is not supported; {RIGHT}",
        ),
        (
            f"postgresql://u:p@{PASSWORD}@h/db",
            "[store] url has an @ in its password; write it as %40",
        ),
        *(
            (url, "[store] url does not name a file; use sqlite:///alerthost.db")
            for url in (
                "sqlite://",
                "sqlite:///",
                "sqlite:///:memory:",
                "sqlite://alerthost.db",
                "sqlite:///file:alerthost.db?uri=true",
                "sqlite:///file:alerthost.db",
                "sqlite:///alerthost.db?mode=memory",
            )
        ),
    ],
)
def test_an_invalid_url_is_reported_without_its_password(
    url: str, message: str, open_database: OpenDatabase
) -> None:
    with pytest.raises(StoreError) as raised:
        open_database(url)
    assert str(raised.value) == message
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))


def test_the_short_name_of_postgresql_is_known(open_database: OpenDatabase) -> None:
    assert open_database("postgres://u@h/db").name == "postgresql://h/db"


def test_a_missing_driver_is_reported(
    open_database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(
        StoreError, match=r"^\[store\] url needs psycopg \(pip install 'alerthost\[postgresql\]'\)$"
    ):
        open_database("postgresql://u@h/db")


# --- a PostgreSQL server ---------------------------------------------------------------------


def test_an_unreachable_server_is_reported_without_password(open_database: OpenDatabase) -> None:
    database = open_database(f"postgresql://u:{PASSWORD}@127.0.0.1:1/db?connect_timeout=2")
    assert database.exists
    with pytest.raises(StoreError) as raised:
        names(database)
    assert str(raised.value).startswith("postgresql://127.0.0.1:1/db cannot be used: ")
    assert "Connection refused" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))
    assert PASSWORD not in f"{database!r} {database.engine!r} {vars(database)!r}"


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_read_only_server_is_reported(url: str, database: Database) -> None:
    add(database)
    configure(url, "default_transaction_read_only = on")
    database.close()
    with pytest.raises(StoreError, match="is read-only; name the primary server as"):
        add(database, "late")
    assert names(database) == ["acme"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_table_locked_by_another_program_is_reported(url: str, database: Database) -> None:
    add(database)
    configure(url, "lock_timeout = 1")
    database.close()
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE installations")
        with pytest.raises(StoreError, match="is locked by another program"):
            add(database, "late")


@pytest.mark.parametrize(
    ("url", "value"),
    [("sqlite", "zeroblob(2000000000)"), ("postgresql", "chr(0)"), ("postgresql", "1 / 0")],
    indirect=["url"],
)
def test_a_value_that_cannot_be_stored_is_reported(database: Database, value: str) -> None:
    message = "cannot store one of the values"
    with pytest.raises(UnstorableError, match=message), database.begin() as connection:
        connection.execute(sa.text(f"SELECT {value}"))
    add(database)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_an_exhausted_connection_pool_is_reported(database: Database) -> None:
    add(database)
    database.engine.pool._timeout = 0.0  # type: ignore[attr-defined]  # do not wait
    with contextlib.ExitStack() as used:
        for _ in range(POOL_SIZE):
            used.enter_context(database.read())
        with pytest.raises(StoreError, match="is busy: all 16 connections are in use"):
            names(database)
    assert names(database) == ["acme"]


def configure(url: str, setting: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET {setting}")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_user_without_permission_is_reported(
    url: str, database: Database, open_database: OpenDatabase
) -> None:
    add(database)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        try:
            with pytest.raises(
                StoreError, match="denies this user access to its tables; grant the"
            ):
                names(open_database(url.replace("postgres:@", "guest:@")))
        finally:
            connection.execute("DROP ROLE guest")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_restarted_server_is_reached_again(url: str, database: Database) -> None:
    add(database)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert names(database) == ["acme"]


def test_every_database_supports_the_reserve(database: Database) -> None:
    assert database.fill_reserve()
    database.release_reserve()
    assert database.fill_reserve()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_frozen_process_blocks_others_only_for_seconds(database: Database) -> None:
    with database.read() as connection:
        shown = connection.execute(sa.text("SHOW idle_in_transaction_session_timeout"))
        assert shown.scalar() == "10s"
