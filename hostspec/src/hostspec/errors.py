"""Faults that an operator must fix, and safe descriptions of exceptions."""

from __future__ import annotations

import contextvars
import logging
import sys
import traceback
from collections.abc import Iterable
from pathlib import PurePath
from types import FrameType
from typing import Final, Self

import attrs

_log = logging.getLogger("hostspec")

_MACHINERY: Final = frozenset(
    {"alerthost", "hostspec", "pluggy", "attr", "attrs", "cattrs", "", *sys.stdlib_module_names}
)
"""Top-level packages whose frames are not the plugin's own code."""

_MOST_FRAMES: Final = 20
"""The number of innermost frames that are logged."""

_is_logging: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "hostspec_is_logging", default=False
)


@attrs.frozen
class Fault:
    """One fault in the input of an operator or a program.

    Attributes:
        path: the dotted path to the fault (``services[1].integration_key``); empty for the
            whole input.
        reason: the error and its remedy; never a secret.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason

    def below(self, path: str) -> Fault:
        """Return the same fault with ``path`` put before its own."""
        if not self.path:
            return Fault(path, self.reason)
        joint = "" if self.path.startswith("[") else "."
        return Fault(f"{path}{joint}{self.path}", self.reason)


class FaultsError(ValueError):
    """The input was rejected; ``faults`` lists every reason."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[Fault, ...]]]:
        return type(self), (self.faults,)


def describe_error(error: BaseException) -> str:
    """Return ``failed at FILE:LINE``: the last line of the plugin's own code that was running.

    The exception's message is left out, because it may contain a secret. FILE is relative to the
    plugin's package (``acme_pager/hooks.py``). The exception's class and its traceback are logged
    at DEBUG, also without the message.

    Raises:
        KeyboardInterrupt: the error is one; it belongs to the operator, not to the plugin.
    """
    if isinstance(error, KeyboardInterrupt):
        raise error
    return describe_any_error(error)


def describe_any_error(error: BaseException) -> str:
    """Return the same as `describe_error`, for a thread, which Ctrl-C never interrupts."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if _log.isEnabledFor(logging.DEBUG):
        calls = [f"{frame.f_code.co_filename}:{line}" for frame, line in frames[-_MOST_FRAMES:]]
        message = "%s was raised; traceback, the last call last: %s"
        log_message(_log, logging.DEBUG, message, type(error).__name__, ", ".join(calls))
    if not frames:
        return "failed"
    packages = (_package(frame) for frame, _ in frames)
    own = next((package for package in packages if package not in _MACHINERY), "hostspec")
    owned = [each for each in frames if _package(each[0]) == own]
    frame, line = (owned or frames)[-1]
    return f"failed at {_file(frame)}:{line}"


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _file(frame: FrameType) -> str:
    folders = str(frame.f_globals.get("__package__") or "").split(".")
    return PurePath(*folders, PurePath(frame.f_code.co_filename).name).as_posix()


def log_message(
    logger: logging.Logger,
    level: int,
    message: str,
    *arguments: object,
    error: Exception | None = None,
) -> None:
    """Log a message, except from inside a log handler that calls the host: no endless loop.

    The traceback of an error is logged, too.
    """
    if _is_logging.get():
        return
    token = _is_logging.set(True)
    try:
        logger.log(level, message, *arguments, exc_info=error)
    finally:
        _is_logging.reset(token)
