"""Says which processes that share a database are alive: what the others held is taken over."""

from __future__ import annotations

import abc
import contextlib
import glob
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import filelock
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from hostspec.store.database import Database
from hostspec.store.errors import StoreError

OLD: Final = 3600.0
"""Seconds after which a lock that nobody holds is one that was left behind."""


class Presence(abc.ABC):
    """This process among those that share a database.

    Attributes:
        name: of this process; no other one ever has the same.
    """

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex

    @abc.abstractmethod
    def gone(self, names: Iterable[str]) -> Sequence[str]:
        """Say which of some processes are gone for good."""

    @abc.abstractmethod
    def leave(self) -> None:
        """Be gone."""


class FilePresence(Presence):
    """Processes on one machine: each holds a lock that the system drops when it dies."""

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
        """Say which of some processes hold no lock any more."""
        return [name for name in names if name != self.name and self._is_gone(name)]

    def leave(self) -> None:
        """Drop the lock."""
        self._lock.release()
        self._path(self.name).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what processes left behind that were killed long ago."""
        for path in self._file.parent.glob(f"{glob.escape(self._file.name)}-*.lock"):
            with contextlib.suppress(FileNotFoundError):  # another process sweeps too
                if path.stat().st_mtime < time.time() - OLD:
                    _is_free(path)

    def _is_gone(self, name: str) -> bool:
        return _is_free(self._path(name))

    def _path(self, name: str) -> Path:
        return self._file.with_name(f"{self._file.name}-{name}.lock")


def _is_free(path: Path) -> bool:
    """Say whether nobody holds a lock; its file is removed then."""
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
    """Processes on several machines: each holds an advisory lock as long as its session lives."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        # no transaction stays open: the session lives as long as the process
        self._connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection.execute(sa.select(sa.func.pg_advisory_lock(_number(self.name))))

    def gone(self, names: Iterable[str]) -> Sequence[str]:
        """Say which of some processes have no session any more."""
        return [name for name in names if name != self.name and self._is_gone(name)]

    def leave(self) -> None:
        """Give the lock back, and end the session; the pool would keep it for others."""
        with contextlib.suppress(DBAPIError):  # a session that broke off has left already
            self._connection.execute(sa.select(sa.func.pg_advisory_unlock(_number(self.name))))
        self._connection.invalidate()
        self._connection.close()

    def _is_gone(self, name: str) -> bool:
        free = sa.select(sa.func.pg_try_advisory_lock(_number(name)))
        if not self._connection.execute(free).scalar():
            return False
        self._connection.execute(sa.select(sa.func.pg_advisory_unlock(_number(name))))
        return True


def _number(name: str) -> int:
    """Give the number of a process's advisory lock: 63 bits of its name."""
    return int(name[:16], 16) >> 1


def presence(database: Database) -> Presence:
    """Be present among those that share a database."""
    if database.file is None:
        return SessionPresence(database)
    return FilePresence(database.file)
