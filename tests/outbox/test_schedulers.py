"""Hosts with their own scheduler: a Celery worker that drains, and an asyncio program."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker
from killed_host import KEY, engine_of

from alerthost.outbox.engine import Engine
from hostspec import Alert
from pagerduty_plugin.testing import FakePagerDuty, misbehaviour


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    with FakePagerDuty(services={"checkout": KEY}, rate_limit=0) as fake:
        yield fake


@pytest.fixture
def engines(tmp_path: Path, fake: FakePagerDuty) -> Iterator[Callable[[], Engine]]:
    made: list[Engine] = []

    def make() -> Engine:
        made.append(engine_of(tmp_path, fake.url))
        return made[-1]

    yield make
    for each in made:
        each.database.close()


@pytest.fixture
def queued() -> Iterator[list[Any]]:
    """Return the messages in the queue of Celery."""
    bodies: list[Any] = []

    def note(body: Any, headers: Any, **_: Any) -> None:
        bodies.append((body, headers))

    signals.before_task_publish.connect(note)
    yield bodies
    signals.before_task_publish.disconnect(note)


@pytest.fixture(scope="module")
def worker(_celery_leaves_logging_alone: None) -> Iterator[tuple[Any, list[Engine]]]:
    """Return a task that drains, in a running worker, and its engine."""
    app = Celery("host", broker="memory://", backend="cache+memory://", set_as_current=False)
    found: list[Engine] = []

    @app.task(shared=False)
    def deliver(limit: int | None = None) -> int:
        return found[-1].drain(limit)

    with start_worker(app, pool="solo", perform_ping_check=False):
        yield deliver, found
    app.close()


@pytest.fixture
def deliver(worker: tuple[Any, list[Engine]], engines: Callable[[], Engine]) -> Any:
    task, found = worker
    found.append(engines())
    return task


def test_a_celery_task_delivers_without_carrying_the_alert(
    engines: Callable[[], Engine], deliver: Any, queued: list[Any], fake: FakePagerDuty
) -> None:
    web = engines()
    web.accept(Alert("db-3/disk", "Disk full on db-3", details={"password": "hunter2"}))
    assert deliver.delay(limit=100).get(timeout=60) == 1
    web.accept(Alert("db-3/disk", status="resolved"))
    assert deliver.delay(limit=100).get(timeout=60) == 1

    assert [incident.state for incident in fake.incidents] == ["resolved"]
    assert len(queued) == 2
    for word in ("disk", "Disk", "hunter2", KEY):
        assert word not in repr(queued)


def test_a_lost_or_failed_task_loses_no_alert(
    engines: Callable[[], Engine], deliver: Any, fake: FakePagerDuty
) -> None:
    """A task only signals that there may be work."""
    web = engines()
    web.accept(Alert("lost"))  # whose task never came
    fake.misbehave(misbehaviour.reset(), times=1)
    web.accept(Alert("failed"))
    assert deliver.delay(limit=1).get(timeout=60) == 1
    assert not fake.incidents
    while web.admin.backlog().queued or web.admin.backlog().pending:
        deliver.delay().get(timeout=60)

    assert len(fake.incidents) == 2


def test_many_concurrent_tasks_send_nothing_twice(
    engines: Callable[[], Engine], deliver: Any, fake: FakePagerDuty
) -> None:
    web = engines()
    for number in range(20):
        web.accept(Alert(f"{number}"))
    sent = [deliver.delay(limit=3) for _ in range(10)]
    own = web.drain(5)

    assert own + sum(each.get(timeout=60) for each in sent) == 20
    assert len(fake.incidents) == len(fake.requests) == 20


def test_an_asyncio_program_accepts_without_blocking_its_loop(
    engines: Callable[[], Engine], fake: FakePagerDuty
) -> None:
    """Another program holds the lock of the database, and only the loop releases it."""
    engine = engines()
    engine.database.migrate()

    async def handle(alert: Alert) -> str:
        return await asyncio.to_thread(engine.accept, alert)

    async def program() -> list[str]:
        other = sqlite3.connect(engine.database.name, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        handled = [asyncio.create_task(handle(Alert(f"{number}"))) for number in range(20)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in handled)
        other.execute("ROLLBACK")
        other.close()
        return await asyncio.gather(*handled)

    with engine:
        submissions = asyncio.run(program())
        statuses = engine.wait(submissions, 60)

    assert len(set(submissions)) == 20
    assert all(status.entries[0].state == "delivered" for status in statuses)
    assert len(fake.incidents) == 20
