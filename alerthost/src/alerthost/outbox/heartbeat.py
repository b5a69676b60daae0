"""Tracks the live workers on a database, so that the leases of dead ones are reclaimed."""

from __future__ import annotations

import abc
import contextlib
import glob
import logging
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import filelock
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from alerthost.outbox import backend
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.tables import workers
from hostspec.errors import describe_any_error

_log = logging.getLogger("hostspec")

OLD: Final = 3600.0
"""Seconds after which an unlocked lock file, or the row of a silent worker, is removed."""

BEAT: Final = 2.0
"""Seconds between two beats of a worker on a server."""

SILENCE: Final = 15.0
"""Seconds without a beat after which a worker is gone."""

CHANCE: Final = 5.0
"""Seconds of the silence that follow a beat of the worker that checks: the server worked then, so
the other one could have beaten, too."""

LONG_SILENCE: Final = 60.0
"""Seconds of silence after which a worker is gone for one that has just begun to beat: all leases
have run out by then."""

LOOK: Final = 0.1
"""Seconds between two looks for a beat of another worker."""


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

    def is_alive(self, name: str) -> bool:
        """Check that a worker is certainly alive now."""
        return not self.gone([name])

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


@attrs.define
class Beats:
    """The moments of the last beats of this process, by the server's clock."""

    moments: tuple[float, ...] = ()

    def add(self, now: float) -> None:
        """Add a beat, and drop those that are no longer needed."""
        first = self.reference(now) or 0.0
        self.moments = (*(each for each in self.moments if first <= each <= now), now)

    def reference(self, now: float) -> float | None:
        """Return the newest beat since which all live workers had the chance to beat, too."""
        return max((each for each in self.moments if each <= now - CHANCE), default=None)


class RowPresence(Presence):
    """Workers on several machines: each has a row, and records every few seconds that it lives.

    Nothing of a session is used, so that a pooler may give each transaction another one. A worker
    that was silent for long may come back, under the same name: it keeps the leases that were not
    reclaimed meanwhile.

    Args:
        database: the store.
        beats: of this process; those of an earlier registration count, too.
    """

    certain = False

    def __init__(self, database: Database, beats: Beats | None = None) -> None:
        super().__init__()
        self._database = database
        self._beats = beats or Beats()
        self._connection: sa.Connection | None = None
        self._left = threading.Event()
        self._execute(_SWEEP, {"old": OLD})
        self.beat()
        self._thread = threading.Thread(target=self._run, name="hostspec heartbeat", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Record that this process lives.

        Raises:
            StoreError: the database cannot be written.
        """
        (now,) = self._execute(_BEAT, {"worker_id": self.name}).scalars()
        self._beats.add(now)

    def gone(self, names: Iterable[str]) -> Sequence[str]:
        """Return which of some workers have left, or were silent for long.

        After an outage of the server all were silent: each gets the chance to beat first.
        """
        asked = {name for name in names if name != self.name}
        if not asked:
            return []
        with self._database.read() as connection:
            rows = connection.execute(_SEEN, {"names": list(asked)}).all()
        present = {row.worker_id for row in rows if not self._is_silent(row.seen_at, row.now)}
        return [name for name in asked if name not in present]

    def is_alive(self, name: str) -> bool:
        """Check that a worker beat after the last beat of this one."""
        with self._database.read() as connection:
            rows = connection.execute(_SEEN, {"names": [name]}).all()
        return any(row.seen_at > self._beats.moments[-1] for row in rows)

    def leave(self) -> None:
        """Remove the row."""
        if self._left.is_set():
            return
        self._left.set()
        self._thread.join()
        with contextlib.suppress(StoreError, SQLAlchemyError):
            self._execute(_LEAVE, {"worker_id": self.name})
        self._close()

    def _is_silent(self, seen_at: float, now: float) -> bool:
        reference = self._beats.reference(now)
        if reference is None:
            return seen_at < now - LONG_SILENCE
        # of the future: the server's clock was set back
        return seen_at < reference + CHANCE - SILENCE or seen_at > now + SILENCE

    def _run(self) -> None:
        while not self._left.wait(BEAT):
            try:
                with contextlib.suppress(StoreError, SQLAlchemyError):  # the other threads log it
                    self.beat()
            except BaseException as error:  # noqa: BLE001 -- a live worker never stops beating
                _log.error("the heartbeat %s", describe_any_error(error))

    def _execute(self, statement: sa.Executable, values: dict[str, Any]) -> sa.CursorResult[Any]:
        """Execute and commit on a connection outside the pool, whose connections may all be busy.

        One that fails is closed; the next statement opens another one.
        """
        try:
            with self._database.translating_errors():
                if self._connection is None:
                    self._connection = self._database.session()
                return self._connection.execute(statement, values)
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        closed, self._connection = self._connection, None
        if closed is not None:
            with contextlib.suppress(SQLAlchemyError):
                closed.close()


_SWEEP: Final = sa.delete(workers).where(
    workers.c.seen_at < backend.SERVER_TIME - sa.bindparam("old", type_=sa.Double())
)
# text: SQLAlchemy's upsert would import PostgreSQL's dialect in every process
_BEAT: Final = sa.text(
    "INSERT INTO workers (worker_id, seen_at)"  # noqa: S608 -- an expression of ours
    f" VALUES (:worker_id, {backend.SERVER_TIME})"
    " ON CONFLICT (worker_id) DO UPDATE SET seen_at = excluded.seen_at RETURNING seen_at"
)
_LEAVE: Final = sa.delete(workers).where(workers.c.worker_id == sa.bindparam("worker_id"))
_SEEN: Final = sa.select(workers, backend.SERVER_TIME.label("now")).where(
    workers.c.worker_id.in_(sa.bindparam("names", expanding=True))
)
_ALIVE: Final = sa.select(workers.c.worker_id, workers.c.seen_at).where(
    sa.func.abs(workers.c.seen_at - backend.SERVER_TIME)
    < sa.bindparam("silence", type_=sa.Double())
)


def presence(database: Database, beats: Beats | None = None) -> Presence:
    """Register this process among the live workers on a database."""
    if database.file is None:
        return RowPresence(database, beats)
    return FilePresence(database.file)


def is_worked_on(database: Database, wait: float = 0.0) -> bool:
    """Check whether a process delivers from a database now; accepting alone does not count.

    Args:
        database: the store.
        wait: seconds to wait on PostgreSQL for the next beat of a worker; without it, a worker
            counts for some seconds after it was killed.
    """
    if database.file is not None:
        mine = FilePresence(database.file)
        try:
            return not mine.is_alone()
        finally:
            mine.leave()
    before = _last_beats(database)
    if not wait:
        return bool(before)
    end = time.monotonic() + wait
    while before and time.monotonic() < end:
        time.sleep(LOOK)
        if _last_beats(database) - before:
            return True
    return False


def _last_beats(database: Database) -> set[tuple[str, float]]:
    """Return the workers that may be alive, with their last beats."""
    with database.read() as connection:
        return {
            (row.worker_id, row.seen_at) for row in connection.execute(_ALIVE, {"silence": SILENCE})
        }


class Registration:
    """Registers this process as a live worker while one of its threads works for an engine."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._users = 0
        self._beats = Beats()
        self.current: Presence | None = None

    def enter(self) -> str:
        """Register this process, unless another thread did; return its worker id."""
        self._database.migrate()
        with self._lock:
            if self.current is None:
                self.current = presence(self._database, self._beats)
            self._users += 1
            return self.current.name

    def leave(self) -> None:
        """End the registration when its last thread leaves."""
        with self._lock:
            self._users -= 1
            if self.current is not None and not self._users:
                left, self.current = self.current, None  # even if it is interrupted
                left.leave()

    @contextlib.contextmanager
    def registered(self) -> Iterator[str]:
        """Register this process for a while; yield its worker id."""
        worker_id = self.enter()
        try:
            yield worker_id
        finally:
            self.leave()
