"""A connection to PostgreSQL that is lost while a commit is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from engines import World

from alerthost.store.errors import StoreError, UnknownCommitError
from hostspec import Alert

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def _commit_and_lose(commit: Callable[[Any], None]) -> Callable[[Any], None]:
    def lose(connection: Any) -> None:
        commit(connection)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    return lose


def test_a_commit_without_an_answer_is_repeated_and_pages_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.accept("disk")
    world.drain()
    dialect = world.database.engine.dialect
    with monkeypatch.context() as patched:
        patched.setattr(dialect, "do_commit", _commit_and_lose(dialect.do_commit))
        for _ in range(2):
            with pytest.raises(UnknownCommitError, match="the connection was lost during a commit"):
                world.engine.accept(Alert("cpu"), submission_id="one")

    assert world.engine.accept(Alert("cpu"), submission_id="one") == "one"
    assert world.drain() == ["trigger cpu"]


def test_a_connection_lost_before_the_commit_accepts_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.accept("disk")
    dialect = world.database.engine.dialect

    def lose(*_: object) -> None:
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patched:
        patched.setattr(dialect, "do_execute", lose)
        with pytest.raises(StoreError) as raised:
            world.engine.accept(Alert("cpu"))

    assert not isinstance(raised.value, UnknownCommitError)
    assert world.drain() == ["trigger disk"]
