"""A child that is forked while the parent sends works without the parent's threads."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from recorder import Hanging, Page, host_of
from shared import unmeasured

from hostspec import Alert, forking
from hostspec.inprocess import Host
from hostspec.inprocess.fair_lock import Call, FairLocks
from hostspec.inprocess.memory import IncidentMemory
from hostspec.plugins.isolation import FAILURES
from hostspec.plugins.limited_log import LimitedLog

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


LIMITED_LOG = LimitedLog(logging.getLogger("hostspec"))


def in_child(act: Callable[[], bool]) -> bool:
    """Fork; return whether the function returned True in the child."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if act() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_child_handles_an_alert_that_its_parent_is_sending() -> None:
    parent, page = os.getpid(), Page()
    sending = Hanging(page, lambda _: os.getpid() == parent)
    host = host_of(page)

    def same_alert() -> bool:
        host.timeout = 60.0
        return host.handle(Alert("disk")).delivered

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(host.handle, Alert("disk"))
        assert sending.inside.wait(60)
        assert in_child(same_alert)
        assert in_child(lambda: host.handle(Alert("cpu")).delivered)
        sending.go_on.set()
        assert first.result(60).delivered
    assert host.handle(Alert("disk", status="resolved")).delivered


def test_child_remembers_incidents_of_its_parent() -> None:
    page = Page()
    host = host_of(page)
    host.handle(Alert("disk"))

    assert in_child(lambda: len(host.held_by(Alert("disk").identity)) == 1)


def test_child_starts_without_tickets() -> None:
    locks = FairLocks()

    def leave() -> bool:
        locks.release(ticket)
        with locks.hold("disk", Call()):
            return True

    (ticket,) = locks.enqueue(["disk"], Call())

    assert in_child(leave)
    assert not locks.enqueue(["disk"], Call())[0].acquired.is_set()


@pytest.mark.parametrize("lock_of", [FAILURES, LIMITED_LOG], ids=["failures", "log"])
def test_fork_waits_for_changes_in_other_threads(lock_of: forking.Locked) -> None:
    """Without this, the child would wait for ever for a thread that it does not have."""
    held = threading.Event()

    def change() -> None:
        with lock_of._lock:
            held.set()
            time.sleep(0.1)

    thread = threading.Thread(target=change)
    thread.start()
    assert held.wait(60)

    assert in_child(lambda: lock_of._lock.acquire(timeout=1))
    thread.join()


@pytest.mark.parametrize("make", [FairLocks, IncidentMemory])
def test_locks_are_renewed(make: Callable[[], FairLocks | IncidentMemory]) -> None:
    """Repeat the steps of a child in this process: the coverage of a child is not measured."""
    each = make()
    before = each._lock

    each.before_fork()
    each.after_fork_in_child()

    assert each._lock is not before
    assert not each._lock.locked()


def test_threads_fork_at_once() -> None:
    """In a process of its own, as a mistake would let this one hang."""
    program = """
import os
from concurrent.futures import ThreadPoolExecutor
from hostspec.inprocess.fair_lock import FairLocks
alive = [FairLocks() for _ in range(50)]
def status_of_child(_):
    child = os.fork()
    if not child:
        os._exit(0)
    return os.waitpid(child, 0)[1]
with ThreadPoolExecutor(4) as pool:
    assert not any(pool.map(status_of_child, range(100)))
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    ran = subprocess.run(
        command, env=unmeasured(), capture_output=True, text=True, timeout=120, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_every_object_is_called_around_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    class Witness:
        def __init__(self) -> None:
            self.calls: list[str] = []
            self.before_fork = lambda: self.calls.append("before")
            self.after_fork_in_parent = lambda: self.calls.append("parent")
            self.after_fork_in_child = lambda: self.calls.append("child")

    witness = Witness()
    monkeypatch.setattr(forking, "_known", [witness])

    for after in (forking._in_parent, forking._in_child):
        forking._before()
        after()

    assert witness.calls == ["before", "parent", "before", "child"]
    assert forking._forking == []


def test_unused_host_is_garbage_collected() -> None:
    host: Host = host_of(Page())
    parts = [weakref.ref(part) for part in (host, host._locks, host._memory)]
    assert all(part() in forking._known for part in parts[1:])

    del host
    gc.collect()

    assert [part() for part in parts] == [None] * 3


def test_object_of_another_process_raises() -> None:
    @forking.of_its_process
    class Thing:
        def __init__(self, name: str) -> None:
            self.name = name

        def greet(self, word: str) -> str:
            """Greet."""
            return f"{word}, {self.name}"

    thing = Thing("engine")
    assert thing.greet(word="Hello") == "Hello, engine"
    assert Thing.greet.__doc__ == "Greet."

    thing._process = 1  # type: ignore[attr-defined]

    message = r"this Thing belongs to the process 1, which made it; make a new"
    with pytest.raises(RuntimeError, match=message):
        thing.greet("Hello")
