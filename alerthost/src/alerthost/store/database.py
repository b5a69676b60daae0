"""The database of a host: SQLite in a file beside its configuration, or PostgreSQL by a URL."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from alerthost.store.errors import StoreError, UnknownCommitError, UnstorableError
from alerthost.store.files import Files, beside, left_frames
from alerthost.store.reserve import Reserve
from alerthost.store.tables import metadata
from hostspec.forking import of_its_process

_log = logging.getLogger("hostspec")

VERSION_TABLE: Final = "hostspec_version"
"""Where Alembic keeps the version; of our own, so that other programs' versions do not meet it."""

_VERSION: Final = sa.table(VERSION_TABLE, sa.column("version_num")).c.version_num

_MIGRATIONS: Final = Path(__file__).parent / "migrations"

_DRIVERS: Final = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_RIGHTS: Final = "this user needs the right to write the file and its folder, even for reading"
_RIGHT: Final = "right would be sqlite:///alerthost.db or postgresql://USER@HOST/DATABASE"

CONNECTIONS: Final = 16
"""Connections to a server that one process keeps; who needs one more waits for it."""

_TO_SERVER: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""How soon a connection whose server is gone is given up: the system's own limits are hours."""

_ON_SERVER: Final = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3;"
    " SET tcp_user_timeout = 15000; SET idle_in_transaction_session_timeout = 10000"
)
"""How soon the server gives up a process that froze or was cut off: others wait for its locks."""

_ADVISORY_LOCK: Final = int.from_bytes(b"hostspec")
"""What processes that migrate the same PostgreSQL database at once wait for."""

_WRITES: Final = "hostspec_writes"
_WITHIN: Final = "hostspec_within"

# Alembic's `op` and `context` are the process's own, not the thread's
_alembic: Final = threading.Lock()


_migrating: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar("migrating", default=False)


def _is_not_ours(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not _migrating.get()


for _name in ("alembic.runtime.migration", "alembic.runtime.plugins"):
    logging.getLogger(_name).addFilter(_is_not_ours)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep Alembic's progress out of the log of the program that embeds the store."""
    token = _migrating.set(True)
    try:
        yield
    finally:
        _migrating.reset(token)


@of_its_process
class Database:
    """A database, opened when it is first used, and brought to this program's version then.

    A SQLite file is made by the first `begin`, readable by its owner only; everything committed
    is on the disk (write-ahead log, synchronous FULL).

    Args:
        url: SQLAlchemy's form: ``sqlite:///FILE`` or ``postgresql://…``.
        folder: what a relative SQLite file is relative to: the configuration's.
        patience: seconds to wait for another program that writes to the same SQLite file.

    Attributes:
        patience: as given.

    Raises:
        StoreError: the URL cannot be, or its driver is not installed.
    """

    def __init__(self, url: str, folder: Path, *, patience: float = 5.0) -> None:
        self._current = False
        self.patience = patience
        parsed = _parse(url)
        if parsed.drivername.startswith("sqlite"):
            self.file: Path | None = _file(parsed, folder)
            self.name = str(self.file)
            files = Files(self.file)
            self._files: Files | None = files
            self._connect = functools.partial(_connect, self.file, patience, files)
            self.engine = sa.create_engine(
                sa.URL.create("sqlite+pysqlite", database=self.name),
                creator=self._connect,
                hide_parameters=True,
            )
            self._reserve: Reserve | None = Reserve(beside(self.file, "-reserve"))
            event.listen(self.engine, "begin", functools.partial(_begin, patience))
            event.listen(self.engine, "close", lambda *_: files.closed())
        else:
            self.file = None
            self._files = self._reserve = None
            self.name = sa.URL.create(
                "postgresql", host=parsed.host, port=parsed.port, database=parsed.database
            ).render_as_string()
            self.engine = _server(parsed)

    @property
    def exists(self) -> bool:
        """Whether there is something to read: a server always, a file once it is there."""
        return self.file is None or self.file.exists()

    @contextlib.contextmanager
    def begin(self, *, within: float | None = None) -> Iterator[sa.Connection]:
        """Begin a transaction that writes; all of it is kept, or nothing.

        In SQLite it is the only one that writes until it ends.

        Args:
            within: seconds to wait for another program that writes to the same SQLite file, where
                it is not the database's own patience.

        Raises:
            StoreError: the database cannot be written.
            UnknownCommitError: it is not known whether the transaction was committed.
            IntegrityError: what is written breaks a rule of a table.
        """
        with self.speaking_plainly():
            self._make()
            self._migrate_once()
            self._check_sizes()
            if self._reserve is not None and self._reserve.is_used:
                self._empty_log()
            with self._writing.connect() as connection:
                connection.execution_options(**{_WITHIN: within})
                with self._committing() as is_written, connection.begin():
                    yield connection
                    is_written.set()

    @contextlib.contextmanager
    def _committing(self) -> Iterator[threading.Event]:
        """Raise an error of its own where the connection is lost after all was written."""
        is_written = threading.Event()
        try:
            yield is_written
        except OperationalError as error:
            if self.file is None and is_written.is_set() and not _code(error.orig):
                message = f"{self.name}: the connection was lost during a commit"
                raise UnknownCommitError(message) from error
            raise

    @contextlib.contextmanager
    def begin_hint(self) -> Iterator[sa.Connection]:
        """Begin a transaction that writes, and does not wait for the disk.

        What it writes survives the end of this process, but not always that of the machine.

        Raises:
            StoreError: the database cannot be written.
        """
        with self.speaking_plainly(), self._writing.connect() as connection:
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
    def begin_alone(self) -> Iterator[sa.Connection]:
        """Begin a transaction beside which nobody else writes; it sees one moment.

        Raises:
            StoreError: the database cannot be written.
        """
        with self.begin() as connection:
            if self.file is None:
                names = ", ".join(table.name for table in metadata.sorted_tables)
                connection.execute(sa.text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Begin a transaction that reads.

        Raises:
            StoreError: the database cannot be read, or is not there yet (`exists`).
        """
        with self.speaking_plainly():
            self._migrate_once()
            with self.engine.connect() as connection:
                yield connection

    def session(self) -> sa.Connection:
        """Open a connection of its own, each statement of which is a transaction.

        It lives until the caller closes it, or the server does.

        Raises:
            StoreError: the database cannot be read, or is not there yet (`exists`).
        """
        with self.speaking_plainly():
            self._migrate_once()
            connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            return connection

    def migrate(self) -> None:
        """Bring the database to this program's version, making it where there is none.

        Programs that start together wait for each other, and one of them does it.

        Raises:
            StoreError: it cannot be written, or a newer program wrote it.
        """
        with self.speaking_plainly():
            self._make()
            self._migrate_once()

    def verify(self) -> None:
        """Check that the files of SQLite are those that were opened, with all that was committed.

        A commit is durable where this succeeds after it; a few microseconds. A server has no
        such files.

        Raises:
            StoreError: a file was deleted, replaced or truncated.
        """
        if self._files is None:
            return
        with self.speaking_plainly():
            self._check_sizes()
            self._files.compare()

    def check(self) -> None:
        """Check the structure of a SQLite database; reads all of it.

        Raises:
            StoreError: it is damaged, or cannot be read.
        """
        if self.file is None:
            return
        with self.read() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            message = f"{self.name} {_REASONS['SQLITE_CORRUPT']}"
            raise StoreError(message)

    def keep_room(self) -> bool:
        """Keep disk space back for sending; return whether it is there (SQLite only)."""
        return self._reserve is None or self._reserve.fill()

    def make_room(self) -> None:
        """Release the space that was kept back."""
        if self._reserve is not None:
            self._reserve.release()
            self._empty_log()

    def _empty_log(self) -> None:
        """Copy the write-ahead log into the database; once no one reads it, it starts again."""
        # without waiting: the thread that writes may be the one that reads
        with (
            contextlib.suppress(sqlite3.Error, DBAPIError),
            contextlib.closing(self.engine.raw_connection()) as raw,
        ):
            raw.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def check_room(self) -> None:
        """Check that nothing but sending needs the space that is left.

        Raises:
            StoreError: the space that is kept back is in use, for the disk is full.
        """
        if self._reserve is not None and self._reserve.is_used and not self._reserve.fill():
            message = f"{self.name} {_REASONS['SQLITE_FULL']}; make room on its disk"
            raise StoreError(message)

    def drop_room(self) -> None:
        """Release the space that was kept for sending."""
        if self._reserve is not None:
            self._reserve.remove()

    def close(self) -> None:
        """Close all connections; the database may be used again."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @functools.cached_property
    def _writing(self) -> sa.Engine:
        return self.engine.execution_options(**{_WRITES: True})

    def _check_sizes(self) -> None:
        """Check that no file of SQLite lost a part.

        Raises:
            StoreError: one did.
        """
        if self._files is None or not self._files.is_shorter():
            return
        try:
            # a new connection has no page in its memory
            with contextlib.closing(self._connect()) as fresh:
                try:
                    (found,) = fresh.execute("PRAGMA quick_check(1)").fetchone()
                    _, frames, copied = fresh.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                    (page_size,) = fresh.execute("PRAGMA page_size").fetchone()
                finally:
                    self._files.closed()
        except sqlite3.DatabaseError as error:
            code = _code(error)
            if code.startswith(_MISSING):
                self._files.condemn()
            message = f"{self.name} {_reason(error, code)}"
            raise StoreError(message) from error
        whole = found == "ok"
        self._files.judge(whole=whole, frames=frames, copied=copied, page_size=page_size)

    def _make(self) -> None:
        if self.file is None or self._current:
            return
        try:
            # SQLite would make it readable by all, and its companions like it
            os.close(os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            pass
        except FileNotFoundError:
            message = f"{self.name} cannot be made: there is no such folder; make it first"
            raise StoreError(message) from None
        except OSError as error:
            message = f"{self.name} cannot be made: {error.strerror}; {_RIGHTS}"
            raise StoreError(message) from None

    def _migrate_once(self) -> None:
        if self._current:
            return
        if not self.exists:
            message = f"{self.name} is not there yet"
            raise StoreError(message)
        with self.engine.connect() as connection:
            behind = self._is_behind(connection)  # which a program that only reads may do
        if behind:
            with _alembic, self._writing.begin() as connection:
                if self.file is None:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
                # another program may have done it meanwhile
                if self._is_behind(connection):
                    _upgrade(connection)
        self._current = True

    def _is_behind(self, connection: sa.Connection) -> bool:
        if not sa.inspect(connection).has_table(VERSION_TABLE):
            return True
        found = connection.execute(sa.select(_VERSION)).scalar()
        if found is not None and found not in _versions():
            message = f"{self.name} was written by a newer version of hostspec ({found}); update it"
            raise StoreError(message)
        return found != _versions()[-1]

    @contextlib.contextmanager
    def speaking_plainly(self) -> Iterator[None]:
        """Turn what a driver raises into words for a person.

        Raises:
            UnstorableError: the database cannot hold what was to be written.
            StoreError: the database cannot do what was asked.
            IntegrityError: what is written breaks a rule of a table.
        """
        try:
            yield
        except IntegrityError:
            raise
        except PoolTimeoutError:
            message = f"{self.name} is busy: each of its {CONNECTIONS} connections is in use"
            raise StoreError(message) from None
        except DBAPIError as error:
            code = _code(error.orig)
            if isinstance(error, DataError) or code.startswith(_LIMIT_EXCEEDED):
                message = f"{self.name} cannot hold what was to be written"
                raise UnstorableError(message) from error
            message = f"{self.name} {_reason(error.orig, code)}"
            raise StoreError(message) from error


def _code(error: BaseException | None) -> str:
    """Return SQLite's name for an error, or the SQLSTATE of PostgreSQL's; nothing for others."""
    return getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None) or ""


def _reason(error: BaseException | None, code: str) -> str:
    for start, reason in _REASONS.items():
        if code.startswith(start):
            return reason
    told = str(error).strip().partition("\n")[0]
    return f"cannot be used: {told}"


_MISSING: Final = ("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB")
"""How SQLite's names begin for errors that a file with a missing part causes."""

_LIMIT_EXCEEDED: Final = "54"
"""How SQLSTATEs begin of what is too much, as for an index (PostgreSQL's documentation, appendix
A: class 54, which Python's drivers count among what operation of the server fails on)."""

_REASONS: Final = {
    "SQLITE_READONLY": f"is read-only; {_RIGHTS}",
    "SQLITE_CANTOPEN": f"cannot be opened; {_RIGHTS}",
    "SQLITE_PERM": f"cannot be opened; {_RIGHTS}",
    "SQLITE_BUSY": "is locked: another program has been writing to it; try again",
    "SQLITE_LOCKED": "is locked: another program has been writing to it; try again",
    "SQLITE_FULL": "cannot grow: the disk is full; nothing was changed",
    "SQLITE_IOERR": "cannot be read or written: the disk fails or is full; nothing was changed",
    "SQLITE_CORRUPT": "is damaged; put back a backup of it",
    "SQLITE_NOTADB": "is no SQLite database; name another file as [store] url",
    "25006": "is read-only; name the primary server as [store] url",
    "42501": "refuses its tables to this user; grant it the right to make and write them",
    "53100": "cannot grow: the server's disk is full; nothing was changed",
    "55P03": "is locked: another program has been writing to it; try again",
}
"""What to tell a person, by the beginning of an error's code."""


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):  # neither is quoted: they quote the URL
        message = f"[store] url is no URL of a database; {_RIGHT}"
        raise StoreError(message) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        message = f"[store] url names {parsed.drivername}, which is not supported; {_RIGHT}"
        raise StoreError(message)
    return parsed.set(drivername=driver)


def _file(url: sa.URL, folder: Path) -> Path:
    name = url.database or ""
    if url.host or url.query or name in ("", ":memory:") or name.startswith("file:"):
        message = "[store] url names no file; right would be sqlite:///alerthost.db"
        raise StoreError(message)
    return (folder / Path(name).expanduser()).absolute()


def _server(url: sa.URL) -> sa.Engine:
    if "@" in (url.host or ""):
        message = "[store] url has an @ in its password; write it as %40"
        raise StoreError(message)
    try:
        engine = sa.create_engine(
            url,
            connect_args={
                name: value for name, value in _TO_SERVER.items() if name not in url.query
            },
            hide_parameters=True,
            pool_size=CONNECTIONS,
            max_overflow=0,  # to open one for a moment takes longer than to wait for one
            pool_use_lifo=True,  # one that was just used knows the statements already
            pool_pre_ping=True,  # a server may have been started again
        )
    except ImportError:
        message = "[store] url needs psycopg (pip install 'alerthost[postgresql]')"
        raise StoreError(message) from None
    event.listen(engine, "connect", _connected)
    return engine


def _connected(connection: Any, _record: object) -> None:
    """Tell a server what it is to do about this session; others than PostgreSQL may refuse it."""
    with connection.cursor() as cursor:
        cursor.execute(_ON_SERVER)
        (process,) = cursor.execute("SELECT pg_backend_pid()").fetchone()
    connection.commit()
    if process != connection.info.backend_pid:
        # a pooler stands between: the next transaction may be another session's, which knows none
        # of the statements prepared here
        connection.prepare_threshold = None


def _connect(file: Path, patience: float, files: Files) -> sqlite3.Connection:
    files.compare()
    left = left_frames(file)
    connection = sqlite3.connect(
        f"{file.as_uri()}?mode=rw",  # SQLite makes no file: `begin` does
        uri=True,
        timeout=patience,
        isolation_level=None,  # `_begin` says when a transaction begins
        check_same_thread=False,  # SQLAlchemy's pool hands it to one thread at a time
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        _write_ahead(connection, patience)
        if left:
            _compare_log(connection, file, left)
        files.opened()
    except BaseException:
        connection.close()
        raise
    return connection


def _compare_log(connection: sqlite3.Connection, file: Path, left: int) -> None:
    """Log an error where SQLite found less in the log than the last process had committed."""
    _, found, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if found < left:
        _log.error(
            "%s lost %d of %d pages since the last run: it was deleted, truncated or damaged, so "
            "alerts and results stored last are gone; compare the open incidents with the "
            "provider's, and post firing alerts again",
            beside(file, "-wal"),
            left - found,
            left,
        )


def _write_ahead(connection: sqlite3.Connection, patience: float) -> None:
    """Turn the write-ahead log on, for good; SQLite does not always wait here by itself."""
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(patience: float, connection: sa.Connection) -> None:
    # one that writes says so at once: one that turns from reading to writing may be refused
    options = connection.get_execution_options()
    if not options.get(_WRITES):
        connection.exec_driver_sql("BEGIN")
        return
    within = options.get(_WITHIN)
    milliseconds = round(1000 * (patience if within is None else within))
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {milliseconds}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@functools.cache
def _versions() -> tuple[str, ...]:
    """Return every version of the schema, in order: the files' names begin with them."""
    return tuple(sorted(path.name[:4] for path in _MIGRATIONS.glob("versions/[0-9]*.py")))


@_quietly()
def _upgrade(connection: sa.Connection) -> None:
    # takes long to import, and most databases need no migration
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    command.upgrade(config, "head")
