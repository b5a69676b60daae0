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

T = TypeVar("T")

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


def is_impure(function: Any) -> bool:
    """Say whether a built-in function does what pure code does not do."""
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
    place = function.__module__ or kind.__name__
    return f"{place.lstrip('_')}.{function.__name__}"
