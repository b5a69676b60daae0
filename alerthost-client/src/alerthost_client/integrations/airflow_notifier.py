"""A callback for DAGs and tasks of Airflow that fires or resolves an alert."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseNotifier  # pyright: ignore[reportMissingImports]

from alerthost_client.client import Client
from alerthost_client.integrations.open_problems import OpenProblems


class AlertNotifier(BaseNotifier):  # type: ignore[misc]
    """Fires or resolves an alert, as a callback of a DAG or a task.

    Args:
        key: of the problem; a template, as ``summary`` is.
        summary: of the alert.
        resolves: resolve the problem instead; for ``on_success_callback``.
        fields: further fields of the alert.
    """

    template_fields = ("key", "summary")

    def __init__(
        self, key: str, summary: str = "", *, resolves: bool = False, **fields: Any
    ) -> None:
        super().__init__()
        self.key = key
        self.summary = summary
        self._resolves = resolves
        self._fields = fields

    def notify(self, context: Any) -> None:  # noqa: ARG002 -- the templates have used it
        """Hand the alert over, with a client from the environment variables."""
        with Client.from_env() as client:
            problems = OpenProblems(client)
            if self._resolves:
                problems.resolve(self.key, **self._fields)
            else:
                problems.fire(self.key, self.summary, **self._fields)
