"""Several programs on one database, and programs that are killed."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stored import CANARY, Account

from alerthost.store.database import Database
from alerthost.store.installations import Installations
from hostspec import Installation, Secret, structure

PREAMBLE = """
import os, sys
from pathlib import Path
from alembic import command
from sqlalchemy import event
from hostspec import Installation, Secret, structure
from alerthost.store.database import Database
from alerthost.store.installations import Installations
from stored import Account
database = Database(sys.argv[1], Path(sys.argv[2]))
installations = Installations(database, Secret("env:STORE_KEY"))
"""

START = (
    PREAMBLE
    + """
runs, upgrade = [], command.upgrade
command.upgrade = lambda *arguments: runs.append(upgrade(*arguments))
print("ready", flush=True)
sys.stdin.readline()
installations.add(Installation("paging", sys.argv[3], structure(Account, {"token": "secret"})))
database.close()
print(len(runs))
"""
)

REPLACE = (
    PREAMBLE
    + """
(stored,) = installations.all()

def stop(*_):
    print("there", flush=True)
    sys.stdin.readline()

def stop_at_update(conn, cursor, statement, *_):
    if statement.startswith("UPDATE"):
        stop()

moment = sys.argv[3]
if moment in ("before_cursor_execute", "after_cursor_execute"):
    event.listen(database.engine, moment, stop_at_update)
elif moment == "commit":
    event.listen(database.engine, moment, stop)
settings = structure(Account, {"token": "new", "region": "eu"})
installations.replace(stored, Installation("paging", "renamed", settings))
stop()
"""
)


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    folder = Path(__file__).parents[1] / "support"
    run = f"import sys; sys.path.insert(0, {str(folder)!r})\n{program}"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", run, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_of_concurrent_programs_one_migrates(
    url: str, tmp_path: Path, installations: Installations
) -> None:
    names = ["a", "b", "c", "d"]
    running = [start(START, url, tmp_path, name) for name in names]
    assert [each.stdout.readline() for each in running] == ["ready\n"] * 4
    for each in running:
        each.stdin.write("\n")
        each.stdin.flush()
    ended = [(*each.communicate(), each.returncode) for each in running]

    assert [(errors, code) for _, errors, code in ended] == [("", 0)] * 4
    assert sorted(migrations for migrations, _, _ in ended) == ["0\n", "0\n", "0\n", "1\n"]
    stored = installations.all()
    assert sorted(each.name for each in stored) == names
    assert {each.settings["token"].reveal() for each in stored} == {"secret"}


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("before_cursor_execute", "acme"),
        ("after_cursor_execute", "acme"),
        ("commit", "acme"),
        ("after all", "renamed"),
    ],
)
def test_a_program_killed_while_replacing_leaves_old_or_new(
    moment: str, name: str, tmp_path: Path, key: Secret, open_database: Callable[..., Database]
) -> None:
    old = Installation("paging", "acme", structure(Account, {"token": CANARY}))
    with open_database() as database:
        Installations(database, key).add(old)
    running = start(REPLACE, "sqlite:///alerthost.db", tmp_path, moment)
    assert running.stdout.readline() == "there\n"
    running.kill()
    assert running.communicate()[1] == ""
    assert running.returncode == -signal.SIGKILL

    installations = Installations(open_database(lock_timeout=0), key)
    (stored,) = installations.all()
    secret, region = (CANARY, "us") if name == "acme" else ("new", "eu")
    assert (stored.name, stored.settings["region"]) == (name, region)
    assert stored.settings["token"].reveal() == secret
    installations.remove(stored)  # nothing is locked any more
    with sqlite3.connect(tmp_path / "alerthost.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
