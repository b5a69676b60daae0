"""Describes a failure of a plugin without the exception's message, which may hold a secret."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import PurePath
from types import FrameType
from typing import Final

from hostspec.log import log

_log = logging.getLogger("hostspec")

_MACHINERY: Final = frozenset(
    {"alerthost", "hostspec", "pluggy", "attr", "attrs", "cattrs", "", *sys.stdlib_module_names}
)
"""Top-level packages that stand between the host and a plugin's code."""

_MOST_FRAMES: Final = 20
"""Frames that are logged: those where the exception was raised."""


def describe_error(error: BaseException) -> str:
    """Return ``failed at FILE:LINE``, the last line of the plugin's own code that was running.

    The file is named as it lies in the plugin's package (``acme_pager/hooks.py``). The class of
    the exception and its traceback are logged at DEBUG, both without the message.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    if _log.isEnabledFor(logging.DEBUG):
        places = [f"{frame.f_code.co_filename}:{line}" for frame, line in frames[-_MOST_FRAMES:]]
        message = "%s was raised; traceback, the last call last: %s"
        log(_log, logging.DEBUG, message, type(error).__name__, ", ".join(places))
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
