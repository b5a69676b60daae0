"""The engine works behind a pooler that gives each transaction another session."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from engines import Clock, World
from poolers import pooler

from alerthost.store.database import Database
from alerthost.store.postgresql import set_up_session


@pytest.mark.proof
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_many_deliveries_go_through_a_pooler(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with pooler(server, tmp_path) as url, Database(url, tmp_path) as pooled:
        world = World(pooled, Clock())
        other = World(pooled, Clock())
        for number in range(100):
            (world, other)[number % 2].accept(str(number))
        with world.engine, other.engine:
            assert world.engine.wait_idle(60)
        assert len({sent.key for each in (world, other) for sent in each.page.sent}) == 100
        assert "the store fails" not in caplog.text


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
