"""Databases for each test, and a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stored import CANARY, Account

from alerthost.store.database import Database
from alerthost.store.installations import Installations
from alerthost.store.sealing import new_key
from hostspec import Installation, Secret, structure


@pytest.fixture
def open_database(tmp_path: Path) -> Iterator[Callable[..., Database]]:
    """Return a function that opens a database; all are closed afterwards."""
    opened = []

    def open_one(url: str = "sqlite:///alerthost.db", **options: float) -> Database:
        opened.append(Database(url, tmp_path, **options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def database(url: str, open_database: Callable[..., Database]) -> Database:
    return open_database(url)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("STORE_KEY", new_key())
    return Secret("env:STORE_KEY")


@pytest.fixture
def installations(database: Database, key: Secret) -> Installations:
    return Installations(database, key)


@pytest.fixture
def acme() -> Installation[Account]:
    raw = {"token": CANARY, "keys": ["env:PD_KEY", CANARY], "headers": {"$sealed": CANARY}}
    return Installation("paging", "acme", structure(Account, raw))
