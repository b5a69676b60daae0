"""Times as people read them, and as machines do."""

from __future__ import annotations

import datetime as dt

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def age(moment: float, now: float) -> str:
    """Describe how long ago a moment was; both in seconds of the epoch."""
    seconds = max(0.0, now - moment)
    for unit, name in _UNITS:
        if seconds >= unit:
            return f"{int(seconds // unit)} {name}"
    return f"{int(seconds)} s"


def iso(moment: float | None) -> str | None:
    """Write a moment down in UTC (ISO 8601); None stays None."""
    return None if moment is None else dt.datetime.fromtimestamp(moment, dt.UTC).isoformat()
