"""A handler of `logging` that fires an alert for each error."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from alerthost_client.client import Client
from alerthost_client.integrations.reporter import Reporter

_SEVERITIES = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))


class AlertHandler(logging.Handler):
    """Fires an alert for each record; it may sit on the root logger.

    The key is the logger with the call site, so that each line of the program is one problem. A
    record may have alert fields of its own: ``extra={"alert": {"key": "queue", "labels": {}}}``.
    Records of the client itself are left out.

    Args:
        client: hands the alerts over.
        level: of the least serious records that fire.
        options: ``repeat_after``, ``resolve_after`` and ``labels``, as ``Reporter`` takes them.
            Logs have no end, so nothing is resolved without ``resolve_after``.
    """

    def __init__(self, client: Client, level: int | str = logging.ERROR, **options: Any) -> None:
        super().__init__(level)
        self._reporter = Reporter(client, **options)

    def emit(self, record: logging.LogRecord) -> None:
        """Fire an alert; `logging` holds the lock of the handler."""
        if record.name == "alerthost_client":
            return
        try:
            self._reporter.fire(**{**self._fields(record), **_own_fields(record)})
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
            "key": f"{record.name}/{call_site}",
            "summary": _message(record),
            "severity": _severity(record.levelno),
            "details": details,
        }


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
