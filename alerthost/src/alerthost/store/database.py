"""The database of a host: SQLite in a file beside its configuration, or PostgreSQL by a URL."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from alerthost.store import migrations, postgresql
from alerthost.store.errors import (
    DAMAGED,
    StoreError,
    UnknownCommitError,
    UnstorableError,
    error_code,
    error_reason,
)
from alerthost.store.sqlite import LOCK_TIMEOUT, WRITES, SQLiteFile
from hostspec.forking import of_its_process

_DRIVERS: Final = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_URLS: Final = "use sqlite:///alerthost.db or postgresql://USER@HOST/DATABASE"

_LIMIT_EXCEEDED: Final = "54"
"""The class of SQLSTATEs for too large values, such as an index row (PostgreSQL, appendix A)."""

# Alembic's `op` and `context` belong to the process, not to a thread
_alembic: Final = threading.Lock()


@of_its_process
class Database:
    """A database that is opened, and migrated to this program's version, by its first use.

    The first `begin` creates a SQLite file, readable by its owner only. Every commit is on the
    disk (write-ahead log, synchronous FULL).

    Every method raises StoreError if the database cannot be used: it fails, is locked or damaged,
    does not exist yet (`exists`), or was written by a newer program.

    Args:
        url: SQLAlchemy's form: ``sqlite:///FILE`` or ``postgresql://…``.
        folder: the folder that a relative SQLite file is relative to.

    Attributes:
        lock_timeout: as given.
        file: the path of the SQLite file; None for PostgreSQL.
        name: the path or URL, without user and password.

    Raises:
        StoreError: the URL is malformed, or its driver is not installed.
    """

    def __init__(self, url: str, folder: Path, *, lock_timeout: float = 5.0) -> None:
        self._is_current = False
        self.lock_timeout = lock_timeout
        parsed = _parse(url)
        if parsed.drivername.startswith("sqlite"):
            self._sqlite: SQLiteFile | None = SQLiteFile(parsed, folder, lock_timeout)
            self.file: Path | None = self._sqlite.path
            self.name = str(self.file)
            self.engine = self._sqlite.engine
        else:
            self._sqlite = self.file = None
            self.name = sa.URL.create(
                "postgresql", host=parsed.host, port=parsed.port, database=parsed.database
            ).render_as_string()
            self.engine = postgresql.create_engine(parsed)
            self._sessions = postgresql.create_engine(parsed, 1, max_overflow=-1)

    @property
    def exists(self) -> bool:
        """Whether there is something to read: always for a server."""
        return self.file is None or self.file.exists()

    @contextlib.contextmanager
    def begin(self, *, lock_timeout: float | None = None) -> Iterator[sa.Connection]:
        """Begin a transaction that writes; SQLite runs one at a time.

        Args:
            lock_timeout: seconds to wait for another program that writes to the same SQLite
                file; None for the database's own.

        Raises:
            UnknownCommitError: it is not known whether the transaction was committed.
            IntegrityError: a row breaks a constraint.
        """
        with self.translating_errors():
            self._create()
            self._migrate_once()
            if self._sqlite is not None:
                self._sqlite.check_sizes()
                if self._sqlite.is_reserve_used:
                    self._sqlite.empty_log()
            with self._writing.connect() as connection:
                connection.execution_options(**{LOCK_TIMEOUT: lock_timeout})
                with self._committing() as is_written, connection.begin():
                    yield connection
                    is_written.set()

    @contextlib.contextmanager
    def _committing(self) -> Iterator[threading.Event]:
        """Raise UnknownCommitError if the connection is lost after the last write."""
        is_written = threading.Event()
        try:
            yield is_written
        except OperationalError as error:
            if self.file is None and is_written.is_set() and not error_code(error.orig):
                message = f"{self.name}: the connection was lost during a commit"
                raise UnknownCommitError(message) from error
            raise

    @contextlib.contextmanager
    def begin_unsynced(self) -> Iterator[sa.Connection]:
        """Begin a transaction that writes, and whose commit does not wait for the disk.

        It survives the end of this process, but not always that of the machine.
        """
        with self.translating_errors(), self._writing.connect() as connection:
            if self.file is None:
                connection.execute(sa.text("SET LOCAL synchronous_commit TO off"))
                yield connection
                connection.commit()
                return
            settings = connection.connection.cursor()
            settings.execute("PRAGMA synchronous = NORMAL")
            try:
                with connection.begin():
                    yield connection
            finally:
                settings.execute("PRAGMA synchronous = FULL")

    @contextlib.contextmanager
    def begin_exclusive(self) -> Iterator[sa.Connection]:
        """Begin a transaction that sees one snapshot, and excludes all other writers."""
        with self.begin() as connection:
            if self.file is None:
                postgresql.lock_tables(connection)
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Begin a transaction that reads."""
        with self.translating_errors():
            self._migrate_once()
            with self.engine.connect() as connection:
                yield connection

    def session(self) -> sa.Connection:
        """Open a connection to the server that commits each statement; close it yourself.

        It never waits for other threads. A closed one is kept for the next session.
        """
        with self.translating_errors():
            self._migrate_once()
            return self._sessions.connect().execution_options(isolation_level="AUTOCOMMIT")

    def migrate(self) -> None:
        """Bring the database to this program's version, and create it if it does not exist.

        Of programs that start together one migrates, and the others wait for it.
        """
        with self.translating_errors():
            self._create()
            self._migrate_once()

    def verify(self) -> None:
        """Check that SQLite's files are those that were opened, with all that was committed.

        A commit is durable if this succeeds after it. It takes a few microseconds, and does
        nothing for PostgreSQL.
        """
        if self._sqlite is not None:
            with self.translating_errors():
                self._sqlite.check_sizes()
                self._sqlite.files.compare()

    def check(self) -> None:
        """Check the structure of a SQLite database; reads all of it."""
        if self._sqlite is not None:
            with self.read() as connection:
                found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if found != "ok":
                message = f"{self.name} {DAMAGED}"
                raise StoreError(message)

    def fill_reserve(self) -> bool:
        """Reserve disk space for sending; return whether the disk has it (SQLite only)."""
        return self._sqlite is None or self._sqlite.fill_reserve()

    def check_reserve(self) -> None:
        """Check that the reserve is filled, or can be filled again."""
        if self._sqlite is not None:
            self._sqlite.check_reserve()

    def release_reserve(self) -> None:
        """Release the reserved space for the next writes."""
        if self._sqlite is not None:
            self._sqlite.release_reserve()

    def remove_reserve(self) -> None:
        """Remove the reserve's file."""
        if self._sqlite is not None:
            self._sqlite.remove_reserve()

    def close(self) -> None:
        """Close all connections; the database may be used again."""
        self.engine.dispose()
        if self.file is None:
            self._sessions.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @functools.cached_property
    def _writing(self) -> sa.Engine:
        return self.engine.execution_options(**{WRITES: True})

    def _create(self) -> None:
        if self._sqlite is not None and not self._is_current:
            self._sqlite.create()

    def _migrate_once(self) -> None:
        if self._is_current:
            return
        if not self.exists:
            message = f"{self.name} does not exist yet"
            raise StoreError(message)
        with self.engine.connect() as connection:  # reading needs no right to write
            behind = self._is_behind(connection)
        if behind:
            with _alembic, self._writing.begin() as connection:
                if self.file is None:
                    postgresql.lock_migrations(connection)
                # another program may have migrated meanwhile
                if self._is_behind(connection):
                    migrations.upgrade(connection)
        self._is_current = True

    def _is_behind(self, connection: sa.Connection) -> bool:
        found = migrations.found_version(connection)
        if found is not None and found not in migrations.versions():
            message = (
                f"{self.name} was written by a newer version of alerthost ({found}); update "
                "alerthost"
            )
            raise StoreError(message)
        return found != migrations.versions()[-1]

    @contextlib.contextmanager
    def translating_errors(self) -> Iterator[None]:
        """Turn a driver's errors into a StoreError that an operator understands.

        Raises:
            UnstorableError: the database cannot store one of the values.
            StoreError: the database failed.
            IntegrityError: a row breaks a constraint.
        """
        try:
            yield
        except IntegrityError:
            raise
        except PoolTimeoutError:
            message = f"{self.name} is busy: all {postgresql.POOL_SIZE} connections are in use"
            raise StoreError(message) from None
        except DBAPIError as error:
            if isinstance(error, DataError) or error_code(error.orig).startswith(_LIMIT_EXCEEDED):
                message = f"{self.name} cannot store one of the values"
                raise UnstorableError(message) from error
            message = f"{self.name} {error_reason(error.orig)}"
            raise StoreError(message) from error


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):  # not quoted: both quote the URL
        message = f"[store] url is not a database URL; {_URLS}"
        raise StoreError(message) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        message = f"[store] url names {parsed.drivername}, which is not supported; {_URLS}"
        raise StoreError(message)
    return parsed.set(drivername=driver)
