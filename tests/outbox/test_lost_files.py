"""An engine whose database is deleted accepts nothing more, and sends all accepted alerts."""

from __future__ import annotations

import logging
import re
import threading
import time

import pytest
from engines import World

from alerthost.store.database import Database
from alerthost.store.errors import StoreError, UnstorableError


def test_after_a_lost_file_accepted_alerts_are_sent_and_none_accepted(
    world: World, database: Database
) -> None:
    assert database.file
    world.accept("first")
    world.drain()
    world.accept("before")
    database.file.unlink()

    with pytest.raises(StoreError, match="was deleted while in use"):
        world.accept("after")
    with pytest.raises(StoreError, match="was deleted while in use"):
        world.engine.drain()

    assert [sent.key for sent in world.page.sent][:2] == ["first", "before"]


def test_a_running_engine_notices_a_lost_file(
    world: World, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    assert database.file
    world.engine.start()
    try:
        assert world.engine.trouble is None
        log = database.file.with_name("alerthost.db-wal")
        log.unlink()
        # a thread may have been about to open it, and then made another one, or failed
        reason = re.compile(f"{log} was (deleted|replaced by another file) while in use")
        deadline = time.monotonic() + 60
        while not reason.match(world.engine.trouble or ""):
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)
    finally:
        world.engine.stop()

    logged = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    reasons = [found.group() for found in map(reason.search, logged) if found]
    assert reasons
    assert len(set(reasons)) == len(reasons)


def test_an_unstorable_alert_is_no_failure_of_the_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UnstorableError("too long")

    world.accept("first")
    monkeypatch.setattr(world.engine._submission_writer, "write", fail)
    with pytest.raises(UnstorableError):
        world.accept("disk")
    assert world.engine.check_store() is None
