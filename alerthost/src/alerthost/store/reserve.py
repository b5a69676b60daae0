"""Disk space that is kept back for sending, beside a SQLite database."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

SIZE: Final = 8 * 1024 * 1024
"""Bytes: what planning and sending some hundred alerts writes, in the log and the database."""


class Reserve:
    """A file that holds the space; it is empty while the space is in use.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def is_used(self) -> bool:
        """Whether the space was released, and has not been taken back since."""
        try:
            return not self._path.stat().st_size
        except OSError:
            return False

    def fill(self) -> bool:
        """Take the space, where the disk has it; return whether it is there."""
        try:
            file = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600)
        except OSError:
            return False
        try:
            if os.fstat(file).st_size < SIZE:
                _allocate(file, 0, SIZE)
        except OSError:
            os.truncate(file, 0)
            return False
        finally:
            os.close(file)
        return True

    def release(self) -> None:
        """Release the space for the next write."""
        with contextlib.suppress(OSError):
            os.close(os.open(self._path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)


def write_zeros(file: int, offset: int, size: int) -> None:
    """Allocate space where the system has no call for it, as on macOS."""
    os.pwrite(file, bytes(size), offset)


_allocate: Final = getattr(os, "posix_fallocate", write_zeros)
