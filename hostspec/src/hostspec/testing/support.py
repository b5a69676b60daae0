"""Shared by the checks: failures, sample alerts, calls with a time limit, and pure calls."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import io
import logging
import os
import queue
import random
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar

from hostspec.alert import Alert, Image, Link, Severity, Status

T = TypeVar("T")

VARIABLE: Final = "HOSTSPEC_TESTING_SECRET"
"""The environment variable that holds the secret during a check."""

REFERENCE: Final = f"env:{VARIABLE}"
RULE: Final = "Conformance"
INSTALLATION: Final = "conformance"

UNKNOWN: Final = "no such setting"
"""A key that no settings class has."""

SHORTEST_CANARY: Final = 12
"""Characters of a canary; a shorter one could occur by chance."""

THREADS: Final = 8
"""How many threads call a plugin at once."""

SOCKET_CHECK_AFTER: Final = 2.0
"""Seconds after which a call is checked for a socket without a timeout."""

_PURE: Final = "it must do no I/O and read no clock; leave that to send() or to the caller"

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


class ConformanceError(AssertionError):
    """A rule of the contract is broken; the message says which, and how to fix it."""


def fail(sentence: str) -> NoReturn:
    """Fail a check."""
    raise ConformanceError(sentence)


def require(condition: object, sentence: str) -> None:
    """Fail a check unless a condition is true."""
    if not condition:
        fail(sentence)


def firing(token: str, *, severity: Severity = Severity.CRITICAL, scope: str = "") -> Alert:
    """Return a firing alert whose key and summary contain a token."""
    return Alert(
        token,
        f"Conformance check {token}",
        severity=severity,
        scope=scope,
        source="conformance.example",
        started_at=dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        labels={"team": "conformance"},
    )


def later(token: str) -> tuple[Alert, ...]:
    """Return updates of the alert that `firing` returns, one for each status."""
    return tuple(
        Alert(token, f"Conformance check {token}", status=status, labels={"team": "another"})
        for status in Status
    )


def sample_alerts() -> tuple[Alert, ...]:
    """Return new alerts of every kind that must be planned."""
    return (
        Alert("conformance/least"),
        firing("conformance/usual"),
        firing("conformance/scoped", scope="tenant", severity=Severity.DEBUG),
        _extreme_alert(),
        *later("conformance/usual"),
    )


def _extreme_alert() -> Alert:
    """Return an alert that breaks the limits of every service: long, deep and malformed."""
    nested: object = "deep"
    for _ in range(60):
        nested = {"deeper": nested}
    return Alert(
        "conformance/" + "k" * 400,
        "Disk full 🧯\n\x00\ud800 " * 400,
        severity="apocalyptic",
        source=" ",
        labels={f"label {number}": "é" * 300 for number in range(50)},
        details={
            "nan": float("nan"),
            "when": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
            "set": {1, 2},
            "nested": nested,
            "long": "x" * 600_000,
            "": None,
        },
        url="not a URL",
        links=[Link("https://runbook.example", "Runbook"), Link("javascript:alert(1)")],
        images=[Image("http://graph.example/1.png")],
    )


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables in this block; connections to loopback use no proxy."""
    changed = {**variables, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def within(seconds: float, call: Callable[[], T]) -> T:
    """Call on a daemon thread; return or raise its result here.

    Raises:
        TimeoutError: it did not return in time, or it waits on a socket without a timeout.
    """
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((call(), None))
        except BaseException as error:  # noqa: BLE001 -- it is raised below
            results.put((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        value, error = results.get(timeout=min(seconds, SOCKET_CHECK_AFTER))
    except queue.Empty:
        if _waits_for_ever(thread):
            message = "it waits on a socket without a timeout"
            raise TimeoutError(message) from None
        try:
            value, error = results.get(timeout=max(0.0, seconds - SOCKET_CHECK_AFTER))
        except queue.Empty:
            raise TimeoutError from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def _waits_for_ever(thread: threading.Thread) -> bool:
    """Check whether the innermost socket among a thread's local variables has no timeout."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 -- documented
    while frame is not None:
        for value in frame.f_locals.values():
            for each in (value, getattr(value, "sock", None), getattr(value, "_sock", None)):
                if isinstance(each, socket.socket):
                    return each.gettimeout() is None
        frame = frame.f_back
    return False


def at_once(calls: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Make all calls at the same time, each on its own thread; return results and exceptions."""
    barrier = threading.Barrier(len(calls))
    results: dict[int, T | Exception] = {}

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = calls[number]()
        except Exception as error:  # noqa: BLE001 -- it is returned
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(calls))]


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
    return result, tuple(dict.fromkeys(_full_name(each) for each in called if _is_impure(each)))


def require_pure(name: str, call: Callable[[], T]) -> T:
    """Call a function twice; fail if it raised, is impure, or returned two results."""
    try:
        first = call()  # imports of the first call are not I/O of the function
        again, impurities = watched(call)
    except Exception as error:  # noqa: BLE001 -- it is reported
        fail(f"{name}() raised {type(error).__name__}: {error}; it must accept every input")
    require(not impurities, f"{name}() called {', '.join(impurities)}; {_PURE}")
    require(
        first == again,
        f"{name}() returned two results for the same arguments; {_PURE}, use nothing random, and "
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


def _full_name(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    kind = owner if isinstance(owner, type) else type(owner)
    module = function.__module__ or kind.__name__
    return f"{module.lstrip('_')}.{function.__name__}"
