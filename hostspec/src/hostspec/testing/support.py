"""Shared by the checks: failures, sample alerts, environment variables, calls with a time limit."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NoReturn, TypeVar

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


class ConformanceError(AssertionError):
    """A rule of the contract is broken; the message says which, and how to fix it."""


def fail(sentence: str) -> NoReturn:
    """Fail a check.

    Raises:
        ConformanceError: always.
    """
    raise ConformanceError(sentence)


def require(condition: object, sentence: str) -> None:
    """Fail a check unless a condition is true.

    Raises:
        ConformanceError: it is false.
    """
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
