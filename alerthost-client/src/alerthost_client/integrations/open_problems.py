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

REPEAT_AFTER = 60.0
"""Seconds after which a success repeats a resolve that its process did not hand over."""

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
        self._memory.open(key)

    def resolve(self, key: str, **fields: Any) -> None:
        """Resolve a problem after a success, unless it is known not to fire.

        Of several successes at once, one resolves.
        """
        if self._memory.claim(key, guesses=self._guesses) and self._client.resolve(key, **fields):
            self._memory.settle(key)


class _ProcessMemory:
    """Remembers open problems in this process."""

    def __init__(self) -> None:
        self._open: dict[str, float] = {}
        self._closed: dict[str, float] = {}

    def open(self, key: str) -> None:
        _put(self._open, key)

    def claim(self, key: str, *, guesses: bool) -> bool:
        """Close a problem; return whether the caller is to resolve it."""
        if self._open.pop(key, None) is None:
            age = time.monotonic() - self._closed.get(key, -math.inf)
            if not guesses or age < RESOLVE_EVERY:
                return False
        _put(self._closed, key)
        return True

    def settle(self, key: str) -> None:
        """Do nothing: this memory ends with its process."""


def _put(states: dict[str, float], key: str) -> None:
    if len(states) >= MOST_PROBLEMS:
        oldest, *_ = states
        states.pop(oldest, None)
    states[key] = time.monotonic()


class _FolderMemory:
    """Remembers them in files, whose names end with their state.

    A problem that fires is ``.open``; it is ``.claimed`` by the success that resolves it, and
    ``.closed`` when its resolve is handed over.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            folder.chmod(folder.parent.stat().st_mode & 0o7777)
        self._folder = folder
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process starts, too
                if time.time() - path.stat().st_mtime > FORGET_AFTER:
                    path.unlink()

    def open(self, key: str) -> None:
        self._write(self._path(key, ".open"), key)

    def claim(self, key: str, *, guesses: bool) -> bool:
        """Claim a problem; return whether the caller is to resolve it."""
        opened, claimed = self._path(key, ".open"), self._path(key, ".claimed")
        if opened.exists():
            self._write(claimed)
            try:
                opened.unlink()
            except FileNotFoundError:  # another success claimed it
                return False
            return True
        waited, since = _age(claimed), _age(self._path(key, ".closed"))
        is_unknown = guesses and since >= RESOLVE_EVERY
        is_due = waited >= REPEAT_AFTER if waited < math.inf else is_unknown
        if is_due:
            self._write(claimed)
        return is_due

    def settle(self, key: str) -> None:
        """Note that the resolve of a claimed problem is handed over."""
        with contextlib.suppress(FileNotFoundError):
            self._path(key, ".claimed").rename(self._path(key, ".closed"))

    def _write(self, path: Path, text: str = "") -> None:
        written = path.with_suffix(f".{os.urandom(8).hex()}")
        written.write_text(text, encoding="utf-8", errors="backslashreplace")
        written.replace(path)  # which another user may have made

    def _path(self, key: str, suffix: str) -> Path:
        name = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()
        return self._folder / f"{name[:32]}{suffix}"


def _age(path: Path) -> float:
    """Return the seconds since a file was written; infinity without one."""
    try:
        return abs(time.time() - path.stat().st_mtime)  # the clock may be set back
    except FileNotFoundError:
        return math.inf
