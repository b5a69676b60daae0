"""Engines on SQLite and PostgreSQL, each on its own database, with a clock that the test sets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from engines import Clock, World
from paging import Paging, fake_at

from alerthost.store.database import Database
from pagerduty_plugin.testing import FakePagerDuty

numbers = itertools.count(1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def migrated(postgresql: str) -> str:
    """Return the server's URL, with a database that others are copied from."""
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
    with Database(postgresql.replace("/postgres?", "/migrated?"), Path()) as database:
        database.migrate()
    return postgresql


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Open a SQLite database, or the kind that a test asks for with `engines.EITHER`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        with Database("sqlite:///alerthost.db", tmp_path) as opened:
            yield opened
        return
    server = request.getfixturevalue("migrated")
    number = next(numbers)
    with psycopg.connect(server, autocommit=True) as connection:
        # not earlier: the server waits a tenth of a second for connections that just ended
        connection.execute(f"DROP DATABASE IF EXISTS delivery_{number - 1} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE delivery_{number} TEMPLATE migrated")
    with Database(server.replace("/postgres?", f"/delivery_{number}?"), tmp_path) as opened:
        yield opened


@pytest.fixture
def world(database: Database, clock: Clock) -> World:
    return World(database, clock)


@pytest.fixture
def worlds(database: Database, clock: Clock) -> Callable[..., World]:
    def make(**options: object) -> World:
        return World(database, clock, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def fake(clock: Clock) -> Iterator[FakePagerDuty]:
    """Start a fake PagerDuty on the clock of the test."""
    with fake_at(clock) as fake:
        yield fake


@pytest.fixture
def at(fake: FakePagerDuty, database: Database, clock: Clock) -> Paging:
    """Return an engine that pages a service of the fake."""
    return Paging(fake, database, clock)
