"""Renews, in a forked child, what only the parent's threads could have finished."""

from __future__ import annotations

import contextlib
import functools
import os
import types
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

_T = TypeVar("_T")


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


def of_its_process(made: type[_T]) -> type[_T]:
    """Make the public methods of a class raise RuntimeError in a child forked after the object.

    It holds threads, locks and connections that work in the process that made it, and there
    alone.
    """

    def checked(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            if self._process != os.getpid():
                message = (
                    f"this {made.__name__} belongs to the process that made it ({self._process});"
                    f" after a fork, make a new one in the child"
                )
                raise RuntimeError(message)
            return function(self, *args, **kwargs)

        return method

    init: Callable[..., None] = vars(made)["__init__"]

    @functools.wraps(init)
    def recording(self: Any, *args: Any, **kwargs: Any) -> None:
        self._process = os.getpid()
        init(self, *args, **kwargs)

    for name, attribute in list(vars(made).items()):
        if isinstance(attribute, types.FunctionType) and not name.startswith("_"):
            setattr(made, name, checked(attribute))
    setattr(made, "__init__", recording)  # noqa: B010 -- mypy knows no other way
    return made


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
