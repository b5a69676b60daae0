"""Workers survive a failing store: they report it, and continue when it is back."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from engines import Clock, World
from killed_host import KEY

from alerthost.outbox import leasing, maintenance, workers
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from hostspec import Alert, Delivery, Outcome, OutcomeKind
from pagerduty_plugin.testing import FakePagerDuty

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Return an engine with short timeouts and pauses."""
    monkeypatch.setattr(workers, "RETRY_STORE", 0.01)
    monkeypatch.setattr(maintenance, "KEEP", 0.01)
    with Database("sqlite:///alerthost.db", tmp_path, lock_timeout=0.05) as database:
        database.migrate()
        yield World(database, Clock())


class Heard(logging.Handler):
    """Waits for a log message."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._more = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._more:
            self.lines.append(record.getMessage())
            self._more.notify_all()

    def wait_for(self, start: str, times: int = 1) -> None:
        def is_there() -> bool:
            return sum(line.startswith(start) for line in self.lines) >= times

        with self._more:
            assert self._more.wait_for(is_there, 60), self.lines


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    logging.getLogger("hostspec").addHandler(handler)
    yield handler
    logging.getLogger("hostspec").removeHandler(handler)


@contextlib.contextmanager
def locked(world: World) -> Iterator[None]:
    """Keep another program writing to the database."""
    other = sqlite3.connect(world.database.name, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextlib.contextmanager
def read_only(world: World) -> Iterator[None]:
    """Make every write fail, as on a read-only mount."""

    def turn(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA query_only = {state}")

    state = "ON"
    sa.event.listen(world.database.engine, "begin", turn, insert=True)
    yield
    state = "OFF"
    world.database.close()  # new connections may write


@contextlib.contextmanager
def full(world: World) -> Iterator[None]:
    """Fill the disk for every connection that writes."""

    def turn(connection: sa.Connection) -> None:
        if state == "full":
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        else:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")

    state = "full"
    sa.event.listen(world.database.engine, "begin", turn, insert=True)
    yield
    state = "empty"


BIG = "x" * 20_000
FAILURES = pytest.mark.parametrize(
    ("failing", "reason"),
    [(locked, "is locked"), (read_only, "is read-only"), (full, "the disk is full")],
)


@FAILURES
def test_alerts_are_accepted_whole_or_not_at_all(
    world: World, failing: Callable[[World], Any], reason: str
) -> None:
    alerts = [Alert(str(number), BIG) for number in range(50)]
    with failing(world), pytest.raises(StoreError, match=reason):
        world.engine.accept_many(alerts)

    assert world.execute("SELECT count(*) FROM submissions") == [(0,)]
    world.engine.accept_many(alerts)
    assert len(world.drain()) == 50


@FAILURES
def test_workers_continue_when_the_store_is_back(
    world: World, heard: Heard, failing: Callable[[World], Any], reason: str
) -> None:
    sending, failed = threading.Event(), threading.Event()

    def send(_: Delivery) -> Outcome:
        sending.set()
        assert failed.wait(60)
        return Outcome(OutcomeKind.DELIVERED, BIG)

    world.page.behaviour["send"] = send
    with world.engine as engine:
        submission_id = world.accept("disk")
        assert sending.wait(60)
        with failing(world):
            failed.set()
            heard.wait_for("the store fails: ")
            assert engine.working
        (status,) = engine.wait([submission_id], 60)
        heard.wait_for("the store works again")

    assert [(str(each.state), each.attempts) for each in status.entries] == [("delivered", 1)]
    assert len(world.page.sent) == 1
    assert any(reason in line for line in heard.lines)


def test_workers_and_maintenance_survive_any_error(
    world: World, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    with world.engine as engine:
        with monkeypatch.context() as patched:
            patched.setattr(leasing, "is_ready", fail)
            patched.setattr(maintenance, "prune", fail)
            world.accept("disk")
            heard.wait_for("a worker failed at tests")
            heard.wait_for("maintenance failed at tests")
        assert engine.working
        assert engine.wait([world.accept("cpu")], 60)[0].settled


def test_maintenance_works_in_small_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "SMALL", 2)
    for number in range(7):
        world.accept(f"{number}")
    world.drain()
    world.clock.now += 2e9
    world.drain()
    # nothing is removed before the clock has been steady for a day
    world.execute("UPDATE clock SET steady_since = steady_since - 86401")
    world.drain()

    assert world.execute("SELECT count(*) FROM submissions") == [(0,)]


UNTIL_IT_IS_FULL = """
import resource
import sys
from pathlib import Path
from killed_host import alert_of, engine_of
from alerthost.store.errors import StoreError

engine = engine_of(Path(sys.argv[1]), sys.argv[2])
engine.database.migrate()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
accepted = 0
try:
    while True:
        engine.accept(alert_of(accepted), submission_id=str(accepted))
        accepted += 1
except StoreError as error:
    print(accepted)
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
try:
    engine.drain()
except StoreError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
engine.accept(alert_of(accepted), submission_id=str(accepted))
engine.drain()
ids = [str(number) for number in range(accepted + 1)]
print(sum(status.settled for status in engine.admin.statuses(ids)))
"""


def test_a_really_full_disk_loses_no_accepted_alert(tmp_path: Path) -> None:
    """The system refuses every growth of the database files."""
    with FakePagerDuty(services={"checkout": KEY}, rate_limit=0) as fake:
        ran = subprocess.run(
            [sys.executable, "-c", UNTIL_IT_IS_FULL, str(tmp_path), fake.url],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        )
        reported = fake.incidents
    accepted, *reasons, settled = ran.stdout.splitlines()

    assert 1 <= len(reasons) <= 2  # the reserve may be enough for sending
    for reason in reasons:
        assert reason.startswith(f"{tmp_path / 'alerthost.db'} cannot ")
        assert reason.endswith("; nothing was changed")
    assert int(settled) == int(accepted) + 1 > 50
    assert {incident.dedup_key for incident in reported}
