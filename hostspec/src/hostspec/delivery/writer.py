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
from sqlalchemy.exc import OperationalError

from hostspec.delivery import sharing
from hostspec.store.database import Database
from hostspec.store.errors import StoreError

T = TypeVar("T")

TRIES: Final = 20
"""How often a piece is run whose transaction is undone because of others beside it."""

PAUSE: Final = 0.05
"""Seconds before it is run again, at the most."""


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
        self._turn = threading.Lock()

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Run a piece of work, and give what it returned once that is durable.

        Args:
            work: writes; it may be run again when what it wrote was undone because of others,
                so it does nothing but write.

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
            raise StoreError(message)
        with _logging_afterwards():
            if self._database.file is None:
                return self._beside_others(work)
            piece = _Piece(work)
            with self._lock:
                self._waiting.append(piece)
            with self._turn:
                if not piece.done:
                    with self._lock:
                        batch, self._waiting = self._waiting, []
                    self._commit(batch)
            return piece.result()

    def _beside_others(self, work: Callable[[sa.Connection], T]) -> T:
        for left in reversed(range(TRIES)):
            try:
                with self._database.begin() as connection:
                    return work(connection)
            except StoreError as error:
                if not left or not sharing.is_conflict(error):
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

    def _together(self, batch: Sequence[_Piece[Any]]) -> bool:
        """Commit pieces; say whether they came to an end, good or bad."""
        faulty: _Piece[Any] | None = None
        try:
            with self._database.begin() as connection:
                for piece in batch:
                    faulty = piece
                    piece.run(connection)
                faulty = None
        except Exception as error:  # noqa: BLE001 -- told to everyone whose work it was
            if faulty is not None and len(batch) > 1 and not _is_of_the_database(error):
                return False
            for piece in batch:
                piece.end(error)
            return True
        for piece in batch:
            piece.end()
        return True


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
    """Say whether the database itself fails, which the next piece would meet as well."""
    cause = error.__cause__
    return isinstance(error, StoreError) and isinstance(cause, OperationalError)


class _Piece(Generic[T]):
    def __init__(self, work: Callable[[sa.Connection], T]) -> None:
        self._work = work
        self._value: T | None = None
        self._error: Exception | None = None
        self.done = False

    def run(self, connection: sa.Connection) -> None:
        self._value = self._work(connection)

    def end(self, error: Exception | None = None) -> None:
        if not self.done:
            self._error = error
            self.done = True

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return cast("T", self._value)
