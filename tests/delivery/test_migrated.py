"""What an earlier version was doing goes on after an update."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from engines import START, Clock, World

from hostspec.store.database import Database

VERSIONS = Path(__file__).parents[1] / "store" / "versions"
FILLED = sorted(path for path in VERSIONS.glob("*.sql") if path.stem >= "0002")


@pytest.mark.parametrize("file", FILLED, ids=lambda path: path.stem)
def test_what_was_waiting_is_delivered(file: Path, database: Database) -> None:
    with sqlite3.connect(database.name) as connection:
        connection.executescript(file.read_text(encoding="utf-8"))
    connection.close()
    world = World(database, Clock(START + 60))
    assert world.open == ["open", "waiting"]

    assert sorted(world.drain()) == ["trigger accepted", "trigger waiting"]
    world.say("open", "resolved")
    assert world.drain() == ["resolve open"]
    assert world.page.sent[-1].handle == {"id": 1}
    assert world.engine.desk.replay(2)
    assert world.drain() == ["trigger refused"]
