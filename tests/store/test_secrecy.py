"""A stored secret is revealed in memory only."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from stored import CANARY, Account

from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.installations import Installations
from alerthost.store.sealing import new_key
from hostspec import Installation, Secret, structure
from hostspec.secret import LiteralSecretError


@pytest.mark.parametrize("closed", [False, True])
def test_the_files_contain_no_secret(
    closed: bool,  # noqa: FBT001 -- a case of the test
    open_database: Callable[..., Database],
    key: Secret,
    acme: Installation[Account],
    tmp_path: Path,
) -> None:
    database = open_database()
    kept = Installations(database, key)
    kept.replace(kept.add(acme), acme)
    kept.reseal()
    if closed:
        database.close()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert ("alerthost.db-wal" in files) is not closed
    assert b"acme" in b"".join(files.values())
    wanted = (CANARY.encode(), key.reveal().encode())
    assert [name for name, held in files.items() if any(each in held for each in wanted)] == []


def test_neither_log_nor_repr_nor_error_contains_it(
    url: str,
    open_database: Callable[..., Database],
    key: Secret,
    acme: Installation[Account],
    caplog: pytest.LogCaptureFixture,
) -> None:
    old_key = key.reveal()
    shown = []
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "sqlalchemy"):
        installations = Installations(open_database(url), key)  # the level of its log is fixed
        added = installations.add(acme)
        shown += [repr(added), str(added), repr(structure(Account, added.settings))]
        for fail in (
            lambda: installations.add(acme),
            lambda: installations.replace(added, Installation("p", "\0", acme.settings)),
            lambda: (installations.remove(added), installations.remove(added)),
        ):
            with pytest.raises(Exception) as raised:  # noqa: PT011 -- whichever it is
                fail()
            shown += traceback.format_exception(raised.value)
        installations.add(acme)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORE_KEY", new_key())
            with pytest.raises(StoreError) as raised:
                installations.reseal()
        shown += traceback.format_exception(raised.value)

    assert "INSERT INTO installations" in caplog.text
    everything = caplog.text + "".join(shown)
    assert [secret for secret in (CANARY, old_key) if secret in everything] == []


def test_a_stored_installation_cannot_be_pickled(
    installations: Installations, acme: Installation[Account]
) -> None:
    with pytest.raises(LiteralSecretError):
        pickle.dumps(installations.add(acme))
