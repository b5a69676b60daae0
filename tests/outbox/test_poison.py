"""A poison submission stops no host: it is planned alone, and then dead-lettered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from engines import EITHER, World
from waiting import wait_until

from alerthost.outbox import heartbeat, planner
from alerthost.outbox import poison as poison_marks
from alerthost.outbox.submission import DEAD, SubmissionOutcome
from hostspec import Alert

SERVER = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def poison(world: World) -> Callable[[Alert], Any]:
    """Make planning the alert "poison" end the process."""
    plan = world.page.plan

    def dying(alert: Alert, *rest: Any, **options: Any) -> Any:
        if alert.key == "poison":
            raise KeyboardInterrupt  # which planning lets through
        return plan(alert, *rest, **options)

    world.page.plan = dying  # type: ignore[method-assign]
    return dying


def die(world: World) -> None:
    """Drain in a process that ends, and start another one."""
    with pytest.raises(KeyboardInterrupt):
        world.drain()
    world.new_engine()


@EITHER
def test_a_submission_that_ends_processes_is_dead_lettered(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.accept("cpu")
    name = world.accept("poison")
    world.accept("net")
    poison(world)
    for _ in range(3):
        die(world)

    assert sorted(world.drain()) == ["trigger cpu", "trigger net"]
    (status,) = world.engine.admin.statuses([name])
    assert status.note is not None
    assert status.note.failures == (DEAD,)
    [dead] = world.engine.admin.unsent(SubmissionOutcome.DEAD)
    assert (dead.submission_id, dead.alert.key) == (name, "poison")
    assert "alert poison: dead-lettered" in caplog.text
    assert world.execute("SELECT name FROM planners") == []


def test_the_others_of_its_batch_are_planned_alone_and_delivered(world: World) -> None:
    world.accept("cpu")
    world.accept("poison")
    poison(world)
    die(world)
    with pytest.raises(KeyboardInterrupt):
        world.drain()

    assert world.states == ["queued"]


def test_submissions_of_a_live_process_are_not_suspected(world: World) -> None:
    world.accept("disk")
    world.new_engine()
    assert world.drain() == ["trigger disk"]
    assert world.execute("SELECT name FROM planners") == []


def mark(world: World, name: str, attempts: int) -> None:
    """Mark all pending submissions as those that a worker plans."""
    rows = tuple(row.id for row in world.execute("SELECT id FROM submissions ORDER BY id"))
    with world.database.begin() as connection:
        poison_marks.write_mark(connection, poison_marks.Mark(name, rows, attempts))


@SERVER
def test_on_a_server_marks_of_an_earlier_turn_are_suspected_at_once(world: World) -> None:
    """A killed worker counts as alive for some seconds."""
    world.accept("cpu")
    world.accept("disk")
    other = heartbeat.presence(world.database)
    mark(world, other.name, 0)
    with world.engine._registration.registered():
        assert [world.engine._dispatcher.plan() for _ in range(3)] == [1, 1, 0]
    assert world.execute("SELECT name FROM planners") == []
    assert sorted(world.drain()) == ["trigger cpu", "trigger disk"]
    other.leave()


@SERVER
def test_on_a_server_a_submission_of_a_live_worker_is_planned_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker may have lost its connection while it planned."""
    monkeypatch.setattr(heartbeat, "BEAT", 0.01)
    world.accept("cpu")
    other = heartbeat.presence(world.database)
    mark(world, other.name, poison_marks.MOST_TRIES)
    wait_until(lambda: world.drain() == ["trigger cpu"])
    other.leave()


@SERVER
def test_on_a_server_a_submission_is_dead_lettered_once_its_worker_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then no other worker plans it, and dies."""
    monkeypatch.setattr(heartbeat, "BEAT", 3600.0)
    name = world.accept("disk")
    other = heartbeat.presence(world.database)
    mark(world, other.name, poison_marks.MOST_TRIES)
    assert world.drain() == []
    assert world.engine.admin.statuses([name])[0].note is None

    other.leave()
    assert world.drain() == []
    (status,) = world.engine.admin.statuses([name])
    assert status.note is not None
    assert status.note.failures == (DEAD,)


KILLED = """
import os, signal, sys
from pathlib import Path
from hostspec import Alert
from alerthost.outbox.engine import Engine
from hostspec.plugins import Rule
from hostspec.plugins import load
from alerthost.store.database import Database

def die(alert):
    if alert.key == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    return False

rules = [Rule("Dies", (), die)]
engine = Engine(Database("sqlite:///alerthost.db", Path(sys.argv[1])), load([]), rules)
if sys.argv[2:]:
    engine.accept_many([Alert("cpu"), Alert("poison"), Alert("net")])
engine.drain()
print(engine.admin.backlog().pending)
"""


def test_a_poison_submission_on_disk_stops_no_host(tmp_path: os.PathLike[str]) -> None:
    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(tmp_path), *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert [run("new").returncode, run().returncode, run().returncode] == [-9, -9, -9]
    last = run()
    assert (last.returncode, last.stdout) == (0, "0\n"), last.stderr


def test_hanging_planning_is_logged_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(planner, "HANGING_AFTER", -1.0)
    plan = world.page.plan

    def slow(*arguments: Any, **options: Any) -> Any:
        world.engine._planner.note_hanging()
        world.engine._planner.note_hanging()
        return plan(*arguments, **options)

    world.page.plan = slow  # type: ignore[method-assign]
    world.accept("disk")
    world.drain()

    logged = [each for each in caplog.messages if "has not returned" in each]
    assert len(logged) == 1
    assert logged[0].startswith("alert disk: a rule or plugin")
