"""A real process, killed at random instants, and started again on the same database."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from killed_host import KEY, PROBLEMS, alert_of, engine_of

from pagerduty_plugin.testing import FakePagerDuty

KILLS = int(os.environ.get("HOSTSPEC_KILLS", "20"))
PROGRAM = Path(__file__).parents[1] / "support" / "killed_host.py"


def test_what_was_accepted_survives_every_kill(tmp_path: Path) -> None:
    chance = random.Random(KILLS)
    with FakePagerDuty(services={"checkout": KEY}, rate_limit=0) as fake:
        accepted = 0
        for _ in range(KILLS):
            accepted = _run_and_kill(tmp_path, fake.url, accepted, chance)
        _check(tmp_path, fake, accepted)


def _run_and_kill(folder: Path, url: str, first: int, chance: random.Random) -> int:
    """Let a process accept some statements, kill it, and give the number of the next one."""
    command = [sys.executable, str(PROGRAM), str(folder), url, str(first), "100000"]
    quota = chance.randint(0, 40)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        last = first - 1
        for line in process.stdout:
            last = int(line)
            if last >= first + quota:
                break
        process.kill()
        for line in process.stdout:  # what it said before it died
            last = int(line)
    return last + 1


def _check(folder: Path, fake: FakePagerDuty, accepted: int) -> None:
    engine = engine_of(folder, fake.url)
    # the one that a kill cut off may be accepted, or not: said again, it is the same
    last = accepted - accepted % PROBLEMS + 4 * PROBLEMS
    statements = [str(number) for number in range(last)]
    engine.accept_many([alert_of(number) for number in range(last)], statement_ids=statements)
    with engine:
        fates = engine.wait(statements, 120)
    assert all(fate.settled for fate in fates)
    states = {entry.state for fate in fates for entry in fate.entries}
    assert states <= {"delivered", "collapsed"}
    assert all(fate.entries or fate.note for fate in fates)

    wanted = {}
    for number in range(last):
        alert = alert_of(number)
        wanted[alert.key] = alert.status
    held = {
        case.incident.holders[0].key for case in engine.desk.incidents() if case.incident.holders
    }
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
