"""A real process, killed at random instants, and started again on the same database."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import progress
import pytest
import sqlalchemy as sa
from killed_host import KEY, LEASE, MOST, PROBLEMS, alert_of, engine_of
from size import KILLS

from alerthost.outbox.engine import Engine
from pagerduty_plugin.testing import FakePagerDuty

PROGRAM = Path(__file__).parents[1] / "support" / "killed_host.py"


@pytest.fixture
def hosts(tmp_path: Path, url: str, fake: FakePagerDuty) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(PROGRAM), str(tmp_path), url, fake.url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        yield running


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    with FakePagerDuty(services={"checkout": KEY}, rate_limit=0) as fake:
        yield fake


@pytest.mark.sized
def test_accepted_alerts_survive_every_kill(
    hosts: subprocess.Popen[str], tmp_path: Path, url: str, fake: FakePagerDuty
) -> None:
    chance = random.Random(KILLS)
    accepted = 0
    for kill in range(1, KILLS + 1):
        accepted = _run_and_kill(hosts, fake, accepted, chance)
        if not kill % progress.EVERY:
            progress.report(
                f"{url.partition(':')[0]}: {kill} kills, {accepted} submissions accepted"
            )
    engine = engine_of(tmp_path, fake.url, url, lease=LEASE)
    with engine.database:
        _check(engine, fake, accepted)


def _run_and_kill(
    hosts: subprocess.Popen[str], fake: FakePagerDuty, first: int, chance: random.Random
) -> int:
    """Run a process for a while, kill it, and return the number of the next submission."""
    assert hosts.stdin
    assert hosts.stdout
    reported = len(fake.requests)
    hosts.stdin.write(f"{first}\n")
    hosts.stdin.flush()
    process = int(hosts.stdout.readline())
    sends = chance.choice([0, 0, 1, 2, 3])
    accepts = MOST if sends else chance.randint(0, MOST)  # none: it is killed as it starts
    for number in range(first, first + accepts):
        assert int(hosts.stdout.readline()) == number
    fake.wait_for(lambda seen: len(seen.requests) >= reported + sends, timeout=60)
    os.kill(process, signal.SIGKILL)
    accepted = first + accepts
    while (said := hosts.stdout.readline()) != "gone\n":  # before it died
        assert said, "who starts the processes is gone"
        accepted += 1
    return accepted


def _check(engine: Engine, fake: FakePagerDuty, accepted: int) -> None:
    with engine.database.read() as connection:
        kept = set(connection.execute(sa.text("SELECT submission_id FROM submissions")).scalars())
    assert kept >= {str(number) for number in range(accepted)}
    # the one that a kill cut off may be accepted, or not: said again, it is the same
    last = accepted - accepted % PROBLEMS + 4 * PROBLEMS
    submissions = [str(number) for number in range(last)]
    ahead = range(accepted, last)
    engine.accept_many(
        [alert_of(number) for number in ahead], submission_ids=[str(number) for number in ahead]
    )
    with engine:
        assert engine.wait_idle(600)
        statuses = engine.wait(submissions, 600)
    assert all(each.settled for each in statuses)
    states = {entry.state for each in statuses for entry in each.entries}
    assert states <= {"delivered", "coalesced"}
    assert all(each.entries or each.note for each in statuses)

    wanted = {}
    for number in range(last):
        alert = alert_of(number)
        wanted[alert.key] = alert.status
    held = {row.incident.holders[0].key for row in engine.admin.incidents() if row.incident.holders}
    assert held == {key for key, status in wanted.items() if status == "firing"}
    _check_incidents(fake, wanted)


def _check_incidents(fake: FakePagerDuty, wanted: dict[str, str]) -> None:
    still = defaultdict(list)
    for incident in fake.incidents:
        still[incident.dedup_key].append(incident)
    open_ones = {key for key, found in still.items() if found[-1].state != "resolved"}
    assert len(still) == PROBLEMS
    assert len(open_ones) == sum(status == "firing" for status in wanted.values())
    for found in still.values():
        # a duplicate is a repeat of an open incident: none opens beside another
        assert all(each.state == "resolved" for each in found[:-1])
