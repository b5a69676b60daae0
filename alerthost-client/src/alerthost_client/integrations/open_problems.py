"""Remembers which problems fire, so that only those are resolved: shared by the integrations."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import time
from pathlib import Path
from typing import Any

from alerthost_client.client import Client

RESOLVE_EVERY = 3600.0
"""Seconds in which a problem that is not known to fire is resolved once."""

FORGET_AFTER = 30 * 24 * 3600.0
"""Seconds after which a problem is forgotten."""

MOST_PROBLEMS = 10_000
"""Problems that a process without a spool remembers."""


class OpenProblems:
    """Fires problems, and resolves them at a success, if they may fire.

    With a spool, its folder ``problems`` is the memory of all processes of the machine, and
    outlasts them. Without one, each process has its own.

    Args:
        client: hands the alerts over.
        guesses: whether a success resolves a problem that is not known to fire, the first time
            and once an hour: it may have fired on another machine. Only for keys that are few.

    Raises:
        OSError: the folder cannot be used; `fire` and `resolve` raise it too.
    """

    def __init__(self, client: Client, *, guesses: bool = True) -> None:
        self._client = client
        self._guesses = guesses
        spool = client.spool
        self._memory = _ProcessMemory() if spool is None else _FolderMemory(spool / "problems")

    def fire(self, key: str, summary: str, **fields: Any) -> None:
        """Fire an alert, as `Client.fire` does, and remember its key."""
        self._client.fire(key, summary, **fields)
        self._memory.write(key, is_open=True)

    def resolve(self, key: str, **fields: Any) -> None:
        """Resolve a problem after a success, unless it is known not to fire."""
        is_open, age = self._memory.read(key)
        if is_open or (self._guesses and age >= RESOLVE_EVERY):
            self._memory.write(key, is_open=False)
            self._client.resolve(key, **fields)


class _ProcessMemory:
    """Remembers open problems in this process."""

    def __init__(self) -> None:
        self._states: dict[str, tuple[bool, float]] = {}

    def read(self, key: str) -> tuple[bool, float]:
        """Return whether a problem fires, and since how many seconds this is so."""
        is_open, since = self._states.get(key, (False, -math.inf))
        return is_open, time.monotonic() - since

    def write(self, key: str, *, is_open: bool) -> None:
        if len(self._states) >= MOST_PROBLEMS:
            oldest, *_ = self._states
            self._states.pop(oldest, None)
        self._states[key] = (is_open, time.monotonic())


class _FolderMemory:
    """Remembers it in a file for each problem, which is empty unless the problem fires."""

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            folder.chmod(folder.parent.stat().st_mode & 0o7777)
        self._folder = folder
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process starts, too
                if time.time() - path.stat().st_mtime > FORGET_AFTER:
                    path.unlink()

    def read(self, key: str) -> tuple[bool, float]:
        try:
            found = self._path(key).stat()
        except FileNotFoundError:
            return False, math.inf
        return found.st_size > 0, abs(time.time() - found.st_mtime)  # the clock may be set back

    def write(self, key: str, *, is_open: bool) -> None:
        path = self._path(key)
        written = path.with_suffix(f".{os.urandom(8).hex()}")
        written.write_text(key if is_open else "", encoding="utf-8", errors="backslashreplace")
        written.replace(path)  # which another user may have made

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()
        return self._folder / name[:32]
