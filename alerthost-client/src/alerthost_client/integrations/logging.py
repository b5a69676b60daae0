"""A handler of `logging` that fires an alert for each error."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from alerthost_client.client import Client

MOST_KEYS = 1000
"""Problems whose repeats are recognised at a time."""

_SEVERITIES = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))


class AlertHandler(logging.Handler):
    """Fires an alert for each record; it may sit on the root logger.

    The key is the logger with the call site, so that each line of the program is one problem. A
    record may have alert fields of its own: ``extra={"alert": {"key": "queue", "labels": {}}}``.
    Records of the client itself are left out. Nothing is resolved, as logs have no end.

    Args:
        client: hands the alerts over.
        level: of the least serious records that fire.
        repeat_after: seconds in which further records with one key fire no alert; the next alert
            has their number in its details, as ``repeats``.
    """

    def __init__(
        self, client: Client, level: int | str = logging.ERROR, *, repeat_after: float = 300.0
    ) -> None:
        super().__init__(level)
        self._client = client
        self._repeat_after = repeat_after
        self._fired: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        """Fire an alert; `logging` holds the lock of the handler."""
        if record.name == "alerthost_client":
            return
        try:
            fields = self._fields(record)
            repeats = self._count(fields["key"])
            if repeats is not None:
                fields["details"]["repeats"] = repeats
                self._client.fire(**{**fields, **_own_fields(record)})
        except Exception:  # noqa: BLE001 -- a record must not break the program
            self.handleError(record)

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        call_site = f"{record.module}.{record.funcName}:{record.lineno}"
        details: dict[str, Any] = {
            "logger": record.name,
            "file": f"{record.pathname}:{record.lineno}",
            "process": record.process,
        }
        if record.exc_info:
            formatter = self.formatter or logging.Formatter()
            details["traceback"] = formatter.formatException(record.exc_info)
        return {
            "key": str(_own_fields(record).get("key", f"{record.name}/{call_site}")),
            "summary": _message(record),
            "severity": _severity(record.levelno),
            "details": details,
        }

    def _count(self, key: str) -> int | None:
        """Return how often a problem was repeated since its last alert; None to fire no alert."""
        now = time.monotonic()
        at, repeats = self._fired.get(key, (now - self._repeat_after, 0))
        if now - at < self._repeat_after:
            self._fired[key] = (at, repeats + 1)
            return None
        self._fired[key] = (now, 0)
        self._fired.move_to_end(key)
        if len(self._fired) > MOST_KEYS:
            self._fired.popitem(last=False)
        return repeats


def _own_fields(record: logging.LogRecord) -> Mapping[str, Any]:
    return getattr(record, "alert", {})


def _severity(level: int) -> str:
    return next((name for least, name in _SEVERITIES if level >= least), "debug")


def _message(record: logging.LogRecord) -> str:
    """Return the text of a record; unformatted, if its arguments do not fit."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 -- an argument's class may raise anything
        return str(record.msg)
