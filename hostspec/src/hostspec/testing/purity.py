"""Detects I/O, threads, clocks and randomness in a call that must be pure."""

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

from hostspec.testing.support import fail, require

T = TypeVar("T")

_RULE: Final = "it must do no I/O and read no clock; leave that to send() or to the caller"

_CLOCKS: Final = (
    "clock_gettime clock_gettime_ns monotonic monotonic_ns perf_counter perf_counter_ns sleep "
    "time time_ns"
)
_FILES: Final = "fork listdir lstat open read scandir stat urandom"
_IMPURE: Final = {
    "time": frozenset(_CLOCKS.split()),
    "_thread": frozenset({"start_new_thread", "start_joinable_thread"}),
    "builtins": frozenset({"input", "print"}),
    open.__module__: frozenset({"open", "open_code"}),
    **dict.fromkeys(("posix", "nt"), frozenset(_FILES.split())),
}
_IMPURE_MODULES: Final = ("_socket", "_posixsubprocess", "_winapi")
_NOW: Final = frozenset({"now", "today", "utcnow"})


def watched(call: Callable[[], T]) -> tuple[T, tuple[str, ...]]:
    """Return the result of a call, and the impure built-in functions that it called.

    Only the calling thread is watched. Logging is off meanwhile, for it reads the clock. So is
    the garbage collector, whose callbacks and finalizers are not part of the call.
    """
    called: list[Any] = []
    profiler = sys.getprofile()
    disabled = logging.root.manager.disable
    collects = gc.isenabled()
    gc.disable()
    logging.disable(logging.CRITICAL)
    sys.setprofile(lambda _, event, what: called.append(what) if event == "c_call" else None)
    try:
        result = call()
    finally:
        sys.setprofile(profiler)
        logging.disable(disabled)
        if collects:
            gc.enable()
    return result, tuple(dict.fromkeys(_name(each) for each in called if _is_impure(each)))


def require_pure(name: str, call: Callable[[], T]) -> T:
    """Call a pure function twice; return its result.

    Raises:
        ConformanceError: it raised, is impure, or returned two results.
    """
    try:
        first = call()  # imports of the first call are not I/O of the function
        again, impurities = watched(call)
    except Exception as error:  # noqa: BLE001 -- it is reported
        fail(f"{name}() raised {type(error).__name__}: {error}; it must accept every input")
    require(not impurities, f"{name}() called {', '.join(impurities)}; {_RULE}")
    require(
        first == again,
        f"{name}() returned two results for the same arguments; {_RULE}, use nothing random, and "
        "keep no state between calls",
    )
    return again


def _is_impure(function: Any) -> bool:
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
    module = function.__module__ or kind.__name__
    return f"{module.lstrip('_')}.{function.__name__}"
