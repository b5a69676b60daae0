"""Engines on a database in a folder of the test's own, with a clock that it sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engines import Clock, World

from hostspec.store.database import Database


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database("sqlite:///alerthost.db", tmp_path, patience=0.05) as opened:
        yield opened


@pytest.fixture
def world(database: Database, clock: Clock) -> World:
    return World(database, clock)


@pytest.fixture
def worlds(database: Database, clock: Clock) -> Callable[..., World]:
    def make(**options: object) -> World:
        return World(database, clock, **options)  # type: ignore[arg-type]

    return make
