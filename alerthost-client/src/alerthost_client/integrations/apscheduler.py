"""Fires an alert for each job of APScheduler that fails or does not run; a success resolves it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from apscheduler import events

from alerthost_client.client import Client
from alerthost_client.integrations.open_problems import OpenProblems
from alerthost_client.integrations.reporter import describe

_BROKEN = "Error running job %s"


class JobAlerts:
    """Fires an alert when a job fails or does not run, and resolves it when it succeeds again.

    The key is ``apscheduler/`` with the id of the job.

    Args:
        client: hands the alerts over. With a spool, open problems are known after a restart.
        fields: alert fields of the jobs, by their ids; None leaves a job out.

    Raises:
        OSError: the spool of the client cannot be used.
    """

    def __init__(
        self, client: Client, *, fields: Mapping[str, Mapping[str, Any] | None] | None = None
    ) -> None:
        # jobs that run once have random ids, so they are many
        self._problems = OpenProblems(client, guesses=False)
        self._fields = fields or {}

    def connect(self, scheduler: Any) -> None:
        """Listen to the events of a scheduler."""
        scheduler.add_listener(self._failed, events.EVENT_JOB_ERROR)
        scheduler.add_listener(self._missed, events.EVENT_JOB_MISSED)
        scheduler.add_listener(self._skipped, events.EVENT_JOB_MAX_INSTANCES)
        scheduler.add_listener(self._succeeded, events.EVENT_JOB_EXECUTED)
        logging.getLogger("apscheduler.executors").addHandler(_ExecutorHandler(self))

    def broken(self, job_id: str, error: BaseException) -> None:
        """Fire for a job whose process was killed."""
        self._fire(job_id, f"failed: {describe(error)}", "error", {})

    def _failed(self, event: Any) -> None:
        details = {"scheduled": str(event.scheduled_run_time), "traceback": event.traceback}
        self._fire(event.job_id, f"failed: {describe(event.exception)}", "error", details)

    def _missed(self, event: Any) -> None:
        text = f"did not run at {event.scheduled_run_time}: it was too late"
        self._fire(event.job_id, text, "error", {})

    def _skipped(self, event: Any) -> None:
        text = f"did not run at {event.scheduled_run_times[-1]}: earlier runs have not ended"
        self._fire(event.job_id, text, "warning", {})

    def _succeeded(self, event: Any) -> None:
        fields = self._alert_of(event.job_id)
        if fields is not None:
            self._problems.resolve(**fields)

    def _fire(self, job_id: str, text: str, severity: str, details: Mapping[str, Any]) -> None:
        fields = self._alert_of(job_id)
        if fields is not None:
            fields = {"severity": severity, "details": details, **fields}
            self._problems.fire(**{"summary": f"Job {job_id} {text}", **fields})

    def _alert_of(self, job_id: str) -> dict[str, Any] | None:
        """Return the fields that all alerts of a job have; None without alerts."""
        own = self._fields.get(job_id, {})
        if own is None:
            return None
        labels = {"job": job_id, **own.get("labels", {})}
        return {"key": f"apscheduler/{job_id}", **own, "labels": labels}


class _ExecutorHandler(logging.Handler):
    """Fires for a job whose process was killed: its executor logs that, and sends no event."""

    def __init__(self, alerts: JobAlerts) -> None:
        super().__init__(logging.ERROR)
        self._alerts = alerts

    def emit(self, record: Any) -> None:
        if record.msg == _BROKEN:
            (job_id,) = record.args
            self._alerts.broken(job_id, record.exc_info[1])
