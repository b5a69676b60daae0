"""Fires an alert for each job of RQ that fails; the next success of its function resolves it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from alerthost_client.client import Client
from alerthost_client.integrations.reporter import describe, format_error

FORGET_AFTER = 30 * 24 * 3600
"""Seconds after which an open problem is forgotten."""

_log = logging.getLogger("alerthost_client")


class AlertMixin:
    """Fires an alert when a job fails, and resolves it when its function succeeds again.

    Put it before a class of RQ's workers: ``class AlertWorker(AlertMixin, Worker)``. The key is
    ``rq/`` with the name of the function. Redis remembers which problems are open, for all workers.
    A job may have alert fields of its own: ``enqueue(pay, meta={"alert": {"key": "pay/7"}})``.
    ``{"alert": None}`` leaves it out.

    Class attributes:
        alert_client: hands the alerts over; it needs a spool, as the processes of jobs end
            abruptly. Without one they wait for the network, for 5 seconds at most.
    """

    alert_client: Client

    def __init__(self, *args: Any, exception_handlers: Any = None, **kwargs: Any) -> None:
        handlers = exception_handlers or []
        if not isinstance(handlers, (list, tuple)):
            handlers = [handlers]
        handlers = [self._failed, *handlers]  # a handler can keep RQ from calling later ones
        super().__init__(*args, exception_handlers=handlers, **kwargs)  # type: ignore[call-arg]

    def handle_job_success(self, job: Any, *args: Any, **kwargs: Any) -> None:
        """Resolve, if the problem is open."""
        super().handle_job_success(job, *args, **kwargs)  # type: ignore[misc]
        self._report(job, self._resolve)

    def handle_job_retry(self, job: Any, *args: Any, **kwargs: Any) -> None:
        """Fire, if the job has asked for more retries than it may have."""
        super().handle_job_retry(job, *args, **kwargs)  # type: ignore[misc]
        if job.is_failed:
            self._fire(job, "it asks for too many retries", {})

    def handle_work_horse_killed(self, job: Any, pid: Any, status: Any, *args: Any) -> None:
        """Fire, from the parent of the killed process."""
        super().handle_work_horse_killed(job, pid, status, *args)  # type: ignore[misc]
        self._fire(job, "its process was killed", {"wait_status": status, "pid": pid})

    def _failed(self, job: Any, _type: Any, error: BaseException, *_: Any) -> None:
        """Handle an exception; for the job of a worker that is gone, in another worker."""
        self._fire(job, describe(error), {"traceback": format_error(error)})

    def _fire(self, job: Any, reason: str, details: dict[str, Any]) -> None:
        def fire(key: str, **fields: Any) -> None:
            text = f"Job {fields['labels']['job']} failed: {reason}"
            shown = {"id": job.id, **details}
            self.alert_client.fire(key, **{"summary": text, "details": shown, **fields})
            self.connection.set(f"alerthost:{key}", "open", ex=FORGET_AFTER)  # type: ignore[attr-defined]

        if not job.should_retry:
            self._report(job, fire)

    def _resolve(self, key: str, **fields: Any) -> None:
        if self.connection.delete(f"alerthost:{key}"):  # type: ignore[attr-defined]
            self.alert_client.resolve(key, **fields)

    def _report(self, job: Any, report: Callable[..., None]) -> None:
        """Call a function with the fields that all alerts of a job have; raise nothing."""
        try:
            own = job.meta.get("alert", {})
            if own is not None:
                name = _name(job)
                labels = {"job": name, "queue": job.origin, **own.get("labels", {})}
                report(**{"key": f"rq/{name}", **own, "labels": labels})
                if self.alert_client.spool is None:
                    self.alert_client.flush(5)
        except Exception:  # noqa: BLE001 -- Redis, or a job that cannot be read
            _log.exception("job %s: its alert may be lost", job.id)


def _name(job: Any) -> str:
    try:
        return str(job.func_name)
    except Exception:  # noqa: BLE001 -- a job that cannot be read has failed, too
        return f"unreadable/{job.origin}"
