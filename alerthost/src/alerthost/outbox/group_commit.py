"""Commits for many threads at once: in a file, whoever comes first writes for all that wait."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from alerthost.outbox import backend
from alerthost.store.database import Database
from alerthost.store.errors import ReentryError, StoreError

T = TypeVar("T")

TRIES: Final = 20
"""How often a piece is run whose transaction is undone because of others beside it."""

PAUSE: Final = 0.05
"""Seconds before it is run again, at most."""

SOON: Final = 0.1
"""The part of its patience for which a piece waits after another one timed out."""


class Writer:
    """Runs pieces of work in transactions.

    Each piece is all or nothing by itself. `run` returns when it is on the disk. Pieces share
    the transactions of SQLite, so that they share the disk's time; a server sees to that itself.

    Args:
        database: where to write.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Piece[Any]] = []
        self._lock = threading.Lock()
        self._is_led = False
        self._is_locked = False

    def run(self, work: Callable[[sa.Connection], T], *, accepts: bool = False) -> T:
        """Run a piece of work, and give what it returned once that is durable.

        Args:
            work: writes; it may be run again when what it wrote was undone because of others,
                so it does nothing but write.
            accepts: it takes new alerts on: it is refused after the database's patience in all,
                however many wait, and while the disk has no more room than sending needs.

        Raises:
            StoreError: the database cannot be written, or a piece of work runs another one;
                nothing was kept.
            Exception: whatever the piece raised; nothing of it was kept.
        """
        if _writing.get() is not None:
            message = (
                "called by a plugin while the engine writes on the same thread; call it from"
                " another thread"
            )
            raise ReentryError(message)
        with _logging_afterwards():
            if self._database.file is None:
                return self._beside_others(work)
            piece = _Piece(work, accepts=accepts)
            if accepts:
                self._database.check_reserve()
                piece.give_up_at = time.monotonic() + self._patience()
            try:
                self._take_turn(piece)
            finally:
                self._leave(piece)
            return piece.result()

    def _patience(self) -> float:
        """Return the seconds for which a piece waits; fewer after another one timed out."""
        return self._database.lock_timeout * (SOON if self._is_locked else 1.0)

    def _take_turn(self, piece: _Piece[Any]) -> None:
        """Have a piece run, by the thread that writes now or by this one."""
        with self._lock:
            self._waiting.append(piece)
            if not self._is_led:
                self._is_led = True
                piece.lead()
        if not piece.wait():
            with self._lock:
                if piece in self._waiting and not piece.leads:
                    self._is_locked = True
                    piece.end(StoreError(f"{self._database.name} is busy; try again"))
                    return
            piece.wait(forever=True)
        while piece.leads and not piece.done:
            with self._lock:
                batch, self._waiting = self._waiting, []
            self._commit(batch)

    def _leave(self, piece: _Piece[Any]) -> None:
        """Make the next piece lead, whatever ended this one."""
        with self._lock:
            if piece in self._waiting:
                self._waiting.remove(piece)
            if piece.leads:
                self._is_led = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].lead()

    def _beside_others(self, work: Callable[[sa.Connection], T]) -> T:
        for left in reversed(range(TRIES)):
            try:
                with self._database.begin() as connection:
                    return work(connection)
            except StoreError as error:
                if not left or not backend.is_conflict(error):
                    raise
            time.sleep(PAUSE * random.random())  # noqa: S311 -- so that they do not meet again
        raise AssertionError  # pragma: no cover -- the last try returns or raises

    def _commit(self, batch: Sequence[_Piece[Any]]) -> None:
        try:
            if not self._together(batch):
                # one of them is at fault, and undoes nothing of the others
                for piece in batch:
                    self._together([piece])
        except BaseException:
            # only the thread that was interrupted ends; the others are told
            interrupted = StoreError("the thread that wrote for several was interrupted")
            for piece in batch:
                piece.end(interrupted)
            raise

    def _together(self, batch: Sequence[_Piece[Any]], *, again: bool = False) -> bool:
        """Commit pieces; return whether they came to an end, good or bad, or wait again."""
        faulty: _Piece[Any] | None = None
        now = time.monotonic()
        for piece in batch:
            piece.give_up_at = piece.give_up_at or now + self._database.lock_timeout
        within = max(0.0, min(piece.give_up_at or now for piece in batch) - now)
        try:
            with self._database.begin(lock_timeout=within) as connection:
                for piece in batch:
                    faulty = piece
                    piece.run(connection)
                faulty = None
        except Exception as error:  # noqa: BLE001 -- told to everyone whose work it was
            if _has(error, _LOCKED):
                self._wait_again(batch, error)
                return True
            if _has(error, _FULL) and not again:
                self._do_without(batch, error)
                return True
            if faulty is not None and len(batch) > 1 and not _is_of_the_database(error):
                return False
            for piece in batch:
                piece.end(error)
            return True
        self._is_locked = False
        for piece in batch:
            piece.end()
        return True

    def _wait_again(self, batch: Sequence[_Piece[Any]], error: Exception) -> None:
        """End the pieces that waited long enough for another program; try the others again."""
        self._is_locked = True
        now = time.monotonic()
        left = [piece for piece in batch if (piece.give_up_at or now) > now]
        for piece in batch:
            if piece not in left:
                piece.end(error)
        with self._lock:
            self._waiting[:0] = left

    def _do_without(self, batch: Sequence[_Piece[Any]], error: Exception) -> None:
        """Refuse new alerts on a full disk; give their room to accepted ones."""
        left = [piece for piece in batch if not piece.accepts]
        for piece in batch:
            if piece.accepts:
                piece.end(error)
        if left:
            self._database.release_reserve()
            if not self._together(left, again=True):
                for piece in left:
                    self._together([piece], again=True)


_writing: Final[contextvars.ContextVar[list[Callable[[], None]] | None]] = contextvars.ContextVar(
    "writing", default=None
)
"""What this thread logs once it does not write any more; None while it does not write."""


def log_afterwards(logger: logging.Logger, level: int, message: str, *arguments: object) -> None:
    """Log a message of a piece of work when the writer is free: a log handler may use it."""
    records = _writing.get()
    say = functools.partial(logger.log, level, message, *arguments)
    if records is None:
        say()
    else:
        records.append(say)


@contextlib.contextmanager
def _logging_afterwards() -> Iterator[None]:
    records: list[Callable[[], None]] = []
    token = _writing.set(records)
    try:
        yield
    finally:
        _writing.reset(token)
        for say in records:
            say()


def _is_of_the_database(error: Exception) -> bool:
    """Check whether the database itself fails, which the next piece would meet as well."""
    cause = error.__cause__
    return isinstance(error, StoreError) and isinstance(cause, OperationalError)


_LOCKED: Final = ("SQLITE_BUSY", "SQLITE_LOCKED")
_FULL: Final = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")


def _has(error: Exception, codes: tuple[str, ...]) -> bool:
    """Check whether SQLite's name of an error begins with one of some codes."""
    cause = error.__cause__
    name = getattr(cause.orig, "sqlite_errorname", "") if isinstance(cause, DBAPIError) else ""
    return name.startswith(codes)


class _Piece(Generic[T]):
    def __init__(self, work: Callable[[sa.Connection], T], *, accepts: bool) -> None:
        self._work = work
        self._value: T | None = None
        self._error: Exception | None = None
        self._called = threading.Event()
        self.accepts = accepts
        self.give_up_at: float | None = None
        self.leads = False
        self.done = False

    def lead(self) -> None:
        """Have the thread of this piece write for all that wait."""
        self.leads = True
        self._called.set()

    def wait(self, *, forever: bool = False) -> bool:
        """Wait until the piece is done or leads; return whether it came to that in time."""
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
