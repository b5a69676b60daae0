"""Commits for many threads at once: whoever comes first writes for all that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa

from hostspec.store.database import Database

T = TypeVar("T")


class Writer:
    """Runs pieces of work in transactions that they share, so that they share the disk's time.

    Each piece is all or nothing by itself. `run` returns when it is on the disk.

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

        Raises:
            StoreError: the database cannot be written; nothing was kept.
            Exception: whatever the piece raised; nothing of it was kept.
        """
        piece = _Piece(work)
        with self._lock:
            self._waiting.append(piece)
        with self._turn:
            if not piece.done:
                with self._lock:
                    batch, self._waiting = self._waiting, []
                self._commit(batch)
        return piece.result()

    def _commit(self, batch: Sequence[_Piece[Any]]) -> None:
        try:
            with self._database.begin() as connection:
                if len(batch) == 1:
                    batch[0].run(connection)
                else:
                    for piece in batch:
                        _alone(piece, connection)
        except BaseException as error:  # noqa: BLE001 -- told to everyone whose work it was
            for piece in batch:
                piece.fail(error)
        for piece in batch:
            piece.done = True


def _alone(piece: _Piece[Any], connection: sa.Connection) -> None:
    """Run a piece so that its fault undoes nothing of the others."""
    savepoint = connection.begin_nested()
    try:
        piece.run(connection)
    except Exception as error:  # noqa: BLE001 -- told to its own caller
        savepoint.rollback()
        piece.fail(error)
    else:
        savepoint.commit()


class _Piece(Generic[T]):
    def __init__(self, work: Callable[[sa.Connection], T]) -> None:
        self._work = work
        self._value: T | None = None
        self._error: BaseException | None = None
        self.done = False

    def run(self, connection: sa.Connection) -> None:
        self._value = self._work(connection)

    def fail(self, error: BaseException) -> None:
        self._error = self._error or error

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return cast("T", self._value)
