"""What the measurements share: alerts, a responder of their own, rounds, and tables."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hostspec import Alert, Installation
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import InstallationSettings

KEYS = {"checkout": "0123456789abcdef0123456789abcdef", "platform": "f" * 32}


def alert(number: int) -> Alert:
    """Make an alert of everyday size."""
    return Alert(
        f"db-{number}/disk",
        f"Disk full on db-{number}: 98 % of 512 GB used",
        severity="critical",
        source=f"db-{number}",
        component="postgres",
        group="storage",
        class_="disk",
        started_at="2026-11-23T03:14:00Z",
        labels={"team": "data", "region": "eu-central-1", "environment": "production"},
        details={"used": 0.98, "free_bytes": 10_995_116_277, "mount": "/var/lib/postgresql"},
        url="https://host.example/alerts/1",
        links=[{"href": "https://wiki.example/disk", "text": "Runbook"}],
    )


def installation(url: str) -> Installation[InstallationSettings]:
    """Make an installation of two services at a base URL."""
    services = [{"name": name, "integration_key": key} for name, key in KEYS.items()]
    return PagerDuty().installation("acme", {"base_url": url, "services": services})


@contextlib.contextmanager
def responder(certificate: str | None = None, after: float = 0.0) -> Iterator[str]:
    """Run a responder on loopback that answers after some seconds; gives its base URL."""
    program = Path(__file__).with_name("responder.py")
    command = [sys.executable, str(program), str(after), *([certificate] if certificate else [])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        port = int(process.stdout.readline())
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        process.stdin.close()


def seconds(run: Callable[[], object]) -> float:
    """Measure one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def medians(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run contenders in turn, several times; return the median seconds of each.

    What else the machine does then meets all of them alike. One round before is not counted.
    """
    runs: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            taken = seconds(run)
            if number:
                runs[name].append(taken)
    return {name: statistics.median(taken) for name, taken in runs.items()}


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    print(f"\n{title}\n")
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  " + "  ".join(cells).rstrip())
