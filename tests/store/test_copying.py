"""A copy has all rows of the source, and deliveries continue there."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from engines import START, Clock, World
from stored import Account

from alerthost.cli.main import main
from alerthost.outbox.activity import Actor, Change
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat
from alerthost.store import copying
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.installations import Installations
from alerthost.store.rules import Rules
from alerthost.store.sealing import new_key
from alerthost.store.tables import STATE, budgets, submissions, workers
from hostspec import Alert, Installation, OutcomeKind, Secret, structure

Open = Callable[..., Database]
SOURCE = "sqlite:///source.db"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a database whose engine was stopped during its work."""
    folder = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch, Database(SOURCE, folder) as database:
        patch.setenv("STORE_KEY", new_key())
        settings = structure(Account, {"token": "secret"})
        kept = Installations(database, Secret("env:STORE_KEY"))
        kept.add(Installation("paging", "acme", settings))
        Rules(database).add("Pages", {"actions": []})
        fill(database)
    return folder / "source.db"


def fill(database: Database) -> None:
    world = World(
        database, Clock(), heartbeats=[ExpectedHeartbeat(key="backup", every=300, grace=60)]
    )
    world.accept("open")
    world.drain()
    world.fail(OutcomeKind.REJECTED)
    world.accept("refused")
    world.drain()
    world.fail(OutcomeKind.UNREACHABLE)
    world.accept("waiting", severity="critical", summary="Ä\u0000\U0001f9ef")
    world.drain()
    with database.begin() as connection:
        connection.execute(
            sa.insert(budgets).values(
                name="a", allowed=120, seconds=60.0, used="{}", paused_until=0.1
            )
        )
    world.engine.admin.record(Actor("operator", "127.0.0.1"), Change("tested", "copying"))
    world.engine.accept_many(
        [Alert(f"many-{number % 7}") for number in range(1200)],
        submission_ids=[f"given-{number}" for number in range(1200)],
    )


@pytest.fixture
def source(filled: Path, open_database: Open, tmp_path: Path) -> Database:
    """Return a copy of that database."""
    shutil.copy(filled, tmp_path)
    return open_database(SOURCE)


def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    with database.read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
            for table in STATE
        }


def copy(source: Database, target: Database) -> int:
    advances: list[int] = []
    copied = copying.copy(source, target, advances.append)
    assert sum(advances) == copying.count(source) == 2 * copied
    return copied


def test_workers_are_not_copied(source: Database, database: Database) -> None:
    with source.begin() as connection:
        connection.execute(sa.insert(workers).values(worker_id="killed", seen_at=0.0))
    copy(source, database)
    with database.read() as connection:
        assert connection.execute(sa.select(workers)).all() == []


def test_every_row_is_copied(source: Database, database: Database) -> None:
    before = rows(source)
    assert {name for name in before if not before[name]} <= {"planners", "receipts"}

    assert copy(source, database) == sum(map(len, before.values())) > 1200

    assert rows(database) == before == rows(source)


def test_every_row_is_copied_back(
    source: Database, database: Database, open_database: Open
) -> None:
    before = rows(source)
    copy(source, database)

    back = open_database("sqlite:///back.db")
    copy(database, back)

    assert rows(back) == before


def test_queued_deliveries_continue_in_the_copy(source: Database, database: Database) -> None:
    copy(source, database)
    world = World(database, Clock(START + 60))

    assert world.engine.accept(Alert("many-1"), submission_id="given-1") == "given-1"
    many = [f"trigger many-{number}" for number in range(7)]
    assert set(world.drain()) == {*many, "trigger waiting"}
    world.accept("open", "resolved")
    assert world.drain() == ["resolve open"]


@pytest.mark.parametrize("after", [1, 500, 1100, 1300, 2000])
def test_an_interrupted_copy_is_continued(source: Database, database: Database, after: int) -> None:
    done = 0

    def interrupt(count: int) -> None:
        nonlocal done
        done += count
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copying.copy(source, database, interrupt)
    kept = rows(database)
    assert sum(map(len, kept.values())) == min(done, copying.count(source) // 2)

    copy(source, database)

    assert rows(database) == rows(source)


def test_large_rows_are_copied_a_few_at_a_time(
    source: Database, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with source.begin() as connection:
        connection.execute(sa.delete(submissions).where(submissions.c.id > 20))
    monkeypatch.setattr(copying, "BATCH_SIZE", 1)
    steps: list[int] = []
    copying.copy(source, database, steps.append)

    assert set(steps) == {1}
    assert rows(database) == rows(source)


def test_assigned_ids_are_not_reused(source: Database, database: Database) -> None:
    with source.begin() as connection:
        last = connection.execute(sa.select(sa.func.max(submissions.c.id))).scalar_one()
        connection.execute(sa.delete(submissions).where(submissions.c.id == last))
    copy(source, database)

    World(database, Clock()).accept("new")

    with database.read() as connection:
        newest = connection.execute(sa.select(sa.func.max(submissions.c.id))).scalar_one()
    assert newest == last + 1


def test_ids_continue_after_an_emptied_table(open_database: Open, database: Database) -> None:
    source = open_database(SOURCE)
    world = World(source, Clock())
    for name in "abc":
        world.accept(name)
    with source.begin() as connection:
        connection.execute(sa.delete(submissions))
    copy(source, database)

    World(database, Clock()).accept("new")

    with database.read() as connection:
        assert connection.execute(sa.select(submissions.c.id)).scalar_one() == 4


@pytest.mark.parametrize("more", ["rows", "other"])
def test_a_target_with_other_rows_is_refused(
    source: Database, database: Database, more: str
) -> None:
    world = World(database, Clock())
    world.engine.accept_many([Alert("other")] * (1300 if more == "rows" else 1))
    before = rows(database)

    with pytest.raises(StoreError) as caught:
        copying.copy(source, database, lambda _: None)

    assert str(caught.value) == (
        f"{database.name} contains other submissions; name an empty database"
    )
    assert rows(database)["submissions"] == before["submissions"]


@pytest.mark.parametrize("when", ["changed", "added"])
def test_a_copy_changed_meanwhile_is_refused(
    source: Database, database: Database, when: str
) -> None:
    total = copying.count(source)
    done = 0

    def meddle(count: int) -> None:
        nonlocal done
        done += count
        if done == total // 2:
            with database.begin() as connection:
                if when == "changed":
                    connection.execute(sa.update(submissions).values(key="other"))
                else:
                    values = {"submission_id": "x", "scope": "", "key": "", "body": ""}
                    connection.execute(sa.insert(submissions).values(**values, accepted_at=1))

    with pytest.raises(StoreError, match="contains other submissions"):
        copying.copy(source, database, meddle)


def test_a_database_is_not_copied_to_itself(source: Database, open_database: Open) -> None:
    with pytest.raises(StoreError, match=r"cannot be copied to itself; name another database$"):
        copying.copy(source, open_database(SOURCE), lambda _: None)


@pytest.fixture
def blocked(
    url: str, database: Database, open_database: Open, key: Secret
) -> Iterator[tuple[Database, Callable[[], None]]]:
    """Return a database to copy, and another connection that writes to it."""
    settings = structure(Account, {})
    Installations(database, key).add(Installation("paging", "acme", settings))
    if database.file is not None:
        other = open_database(url, lock_timeout=0.05)

        def write() -> None:
            with pytest.raises(StoreError, match="is locked"), other.begin():
                pytest.fail("it could be written")

        yield database, write
        return
    with psycopg.connect(url) as connection:

        def write() -> None:
            connection.execute("SET lock_timeout = 50")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                connection.execute("DELETE FROM installations")
            connection.rollback()

        yield database, write


def test_no_program_writes_to_the_source_during_a_copy(
    blocked: tuple[Database, Callable[[], None]], open_database: Open
) -> None:
    database, write = blocked
    target = open_database("sqlite:///target.db")

    assert copying.copy(database, target, lambda _: write()) == 1


# as a command


def alerthost(folder: Path, *arguments: str) -> Result:
    with contextlib.chdir(folder):
        return CliRunner().invoke(main, ["store", "copy", *arguments])


def test_the_command_copies_and_reports(source: Database, url: str, tmp_path: Path) -> None:
    count = copying.count(source) // 2

    run = alerthost(tmp_path, SOURCE, url)

    with Database(url, tmp_path) as target:
        assert (run.exit_code, run.stderr) == (0, "")
        assert run.stdout == f"copied and compared {count:,} rows: {target.name}\n"
        assert rows(target) == rows(source)


def test_a_single_row_is_counted_in_the_singular(
    open_database: Open, key: Secret, tmp_path: Path
) -> None:
    settings = structure(Account, {})
    source = open_database(SOURCE)
    Installations(source, key).add(Installation("paging", "acme", settings))

    run = alerthost(tmp_path, SOURCE, "sqlite:///b.db")
    assert run.stdout.startswith("copied and compared 1 row: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sqlite:///none.db", "sqlite:///b.db"), "none.db does not exist\n"),
        (("mysql://a", "sqlite:///b.db"), "[store] url names mysql, which is not supported"),
        ((SOURCE, SOURCE), "source.db cannot be copied to itself; name another database\n"),
    ],
)
def test_mistakes_are_reported(
    source: Database, tmp_path: Path, arguments: tuple[str, str], message: str
) -> None:
    run = alerthost(tmp_path, *arguments)

    assert source.exists
    assert run.exit_code == 2
    assert message in run.stderr
    assert isinstance(run.exception, SystemExit)


@pytest.mark.parametrize("which", [0, 1])
def test_a_database_in_use_is_not_copied(
    source: Database, database: Database, url: str, tmp_path: Path, which: int
) -> None:
    database.migrate()
    engine = World((source, database)[which], Clock()).engine
    with engine:
        run = alerthost(tmp_path, SOURCE, url)

    assert run.exit_code == 2
    assert f"alerthost is running on {engine.database.name}; stop it first" in run.stderr
    assert not any(found for name, found in rows(database).items() if name != "clock")
    assert alerthost(tmp_path, SOURCE, url).exit_code == 0
