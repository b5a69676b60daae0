"""Threads of an engine, and the signals between them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from alerthost.store.errors import StoreError
from hostspec.errors import describe_any_error

_log = logging.getLogger("hostspec")

RETRY_STORE: Final = 1.0
"""Seconds after which a failing store is tried again."""

LOOK: Final = 0.5
"""Seconds between two looks whether a signal interrupts a wait."""


class Signal:
    """Counts events; threads wait for the next one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    @property
    def count(self) -> int:
        """The number of events; read it before looking for work."""
        with self._changed:
            return self._count

    def notify(self) -> None:
        """Count an event, and wake one waiting thread."""
        with self._changed:
            self._count += 1
            self._changed.notify()

    def notify_all(self) -> None:
        """Count an event, and wake every waiting thread."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait(self, seen: int, timeout: float | None = None) -> int:
        """Wait until the count is not the given one; return the count."""
        with self._changed:
            self._changed.wait_for(lambda: self._count != seen, timeout)
            return self._count


class StoreHealth:
    """Logs once why the store fails, and once that it works again.

    Attributes:
        trouble: why the store fails now, for the operator; None while it works.
    """

    def __init__(self) -> None:
        self.trouble: str | None = None
        self._lock = threading.Lock()
        self._failed_at = 0.0
        self._reasons: set[str] = set()

    def note_failure(self, error: StoreError) -> None:
        """Log that the store fails: each reason once, until the store works again."""
        with self._lock:
            self._failed_at = time.monotonic()
            self.trouble = str(error)
            known = self.trouble in self._reasons
            self._reasons.add(self.trouble)
        if not known:
            _log.error("the store fails: %s", error)

    def note_success(self) -> None:
        """Log that the store works again, unless a thread failed a moment ago."""
        with self._lock:
            if self.trouble is None or time.monotonic() - self._failed_at < 2 * RETRY_STORE:
                return
            self.trouble = None
            self._reasons.clear()
        _log.warning("the store works again")


class WorkerThreads:
    """The threads that an engine starts.

    Attributes:
        stopping: is set once the threads are to end.
    """

    def __init__(self, health: StoreHealth) -> None:
        self.stopping = threading.Event()
        self.signal = Signal()
        self._health = health
        self._threads: list[threading.Thread] = []

    @property
    def started(self) -> bool:
        """Whether threads were started, and not joined since."""
        return bool(self._threads)

    @property
    def alive(self) -> bool:
        """Whether all threads that were started are alive."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def start(self, jobs: Iterable[tuple[str, Callable[[], object]]]) -> None:
        """Start one thread for each job, given with its name."""
        self.stopping.clear()
        self._threads = [
            threading.Thread(target=job, name=f"hostspec {name}", daemon=True) for name, job in jobs
        ]
        for thread in self._threads:
            thread.start()

    def join(self, deadline: float | None) -> bool:
        """Ask the threads to end, and wait for them; return whether they ended in time.

        The deadline is on the monotonic clock; None for no limit.
        """
        self.stopping.set()
        self.signal.notify_all()
        for thread in self._threads:
            join(thread, deadline)
        if any(thread.is_alive() for thread in self._threads):
            return False
        self._threads = []
        return True

    def work(self, step: Callable[[], bool]) -> None:
        """Repeat a step until the threads are to end; wait while there is nothing to do."""
        seen = self.signal.count
        while not self.stopping.is_set():
            try:
                if not step():
                    self.signal.wait(seen)
            except StoreError as error:
                self._health.note_failure(error)
                self.stopping.wait(RETRY_STORE)
            except BaseException as error:  # noqa: BLE001 -- a worker never dies of one delivery
                _log.error("a worker %s", describe_any_error(error))
                self.stopping.wait(RETRY_STORE)
            seen = self.signal.count

    def repeat(self, seconds: float, job: Callable[[], object]) -> None:
        """Repeat a job until the threads are to end, with a pause between two rounds."""
        while not self.stopping.is_set():
            pause = seconds
            try:
                job()
            except StoreError as error:
                self._health.note_failure(error)
                pause = max(seconds, RETRY_STORE)
            except BaseException as error:  # noqa: BLE001 -- the next round may do better
                _log.error("maintenance %s", describe_any_error(error))
            self.stopping.wait(pause)


def join(thread: threading.Thread, deadline: float | None) -> None:
    """Wait for the end of a thread until a moment of the monotonic clock; None for no limit."""
    left = seconds_until(deadline)
    while thread.is_alive() and left != 0.0:
        # a signal that came just before the wait would not end it
        thread.join(LOOK if left is None else min(left, LOOK))
        left = seconds_until(deadline)


def seconds_until(deadline: float | None) -> float | None:
    """Return the seconds left until a moment of the monotonic clock; None for no deadline."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
