"""Fires an alert for each task of Celery that fails; the next success of the task resolves it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery import signals

from alerthost_client.client import Client
from alerthost_client.integrations.open_problems import OpenProblems
from alerthost_client.integrations.reporter import describe, format_error

Key = Callable[[Any, Sequence[Any], Mapping[str, Any]], str]
"""Returns the key of a run: of its task, and its positional and named arguments."""


class TaskAlerts:
    """Fires an alert when a task fails, and resolves it when the task succeeds again.

    A task may have alert fields of its own: ``@app.task(alert={"severity": "critical"})``.
    ``alert=None`` leaves a task out.

    Args:
        client: hands the alerts over.
        key: for a key from the arguments of the task; by default it is ``celery/NAME``.
        retries: fires a warning at the start of this retry of a run, and of further ones. By
            default, only the failure of the last one fires.

    Raises:
        OSError: the spool of the client cannot be used.
    """

    def __init__(
        self, client: Client, *, key: Key | None = None, retries: int | None = None
    ) -> None:
        self._problems = OpenProblems(client, guesses=key is None)
        self._key = key or _name
        self._retries = math.inf if retries is None else retries

    def connect(self) -> None:
        """Connect to the signals of Celery, for all tasks of this process and of its pool."""
        signals.task_failure.connect(self._failed, weak=False)
        signals.task_internal_error.connect(self._failed, weak=False)
        signals.task_revoked.connect(self._revoked, weak=False)
        signals.task_success.connect(self._succeeded, weak=False)
        if self._retries < math.inf:
            signals.task_prerun.connect(self._starts, weak=False)

    def _failed(
        self, sender: Any, task_id: str, exception: Any, args: Any, kwargs: Any, **_: Any
    ) -> None:
        """Fire; in the parent of the pool, if its child was killed or the time limit was hit."""
        text = f"Task {sender.name} failed: {describe(exception)}"
        details = {"id": task_id, "traceback": format_error(exception)}
        self._fire(sender, args, kwargs, text, details)

    def _starts(self, sender: Any, task_id: str, args: Any, kwargs: Any, **_: Any) -> None:
        """Fire at the start of a retry: the signal of the retry may come after its success."""
        retries = sender.request.retries
        if retries >= self._retries:
            text = f"Task {sender.name} is retried (retry {retries})"
            self._fire(sender, args, kwargs, text, {"id": task_id}, severity="warning")

    def _revoked(self, sender: Any, request: Any, expired: bool, **_: Any) -> None:  # noqa: FBT001
        if expired:  # and not revoked by the operator
            text = f"Task {sender.name} did not run: it has expired"
            details = {"id": request.id}
            self._fire(sender, request.args, request.kwargs, text, details, severity="warning")

    def _succeeded(self, sender: Any, **_: Any) -> None:
        fields = self._fields(sender, sender.request.args, sender.request.kwargs)
        if fields is not None:
            self._problems.resolve(**fields)

    def _fire(
        self, task: Any, args: Any, kwargs: Any, text: str, details: Any, **more: Any
    ) -> None:
        fields = self._fields(task, args, kwargs)
        if fields is not None:
            self._problems.fire(**{"summary": text, "details": details, **more, **fields})

    def _fields(self, task: Any, args: Any, kwargs: Any) -> dict[str, Any] | None:
        """Return the fields that all alerts of a run have; None without alerts."""
        own = getattr(task, "alert", {})
        if own is None:
            return None
        labels = {"task": task.name, **own.get("labels", {})}
        return {"key": self._key(task, args or (), kwargs or {}), **own, "labels": labels}


def _name(task: Any, *_: Any) -> str:
    return f"celery/{task.name}"
