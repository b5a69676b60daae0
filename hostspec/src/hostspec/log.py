"""Logs what the host itself has to say, to log handlers that may call the host."""

from __future__ import annotations

import contextvars
import logging

_logging: contextvars.ContextVar[bool] = contextvars.ContextVar("hostspec_logging", default=False)


def log(logger: logging.Logger, level: int, message: str, *arguments: object) -> None:
    """Log a message, unless a log handler that got one calls the host: that would never end."""
    if _logging.get():
        return
    token = _logging.set(True)
    try:
        logger.log(level, message, *arguments)
    finally:
        _logging.reset(token)
