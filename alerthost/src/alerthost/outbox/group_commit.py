"""Group commit: one thread commits the work of several, so that they share one fsync."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from alerthost.outbox import backend, inbox
from alerthost.store.database import Database
from alerthost.store.errors import ReentryError, StoreError
from hostspec.plugins.registry import Plugins

T = TypeVar("T")

TRIES: Final = 20
"""Most times that a job runs whose transaction is rolled back because of concurrent ones."""

PAUSE: Final = 0.05
"""Most seconds between two such runs."""

BUSY_PATIENCE: Final = 0.1
"""Share of its patience for which a job waits after another one has timed out."""

AT_ONCE: Final = 4
"""Transactions that accept submissions at once: while one waits for the server's disk, the others
proceed."""


class Writer:
    """Runs jobs in write transactions; each job is committed whole or not at all.

    In SQLite the first waiting thread runs the jobs of all waiting threads in one transaction. On
    PostgreSQL each job has a transaction of its own, and the server groups their commits.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Job[Any]] = []
        self._lock = threading.Lock()
        self._is_led = False
        self._is_locked = False

    def run(self, work: Callable[[sa.Connection], T], *, accepts: bool = False) -> T:
        """Run a job, and return its result once it is durable.

        Args:
            work: only writes to the database; it runs again if its transaction is rolled back
                because of concurrent ones.
            accepts: the job accepts new alerts. It fails when the database's patience is over,
                however many jobs wait, and while the disk has only the room that sending needs.

        Raises:
            StoreError: the database cannot be written, or the job runs another one; nothing was
                kept.
            Exception: raised by the job; nothing was kept.
        """
        if _deferred_logs.get() is not None:
            message = (
                "called by a plugin while the engine writes on the same thread; call it from"
                " another thread"
            )
            raise ReentryError(message)
        with _logging_afterwards():
            if self._database.file is None:
                return self._run_concurrently(work)
            job = _Job(work, accepts=accepts)
            if accepts:
                self._database.check_reserve()
                job.give_up_at = time.monotonic() + self._patience()
            try:
                self._take_turn(job)
            finally:
                self._leave(job)
            return job.result()

    def _patience(self) -> float:
        return self._database.lock_timeout * (BUSY_PATIENCE if self._is_locked else 1.0)

    def _take_turn(self, job: _Job[Any]) -> None:
        """Have a job run by the leading thread, or lead."""
        with self._lock:
            self._waiting.append(job)
            if not self._is_led:
                self._is_led = True
                job.lead()
        if not job.wait():
            with self._lock:
                if job in self._waiting and not job.leads:
                    self._is_locked = True
                    job.end(StoreError(f"{self._database.name} is busy; try again"))
                    return
            job.wait(forever=True)
        while job.leads and not job.done:
            with self._lock:
                batch, self._waiting = self._waiting, []
            self._commit(batch)

    def _leave(self, job: _Job[Any]) -> None:
        """Make the next job lead, however this one ended."""
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
            if job.leads:
                self._is_led = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].lead()

    def _run_concurrently(self, work: Callable[[sa.Connection], T]) -> T:
        for left in reversed(range(TRIES)):
            try:
                with self._database.begin() as connection:
                    return work(connection)
            except StoreError as error:
                if not left or not backend.is_conflict(error):
                    raise
            time.sleep(PAUSE * random.random())  # noqa: S311 -- jitter, so that they do not meet again
        raise AssertionError  # pragma: no cover -- the last try returns or raises

    def _commit(self, batch: Sequence[_Job[Any]]) -> None:
        try:
            if not self._commit_together(batch):
                for job in batch:  # so that the failing one rolls back no other
                    self._commit_together([job])
        except BaseException:
            interrupted = StoreError("the thread that wrote for several was interrupted")
            for job in batch:
                job.end(interrupted)
            raise

    def _commit_together(self, batch: Sequence[_Job[Any]], *, made_room: bool = False) -> bool:
        """Commit jobs in one transaction.

        Returns:
            False if one job failed and rolled back the others, so that each has to run alone;
            True if each has ended or waits again.
        """
        faulty: _Job[Any] | None = None
        now = time.monotonic()
        for job in batch:
            job.give_up_at = job.give_up_at or now + self._database.lock_timeout
        within = max(0.0, min(job.give_up_at or now for job in batch) - now)
        try:
            with self._database.begin(lock_timeout=within) as connection:
                for job in batch:
                    faulty = job
                    job.run(connection)
                faulty = None
        except Exception as error:  # noqa: BLE001 -- raised by `result` on the thread of each job
            if _has(error, _LOCKED):
                self._wait_again(batch, error)
                return True
            if _has(error, _FULL) and not made_room:
                self._commit_without_accepts(batch, error)
                return True
            if faulty is not None and len(batch) > 1 and not _is_operational(error):
                return False
            for job in batch:
                job.end(error)
            return True
        self._is_locked = False
        for job in batch:
            job.end()
        return True

    def _wait_again(self, batch: Sequence[_Job[Any]], error: Exception) -> None:
        """End the jobs that waited long enough for a lock; put the others back."""
        self._is_locked = True
        now = time.monotonic()
        left = [job for job in batch if (job.give_up_at or now) > now]
        for job in batch:
            if job not in left:
                job.end(error)
        with self._lock:
            self._waiting[:0] = left

    def _commit_without_accepts(self, batch: Sequence[_Job[Any]], error: Exception) -> None:
        """Reject new alerts on a full disk; use the reserve for the other jobs."""
        left = [job for job in batch if not job.accepts]
        for job in batch:
            if job.accepts:
                job.end(error)
        if left:
            self._database.release_reserve()
            if not self._commit_together(left, made_room=True):
                for job in left:
                    self._commit_together([job], made_room=True)


@attrs.frozen(eq=False)
class Resources:
    """What the parts of an engine share.

    Attributes:
        clock: returns the time, in seconds of the epoch.
        observes_delivered: an observer of this process is called for delivered deliveries.
    """

    database: Database
    plugins: Plugins
    clock: Callable[[], float]
    writer: Writer
    observes_delivered: bool = True

    def run(self, work: Callable[[backend.UnitOfWork], T], now: float | None = None) -> T:
        """Run a job as `Writer.run` does, in a unit of work; `now` is None for the present."""
        moment, actions = self.clock() if now is None else now, self.plugins.actions
        observes = self.observes_delivered
        return self.writer.run(
            lambda writing: work(backend.UnitOfWork(writing, moment, actions, observes))
        )


_deferred_logs: Final[contextvars.ContextVar[list[Callable[[], None]] | None]] = (
    contextvars.ContextVar("deferred_logs", default=None)
)
"""Messages that this thread logs after its job; None while it runs no job."""


def log_afterwards(logger: logging.Logger, level: int, message: str, *arguments: object) -> None:
    """Log a message after the running job has ended: a log handler may use the writer."""
    deferred = _deferred_logs.get()
    log = functools.partial(logger.log, level, message, *arguments)
    if deferred is None:
        log()
    else:
        deferred.append(log)


@contextlib.contextmanager
def _logging_afterwards() -> Iterator[None]:
    deferred: list[Callable[[], None]] = []
    token = _deferred_logs.set(deferred)
    try:
        yield
    finally:
        _deferred_logs.reset(token)
        for log in deferred:
            log()


def _is_operational(error: Exception) -> bool:
    """Check that the database itself fails, so that the next job would fail, too."""
    return isinstance(error, StoreError) and isinstance(error.__cause__, OperationalError)


_LOCKED: Final = ("SQLITE_BUSY", "SQLITE_LOCKED")
_FULL: Final = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")


def _has(error: Exception, codes: tuple[str, ...]) -> bool:
    """Check that SQLite's name of an error begins with one of some codes."""
    cause = error.__cause__
    name = getattr(cause.orig, "sqlite_errorname", "") if isinstance(cause, DBAPIError) else ""
    return name.startswith(codes)


@attrs.define(eq=False)
class _Job(Generic[T]):
    _work: Callable[[sa.Connection], T]
    accepts: bool = attrs.field(kw_only=True)
    give_up_at: float | None = None
    leads: bool = False
    done: bool = False
    _value: T | None = None
    _error: Exception | None = None
    _called: threading.Event = attrs.field(factory=threading.Event)

    def lead(self) -> None:
        self.leads = True
        self._called.set()

    def wait(self, *, forever: bool = False) -> bool:
        """Wait until the job is done or leads; return False on a timeout."""
        until = None if forever else self.give_up_at
        return self._called.wait(None if until is None else max(0.0, until - time.monotonic()))

    def run(self, connection: sa.Connection) -> None:
        self._value = self._work(connection)

    def end(self, error: Exception | None = None) -> None:
        if not self.done:
            self._error = error
            self.done = True
            self._called.set()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return cast("T", self._value)


_Callers: TypeAlias = list[tuple[inbox.Row, Future[bool]]]
"""The submissions of one transaction; each caller waits to learn whether its own is written."""


class SubmissionWriter:
    """Writes accepted submissions.

    On PostgreSQL concurrent callers with one submission each share a transaction and a round trip.
    A submission whose alert is locked is written alone, so that the others need not wait for it.
    In SQLite the `Writer` groups all transactions.
    """

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._open: _Callers = []
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(AT_ONCE)

    def write(self, rows: Sequence[inbox.Row]) -> None:
        """Write submissions, all or none; those that exist already stay unchanged.

        Raises:
            StoreError: the database cannot be written; nothing was kept.
        """
        if self._database.file is None and len(rows) == 1 and self._write_with_others(rows[0]):
            return
        self._writer.run(lambda writing: inbox.accept(writing, rows), accepts=True)

    def _write_with_others(self, row: inbox.Row) -> bool:
        """Join the open group, whose first caller writes for all of it; return whether written."""
        written: Future[bool] = Future()
        with self._lock:
            group = self._open
            group.append((row, written))
        if group[0][1] is written:
            try:
                with self._slots:
                    self._close(group)
                    self._write(group)
            finally:
                self._close(group)  # if this thread was interrupted, the others continue
                for _, each in group:
                    if not each.done():
                        each.set_result(False)
        return written.result()

    def _close(self, group: _Callers) -> None:
        """Open the next group for callers from now on."""
        with self._lock:
            if self._open is group:
                self._open = []

    def _write(self, group: _Callers) -> None:
        """Write the submissions whose alerts are not locked; none, if one is invalid.

        The callers left over write alone, so that each gets its own error.
        """
        try:
            with self._database.begin() as connection:
                found = inbox.accept_unlocked(connection, [row for row, _ in group])
        except StoreError as error:
            if backend.is_unreachable(error):
                for _, written in group:
                    written.set_exception(error)
        else:
            for (_, written), is_written in zip(group, found, strict=True):
                written.set_result(is_written)
