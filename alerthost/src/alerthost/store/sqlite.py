"""Connections to a SQLite file: durable, and with disk space reserved for sending."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from alerthost.store.errors import DISK_FULL, PERMISSIONS, StoreError, error_code, error_reason
from alerthost.store.files import Files, beside, leftover_frames

_log = logging.getLogger("hostspec")

WRITES: Final = "alerthost_writes"
"""Option of a connection: its transactions write."""

LOCK_TIMEOUT: Final = "alerthost_lock_timeout"
"""Option of a connection: seconds to wait for the lock; None for those of the database."""

RESERVED: Final = 8 * 1024 * 1024
"""Bytes: planning and sending some hundred alerts writes as much, in log and database."""

_TRUNCATED: Final = ("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB")
"""Beginnings of SQLite's names of errors that a truncated file causes."""


class SQLiteFile:
    """A SQLite database and its companions: write-ahead log, index and reserve.

    Its methods raise StoreError if a file cannot be created, or is not the one that was opened.

    Raises:
        StoreError: the URL does not name a file, or the system has no file locks.
    """

    def __init__(self, url: sa.URL, folder: Path, lock_timeout: float) -> None:
        self.path = _path(url, folder)
        self._lock_timeout = lock_timeout
        self._reserve = beside(self.path, "-reserve")
        self.files = Files(self.path)
        self.engine = sa.create_engine(
            sa.URL.create("sqlite+pysqlite", database=str(self.path)),
            creator=self.connect,
            hide_parameters=True,
        )
        event.listen(self.engine, "begin", self._begin)
        event.listen(self.engine, "close", lambda *_: self.files.closed())

    def create(self) -> None:
        """Create an empty file, readable by its owner only, unless there is one."""
        try:
            # SQLite would make it and its companions readable by all
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            pass
        except FileNotFoundError:
            message = f"{self.path} cannot be created: its folder does not exist; create it first"
            raise StoreError(message) from None
        except OSError as error:
            message = f"{self.path} cannot be created: {error.strerror}; {PERMISSIONS}"
            raise StoreError(message) from None

    def connect(self) -> sqlite3.Connection:
        """Open a connection whose commits are on the disk when they return."""
        self.files.compare()
        leftover = leftover_frames(self.path)
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",  # `create` makes the file
            uri=True,
            timeout=self._lock_timeout,
            isolation_level=None,  # `_begin` begins transactions
            check_same_thread=False,  # SQLAlchemy's pool lends it to one thread at a time
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            self._turn_log_on(connection)
            if leftover:
                self._compare_log(connection, leftover)
            self.files.opened()
        except BaseException:
            connection.close()
            raise
        return connection

    def _turn_log_on(self, connection: sqlite3.Connection) -> None:
        """Turn on the write-ahead log; SQLite ignores its own timeout here in some cases."""
        deadline = time.monotonic() + self._lock_timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _compare_log(self, connection: sqlite3.Connection, leftover: int) -> None:
        """Log an error if the log has fewer frames than the last process committed."""
        _, found, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if found < leftover:
            _log.error(
                "%s lost %d of %d pages since the last run: it was deleted, truncated or damaged, "
                "so the alerts and results stored last are gone; compare the open incidents with "
                "the provider's, and post firing alerts again",
                beside(self.path, "-wal"),
                leftover - found,
                leftover,
            )

    def _begin(self, connection: sa.Connection) -> None:
        # a reading transaction that starts to write later may be refused
        options = connection.get_execution_options()
        if not options.get(WRITES):
            connection.exec_driver_sql("BEGIN")
            return
        timeout = options.get(LOCK_TIMEOUT)
        milliseconds = round(1000 * (self._lock_timeout if timeout is None else timeout))
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {milliseconds}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def check_sizes(self) -> None:
        """Check that no file was truncated."""
        if not self.files.may_be_truncated():
            return
        try:
            # a new connection has no pages cached
            with contextlib.closing(self.connect()) as fresh:
                try:
                    (found,) = fresh.execute("PRAGMA quick_check(1)").fetchone()
                    _, frames, copied = fresh.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                    (page_size,) = fresh.execute("PRAGMA page_size").fetchone()
                finally:
                    self.files.closed()
        except sqlite3.DatabaseError as error:
            if error_code(error).startswith(_TRUNCATED):
                self.files.refuse_writes()
            message = f"{self.path} {error_reason(error)}"
            raise StoreError(message) from error
        whole = found == "ok"
        self.files.confirm(whole=whole, frames=frames, copied=copied, page_size=page_size)

    # --- the reserve: a file whose space is released for sending when the disk is full

    @property
    def is_reserve_used(self) -> bool:
        """Whether the reserve is released; its file is empty then."""
        try:
            return not self._reserve.stat().st_size
        except OSError:
            return False

    def fill_reserve(self) -> bool:
        """Reserve disk space for sending; return whether the disk has it."""
        try:
            file = os.open(self._reserve, os.O_CREAT | os.O_WRONLY, 0o600)
        except OSError:
            return False
        try:
            if os.fstat(file).st_size < RESERVED:
                _allocate(file, 0, RESERVED)
        except OSError:
            os.truncate(file, 0)
            return False
        finally:
            os.close(file)
        return True

    def check_reserve(self) -> None:
        """Check that the reserve is filled, or can be filled again."""
        if self.is_reserve_used and not self.fill_reserve():
            message = f"{self.path} {DISK_FULL}; make room on its disk"
            raise StoreError(message)

    def release_reserve(self) -> None:
        """Release the reserved space for the next writes."""
        with contextlib.suppress(OSError):
            os.close(os.open(self._reserve, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
        self.empty_log()

    def remove_reserve(self) -> None:
        """Remove the reserve's file."""
        self._reserve.unlink(missing_ok=True)

    def empty_log(self) -> None:
        """Copy the write-ahead log into the database, so that it restarts after the last reader."""
        # without waiting: the thread that writes may be the one that reads
        with (
            contextlib.suppress(sqlite3.Error, DBAPIError),
            contextlib.closing(self.engine.raw_connection()) as raw,
        ):
            raw.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def write_zeros(file: int, offset: int, size: int) -> None:
    """Allocate space on systems without a call for it, such as macOS."""
    os.pwrite(file, bytes(size), offset)


_allocate: Final = getattr(os, "posix_fallocate", write_zeros)


def _path(url: sa.URL, folder: Path) -> Path:
    name = url.database or ""
    if url.host or url.query or name in ("", ":memory:") or name.startswith("file:"):
        message = "[store] url does not name a file; use sqlite:///alerthost.db"
        raise StoreError(message)
    return (folder / Path(name).expanduser()).absolute()
