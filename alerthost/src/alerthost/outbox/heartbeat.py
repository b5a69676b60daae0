"""Tracks the live workers on a database, so that the leases of dead ones are reclaimed."""

from __future__ import annotations

import abc
import contextlib
import glob
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import filelock
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from alerthost.store.database import Database
from alerthost.store.errors import StoreError

OLD: Final = 3600.0
"""Seconds after which an unlocked lock file is removed."""


class Presence(abc.ABC):
    """The registration of this process among the live workers on a database.

    Attributes:
        name: the worker id of this process.
        certain: a worker that is gone is dead; else it may be alive, and come back.
    """

    certain: bool = True

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex

    @abc.abstractmethod
    def gone(self, names: Iterable[str]) -> Sequence[str]:
        """Return which of some workers are gone."""

    @abc.abstractmethod
    def is_alone(self) -> bool:
        """Check whether no other worker is registered."""

    @abc.abstractmethod
    def renew(self) -> None:
        """Renew the registration; to be called every few seconds."""

    @abc.abstractmethod
    def leave(self) -> None:
        """End the registration."""


class FilePresence(Presence):
    """Workers on one machine: each holds a file lock that the system drops when it dies."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        path = self._path(self.name)
        self._lock = filelock.FileLock(path, mode=0o600, thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except OSError as error:
            message = f"{path} cannot be made: {error.strerror}; the folder must be writable"
            raise StoreError(message) from error
        self._sweep()

    def gone(self, names: Iterable[str]) -> Sequence[str]:
        """Return which of some workers hold no lock any more."""
        return [name for name in names if name != self.name and self._is_gone(name)]

    def is_alone(self) -> bool:
        """Check whether no other process holds a lock."""
        mine = self._path(self.name)
        return all(path == mine or _is_free(path) for path in self._paths())

    def renew(self) -> None:
        """Do nothing: the lock is held as long as the process lives."""

    def leave(self) -> None:
        """Drop the lock."""
        self._lock.release()
        self._path(self.name).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove the lock files of processes that were killed long ago."""
        for path in self._paths():
            with contextlib.suppress(FileNotFoundError):  # another process sweeps too
                if path.stat().st_mtime < time.time() - OLD:
                    _is_free(path)

    def _is_gone(self, name: str) -> bool:
        return _is_free(self._path(name))

    def _paths(self) -> Iterable[Path]:
        return self._file.parent.glob(f"{glob.escape(self._file.name)}-*.lock")

    def _path(self, name: str) -> Path:
        return self._file.with_name(f"{self._file.name}-{name}.lock")


def _is_free(path: Path) -> bool:
    """Check whether a lock is free, and remove its file then."""
    if not path.exists():
        return True
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    lock.release()
    path.unlink(missing_ok=True)
    return True


class SessionPresence(Presence):
    """Workers on several machines: each holds an advisory lock as long as its session lives.

    A live worker may lose its session. It takes its lock again in the next session, under the
    same name, and keeps the leases that were not reclaimed meanwhile.
    """

    certain = False

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._connection: sa.Connection | None = None
        self._present = False
        self.renew()

    def gone(self, names: Iterable[str]) -> Sequence[str]:
        """Return which of some workers have no session now."""
        asked = {name for name in names if name != self.name}
        if not asked:
            return []
        there = set(self._ask(_SESSIONS))
        return [name for name in asked if _number(name) not in there]

    def is_alone(self) -> bool:
        """Check whether no other session holds a lock."""
        return set(self._ask(_SESSIONS)) == {_number(self.name)}

    def renew(self) -> None:
        """Begin another session, if this one is lost."""
        try:
            self._hold()
        except StoreError:
            self._hold()

    def leave(self) -> None:
        """End the session."""
        left, self._connection, self._present = self._connection, None, False
        if left is None:
            return
        with contextlib.suppress(SQLAlchemyError), left:
            # at once: the server takes its time to notice that a session has ended
            left.execute(sa.select(sa.func.pg_advisory_unlock(_number(self.name))))

    def _hold(self) -> None:
        # the server may believe for a while that a session lives that was cut off
        hold = sa.func.pg_try_advisory_lock(_number(self.name))
        query = sa.select(sa.true() if self._present else hold)
        self._present = any(self._ask(query))

    def _ask(self, query: sa.Executable) -> Sequence[Any]:
        """Run a query, in a new session if needed; a session that fails is closed."""
        try:
            with self._database.translating_errors():
                if self._connection is None:
                    self._connection = self._database.session()
                return self._connection.execute(query).scalars().all()
        except StoreError:
            self.leave()
            raise


_SESSIONS: Final = sa.text(
    "SELECT (CAST(classid AS bigint) << 32) | CAST(objid AS bigint) FROM pg_locks"
    " WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ExclusiveLock' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""The numbers of all advisory locks that are held."""


def _number(name: str) -> int:
    """Return the number of a process's advisory lock: 63 bits of its name."""
    return int(name[:16], 16) >> 1


def presence(database: Database) -> Presence:
    """Register this process among the live workers on a database."""
    if database.file is None:
        return SessionPresence(database)
    return FilePresence(database.file)


def is_worked_on(database: Database) -> bool:
    """Check whether a process delivers from a database now; accepting alone does not count."""
    mine = presence(database)
    try:
        return not mine.is_alone()
    finally:
        mine.leave()


class Registration:
    """Registers this process as a live worker while one of its threads works for an engine."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._users = 0
        self.current: Presence | None = None

    def enter(self) -> str:
        """Register this process, unless another thread did; return its worker id."""
        self._database.migrate()
        with self._lock:
            if self.current is None:
                self.current = presence(self._database)
            self._users += 1
            return self.current.name

    def leave(self) -> None:
        """End the registration when its last thread leaves."""
        with self._lock:
            self._users -= 1
            if self.current is not None and not self._users:
                self.current.leave()
                self.current = None

    @contextlib.contextmanager
    def registered(self) -> Iterator[str]:
        """Register this process for a while; yield its worker id."""
        worker_id = self.enter()
        try:
            yield worker_id
        finally:
            self.leave()
