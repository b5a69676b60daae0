"""Durations of the configuration file, as Prometheus writes them: ``90s``, ``5m``, ``1h30m``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_UNITS: Final = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION: Final = re.compile("".join(rf"(?:(?P<{unit}>\d{{1,9}}){unit})?" for unit in _UNITS))


def parse_duration(text: str) -> float:
    """Return the seconds of a duration; 0 for an empty text.

    Raises:
        ValueError: the text is not a duration.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        message = "is not a duration; use for example 90s, 5m or 1h30m"
        raise ValueError(message)
    return float(sum(int(found[unit] or 0) * size for unit, size in _UNITS.items()))


def duration_check(least: str, most: str, *, optional: bool = False) -> Callable[[str], str | None]:
    """Return a check of a setting: a duration within limits, or an empty text if optional."""

    def check(text: str) -> str | None:
        if optional and not text:
            return None
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            return str(error)
        if seconds < parse_duration(least):
            return f"is too short; the least is {least}"
        return f"is too long; the most is {most}" if seconds > parse_duration(most) else None

    return check


def in_words(seconds: float) -> str:
    """Return a duration as the file writes it, in whole seconds."""
    left, parts = round(seconds), []
    for unit, size in _UNITS.items():
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
