"""What goes wrong with a store, in words for a person."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot do what was asked; the message says why, and what a person should do.

    It holds no secret: not a URL's password, not what a key unseals.
    """


class UnstorableError(StoreError):
    """What was to be written is not what this database can hold; nothing else is wrong with it."""


class ReentryError(StoreError):
    """A plugin called the engine while it writes on the same thread; nothing is wrong with it."""


class UnknownCommitError(StoreError):
    """The connection to the server was lost during a commit, which may have been made or not.

    Accept the same submissions again under the same ids: they are accepted once.
    """


class LostCommitError(StoreError):
    """A commit may be lost: a file of the database was deleted or replaced meanwhile.

    A running process may still act on it.
    """
