"""Renews, in a forked child, what only the parent's threads could have finished."""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Has locks, threads or connections that a forked child must not share."""

    def before_fork(self) -> None:
        """Bring the object to rest, in the thread that forks."""
        ...

    def after_fork_in_parent(self) -> None:
        """Go on in the parent."""
        ...

    def after_fork_in_child(self) -> None:
        """Renew what the child must not share."""
        ...


_known: weakref.WeakSet[Forkable] = weakref.WeakSet()
_resting: list[Forkable] = []


def register(forkable: Forkable) -> None:
    """Call an object's methods around every fork, for as long as something else refers to it."""
    _known.add(forkable)


def _before() -> None:
    _resting.extend(_known)
    for each in _resting:
        each.before_fork()


def _in_parent() -> None:
    while _resting:
        _resting.pop().after_fork_in_parent()


def _in_child() -> None:
    while _resting:
        _resting.pop().after_fork_in_child()


with contextlib.suppress(AttributeError):  # there is no fork on Windows
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
