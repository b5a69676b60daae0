"""Fires an alert for each error of a program: shared by the integrations."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from alerthost_client.client import Client

MOST_KEYS = 1000
"""Problems whose repeats are recognised at a time."""


class Reporter:
    """Fires an alert for each error, but one for the repeats of a problem within a window.

    Safe in threads and forked children. It has no lock that a child could inherit: if two threads
    report a new problem at the same time, both may fire its alert.

    Args:
        client: hands the alerts over.
        repeat_after: seconds in which further errors with one key fire no alert; the next alert
            has their number in its details, as ``repeats``.
        resolve_after: seconds without a further error after which alerthost resolves the problem;
            None to leave that to the operator.
        labels: of each alert.
    """

    def __init__(
        self,
        client: Client,
        *,
        repeat_after: float = 300.0,
        resolve_after: float | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._labels = labels or {}
        self._repeat_after = repeat_after
        self._resolve_after = resolve_after
        self._fired: dict[str, tuple[float, int]] = {}

    def fire(
        self,
        key: str,
        summary: str,
        *,
        error: BaseException | None = None,
        details: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """Fire an alert, or count a repeat.

        Args:
            key: identifies the problem.
            summary: one line for the responder.
            error: its traceback becomes a detail.
            details: of the alert.
            fields: further fields of the alert, as ``Client.fire`` takes them.
        """
        repeats = self._count(key)
        if repeats is None:
            return
        if self._resolve_after is not None:
            # an error that is counted as a repeat fires nothing, and so prolongs nothing
            quiet = timedelta(seconds=self._repeat_after + self._resolve_after)
            fields.setdefault("expires_at", (datetime.now(timezone.utc) + quiet).isoformat())
        fields["labels"] = {**self._labels, **fields.get("labels", {})}
        details = {**(details or {}), "repeats": repeats}
        if error is not None:
            details["traceback"] = format_error(error)
        self._client.fire(key, summary, details=details, **fields)

    def _count(self, key: str) -> int | None:
        """Return how often a problem was repeated since its last alert; None to fire no alert."""
        now = time.monotonic()
        at, repeats = self._fired.get(key, (now - self._repeat_after, 0))
        if now - at < self._repeat_after:
            self._fired[key] = (at, repeats + 1)
            return None
        if len(self._fired) >= MOST_KEYS:
            self._fired.clear()
        self._fired[key] = (now, 0)
        return repeats


def describe(error: BaseException) -> str:
    """Return the class and the text of an exception, for a summary."""
    return traceback.format_exception_only(type(error), error)[-1].strip()


def call_site(error: BaseException) -> str:
    """Return the class of an exception and the function that raised it, for a key.

    It has no line number, so that a problem keeps its key when the program is changed.
    """
    name = type(error).__qualname__
    if error.__traceback__ is None:
        return name
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return f"{name} in {frame.f_globals.get('__name__')}.{frame.f_code.co_name}"


def format_error(error: BaseException) -> str:
    """Return the traceback of an exception and of its causes, for the details."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))
