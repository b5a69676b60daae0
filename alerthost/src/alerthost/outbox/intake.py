"""Writes down what many threads accept at once: whoever comes first, for all that wait."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import attrs

from alerthost.outbox import backend, inbox
from alerthost.outbox.group_commit import Writer
from alerthost.outbox.inbox import Row
from alerthost.store.database import Database
from alerthost.store.errors import StoreError

AT_ONCE: Final = 4
"""Transactions at once: while one waits for the server's disk, others are on their way."""


class Intake:
    """Writes statements down for good.

    On a server, callers with one statement each share a transaction, and go to the server once
    for all of them. One whose alert somebody else has locked goes alone, so that nobody else
    waits for that. In a file, the writer sees to it that transactions are shared.

    Args:
        database: where to write.
        writer: commits what goes alone.
    """

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._open = _Group()
        self._lock = threading.Lock()
        self._turn = threading.Semaphore(AT_ONCE)

    def take(self, rows: Sequence[Row]) -> None:
        """Write statements down, all or none; those that are there already stay as they are.

        Raises:
            StoreError: the database cannot be written; nothing was kept.
        """
        if self._database.file is None and len(rows) == 1:
            caller = _Caller(rows[0])
            self._share(caller)
            if caller.error is not None:
                raise caller.error
            if caller.written:
                return
        self._writer.run(lambda writing: inbox.accept(writing, rows), accepts=True)

    def _share(self, caller: _Caller) -> None:
        """Join those that wait to be written; whoever was there first writes for all of them."""
        with self._lock:
            group = self._open
            group.callers.append(caller)
            first = len(group.callers) == 1
        if not first:
            group.over.wait()
            return
        try:
            with self._turn:
                self._close(group)
                self._write(group.callers)
        finally:
            self._close(group)  # whatever interrupted this thread, the others go on
            group.over.set()

    def _close(self, group: _Group) -> None:
        """Let who comes now wait for the next one."""
        with self._lock:
            if self._open is group:
                self._open = _Group()

    def _write(self, callers: Sequence[_Caller]) -> None:
        """Write for those whose alerts nobody has locked; for none, where one is at fault.

        Those that are left go alone then, and each is told what is wrong with its own.
        """
        try:
            with self._database.begin() as connection:
                written = inbox.accept_unlocked(connection, [each.row for each in callers])
        except StoreError as error:
            if backend.is_away(error):
                for each in callers:
                    each.error = error
        else:
            for each, is_written in zip(callers, written, strict=True):
                each.written = is_written


@attrs.define(eq=False)
class _Caller:
    row: Row
    written: bool = False
    error: StoreError | None = None


@attrs.define(eq=False)
class _Group:
    callers: list[_Caller] = attrs.field(factory=list)
    over: threading.Event = attrs.field(factory=threading.Event)
