"""Renews locks in a forked child, and keeps it from using what belongs to its parent."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


class Locked:
    """Has a lock ``_lock`` that is held during a fork, and is new in the child.

    So no other thread is in the middle of a change, which the child would never see finished.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _known.add(self)

    def before_fork(self) -> None:
        """Wait for other threads to finish their changes."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Release the lock, so that other threads continue."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Continue with the state at the fork, and without the threads of the parent."""
        self._lock = threading.Lock()


_known: weakref.WeakSet[Locked] = weakref.WeakSet()
_fork = threading.RLock()  # held during a fork: threads fork one after the other
_forking: list[Locked] = []


def of_its_process(made: type[_T]) -> type[_T]:
    """Make the public methods of a class raise RuntimeError in a child forked after ``__init__``.

    For classes whose threads, locks and connections work only in the process that made them.
    """

    def checked(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            if self._process != os.getpid():
                message = (
                    f"this {made.__name__} belongs to the process {self._process}, which made it;"
                    " make a new one in the forked child"
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
    setattr(made, "__init__", recording)  # noqa: B010 -- mypy rejects an assignment
    return made


def _before() -> None:
    _fork.acquire()
    _forking.extend(_known)
    for each in _forking:
        each.before_fork()


def _in_parent() -> None:
    while _forking:
        _forking.pop().after_fork_in_parent()
    _fork.release()


def _in_child() -> None:
    while _forking:
        _forking.pop().after_fork_in_child()
    _fork.release()


with contextlib.suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
