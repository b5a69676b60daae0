"""The engine works behind a pooler that gives each transaction another session."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import progress
import pytest
from engines import Clock, World
from poolers import pooler
from waiting import wait_until

from alerthost.outbox import heartbeat, maintenance, selection
from alerthost.store.database import Database
from alerthost.store.postgresql import set_up_session


@pytest.mark.proof
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_many_deliveries_go_through_a_pooler(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pooler(server_of(database), tmp_path) as url, Database(url, tmp_path) as pooled:
        world = World(pooled, Clock())
        other = World(pooled, Clock())
        for number in range(100):
            (world, other)[number % 2].accept(str(number))
        with world.engine, other.engine:
            assert world.engine.wait_idle(60)
        assert len({sent.key for each in (world, other) for sent in each.page.sent}) == 100
        assert "the store fails" not in caplog.text


SERVERS: Any = None
"""The server's clock."""

HANGING = """
import sys, threading
from pathlib import Path
from engines import Clock, World
from alerthost.store.database import Database

world = World(Database(sys.argv[1], Path()), None)

def hang(_):
    sys.stdout.write("sends\\n")  # whole, though several threads send at once
    sys.stdout.flush()
    threading.Event().wait()

world.page.behaviour["send"] = hang
world.engine.start()
print("works", flush=True)
sys.stdin.read()
"""


@pytest.mark.proof
@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooled"])
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_deliveries_of_a_killed_worker_are_resumed_before_their_leases_run_out(
    database: Database, tmp_path: Path, running: ExitStack, *, pooled: bool
) -> None:
    url = server_of(database)
    if pooled:
        url = running.enter_context(pooler(url, tmp_path))
    front = World(running.enter_context(Database(url, tmp_path)), SERVERS)
    killed = running.enter_context(process(url))
    for number in range(selection.MOST_IN_FLIGHT + 2):  # the last ones wait for those in flight
        front.accept(str(number))
    assert killed.stdout
    for _ in range(selection.MOST_IN_FLIGHT):
        assert killed.stdout.readline() == "sends\n"
    killed.kill()
    died = time.monotonic()

    with front.engine:
        wait_until(lambda: len({sent.key for sent in front.page.sent}) == 6)
        taken = time.monotonic() - died
    progress.report(f"{'behind a pooler' if pooled else 'directly'}: resumed after {taken:.1f} s")
    assert taken < heartbeat.SILENCE + heartbeat.BEAT + maintenance.KEEP + 10
    assert len(front.page.sent) == 6
    assert set(front.states) == {"delivered"}


@pytest.mark.proof
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_the_deliveries_of_a_worker_that_was_stopped_for_a_moment_are_not_resumed(
    database: Database, tmp_path: Path, running: ExitStack
) -> None:
    url = running.enter_context(pooler(server_of(database), tmp_path))
    front = World(running.enter_context(Database(url, tmp_path)), SERVERS)
    stopped = running.enter_context(process(url))
    front.accept("disk")
    assert stopped.stdout
    assert stopped.stdout.readline() == "sends\n"
    with front.engine:
        time.sleep(heartbeat.CHANCE + heartbeat.BEAT)  # now it can notice a silent worker
        stopped.send_signal(signal.SIGSTOP)
        time.sleep(heartbeat.SILENCE - 2 * heartbeat.BEAT)
        stopped.send_signal(signal.SIGCONT)
        time.sleep(2 * heartbeat.BEAT + maintenance.KEEP)
        assert front.page.sent == []
    assert front.states == ["queued"]


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def server_of(database: Database) -> str:
    return database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextlib.contextmanager
def process(url: str) -> Iterator[subprocess.Popen[str]]:
    """Run a worker whose attempts hang, until it is killed."""
    support = str(Path(__file__).parents[1] / "support")
    environment = {**os.environ, "PYTHONPATH": support}
    with subprocess.Popen(
        [sys.executable, "-c", HANGING, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as popen:
        try:
            assert popen.stdout
            assert popen.stdout.readline() == "works\n"
            yield popen
        finally:
            popen.kill()


class Session:
    """A session whose number differs between server and connection."""

    def __init__(self, reported: int, said: int) -> None:
        self.info = SimpleNamespace(backend_pid=reported)
        self.prepare_threshold: int | None = 5
        self._said = said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def cursor(self) -> Session:
        return self

    def execute(self, _: str) -> Session:
        return self

    def fetchone(self) -> tuple[int]:
        return (self._said,)

    def commit(self) -> None:
        pass


@pytest.mark.parametrize(("said", "threshold"), [(1, 5), (2, None)])
def test_behind_a_pooler_no_statement_is_prepared(said: int, threshold: int | None) -> None:
    session: Any = Session(1, said)
    set_up_session(session, None)
    assert session.prepare_threshold == threshold
