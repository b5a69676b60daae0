"""Several processes on one PostgreSQL: delivering, accepting, picking up, reclaiming.

Everything is durable. The processes, the server and PagerDuty's stand-in, which is the bare
responder and answers after 50 ms, share this machine's cores. The server's own time is read from
/proc.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import selectors
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import attrs
import procrastinating
import psycopg
from instant import Plugin, engine_on
from measuring import alert, medians, responder, table
from server import Server, running

from alerthost.outbox import backend, heartbeat, leasing, maintenance
from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from hostspec import Alert, Outcome, OutcomeKind, hookimpl
from hostspec.plugins import Rule, load
from hostspec.values import to_json

LANES: Final = 1_000
SENT: Final = 1_000
ANSWER: Final = 0.05
"""Seconds after which PagerDuty's stand-in answers."""

WAYS: Final = ((1, 8), (2, 8), (4, 8), (1, 32))
"""Worker processes, and threads of each."""

ROUNDS: Final = 15
SLICE: Final = 200
GOALS: Final = {"one caller": 0.3, "16 callers": 0.5}
SAMPLES: Final = 100
DEATHS: Final = 3

numbers = itertools.count()


class Routing:
    """Routes an alert to the service in its labels."""

    @hookimpl
    def pagerduty_services(self, alert: Alert) -> Sequence[str]:
        return [alert.labels["service"]]


def submissions() -> list[Alert]:
    """Make alerts for all lanes in turn."""
    return [attrs.evolve(alert(n), labels={"service": f"s{n % LANES}"}) for n in range(SENT)]


def pager_on(store: str, url: str, threads: int) -> Engine:
    """Build an engine that sends to a responder through the real plugin, one lane per service."""
    plugins = load(["pagerduty"], own={"routing": Routing()})
    services = [{"name": f"s{n}", "integration_key": f"{n:032}"} for n in range(LANES)]
    acme = plugins.installation("pagerduty", "acme", {"base_url": url, "services": services})
    use = plugins.rule_action("pagerduty.trigger", acme, {"services": ["s0"]})
    return Engine(Database(store, Path()), plugins, [Rule("Pages", [use])], workers=threads)


class Printing(Plugin):
    """Prints the key of each sent alert, and hangs if asked to."""

    def __init__(self, *, hangs: bool) -> None:
        super().__init__()

        def send(delivery: Any, *_: Any) -> Outcome:
            say(delivery.alert.key)
            if hangs:
                threading.Event().wait()
            return Outcome(OutcomeKind.DELIVERED)

        self.send.send = send  # type: ignore[method-assign]


def printing_on(store: str, *, hangs: bool = False) -> Engine:
    return engine_on(Database(store, Path()), Printing(hangs=hangs))


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


# roles of processes


def deliver(store: str, url: str, threads: str) -> None:
    """Deliver from the first line of input to its end; print the seconds of CPU."""
    pager = pager_on(store, url, int(threads))
    pager.database.migrate()
    say("ready")
    sys.stdin.readline()
    before = time.process_time()
    with pager:
        sys.stdin.read()
        say(time.process_time() - before)


def procrastinate(store: str, url: str, threads: str) -> None:
    """Make the same posts with procrastinate, until none is left; print the seconds of CPU."""
    work = procrastinating.worker_on(store, url, int(threads))
    say("ready")
    sys.stdin.readline()
    before = time.process_time()
    work()
    say(time.process_time() - before)


def print_sent(store: str, hangs: str) -> None:
    with printing_on(store, hangs=hangs == "hangs"):
        say("ready")
        sys.stdin.read()


def listen(store: str) -> None:
    with psycopg.connect(store, autocommit=True) as connection:
        connection.execute("LISTEN bench")
        say("ready")
        for notice in connection.notifies():
            say(notice.payload)


ROLES: Final = {each.__name__: each for each in (deliver, procrastinate, print_sent, listen)}


@contextlib.contextmanager
def process(role: Callable[..., None], *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a role in a process; yield it once it is ready."""
    command = [sys.executable, __file__, role.__name__, *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as popen:
        try:
            assert hear(popen) == "ready"
            yield popen
        finally:
            popen.kill()


def hear(popen: subprocess.Popen[str]) -> str:
    assert popen.stdout
    return popen.stdout.readline().strip()


def posted(url: str) -> int:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return int(answer.read().split()[1])


def delivered(
    role: Callable[..., None], store: str, url: str, processes: int, threads: int
) -> tuple[float, float]:
    """Have processes send all queued deliveries; return the seconds, and those of their CPU."""
    target = posted(url) + SENT
    with contextlib.ExitStack() as running:
        workers = [
            running.enter_context(process(role, store, url, threads)) for _ in range(processes)
        ]
        start = time.perf_counter()
        for each in workers:
            assert each.stdin
            each.stdin.write("go\n")
            each.stdin.flush()
        while posted(url) < target:
            time.sleep(0.05)
        taken = time.perf_counter() - start
        for each in workers:
            assert each.stdin
            each.stdin.close()
        return taken, sum(float(hear(each)) for each in workers)


def delivering(server: Server) -> None:
    alerts = submissions()
    shown: list[tuple[str, ...]] = []

    def row(name: str, threads: int, taken: float, own: float, of_server: float | None) -> None:
        idle = 1 / ANSWER * threads
        cores = (own + (of_server or 0)) / taken
        shown.append(
            (
                name,
                f"{threads}",
                f"{SENT / taken:,.0f}",
                f"{SENT / taken / idle:.2f}",
                f"{own / SENT * 1000:.1f}",
                "" if of_server is None else f"{of_server / SENT * 1000:.1f}",
                f"{cores:.2f}",
            )
        )

    def filled(store: str, url: str) -> None:
        front = pager_on(store, url, 1)
        front.database.migrate()
        for first in range(0, SENT, 100):
            front.accept_many(alerts[first : first + 100])
        front.database.close()

    with responder(after=ANSWER) as url, tempfile.TemporaryDirectory() as folder:
        for processes, threads in WAYS:
            store = server.new_database()
            filled(store, url)
            before = server.cpu()
            taken, own = delivered(deliver, store, url, processes, threads)
            of_server = server.cpu() - before
            row(f"PostgreSQL, {processes} x", processes * threads, taken, own, of_server)
        for threads in (8, 32):
            store = f"sqlite:///{folder}/{threads}.db"
            filled(store, url)
            taken, own = delivered(deliver, store, url, 1, threads)
            row("SQLite, 1 x", threads, taken, own, None)
        for threads in (8, 32):
            store = server.new_database()
            procrastinating.defer(
                store, ((f"{each.labels['service']} {each.key}", to_json(each)) for each in alerts)
            )
            before = server.cpu()
            taken, own = delivered(procrastinate, store, url, 1, threads)
            of_server = server.cpu() - before
            row("procrastinate, 1 x", threads, taken, own, of_server)
    title = (
        f"Delivering {SENT:,} in {LANES:,} lanes, answered after {ANSWER * 1000:g} ms,"
        f" {os.cpu_count()} cores"
    )
    head = (
        "",
        "threads",
        "per second",
        "of the most they can",
        "own CPU (ms each)",
        "server's (ms each)",
        "cores busy",
    )
    table(title, head, shown)
    print("\n  the most they can: each thread only waits for answers")
    print("  once all cores are busy, more processes deliver no more")


def accepting(server: Server) -> None:
    store = server.new_database()
    alerts = [alert(number) for number in range(SLICE)]
    bodies = [json.dumps(to_json(each)) for each in alerts]
    local = threading.local()
    opened: list[psycopg.Connection[Any]] = []

    def bare(number: int) -> None:
        """Insert and commit, on a connection of this thread."""
        if not hasattr(local, "connection"):
            local.connection = psycopg.connect(bare_store)
            opened.append(local.connection)
        local.connection.execute(
            "INSERT INTO submissions (submission_id, scope, key, body, accepted_at)"
            " VALUES (%s, %s, %s, %s, %s)",
            (f"bare {next(numbers)}", "", alerts[number].key, bodies[number], time.time()),
        )
        local.connection.commit()

    bare_store = server.new_database()
    with Database(bare_store, Path()) as database:
        database.migrate()
    front = printing_on(store)
    front.database.migrate()
    with ThreadPoolExecutor(16) as many:
        taken = medians(
            {
                "one caller": lambda: [front.accept(each) for each in alerts],
                "one caller, bare": lambda: [bare(n) for n in range(SLICE)],
                "16 callers": lambda: list(many.map(front.accept, alerts)),
                "16 callers, bare": lambda: list(many.map(bare, range(SLICE))),
            },
            ROUNDS,
        )
    for each in opened:
        each.close()
    front.database.close()
    shown = []
    for name, goal in GOALS.items():
        mine, theirs = SLICE / taken[name], SLICE / taken[f"{name}, bare"]
        ratio = mine / theirs
        met = "yes" if ratio >= goal else "NO"
        shown.append((name, f"{mine:,.0f}", f"{theirs:,.0f}", f"{ratio:.2f}", f"{goal}", met))
    table("Accepting on PostgreSQL", ("", "engine/s", "psycopg/s", "ratio", "goal", "met"), shown)


def picking_up(server: Server) -> None:
    store = server.new_database()
    chance = random.Random(20261123)
    taken: dict[str, list[float]] = {}
    with (
        process(print_sent, store, "goes on") as worker,
        process(listen, store) as listener,
        psycopg.connect(store, autocommit=True) as connection,
    ):
        front = printing_on(store)

        def notify(number: int) -> None:
            connection.execute("SELECT pg_notify('bench', %s)", (str(number),))

        ways: dict[str, tuple[Callable[[int], object], subprocess.Popen[str]]] = {
            f"the engine, which polls every {backend.POLL_SERVER * 1000:g} ms": (
                lambda number: front.accept(alert(number)),
                worker,
            ),
            "LISTEN/NOTIFY alone": (notify, listener),
        }
        for number in range(SAMPLES):
            for name, (start, other) in ways.items():
                time.sleep(chance.uniform(0.05, 0.1))  # not in step with the poller
                start(number)
                before = time.perf_counter()
                hear(other)
                taken.setdefault(name, []).append((time.perf_counter() - before) * 1000)
        front.database.close()
    shown = [
        (name, f"{statistics.median(each):.1f}", f"{sorted(each)[int(SAMPLES * 0.99)]:.1f}")
        for name, each in taken.items()
    ]
    table("From accept in one process to send in another (ms)", ("", "median", "p99"), shown)


def reclaiming(server: Server) -> None:
    store = server.new_database()
    taken = []
    with process(print_sent, store, "goes on") as heir:
        front = printing_on(store)
        for _ in range(DEATHS):
            with process(print_sent, store, "hangs") as mortal:
                while True:
                    front.accept(alert(next(numbers)))
                    first = first_to_print(heir, mortal)
                    leased = time.perf_counter()
                    hear(first)
                    if first is mortal:
                        break
                mortal.kill()
                hear(heir)
                taken.append(time.perf_counter() - leased)
        front.database.close()
    shown = [(f"{min(taken):.1f}", f"{max(taken):.1f}")]
    table(
        "From the last lease of a killed worker to the send by another",
        ("shortest (s)", "longest"),
        shown,
    )
    print(
        f"\n  a worker is dead after {heartbeat.SILENCE:g} s without a beat, and beats every"
        f" {heartbeat.BEAT:g} s"
    )
    print(
        f"  lease {leasing.LEASE:g} s, in which an attempt may start within"
        f" {leasing.LEASE * leasing.START_WITHIN:g} s; checked every {maintenance.KEEP:g} s"
    )


def first_to_print(*processes: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """Return the first process that prints something."""
    with selectors.DefaultSelector() as selector:
        for each in processes:
            assert each.stdout
            selector.register(each.stdout, selectors.EVENT_READ, each)
        key, _ = selector.select()[0]
        found: subprocess.Popen[str] = key.data
        return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running(folder) as server:
        accepting(server)
        delivering(server)
        picking_up(server)
        reclaiming(server)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ROLES[sys.argv[1]](*sys.argv[2:])
    else:
        main()
