"""Fires an alert for each DAG of Airflow that fails; its next successful run resolves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow.listeners import hookimpl  # pyright: ignore[reportMissingImports]

from alerthost_client.client import Client
from alerthost_client.integrations.open_problems import OpenProblems
from alerthost_client.integrations.reporter import describe, format_error


class AlertListener:
    """Fires an alert when a task or a run of a DAG fails; a successful run of it resolves.

    All failures of a DAG are one problem: its key is ``airflow/`` with the id of the DAG.

    Args:
        client: hands the alerts over; it needs a spool, as the processes of tasks end abruptly.
            Without one they wait for the network, for 5 seconds at most.
        fields: alert fields by the id of the DAG; None leaves a DAG out.
        key: for a key from the ids of the DAG and of its run.

    Raises:
        OSError: the spool of the client cannot be used.
    """

    def __init__(
        self,
        client: Client,
        *,
        fields: Mapping[str, Mapping[str, Any] | None] | None = None,
        key: Callable[[str, str], str] | None = None,
    ) -> None:
        self._client = client
        self._problems = OpenProblems(client, guesses=key is None)
        self._own = fields or {}
        self._key = key or (lambda dag_id, _run_id: f"airflow/{dag_id}")

    @hookimpl  # type: ignore[untyped-decorator]
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        """Fire, unless the task is retried, or an operator has marked it."""
        if previous_state is None or task_instance.state == "up_for_retry":
            return
        text, details = f"task {task_instance.task_id}", {"try": task_instance.try_number}
        if isinstance(error, BaseException):
            details["traceback"] = format_error(error)
            error = describe(error)
        if error:
            text += f": {error}"
        self._fire(task_instance, text, details, url=getattr(task_instance, "log_url", ""))

    @hookimpl  # type: ignore[untyped-decorator]
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        """Fire, also where no task has failed: the run took too long, or a process was killed."""
        self._fire(dag_run, msg.replace("_", " "), {})

    @hookimpl  # type: ignore[untyped-decorator]
    def on_dag_run_success(self, dag_run: Any) -> None:
        """Resolve, if the problem is open."""
        fields = self._fields(dag_run)
        if fields is not None:
            self._problems.resolve(**fields)

    def _fire(self, source: Any, text: str, details: Mapping[str, Any], **more: Any) -> None:
        fields = self._fields(source)
        if fields is not None:
            summary = f"DAG {source.dag_id} failed: {text}"
            more["details"] = {"run": source.run_id, **details}
            self._problems.fire(**{"summary": summary, **more, **fields})
            if self._client.spool is None:
                self._client.flush(5)

    def _fields(self, source: Any) -> dict[str, Any] | None:
        """Return the fields that all alerts of a run have; None without alerts."""
        own = self._own.get(source.dag_id, {})
        if own is None:
            return None
        labels = {"dag": source.dag_id, **own.get("labels", {})}
        return {"key": self._key(source.dag_id, source.run_id), **own, "labels": labels}
