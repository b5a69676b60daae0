"""Runs the measurements, each in a process of its own, and prints one table.

``python bench/run.py [--quick] [NAME…]``. If one fails, the others are measured all the same.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback

from figures import Figure, show
from measuring import alone

PROGRAMS = (
    "delivery",
    "planning",
    "accepting",
    "backlog",
    "latency",
    "outage",
    "cluster",
    "storm",
    "console",
    "importing",
    "handing_over",
    "serving",
    "tasks",
    "sending",
)


def measured(name: str, quick: bool) -> list[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    return list(importlib.import_module(name).measure(quick))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small size, for tests")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROGRAMS))
    arguments = parser.parse_args()
    figures: list[Figure] = []
    failed = []
    for name in arguments.names or PROGRAMS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        try:
            figures += alone(measured, name, arguments.quick)
        except Exception:  # noqa: BLE001 -- whatever fails in a process
            traceback.print_exc()
            failed.append(name)
    show(figures)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
