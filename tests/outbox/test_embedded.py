"""An engine in a program that forks, and whose log handlers call it."""

from __future__ import annotations

import inspect
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from engines import EITHER, World

from alerthost.outbox.group_commit import log_afterwards
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from hostspec import Alert, OutcomeKind, Receipt


class Accepting(logging.Handler):
    """A log handler that reports every warning as an alert."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self.world = world
        self.failed: list[Exception] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.world.engine.accept(Alert(f"log/{record.name}", record.getMessage()))
        except StoreError as error:
            self.failed.append(error)


@pytest.fixture
def accepting(world: World) -> Any:
    handler = Accepting(world)
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@EITHER
def test_a_log_handler_may_accept_warnings_of_planning(world: World, accepting: Accepting) -> None:
    def plan(alert: Alert) -> Any:
        if alert.key == "disk":
            logging.getLogger("rules").warning("odd")
            raise RuntimeError
        return []

    world.page.behaviour["plan"] = plan
    world.accept("disk")
    world.drain()

    assert accepting.failed == []
    with world.database.read() as connection:
        keys = connection.exec_driver_sql("SELECT key FROM alerts ORDER BY key").scalars().all()
    assert keys == ["disk", "log/hostspec.planning", "log/rules"]


@EITHER
def test_logs_of_a_write_are_emitted_after_it(world: World, accepting: Accepting) -> None:
    log = logging.getLogger("pieces")
    world.drain()
    writer = world.engine._writer

    writer.run(lambda _: log_afterwards(log, logging.WARNING, "the incident %s is over", "disk"))
    log_afterwards(log, logging.WARNING, "outside of any piece")

    assert accepting.failed == []
    assert len(world.drain()) == 1


def test_a_plugin_that_accepts_during_a_write_gets_an_error(
    world: World, accepting: Accepting
) -> None:
    world.drain()

    world.engine._writer.run(lambda _: logging.getLogger("plugin").warning("odd"))

    assert [str(error) for error in accepting.failed] == [
        "called by a plugin while the engine writes on the same thread; call it from another thread"
    ]
    assert world.engine.trouble is None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_in_a_forked_child_every_method_raises(world: World) -> None:
    def methods(each: object) -> list[Any]:
        found = inspect.getmembers(each, inspect.ismethod)
        return [method for name, method in found if not name.startswith("_")]

    def says_so(method: Any) -> bool:
        try:
            method()
        except RuntimeError as error:
            return "make a new one in the forked child" in str(error)
        return False

    engine = world.engine
    every = [*methods(engine), *methods(engine.admin), *methods(engine.database)]
    assert len(every) > 20
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if all(map(says_so, every)) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.usefixtures("every_database_is_migrated")
def test_migrations_log_nothing_of_alembic(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with Database("sqlite:///store.db", tmp_path) as database, database.begin():
        pass
    logging.getLogger("alembic.runtime.migration").info("of the program itself")

    assert caplog.messages == ["of the program itself"]


def test_blocked_late_and_undelivered_deliveries_are_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.fail(OutcomeKind.MISCONFIGURED, OutcomeKind.MISCONFIGURED)
    world.accept("disk")
    world.drain()
    assert caplog.messages == ["acme/all is blocked until it is repaired: "]
    caplog.clear()

    world.advance(400.0)
    world.advance_in_steps(7200.0)
    world.fail(OutcomeKind.REJECTED)
    world.accept("cpu")
    world.drain()

    assert caplog.messages[0].startswith("alert disk: trigger to acme/all is late: misconfigured")
    assert "acme/all delivers again" in caplog.messages
    assert caplog.messages[-1] == "alert cpu: trigger to acme/all was not delivered: rejected: "


def test_the_observer_of_the_host_has_no_deadline(world: World) -> None:
    reported: list[tuple[str, str]] = []

    def observe(hook: str, receipt: Receipt) -> None:
        reported.append((hook, receipt.delivery.alert.key))

    world.new_engine(observe=observe)
    world.accept("disk")
    world.drain()

    assert reported == [("hostspec_delivered", "disk")]
    assert world.observer.names == ["delivered"]
