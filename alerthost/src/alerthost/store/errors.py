"""Errors of the store, and what the codes of SQLite's and PostgreSQL's errors mean."""

from __future__ import annotations

from typing import Final


class StoreError(Exception):
    """The store failed; the message says why, and what the operator should do.

    The message contains no secret: neither a URL's password nor a key nor a sealed secret.
    """


class UnstorableError(StoreError):
    """The database cannot store one of the values; other values can be written."""


class ReentryError(StoreError):
    """A plugin called the engine from a thread on which the engine is writing."""


class UnknownCommitError(StoreError):
    """The connection to the server was lost during a commit, which may have succeeded.

    Accept the same submissions again under the same ids: each is accepted once.
    """


class LostCommitError(StoreError):
    """A commit may be lost: a file of the database was deleted or replaced meanwhile.

    A running process may still act on it.
    """


PERMISSIONS: Final = (
    "this user needs write permission for the file and its folder, even for reading"
)

DAMAGED: Final = "is damaged; restore a backup"
DISK_FULL: Final = "cannot grow: the disk is full; nothing was changed"
_LOCKED: Final = "is locked by another program; try again"
_REASONS: Final = {
    "SQLITE_READONLY": f"is read-only; {PERMISSIONS}",
    "SQLITE_CANTOPEN": f"cannot be opened; {PERMISSIONS}",
    "SQLITE_PERM": f"cannot be opened; {PERMISSIONS}",
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_LOCKED": _LOCKED,
    "SQLITE_FULL": DISK_FULL,
    "SQLITE_IOERR": "cannot be read or written: the disk fails or is full; nothing was changed",
    "SQLITE_CORRUPT": DAMAGED,
    "SQLITE_NOTADB": "is not a SQLite database; name another file as [store] url",
    "25006": "is read-only; name the primary server as [store] url",
    "42501": "denies this user access to its tables; grant the right to create and write them",
    "53100": "cannot grow: the server's disk is full; nothing was changed",
    "55P03": _LOCKED,
}
"""Reasons by the beginning of an error code."""


def error_code(error: BaseException | None) -> str:
    """Return SQLite's name of an error, or PostgreSQL's SQLSTATE; empty for other errors."""
    return getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None) or ""


def error_reason(error: BaseException | None) -> str:
    """Return why a database driver failed, as the end of a sentence that names the database."""
    code = error_code(error)
    for start, reason in _REASONS.items():
        if code.startswith(start):
            return reason
    first_line = str(error).strip().partition("\n")[0]
    return f"cannot be used: {first_line}"
