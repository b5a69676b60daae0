"""The mixin for RQ's workers, before a stand-in of them; `test_rq_workers` runs real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import Scripted

from alerthost_client import Client
from alerthost_client.integrations.rq import AlertMixin


class Redis(dict[str, str]):
    """What the mixin needs of Redis."""

    def set(self, key: str, value: str, ex: int) -> None:
        assert ex
        self[key] = value

    def delete(self, key: str) -> int:
        return 1 if self.pop(key, None) else 0


class Worker:
    """What the mixin needs of a worker."""

    def __init__(self, exception_handlers: list[Any], *, connection: Any) -> None:
        self.handlers = exception_handlers
        self.connection = connection
        self.called: list[str] = []

    def handle_job_success(self, job: Any, queue: Any) -> None:
        self.called.append("success")

    def handle_job_retry(self, job: Any, queue: Any) -> None:
        self.called.append("retry")

    def handle_work_horse_killed(self, job: Any, pid: int, status: int, usage: Any) -> None:
        self.called.append("killed")


class AlertWorker(AlertMixin, Worker):
    """A worker that alerts."""


class Job(SimpleNamespace):
    """A job of RQ."""

    def __init__(self, name: str = "shop.pay", **fields: Any) -> None:
        state = {"should_retry": False, "is_failed": False}
        defaults = {"id": "7", "origin": "default", "meta": {}, **state}
        super().__init__(func_name=name, **{**defaults, **fields})


@pytest.fixture
def client(server: Scripted) -> Iterator[Client]:
    with Client(server.url) as client:
        AlertWorker.alert_client = client
        yield client


@pytest.fixture
def worker(client: Client) -> AlertWorker:
    return AlertWorker(connection=Redis())


def fail(worker: AlertWorker, job: Any) -> None:
    """Call the handlers as RQ does."""
    with pytest.raises(ValueError, match="no number") as caught:
        int("no number")
    for handler in worker.handlers:
        assert handler(job, caught.type, caught.value, caught.tb) is None


def outcomes(server: Scripted) -> list[tuple[str, str]]:
    alerts = server.alerts
    return [(each["key"], each.get("status", each.get("summary"))) for each in alerts]


def test_a_failure_fires_and_one_success_resolves(worker: AlertWorker, server: Scripted) -> None:
    fail(worker, Job())
    for _ in range(3):
        worker.handle_job_success(Job(), queue=None)
    failure = "Job shop.pay failed: ValueError: invalid literal for int() with base 10: 'no number'"
    assert outcomes(server) == [("rq/shop.pay", failure), ("rq/shop.pay", "resolved")]
    assert server.posts[0].alerts[0]["labels"] == {"job": "shop.pay", "queue": "default"}
    assert server.posts[0].alerts[0]["details"]["traceback"].startswith("Traceback")
    assert worker.called == ["success"] * 3


def test_a_job_that_is_retried_has_not_failed_yet(worker: AlertWorker, server: Scripted) -> None:
    fail(worker, Job(should_retry=True))
    worker.handle_job_retry(Job(), queue=None)
    worker.handle_job_retry(Job(is_failed=True), queue=None)
    summary = "Job shop.pay failed: it asks for too many retries"
    assert outcomes(server) == [("rq/shop.pay", summary)]
    assert worker.called == ["retry"] * 2


def test_a_killed_process_fires(worker: AlertWorker, server: Scripted) -> None:
    worker.handle_work_horse_killed(Job(), 4711, 9, None)
    assert outcomes(server) == [("rq/shop.pay", "Job shop.pay failed: its process was killed")]
    assert server.posts[0].alerts[0]["details"] == {"id": "7", "wait_status": 9, "pid": 4711}
    assert worker.called == ["killed"]


def test_a_job_has_fields_of_its_own_or_is_left_out(worker: AlertWorker, server: Scripted) -> None:
    own = {"key": "pay/7", "severity": "critical", "labels": {"team": "shop"}}
    for meta in ({"alert": own}, {"alert": None}):
        fail(worker, Job(meta=meta))
        worker.handle_job_success(Job(meta=meta), queue=None)
    assert [key for key, _ in outcomes(server)] == ["pay/7", "pay/7"]
    assert server.posts[0].alerts[0]["severity"] == "critical"
    assert server.posts[0].alerts[0]["labels"]["team"] == "shop"


def test_a_job_that_cannot_be_read_fires(worker: AlertWorker, server: Scripted) -> None:
    class Unreadable(Job):
        @property
        def func_name(self) -> str:
            raise ValueError

        @func_name.setter
        def func_name(self, _: str) -> None: ...

    fail(worker, Unreadable())
    assert outcomes(server)[0][0] == "rq/unreadable/default"


def test_a_fault_of_redis_breaks_no_job(
    client: Client, server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    worker = AlertWorker(connection=None)
    fail(worker, Job())
    worker.handle_job_success(Job(), queue=None)
    assert client.flush(60)
    assert [key for key, _ in outcomes(server)] == ["rq/shop.pay"]
    assert caplog.text.count("job 7: its alert may be lost") == 2


def test_handlers_of_the_worker_are_called_after_it(client: Client) -> None:
    mine = [lambda *_: False]
    for given in (mine, mine[0]):
        worker = AlertWorker(connection=None, exception_handlers=given)
        assert worker.handlers[1:] == mine


def test_with_a_spool_a_job_does_not_wait(tmp_path: Path, server: Scripted) -> None:
    with Client("http://127.0.0.1:1", spool=tmp_path, flush_within=0) as AlertWorker.alert_client:
        fail(AlertWorker(connection=Redis()), Job())
    assert len([*tmp_path.glob("*.open"), *tmp_path.glob("*.batch")]) == 1
    with Client(server.url, spool=tmp_path):
        server.wait_for(lambda seen: seen.accepted == ["rq/shop.pay"])
