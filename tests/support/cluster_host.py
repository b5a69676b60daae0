"""One of several processes on a server: a worker, or one that only accepts.

``worker`` works until its input ends, and writes each started attempt to a file. ``limited`` keeps
PagerDuty's limits; ``freezing`` stops once, right before an attempt. ``front`` reads numbers, and
prints each once its submission is on the disk, however many tries that takes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from killed_host import alert_of, engine_of

from alerthost.outbox import dispatcher
from alerthost.outbox.engine import Engine
from alerthost.outbox.leasing import Lease
from alerthost.store.errors import StoreError

LEASE = 6.0


class NotingEngine(Engine):
    """Knows what each of its threads sends."""

    sending = threading.local()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._send_leased = self._dispatcher._send
        self._dispatcher._send = self._send  # type: ignore[method-assign]

    def _send(self, lease: Lease) -> None:
        self.sending.lease = lease
        self._send_leased(lease)


class FreezingEngine(NotingEngine):
    """Stops its process between its first lease and the attempt."""

    frozen = False

    def _send(self, lease: Lease) -> None:
        if not self.frozen:
            self.frozen = True
            os.kill(os.getpid(), signal.SIGSTOP)
        super()._send(lease)


def note_attempts(file: Path) -> None:
    """Note each attempt right before it starts: delivery, attempt, worker_id and time."""
    notes = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    attempt = dispatcher.make_attempt

    def noting(*arguments: Any) -> Any:
        lease = NotingEngine.sending.lease
        os.write(notes, f"{lease.id} {lease.attempt} {lease.worker_id} {moment()}\n".encode())
        return attempt(*arguments)

    dispatcher.make_attempt = noting


moment = time.time


def work(
    store: str, url: str, folder: str, make: type[Engine] = NotingEngine, **options: Any
) -> None:
    note_attempts(Path(folder) / "attempts")
    with engine_of(Path(), url, store, make, lease=LEASE, workers=4, **options):
        sys.stdout.write("works\n")
        sys.stdout.flush()
        sys.stdin.read()


def accept(store: str, url: str) -> None:
    engine = engine_of(Path(), url, store)
    for line in sys.stdin:
        while True:
            try:
                engine.accept(alert_of(int(line)), submission_id=line.strip())
            except StoreError:
                continue
            break
        sys.stdout.write(line)
        sys.stdout.flush()


def main() -> None:
    role, store, url, folder, ahead = sys.argv[1:]
    time.time = lambda: moment() + float(ahead)  # the clock of this machine is wrong
    if role == "worker":
        work(store, url, folder)
    elif role == "limited":
        work(store, url, folder, limited=True)
    elif role == "freezing":
        work(store, url, folder, FreezingEngine)
    else:
        accept(store, url)


if __name__ == "__main__":
    main()
