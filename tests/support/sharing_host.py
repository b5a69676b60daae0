"""One of several processes on one database.

``run`` works until its input ends; ``send`` works too, accepts some alerts and waits for them;
``accept`` starts no thread, accepts them, and waits for the others to deliver them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from killed_host import engine_of

from alerthost.outbox.engine import Engine
from hostspec import Alert


def accept(engine: Engine, name: str, count: int) -> None:
    submissions = [engine.accept(Alert(f"{name} {number}")) for number in range(count)]
    for status in engine.wait(submissions, 120):
        sys.stdout.write(" ".join(entry.state for entry in status.entries) + "\n")


def main() -> None:
    role, folder, url, name, count = sys.argv[1:]
    engine = engine_of(Path(folder), url)
    if role == "accept":
        accept(engine, name, int(count))
        return
    with engine:
        sys.stdout.write("works\n")
        sys.stdout.flush()
        if role == "run":
            sys.stdin.read()
        else:
            accept(engine, name, int(count))


if __name__ == "__main__":
    main()
