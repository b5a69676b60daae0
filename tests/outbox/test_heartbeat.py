"""Which of the processes that share a database are alive."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest
import sqlalchemy as sa
from engines import EITHER

from alerthost.outbox import heartbeat
from alerthost.store.database import Database
from alerthost.store.errors import StoreError

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
def test_who_left_is_gone(database: Database) -> None:
    database.migrate()
    mine, other = heartbeat.presence(database), heartbeat.presence(database)
    assert mine.name != other.name
    assert mine.gone([mine.name, other.name, "0" * 32]) == ["0" * 32]

    other.leave()

    assert mine.gone([mine.name, other.name]) == [other.name]
    assert mine.gone([other.name]) == [other.name]
    mine.leave()


@EITHER
def test_a_database_is_worked_on_while_somebody_is_present(database: Database) -> None:
    database.migrate()
    assert not heartbeat.is_worked_on(database)
    mine = heartbeat.presence(database)
    assert heartbeat.is_worked_on(database)
    mine.leave()
    assert not heartbeat.is_worked_on(database)


@EITHER
def test_who_left_may_leave_again(database: Database) -> None:
    database.migrate()
    mine = heartbeat.presence(database)
    mine.leave()
    mine.leave()
    assert not heartbeat.is_worked_on(database)


@EITHER
def test_who_is_killed_is_gone(database: Database) -> None:
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
    while not mine.gone([name]):  # a server needs a moment to see it
        pass
    mine.leave()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_session_leaves_no_transaction_open(database: Database) -> None:
    """Else it would keep the server from tidying up, and some servers end such sessions."""
    mine, other = heartbeat.presence(database), heartbeat.presence(database)
    mine.gone([other.name, "0" * 32])
    with database.read() as connection:
        states = connection.execute(
            sa.text(
                "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()"
            )
        )
        assert set(states.scalars()) == {"idle"}
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


def test_a_folder_that_cannot_be_written_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(StoreError, match=r"\.lock cannot be made: Permission denied; the folder"):
        heartbeat.presence(database)


def test_names_of_files_need_not_be_plain(tmp_path: Path) -> None:
    file = tmp_path / "[a] host.db"
    with Database(f"sqlite:///{file.name}", tmp_path) as database:
        mine, other = heartbeat.presence(database), heartbeat.presence(database)
        other.leave()
        assert mine.gone([other.name]) == [other.name]
        mine.leave()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_who_loses_its_session_comes_back(database: Database) -> None:
    mine, other = heartbeat.SessionPresence(database), heartbeat.SessionPresence(database)

    def end_session_of(name: str) -> None:
        with database.begin() as connection:
            ended = connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid, 30000) FROM pg_locks"
                    " WHERE locktype = 'advisory' AND objid = :number"
                ),
                {"number": heartbeat._number(name) & 0xFFFFFFFF},
            )
            assert ended.scalars().all() == [True]

    end_session_of(mine.name)
    assert other.gone([mine.name]) == [mine.name]
    with pytest.raises(StoreError):
        mine.gone([other.name])
    mine.renew()
    assert other.gone([mine.name]) == []
    assert mine.gone([other.name]) == []
    mine.renew()
    assert other.gone([mine.name]) == []
    mine.leave()
    other.leave()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_who_is_cut_off_waits_until_the_server_sees_it(database: Database) -> None:
    mine, other = heartbeat.SessionPresence(database), heartbeat.SessionPresence(database)
    cut_off, mine._connection, mine._present = mine._connection, None, False
    mine.renew()
    assert not mine._present
    assert cut_off
    cut_off.close()
    while not mine._present:
        mine.renew()
    assert other.gone([mine.name]) == []
    mine.leave()
    other.leave()
