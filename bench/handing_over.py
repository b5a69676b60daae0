"""Handing an alert over with the client, while alerthost is silent, against a write with fsync.

The server accepts connections and never answers, which is worse than no server. The time is that of
one call, in a program that makes a call each millisecond, as one that serves requests does.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from figures import Figure, main
from measuring import percentile

from alerthost_client import Client

CALLS = 2000
MOST = 0.005
"""Seconds of a call."""

RATIOS = {"in memory": 0.5, "with a spool": 2.0}


def durations(call: Callable[[int], object], calls: int) -> list[float]:
    taken = []
    for number in range(calls):
        time.sleep(0.001)
        start = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - start)
    return taken


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    calls = 20 if quick else CALLS
    with tempfile.TemporaryDirectory(dir=".") as folder, socket.create_server(("", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        descriptor = os.open(Path(folder) / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

        def write(number: int) -> None:
            alert = {"key": str(number), "summary": "Disk full on db-1", "severity": "critical"}
            os.write(descriptor, json.dumps(alert).encode())
            os.fsync(descriptor)

        bare = durations(write, calls)
        os.close(descriptor)
        for name, spool in (("in memory", None), ("with a spool", Path(folder) / "spool")):
            with Client(url, spool=spool, flush_within=0) as client:
                taken = durations(
                    lambda number, client=client: client.fire(
                        str(number), "Disk full on db-1", severity="critical"
                    ),
                    calls,
                )
            median = statistics.median(taken)
            yield Figure(f"seconds of a call, {name}, median", median, at_most=MOST)
            against = f"{name}, against a write with fsync"
            baseline = statistics.median(bare)
            yield Figure(f"{against}, median", median, baseline, at_most=RATIOS[name])
            yield Figure(f"{against}, 99 %", percentile(taken, 0.99), percentile(bare, 0.99))


if __name__ == "__main__":
    main(measure)
