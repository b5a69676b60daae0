"""Several real processes on one database at once: nothing is lost, and nothing is sent twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from killed_host import KEY, NEW_KEY, engine_of

from hostspec import Alert
from pagerduty_plugin.testing import FakePagerDuty, misbehaviour

PROGRAM = Path(__file__).parents[1] / "support" / "sharing_host.py"
COUNT = 30

Process = subprocess.Popen[str]


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    keys = {"checkout": KEY, "checkout again": NEW_KEY}
    with FakePagerDuty(services=keys, rate_limit=0) as fake:
        yield fake


@pytest.fixture
def start(tmp_path: Path, fake: FakePagerDuty) -> Iterator[Callable[..., Process]]:
    with ExitStack() as running:

        def start(role: str, name: str = "", count: int = COUNT) -> Process:
            command = [sys.executable, str(PROGRAM), role, str(tmp_path), fake.url, name]
            process = subprocess.Popen(
                [*command, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            running.enter_context(process)
            running.callback(process.kill)
            return process

        yield start


def ended(process: Process) -> list[str]:
    """Return the output of a process after its end."""
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0
    return out.splitlines()


def works(process: Process) -> Process:
    assert process.stdout
    assert process.stdout.readline() == "works\n"
    return process


def times_told(fake: FakePagerDuty) -> Counter[str]:
    return Counter(request.json()["dedup_key"] for request in fake.requests)


def test_one_process_delivers_alerts_of_another(
    start: Callable[..., Process], fake: FakePagerDuty
) -> None:
    runner = works(start("run"))
    senders = [start("accept", "a"), start("accept", "b")]

    for sender in senders:
        assert ended(sender) == ["delivered"] * COUNT
    assert ended(runner) == []
    assert len(times_told(fake)) == 2 * COUNT
    assert set(times_told(fake).values()) == {1}


def test_several_processes_deliver_at_once(
    start: Callable[..., Process], fake: FakePagerDuty
) -> None:
    runner = works(start("run"))
    senders = [start("send", "a"), start("send", "b")]

    for sender in senders:
        assert ended(sender) == ["works", *["delivered"] * COUNT]
    ended(runner)
    assert len(times_told(fake)) == 2 * COUNT
    assert set(times_told(fake).values()) == {1}


def test_another_process_takes_over_from_a_killed_one(
    tmp_path: Path, start: Callable[..., Process], fake: FakePagerDuty
) -> None:
    runner = works(start("run"))
    sender = start("send", "a")
    works(sender)
    fake.wait_for(lambda seen: seen.requests, timeout=60)
    runner.kill()

    assert ended(sender) == ["delivered"] * COUNT
    assert len(times_told(fake)) == COUNT
    assert all(incident.state == "triggered" for incident in fake.incidents)
    assert len(fake.incidents) == COUNT
    engine = engine_of(tmp_path, fake.url)
    assert engine.admin.backlog().queued == 0
    engine.database.close()


def test_two_processes_about_the_same_alerts_reach_one_state(
    tmp_path: Path, start: Callable[..., Process], fake: FakePagerDuty
) -> None:
    senders = [start("send", "same", 10), start("send", "same", 10)]
    for sender in senders:
        assert {line for line in ended(sender) if line != "works"} <= {"delivered", "coalesced"}

    assert len(fake.incidents) == 10
    engine = engine_of(tmp_path, fake.url)
    assert len(engine.admin.incidents()) == 10
    engine.database.close()


def test_an_incident_opened_at_a_kill_is_closed_under_its_key(
    tmp_path: Path, start: Callable[..., Process], fake: FakePagerDuty
) -> None:
    gate = misbehaviour.Gate()
    fake.misbehave(misbehaviour.late(gate), times=1)
    sender = start("send", "a", 1)
    fake.wait_for(lambda seen: seen.incidents, timeout=60)
    sender.kill()
    sender.wait()
    gate.open()

    engine = engine_of(tmp_path, fake.url, keys=[NEW_KEY, KEY])
    engine.accept(Alert("a 0", status="resolved"))
    engine.drain()
    engine.database.close()
    assert [(each.service, each.state) for each in fake.incidents] == [("checkout", "resolved")]
