"""Runs the measurements, each in a process of its own, and prints one table.

``python bench/run.py [--quick] [NAME…]``
"""

from __future__ import annotations

import argparse
import importlib
import sys

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
    for name in arguments.names or PROGRAMS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        figures += alone(measured, name, arguments.quick)
    show(figures)


if __name__ == "__main__":
    main()
