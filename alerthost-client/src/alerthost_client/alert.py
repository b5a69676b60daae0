"""Encode an alert as one line of JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

STATUSES = ("firing", "acknowledged", "resolved")

LONGEST_SHOWN = 200
"""Characters of a value that a log line or an error shows."""

_log = logging.getLogger("alerthost_client")


class ClientError(Exception):
    """An alert was not handed over, or a client cannot be made; the text says why."""


class DroppedError(ClientError):
    """An alert was dropped: too many are queued in memory, or the client is closed."""


def encode(alert: Mapping[str, Any]) -> bytes:
    """Return an alert as a line of JSON, with its newline.

    A field that JSON cannot hold becomes text, and is logged: it costs no page.

    Raises:
        ClientError: alerthost would reject the alert.
    """
    check(alert)
    try:
        text = _dump(alert)
    except Exception:  # noqa: BLE001 -- the caller's class may raise anything
        text = _dump({str(name): _field(name, value) for name, value in alert.items()})
    return text.encode("ascii") + b"\n"


def check(alert: Mapping[str, Any]) -> None:
    """Check that alerthost accepts an alert; it repairs all other fields.

    Raises:
        ClientError: the key is blank or no text, or the status is unknown.
    """
    key, status = alert.get("key"), alert.get("status", "firing")
    if not isinstance(key, str) or not key.strip():
        message = f"key: {shown(key)} does not name a problem; use a text"
        raise ClientError(message)
    if status not in STATUSES:
        message = f"status: {shown(status)} is unknown; use {', '.join(STATUSES)}"
        raise ClientError(message)


def shown(value: object) -> str:
    """Return a value as text of a bounded length, whatever its ``repr`` does."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 -- the caller's class may raise anything
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), default=str)


def _field(name: object, value: object) -> object:
    try:
        _dump(value)
    except Exception as error:  # noqa: BLE001 -- the caller's class may raise anything
        text = shown(value)
        _log.warning("%s: cannot be written as JSON (%s); sent as text", name, error)
        return text
    return value
