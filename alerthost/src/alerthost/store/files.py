"""Detect lost files of an open SQLite database, which SQLite does not notice.

SQLite keeps writing to files that were deleted or replaced, and past the end of a truncated
write-ahead log. Every commit succeeds, and is lost at the next start.

The database and its index are compared by `os.stat` only: closing a file drops all locks of the
process on it (POSIX), including those of SQLite's connections. The log has no locks.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from alerthost.store.errors import StoreError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_HEADER: Final = 32
"""Bytes before the first frame of a log (SQLite's file format, 4.1)."""

_FRAME_HEADER: Final = 24
"""Bytes before the page in each frame."""

_MAGIC: Final = (0x377F0682, 0x377F0683)
"""The first bytes of a log, by the byte order of its checksums."""

_INDEX_HEADER: Final = 48
"""Bytes of the header of the index, which has two copies (SQLite's WAL-mode file format, 2)."""

_PROCESSES_LOCK: Final = 128
"""The byte of the index on which every process that uses it holds a shared lock."""

_REMEDY: Final = (
    "stop every program that uses it, restore a backup if the file is lost, and start again"
)

_NO_LOCKS: Final = (
    "SQLite's store does not work on Windows; use PostgreSQL ([store] url = "
    '"postgresql://..."), or run this on Linux, macOS or WSL'
)

_Identity: TypeAlias = tuple[int, int] | None


@attrs.frozen
class _Log:
    """The size of a log, and its salts, which change when it restarts."""

    salts: bytes
    size: int


class Files:
    """The three files of an open database: database, log and index.

    Its methods raise StoreError if a file was deleted, replaced or truncated.

    Raises:
        StoreError: the system has no file locks (Windows).
    """

    def __init__(self, file: Path) -> None:
        if fcntl is None:
            raise StoreError(_NO_LOCKS)
        self._file = file
        self._paths = (file, beside(file, "-wal"), beside(file, "-shm"))
        self._lock = threading.Lock()
        self._opened: tuple[_Identity, ...] | None = None
        self._log = _Log(b"", 0)
        self._size = 0
        self._connections = 0
        self._damage = ""

    def opened(self) -> None:
        """Record the files of the first connection; compare those of later connections."""
        with self._lock:
            if self._opened is None:
                self._log, self._size = self._read_log(), self._file.stat().st_size
                self._opened = self._identities()
            self.compare()
            self._connections += 1

    def closed(self) -> None:
        """Forget the files with the last connection, when SQLite removes log and index."""
        with self._lock:
            self._connections -= 1
            if not self._connections:
                self._opened = None
                self._damage = ""

    def compare(self) -> None:
        """Compare the files at the paths with the open ones."""
        for path, (before, now) in zip(self._paths, self._pairs(), strict=False):
            if before != now:
                event = "deleted" if now is None else "replaced by another file"
                message = f"{path} was {event} while in use, so nothing new is stored; {_REMEDY}"
                raise StoreError(message)

    def may_be_truncated(self) -> bool:
        """Check cheaply whether a file is shorter than before.

        True is only a suspicion: another program may have copied the log into the database and
        emptied it, or rewritten the database in fewer pages.

        Raises:
            StoreError: a file was certainly truncated.
        """
        if self._damage:
            raise StoreError(self._damage)
        if any(before != now for before, now in self._pairs()):
            return False  # the open files are whole; `compare` reports the others
        seen, size = self._log, self._size
        log = self._read_log()
        found = self._file.stat().st_size
        if size and not found:
            self.refuse_writes()  # a connection to an empty database would remove the log
        if found < size:
            return True
        if log.size < seen.size and log.salts in (b"", seen.salts):
            return True
        self._log, self._size = log, found
        return False

    def confirm(self, *, whole: bool, frames: int, copied: int, page_size: int) -> None:
        """Confirm or drop a suspicion, by SQLite's report.

        Args:
            whole: the database has every page.
            frames: the number of frames in the log.
            copied: the number of frames that are also in the database.
            page_size: bytes of a page.
        """
        log = self._read_log()
        is_short = log.size < _HEADER + frames * (_FRAME_HEADER + page_size)
        if not whole or (copied < frames and is_short):
            self.refuse_writes()
        self._log, self._size = log, self._file.stat().st_size

    def refuse_writes(self) -> None:
        """Refuse all further writes: SQLite would fill the missing part with zeros.

        Raises:
            StoreError: always.
        """
        self._damage = (
            f"{self._file} or its write-ahead log was truncated while in use, so the latest "
            f"commits are lost, and nothing new is stored; {_REMEDY}"
        )
        raise StoreError(self._damage)

    def _pairs(self) -> Sequence[tuple[_Identity, _Identity]]:
        """Pair each opened file with the one at its path now."""
        found, opened = self._identities(), self._opened
        if opened is None:
            return ()
        # SQLite creates the log and the index of an empty database at the first commit
        self._opened = tuple(old or new for old, new in zip(opened, found, strict=True))
        return tuple(zip(self._opened, found, strict=True))

    def _identities(self) -> tuple[_Identity, ...]:
        return tuple(map(_identity, self._paths))

    def _read_log(self) -> _Log:
        """Read salts and size of the log; a missing log is empty."""
        try:
            log = os.open(self._paths[1], os.O_RDONLY)
        except FileNotFoundError:
            return _Log(b"", 0)
        try:
            size = os.fstat(log).st_size
            header = os.read(log, _HEADER)
        finally:
            os.close(log)
        if len(header) < _HEADER:
            return _Log(b"", size)
        if struct.unpack_from(">I", header)[0] not in _MAGIC:
            self.refuse_writes()
        return _Log(header[16:24], size)


def beside(file: Path, suffix: str) -> Path:
    """Return the path of a companion of a database, such as its log (-wal)."""
    return file.with_name(file.name + suffix)


def _identity(path: Path) -> _Identity:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


_inspected: set[Path] = set()
_inspecting = threading.Lock()


def leftover_frames(file: Path) -> int:
    """Return how many frames the last process left in the log, according to the index.

    Returns 0 if that is unknown: the database was closed, another process has it open, or this
    process asked before, since it must not open a file that its own SQLite has open.
    """
    with _inspecting:
        if file in _inspected:
            return 0
        _inspected.add(file)
        try:
            with beside(file, "-shm").open("r+b") as index:
                lock = fcntl.LOCK_EX | fcntl.LOCK_NB  # pyright: ignore[reportOptionalMemberAccess]
                fcntl.lockf(index, lock, 1, _PROCESSES_LOCK)  # pyright: ignore[reportOptionalMemberAccess]
                read = index.read(2 * _INDEX_HEADER + 4)
        except OSError:
            return 0
    first, second = read[:_INDEX_HEADER], read[_INDEX_HEADER : 2 * _INDEX_HEADER]
    if len(read) < 2 * _INDEX_HEADER + 4 or first != second:
        return 0
    (frames,), (copied,) = struct.unpack_from("=I", read, 16), struct.unpack_from("=I", read, 96)
    return int(frames) if copied < frames else 0
