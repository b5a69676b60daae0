"""Watches a call for what pure code does not do: I/O, threads, the clock, randomness."""

from __future__ import annotations

import datetime as dt
import gc
import io
import logging
import random
import socket
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

from hostspec.testing.requirement import fail, require

T = TypeVar("T")

_PURE: Final = "it must do no I/O and read no clock; leave that to send, or to the one who calls"

_CLOCKS: Final = frozenset(
    {
        "clock_gettime",
        "clock_gettime_ns",
        "monotonic",
        "monotonic_ns",
        "perf_counter",
        "perf_counter_ns",
        "sleep",
        "time",
        "time_ns",
    }
)
_IMPURE: Final = {
    "time": _CLOCKS,
    "_thread": frozenset({"start_new_thread", "start_joinable_thread"}),
    "builtins": frozenset({"input", "print"}),
    open.__module__: frozenset({"open", "open_code"}),
    **dict.fromkeys(
        ("posix", "nt"),
        frozenset({"fork", "listdir", "lstat", "open", "read", "scandir", "stat", "urandom"}),
    ),
}
_IMPURE_MODULES: Final = ("_socket", "_posixsubprocess", "_winapi")
_NOW: Final = frozenset({"now", "today", "utcnow"})


def watched(call: Callable[[], T]) -> tuple[T, tuple[str, ...]]:
    """Call; give what it returned, and what it did that pure code does not do.

    Only the calling thread is watched, and only what is done in the end by built-in functions.
    Logging is off meanwhile: it reads the clock. So is the garbage collector, whose callbacks,
    and the finalizers of what it finds, are not the call's own doing.
    """
    called: list[Any] = []
    before = sys.getprofile()
    disabled = logging.root.manager.disable
    collects = gc.isenabled()
    gc.disable()
    logging.disable(logging.CRITICAL)
    sys.setprofile(lambda _, event, what: called.append(what) if event == "c_call" else None)
    try:
        result = call()
    finally:
        sys.setprofile(before)
        logging.disable(disabled)
        if collects:
            gc.enable()
    return result, tuple(dict.fromkeys(_name(each) for each in called if is_impure(each)))


def purely(name: str, call: Callable[[], T]) -> T:
    """Call twice what must be pure; give what it returned.

    Raises:
        ConformanceError: it raised, does what pure code does not do, or gave two results.
    """
    try:
        first = call()  # what is imported at the first call is no I/O of its own
        again, impurities = watched(call)
    except Exception as error:  # noqa: BLE001 -- told as what it is
        fail(f"{name}() raised {type(error).__name__}: {error}; it must take what it is given")
    require(not impurities, f"{name}() called {', '.join(impurities)}; {_PURE}")
    require(
        first == again,
        f"{name}() gave two results for the same arguments; {_PURE}, nothing random, and no "
        "memory of earlier calls",
    )
    return again


def is_impure(function: Any) -> bool:
    """Check whether a built-in function does what pure code does not do."""
    owner, name = getattr(function, "__self__", None), function.__name__
    if isinstance(owner, (random.Random, socket.socket, io.FileIO)):
        return True
    if isinstance(owner, type) and issubclass(owner, dt.date):
        return name in _NOW
    module = function.__module__ or ""
    return module in _IMPURE_MODULES or name in _IMPURE.get(module, ())


def _name(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    kind = owner if isinstance(owner, type) else type(owner)
    ref = function.__module__ or kind.__name__
    return f"{ref.lstrip('_')}.{function.__name__}"
