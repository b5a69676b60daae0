"""Jobs share a transaction, and a failing job harms no other."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa
from engines import Clock, World
from waiting import wait_until

from alerthost.outbox.group_commit import Writer
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from hostspec import Alert

INSERT = sa.text(
    "INSERT INTO alerts (scope, key, digest, status, seen_at)"
    " VALUES ('', :name, :name, 'firing', 0)"
)


def insert(name: str) -> Callable[[sa.Connection], str]:
    def work(connection: sa.Connection) -> str:
        connection.execute(INSERT, {"name": name})
        return name

    return work


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return sorted(connection.execute(sa.text("SELECT key FROM alerts")).scalars())


def together(
    database: Database, *works: Callable[[sa.Connection], Any]
) -> list[BaseException | Any]:
    """Run jobs in one transaction: the first waits until all others are queued."""
    writer = Writer(database)
    standing = threading.Event()

    def first(connection: sa.Connection) -> None:
        assert standing.wait(60)

    with ThreadPoolExecutor(len(works) + 1) as pool:
        leader = pool.submit(writer.run, first)
        wait_until(lambda: writer._is_led and not writer._waiting)
        results = []
        for number, work in enumerate(works, start=1):
            results.append(pool.submit(writer.run, work))
            wait_until(lambda number=number: len(writer._waiting) >= number)
        standing.set()
        leader.result()
        return [result.exception() or result.result() for result in results]


def test_a_job_is_all_or_nothing(database: Database) -> None:
    def broken(connection: sa.Connection) -> None:
        insert("a")(connection)
        raise ZeroDivisionError

    writer = Writer(database)
    with pytest.raises(ZeroDivisionError):
        writer.run(broken)
    assert writer.run(insert("b")) == "b"
    assert names(database) == ["b"]


def test_jobs_share_commits(database: Database) -> None:
    database.migrate()
    commits: list[object] = []
    sa.event.listen(database.engine, "commit", commits.append)

    assert together(database, *(insert(str(number)) for number in range(5))) == list("01234")
    assert len(commits) == 2
    assert len(names(database)) == 5


def test_a_failing_job_rolls_back_no_other(database: Database) -> None:
    database.migrate()

    def broken(connection: sa.Connection) -> None:
        insert("broken")(connection)
        raise ZeroDivisionError

    first, fault, last = together(database, insert("a"), broken, insert("b"))

    assert (first, type(fault), last) == ("a", ZeroDivisionError, "b")
    assert names(database) == ["a", "b"]


def test_a_failing_database_fails_all_jobs(database: Database) -> None:
    database.migrate()

    def full(_: sa.Connection) -> None:
        cause = sqlite3.OperationalError("full")
        cause.sqlite_errorname = "SQLITE_FULL"
        raise sa.exc.OperationalError("INSERT", {}, cause)

    found = together(database, insert("a"), full, insert("b"))

    assert [type(each) for each in found] == [StoreError] * 3
    assert {str(each).partition(" cannot")[2] for each in found} == {
        " grow: the disk is full; nothing was changed"
    }
    assert names(database) == []


def test_only_the_thread_that_was_interrupted_ends(database: Database) -> None:
    database.migrate()

    def interrupted(_: sa.Connection) -> None:
        raise KeyboardInterrupt

    writer = Writer(database)
    with pytest.raises(KeyboardInterrupt):
        writer.run(interrupted)
    assert writer.run(insert("a")) == "a"


def test_commits_before_an_interruption_stay(database: Database) -> None:
    database.migrate()

    def broken(_: sa.Connection) -> None:
        raise ZeroDivisionError

    def interrupted(_: sa.Connection) -> None:
        raise KeyboardInterrupt

    found = together(database, insert("a"), broken, interrupted, insert("b"))

    assert names(database) == ["a"]
    assert [type(each) for each in found].count(KeyboardInterrupt) == 1  # of whoever wrote for all
    assert "b" not in found


def test_a_locked_database_rejects_alerts(tmp_path: Path) -> None:
    world = World(Database("sqlite:///alerthost.db", tmp_path, lock_timeout=0.05), Clock())
    world.database.migrate()
    with sqlite3.connect(world.database.name, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="is locked by another program"):
            world.accept("disk")
        other.execute("ROLLBACK")
    other.close()
    assert world.drain() == []
    world.accept("disk")
    assert world.drain() == ["trigger disk"]
    world.database.close()


def locked(*_: object, **__: object) -> NoReturn:
    cause = sqlite3.OperationalError("database is locked")
    cause.sqlite_errorname = "SQLITE_BUSY"
    raise StoreError("is locked") from sa.exc.OperationalError("BEGIN", {}, cause)


def test_no_alert_waits_longer_than_the_lock_timeout(tmp_path: Path) -> None:
    """This holds however many jobs are queued before it."""
    going, go_on = threading.Event(), threading.Event()

    def slow(_: sa.Connection) -> None:
        going.set()
        assert go_on.wait(60)

    with (
        Database("sqlite:///alerthost.db", tmp_path, lock_timeout=0.0) as database,
        ThreadPoolExecutor(4) as pool,
    ):
        database.migrate()
        writer = Writer(database)
        leader = pool.submit(writer.run, slow)
        assert going.wait(60)
        patient = pool.submit(writer.run, insert("patient"))
        for _ in range(3):
            with pytest.raises(StoreError, match=r"alerthost\.db is busy; try again$"):
                writer.run(insert("new"), accepts=True)
        go_on.set()
        leader.result(60)
        assert patient.result(60) == "patient"
        assert names(database) == ["patient"]


def test_a_job_that_waited_less_for_a_lock_tries_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.migrate()
    waits: list[float] = []
    begin = database.begin

    def busy_for_long(*, lock_timeout: float) -> Any:
        waits.append(lock_timeout)
        database.lock_timeout = 0.0  # of later pieces
        return locked() if len(waits) < 3 else begin(lock_timeout=lock_timeout)

    monkeypatch.setattr(database, "begin", busy_for_long)
    writer = Writer(database)
    assert writer.run(insert("early")) == "early"
    assert 0 < waits[2] < waits[1] < waits[0] <= 5
    monkeypatch.setattr(database, "begin", locked)
    for accepts in (True, False):
        with pytest.raises(StoreError, match="is locked"):
            writer.run(insert("late"), accepts=accepts)


def test_alerts_are_rejected_soon_while_another_program_writes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.migrate()
    database.lock_timeout = 0.01
    writer = Writer(database)
    with monkeypatch.context() as patched:
        patched.setattr(database, "begin", locked)
        with pytest.raises(StoreError, match="is locked"):
            writer.run(insert("a"), accepts=True)
        assert writer._patience() == pytest.approx(0.001)
    writer.run(insert("b"))
    assert writer._patience() == pytest.approx(0.01)


def test_a_thread_interrupted_while_waiting_blocks_no_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.migrate()
    writer = Writer(database)

    def interrupted(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(writer, "_take_turn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.run(insert("a"))
    with monkeypatch.context() as patched:
        patched.setattr("alerthost.outbox.group_commit._Job.wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.run(insert("b"))
    assert writer.run(insert("c")) == "c"
    assert names(database) == ["c"]


def test_on_a_full_disk_a_failing_job_rolls_back_no_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.migrate()
    begin, begun = database.begin, []

    def full_once(*, lock_timeout: float) -> Any:
        begun.append(lock_timeout)
        if len(begun) == 2:
            cause = sqlite3.OperationalError("full")
            cause.sqlite_errorname = "SQLITE_FULL"
            raise StoreError("is full") from sa.exc.OperationalError("BEGIN", {}, cause)
        return begin(lock_timeout=lock_timeout)

    def broken(_: sa.Connection) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(database, "begin", full_once)
    first, fault, last = together(database, insert("a"), broken, insert("b"))
    assert (first, type(fault), last) == ("a", ZeroDivisionError, "b")


def test_a_full_disk_rejects_alerts_whole(world: World) -> None:
    world.database.migrate()
    with world.database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    alerts = [Alert(str(number), "x" * 1000) for number in range(100)]

    with pytest.raises(StoreError, match="the disk is full; nothing was changed"):
        world.engine.accept_many(alerts)

    assert world.execute("SELECT count(*) FROM submissions") == [(0,)]
    world.engine.accept(alerts[0])
    assert world.execute("SELECT count(*) FROM submissions") == [(1,)]


def test_a_read_only_database_is_reported(world: World) -> None:
    world.database.migrate()
    sa.event.listen(
        world.database.engine,
        "begin",
        lambda connection: connection.exec_driver_sql("PRAGMA query_only = ON"),
        insert=True,
    )
    with pytest.raises(StoreError, match="is read-only"):
        world.accept("disk")


def test_many_threads_accept_at_once(world: World) -> None:
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda number: world.accept(f"{number}"), range(200)))

    assert len(set(ids)) == 200
    assert len(world.drain()) == 200


def test_a_job_that_is_being_written_is_awaited(tmp_path: Path) -> None:
    """Its lock timeout ends while another job of its transaction runs."""
    with Database("sqlite:///alerthost.db", tmp_path, lock_timeout=0.5) as database:
        database.migrate()
        writer = Writer(database)
        released, patient = threading.Event(), threading.Event()

        def slow(_: sa.Connection) -> str:
            assert patient.wait(60)
            return "slow"

        def hold(_: sa.Connection) -> None:
            assert released.wait(60)

        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(writer.run, hold)
            wait_until(lambda: writer._is_led, "the first piece is written")
            second = pool.submit(writer.run, slow)
            wait_until(lambda: len(writer._waiting) == 1, "the second waits")
            last = pool.submit(writer.run, insert("last"), accepts=True)
            wait_until(lambda: len(writer._waiting) == 2, "the last waits")
            released.set()
            threading.Timer(1, patient.set).start()
            assert [first.result(), second.result(), last.result()] == [None, "slow", "last"]
        assert names(database) == ["last"]
