"""Live workers on a shared database are known by file locks or heartbeat rows."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest
import sqlalchemy as sa
from engines import EITHER, Clock, World
from waiting import wait_until

from alerthost.cli import session
from alerthost.outbox import heartbeat
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from hostspec import Alert

SERVER = pytest.mark.parametrize("database", ["postgresql"], indirect=True)

ONE_THAT_STAYS = """
import sys
from pathlib import Path
from alerthost.outbox.heartbeat import presence
from alerthost.store.database import Database
mine = presence(Database(sys.argv[1], Path(sys.argv[2])))
print(mine.name, flush=True)
input()
"""


@EITHER
def test_a_worker_that_left_is_gone(database: Database) -> None:
    database.migrate()
    mine, other = heartbeat.presence(database), heartbeat.presence(database)
    assert mine.name != other.name
    assert mine.gone([mine.name, other.name, "0" * 32]) == ["0" * 32]

    other.leave()

    assert mine.gone([mine.name, other.name]) == [other.name]
    assert mine.gone([other.name]) == [other.name]
    mine.leave()


@EITHER
def test_a_database_is_worked_on_while_a_worker_is_registered(database: Database) -> None:
    database.migrate()
    assert not heartbeat.is_worked_on(database)
    mine = heartbeat.presence(database)
    assert heartbeat.is_worked_on(database)
    mine.leave()
    assert not heartbeat.is_worked_on(database)


@EITHER
def test_a_worker_may_leave_twice(database: Database) -> None:
    database.migrate()
    mine = heartbeat.presence(database)
    mine.leave()
    mine.leave()
    assert not heartbeat.is_worked_on(database)


@EITHER
def test_a_worker_registers_again_after_an_interrupted_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    registration = heartbeat.Registration(database)
    first = registration.enter()
    mine = registration.current
    assert mine

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(mine, "leave", interrupt)
        with pytest.raises(KeyboardInterrupt):
            registration.leave()

    with registration.registered() as second:
        assert second != first
        assert heartbeat.is_worked_on(database)
    mine.leave()


@EITHER
def test_a_killed_worker_is_gone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "SILENCE", 3.0)
    monkeypatch.setattr(heartbeat, "CHANCE", 1.0)
    monkeypatch.setattr(heartbeat, "BEAT", 0.2)
    database.migrate()
    url = database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", ONE_THAT_STAYS, url, ""]
    mine = heartbeat.presence(database)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        name = process.stdout.readline().strip()
        assert mine.gone([name]) == []
        process.kill()
    wait_until(lambda: mine.gone([name]))
    mine.leave()


@SERVER
def test_heartbeats_leave_no_transaction_open(database: Database) -> None:
    """Open transactions would block the cleanup of the server, and some servers end them."""
    mine, other = heartbeat.presence(database), heartbeat.presence(database)
    mine.gone([other.name, "0" * 32])
    states = (
        "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()"
    )
    assert {state for (state,) in execute(database, states)} == {"idle"}
    mine.leave()
    other.leave()


def test_left_behind_locks_are_swept(database: Database) -> None:
    database.migrate()
    assert database.file
    left, fresh, held = (
        database.file.with_name(f"alerthost.db-{number}.lock") for number in range(3)
    )
    lock = filelock.FileLock(held)
    lock.acquire()
    left.touch()
    fresh.touch()
    old = time.time() - heartbeat.OLD - 1
    for path in (left, held):
        os.utime(path, (old, old))

    mine = heartbeat.presence(database)

    assert [path.exists() for path in (left, fresh, held)] == [False, True, True]
    lock.release()
    mine.leave()


def test_an_unwritable_folder_is_reported(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(StoreError, match=r"\.lock cannot be made: Permission denied; the folder"):
        heartbeat.presence(database)


def test_file_names_may_have_special_characters(tmp_path: Path) -> None:
    file = tmp_path / "[a] host.db"
    with Database(f"sqlite:///{file.name}", tmp_path) as database:
        mine, other = heartbeat.presence(database), heartbeat.presence(database)
        other.leave()
        assert mine.gone([other.name]) == [other.name]
        mine.leave()


BEATS = "UPDATE workers SET seen_at = seen_at - :seconds WHERE worker_id = :name"


def execute(database: Database, statement: str, **values: object) -> list[Any]:
    with database.begin() as connection:
        done = connection.execute(sa.text(statement), values)
        return list(done) if done.returns_rows else []


def silence(database: Database, name: str, seconds: float) -> None:
    """Make the last beat of a worker older."""
    execute(database, BEATS, seconds=seconds, name=name)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the periodic beats, so that the test calls them."""
    monkeypatch.setattr(heartbeat, "BEAT", 3600.0)


@pytest.fixture
def workers(database: Database, still: None) -> Iterator[Callable[..., heartbeat.RowPresence]]:
    made: list[heartbeat.RowPresence] = []

    def make(*, since: float = 0.0) -> heartbeat.RowPresence:
        """Register a worker, which beat for some seconds already."""
        worker = heartbeat.RowPresence(database)
        made.append(worker)
        (now,) = worker._beats.moments
        earlier = tuple(now - age for age in range(int(since), 0, -2))
        worker._beats.moments = (*earlier, now)
        return worker

    yield make
    for worker in made:
        worker.leave()


Workers = Callable[..., heartbeat.RowPresence]


@SERVER
def test_workers_beat_periodically(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.01)
    mine = heartbeat.presence(database)
    for _ in range(3):
        [(seen,)] = execute(database, "SELECT seen_at FROM workers")
        wait_until(lambda seen=seen: execute(database, "SELECT seen_at FROM workers") > [(seen,)])
    mine.leave()
    assert execute(database, "SELECT * FROM workers") == []


@SERVER
def test_a_silent_worker_is_gone_until_its_next_beat(database: Database, workers: Workers) -> None:
    mine, other = workers(since=20), workers()
    assert mine.gone([other.name]) == []
    silence(database, other.name, 14)
    assert mine.gone([other.name]) == []
    silence(database, other.name, 4)
    assert mine.gone([other.name]) == [other.name]
    other.beat()
    assert mine.gone([other.name]) == []


@SERVER
def test_a_fresh_worker_waits_for_the_beats_of_the_others(
    database: Database, workers: Workers
) -> None:
    fresh, other = workers(), workers()
    silence(database, other.name, 50)
    assert fresh.gone([other.name]) == []
    silence(database, other.name, 20)
    assert fresh.gone([other.name]) == [other.name]


@SERVER
def test_the_beats_of_an_earlier_registration_count(database: Database, workers: Workers) -> None:
    other, beats = workers(), heartbeat.Beats()
    silence(database, other.name, 50)
    heartbeat.presence(database, beats).leave()
    beats.moments = (beats.moments[0] - 10,)
    mine = heartbeat.presence(database, beats)
    assert mine.gone([other.name]) == [other.name]
    mine.leave()


@SERVER
@pytest.mark.parametrize("outage", [30, 3000])
def test_after_a_server_outage_every_worker_may_beat_first(
    database: Database, workers: Workers, outage: int
) -> None:
    mine, other = workers(since=20), workers()
    (*_, last) = mine._beats.moments
    mine._beats.moments = tuple(each - outage for each in mine._beats.moments)
    silence(database, other.name, outage + 1)
    assert mine.gone([other.name]) == []

    mine.beat()
    assert mine.gone([other.name]) == []

    mine._beats.moments = (mine._beats.moments[0], last - 4, last - 2, last)
    assert mine.gone([other.name]) == []
    mine._beats.moments = (last - 6, last - 4, last - 2, last)
    assert mine.gone([other.name]) == [other.name]


@SERVER
@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_step_of_the_servers_clock_ends_no_live_worker_for_long(
    database: Database, workers: Workers, step: float
) -> None:
    mine, other = workers(since=20), workers()
    mine._beats.moments = tuple(each - step for each in mine._beats.moments)
    silence(database, other.name, step)
    mine.beat()
    assert mine.gone([other.name]) == []
    other.beat()
    assert mine.gone([other.name]) == []

    silence(database, other.name, -3600)  # it died before the clock was set back
    assert mine.gone([other.name]) == ([] if step < 0 else [other.name])
    mine._beats.moments = (mine._beats.moments[-1] - 6, mine._beats.moments[-1])
    assert mine.gone([other.name]) == [other.name]


@SERVER
def test_only_a_few_beats_are_kept(workers: Workers) -> None:
    beats = workers(since=100)._beats
    for number in range(1, 10):
        beats.add(beats.moments[-1] + number)
    first, second, *_ = beats.moments
    assert first <= beats.moments[-1] - heartbeat.CHANCE < second


@SERVER
def test_rows_of_workers_that_died_long_ago_are_removed(
    database: Database, workers: Workers
) -> None:
    left, fresh = workers(), workers()
    silence(database, left.name, heartbeat.OLD + 1)
    silence(database, fresh.name, heartbeat.OLD - 60)
    mine = workers()
    rows = execute(database, "SELECT worker_id FROM workers")
    assert {name for (name,) in rows} == {fresh.name, mine.name}


@SERVER
def test_a_worker_with_a_lost_connection_continues_to_beat(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.01)
    mine = heartbeat.presence(database)
    cut = (
        "SELECT count(pg_terminate_backend(pid, 30000)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert execute(database, cut) > [(0,)]
    [(seen,)] = execute(database, "SELECT seen_at FROM workers")
    wait_until(lambda: execute(database, "SELECT seen_at FROM workers") > [(seen,)])
    mine.leave()


@SERVER
def test_a_worker_continues_to_beat_after_any_error(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.01)
    mine = heartbeat.presence(database)
    with monkeypatch.context() as patched:
        patched.setattr(database, "session", lambda: 1 / 0)
        mine._close()  # type: ignore[attr-defined]
        wait_until(lambda: "the heartbeat failed at " in caplog.text)
    [(seen,)] = execute(database, "SELECT seen_at FROM workers")
    wait_until(lambda: execute(database, "SELECT seen_at FROM workers") > [(seen,)])
    mine.leave()


@SERVER
def test_a_worker_leaves_while_the_server_is_away(
    database: Database, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = workers(since=20), workers()

    def away() -> Any:
        raise StoreError("away")

    other._close()
    with monkeypatch.context() as patched:
        patched.setattr(database, "session", away)
        with pytest.raises(StoreError, match="away"):
            other.beat()
        other.leave()
    assert mine.gone([other.name]) == []
    silence(database, other.name, 20)
    assert mine.gone([other.name]) == [other.name]


@SERVER
def test_a_killed_worker_does_not_count_if_the_next_beat_is_awaited(
    database: Database, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not heartbeat.is_worked_on(database, wait=60)
    killed = workers()
    assert heartbeat.is_worked_on(database)
    assert not heartbeat.is_worked_on(database, wait=0.2)

    monkeypatch.setattr(heartbeat, "BEAT", 0.1)
    live = heartbeat.presence(database)
    assert heartbeat.is_worked_on(database, wait=60)
    live.leave()
    silence(database, killed.name, 16)
    assert not heartbeat.is_worked_on(database)


@SERVER
def test_send_finishes_the_deliveries_of_a_killed_worker(
    database: Database, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerthost.cli.session.SIGN_OF_LIFE", 0.2)
    engine = World(database, Clock(time.time())).engine
    killed = workers()
    assert list(session._earlier(engine)) == []
    submission_id = engine.accept(Alert("disk"))
    (earlier,) = session._earlier(engine)
    assert earlier.submission_id == submission_id
    monkeypatch.setattr("alerthost.cli.session.SIGN_OF_LIFE", 60.0)
    monkeypatch.setattr(heartbeat, "BEAT", 0.1)
    with heartbeat.Registration(database).registered():
        assert list(session._earlier(engine)) == []
    killed.leave()
