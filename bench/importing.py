"""Starting an engine from a file: its time and memory, in a bare interpreter and in a host.

The host imports requests, as one does that posts its alerts itself. Beside it: importing the
client or the contract, running a command, and loading the plugin. Each runs in a new interpreter,
in turn; the store exists already.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, main
from files import engine_from, write

START = """
from pathlib import Path
from files import engine_from
opened = engine_from(Path('alerthost.toml'))
engine, _ = opened.__enter__()
engine.start()
"""

EXEC = """
import contextlib, os, sys
os.environ['ALERTHOST_SPOOL'] = 'spool'
sys.argv[1:] = ['exec', 'key', '--', 'true']
from alerthost.__main__ import main
with contextlib.suppress(SystemExit):
    main()
"""

PROGRAMS = {
    "importing the client": ("", "import alerthost_client"),
    "making a client": ("", "from alerthost_client import Client; Client()"),
    "alerthost exec": ("", EXEC),
    "importing hostspec": ("", "import hostspec"),
    "loading the plugin": ("", "from hostspec.plugins import load; load(['pagerduty'])"),
    "starting an engine from a file, bare interpreter": ("", START),
    "starting an engine from a file, host": ("import requests", START),
}
"""The imports before measuring, and the measured program."""

GOALS = {
    "importing the client": (None, 0.04, 5.0),
    "alerthost exec": (None, 0.15, None),
    "starting an engine from a file, bare interpreter": (0.5, None, None),
    "starting an engine from a file, host": (0.5, None, 25.0),
}

MEASURED = """
import json, time
{before}
def used():
    with open("/proc/self/status") as status:
        (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
    return time.perf_counter(), time.process_time(), int(peak) / 1024
start = used()
{program}
print(json.dumps([after - before for before, after in zip(start, used())]))
"""
"""Prints the seconds, the seconds of CPU, and the MB at the peak."""


def run(before: str, program: str, folder: str) -> tuple[float, ...]:
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    ran = subprocess.run(
        [sys.executable, "-c", MEASURED.format(before=before, program=program)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        check=True,
        text=True,
    )
    return tuple(json.loads(ran.stdout))


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    used = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        with engine_from(write(folder)) as (engine, _):
            engine.database.migrate()
        for _ in range(1 if quick else 9):
            for name, program in PROGRAMS.items():
                used[name].append(run(*program, folder))
    for name, every in used.items():
        goals = GOALS.get(name, (None, None, None))
        units = ("seconds", "seconds of CPU", "MB")
        for unit, numbers, most in zip(units, zip(*every, strict=True), goals, strict=True):
            yield Figure(f"{unit}, {name}", statistics.median(numbers), at_most=most)


if __name__ == "__main__":
    main(measure)
