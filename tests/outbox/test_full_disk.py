"""On a full disk accepted alerts are sent, and no more are accepted."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from engines import Clock, World

from alerthost.store import sqlite
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from hostspec import Alert

FULL = "cannot grow: the disk is full"


def kept(database: Database) -> Path:
    assert database.file
    return database.file.with_name("alerthost.db-reserve")


def fill(database: Database) -> None:
    """Limit the database's growth to the size of the reserve."""
    pages: list[int] = []

    @sa.event.listens_for(database.engine, "begin")
    def limit(connection: sa.Connection) -> None:
        pages.append(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
        most = pages[0] if kept(database).stat().st_size else 1_000_000
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")


@pytest.fixture
def full(world: World, database: Database, monkeypatch: pytest.MonkeyPatch) -> World:
    """Accept ten alerts, and fill the disk."""
    for number in range(10):
        world.accept(str(number), summary="x" * 500)
    assert database.fill_reserve()
    assert database.fill_reserve()
    assert kept(database).stat().st_size == sqlite.RESERVED
    fill(database)
    monkeypatch.setattr(sqlite, "_allocate", _no_room)
    return world


def _no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_accepted_alerts_are_sent_on_a_full_disk(full: World) -> None:
    assert len(full.drain()) == 10


def test_a_planning_mark_on_a_full_disk_uses_the_reserve(full: World, database: Database) -> None:
    refused: list[str] = []

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def refuse(_connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO planners") and not refused:
            refused.append(statement)
            full_disk = sqlite3.OperationalError("database or disk is full")
            raise sa.exc.OperationalError(statement, {}, full_disk)

    assert len(full.drain()) == 10
    assert len(refused) == 1


def test_new_alerts_do_not_use_the_reserve(
    full: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match=FULL):
        full.engine.accept_many([Alert(str(number), "x" * 1000) for number in range(500)])
    assert kept(database).stat().st_size == sqlite.RESERVED  # no alert gets it
    full.drain()
    for _ in range(2):
        with pytest.raises(StoreError, match=f"{FULL}; nothing was changed; make room on its disk"):
            full.accept("late")

    monkeypatch.undo()
    full.accept("late")
    assert kept(database).stat().st_size == sqlite.RESERVED
    assert full.drain() == ["trigger late"]


def test_a_disk_without_room_for_the_reserve_is_reported(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_allocate", _no_room)
    assert not database.fill_reserve()
    with pytest.raises(StoreError, match=FULL):
        world.accept("disk")


def test_the_reserve_works_without_posix_fallocate(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_allocate", sqlite.write_zeros)
    assert database.fill_reserve()
    assert kept(database).stat().st_size == sqlite.RESERVED


def test_the_reserve_goes_with_the_last_engine(world: World, database: Database) -> None:
    with world.engine:
        while not kept(database).exists():
            os.sched_yield()
    assert not kept(database).exists()


def test_without_a_reserve_alerts_are_still_accepted(world: World, database: Database) -> None:
    kept(database).mkdir()
    assert not database.fill_reserve()
    database.release_reserve()
    world.accept("disk")
    assert world.drain() == ["trigger disk"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=26m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.proof
def test_on_a_really_full_disk_accepted_alerts_are_sent(small_disk: Path) -> None:
    with Database("sqlite:///alerthost.db", small_disk) as database:
        world = World(database, Clock())
        world.database.migrate()
        assert database.fill_reserve()
        for number in range(200):
            world.accept(str(number), summary="x" * 500)
        other = os.open(small_disk / "other", os.O_CREAT | os.O_WRONLY)
        with contextlib.suppress(OSError):
            while True:
                os.write(other, b"x" * 4096)
        accepted = 200
        with contextlib.suppress(StoreError):
            while True:
                world.accept(f"more {accepted}", summary="x" * 500)
                accepted += 1
        with pytest.raises(StoreError, match=FULL):
            world.accept("none")
        assert len(world.drain()) == accepted
        os.close(other)
        (small_disk / "other").unlink()
        world.accept("late")
        assert world.drain() == ["trigger late"]
