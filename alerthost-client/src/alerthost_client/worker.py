"""The worker: queues alerts in memory or in a spool, and posts them in a background thread."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from alerthost_client import lifecycle
from alerthost_client.alert import DroppedError
from alerthost_client.batch import Batch, Outcome, Progress
from alerthost_client.limited_log import LimitedLog
from alerthost_client.memory import MemoryQueue
from alerthost_client.poster import Poster, Queue
from alerthost_client.sender import Sender, log_rejection
from alerthost_client.transport import Transport, describe

if TYPE_CHECKING:
    from alerthost_client.spool import Spool

LOOK_EVERY = 2.0
"""Seconds between two looks for alerts of other processes in a spool."""

LOOK_AGAIN = 0.2
"""Seconds between two looks at alerts that another process is posting."""

FAILED_PAUSE = 1.0
"""Seconds of the thread after an error of the disk."""

HURRY = 0.5
"""Seconds of the longest pause between two attempts at the end of a process."""

_POLL = 0.05
_IDLE = 60.0

_log = logging.getLogger("alerthost_client")


class Stats(NamedTuple):
    """The counts of the alerts of this process.

    Attributes:
        pending: queued in memory; alerts of a spool are not counted.
        accepted: by alerthost; those of a spool are counted by the process that posts them.
        rejected: faulty, or rejected by alerthost; each is logged.
        dropped: the queue was full, or the client closed.
    """

    pending: int
    accepted: int
    rejected: int
    dropped: int


class Worker:
    """Queues alerts, and posts them in order.

    The first alert starts the thread, in each forked process too.

    Args:
        transport: posts.
        memory: the queue without a spool, and while the spool cannot be written.
        spool: None without one.
        log: limits repeated lines.
        flush_within: seconds to flush at the end of the process.
    """

    def __init__(
        self,
        transport: Transport,
        memory: MemoryQueue,
        spool: Spool | None,
        log: LimitedLog,
        flush_within: float,
    ) -> None:
        self._memory = memory
        self._spool = spool
        self._log = log
        self._flush_within = flush_within
        self._sender = Sender(transport, self._pause, self._release_spool, log)
        self._is_closed = False
        self._begin()
        lifecycle.add(self)

    def _begin(self) -> None:
        """Begin in this process: without a thread, and without alerts of its own."""
        self._state = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_woken = False
        self._is_hurried = False
        self._give_up_at = math.inf
        self._flush_end: float | None = None
        self._accepted = self._rejected = self._dropped = 0
        self._memory_poster = Poster(self._memory, self._sender, self._settle)
        self._poster = self._memory_poster  # of the spool, if there is one
        if self._spool is not None:
            self._poster = Poster(self._spool, self._sender, self._settle)

    @property
    def stats(self) -> Stats:
        """The counts of the alerts."""
        with self._state:
            return Stats(len(self._memory), self._accepted, self._rejected, self._dropped)

    def count(self, *, rejected: int = 0, dropped: int = 0) -> None:
        """Count alerts that were not queued."""
        with self._state:
            self._rejected += rejected
            self._dropped += dropped

    def append(self, line: bytes) -> Outcome:
        """Queue an alert; with a spool, it is on disk when this returns.

        Raises:
            DroppedError: the client is closed, or the queue is full.
        """
        if self._is_closed:
            message = "the client is closed"
            raise DroppedError(message)
        outcome = self._append(line)
        self.wake()
        return outcome

    def _append(self, line: bytes) -> Outcome:
        spool = self._spool
        if spool is None or len(self._memory):  # behind alerts in memory, to keep the order
            return self._memory.append(line)
        try:
            appended = spool.append(line)
        except OSError as error:
            text = f"spool: cannot be written ({describe(error)}); alerts are kept in memory"
            self._log.write(logging.ERROR, "writing the spool", text)
            return self._memory.append(line)
        return lambda: spool.outcome(appended)

    def wake(self) -> None:
        """Wake the thread, or start it."""
        with self._state:
            self._is_woken = True
            self._state.notify_all()
            if self._live_thread():
                return
            lifecycle.flush_with_multiprocessing()
            self._thread = threading.Thread(target=self._run, name="alerthost_client", daemon=True)
            # Python 3.12 starts no thread at the end of a process; `flush` posts then
            with contextlib.suppress(RuntimeError):
                self._thread.start()

    def wait(self, outcome: Outcome, seconds: float) -> str | None:
        """Return the outcome of an alert; None if it is pending after some seconds."""
        self._wait_until(lambda: outcome() is not None, time.monotonic() + seconds)
        return outcome()

    def flush(self, seconds: float) -> bool:
        """Wait until no alert of this process is pending; return whether that is so."""
        return self._wait_until(self._is_flushed, time.monotonic() + seconds)

    def at_exit(self) -> None:
        """Flush as the process ends; alerts in memory that are left are lost, and logged.

        Alerts in a spool are safe: they do not wait for an alerthost that does not answer, nor for
        another process that posts. If this process posts, it posts those of others too.
        """
        if not self._is_closed:
            self._finish()

    def close(self) -> None:
        """Flush as at the end of the process, and end the thread."""
        end = self._finish()
        with self._state:
            self._is_closed = True
            self._state.notify_all()
        if thread := self._live_thread():
            thread.join(max(0.0, end - time.monotonic()))

    def before_fork(self) -> None:
        """Wait until no thread holds a lock that a child would inherit."""
        if self._spool is not None:
            self._spool.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Release what `before_fork` acquired."""
        if self._spool is not None:
            self._spool.lock.release()

    def after_fork_in_child(self) -> None:
        """Reset all state; the parent posts the alerts that it queued."""
        self._memory.forget()
        self._log.forget()
        self._sender.failures = 0
        if self._spool is not None:
            self._spool.after_fork_in_child()
        self._begin()

    def _finish(self) -> float:
        """Flush for `flush_within` seconds at most; return when they end."""
        if self._flush_end is None:  # the end may be announced twice, by multiprocessing first
            self._flush_end = time.monotonic() + self._flush_within

        def is_done() -> bool:
            if len(self._memory):
                return False
            if self._spool is None or self._sender.failures or self._poster.holds:
                return True
            try:
                return self._spool.may_end()
            except OSError as error:
                self._log_unreadable(error)
                return True

        with self._state:
            self._memory_poster.hurry(HURRY)
            self._is_hurried = self._is_woken = True
            self._state.notify_all()
        self._wait_until(is_done, self._flush_end)
        with self._state:
            self._is_hurried = False
        if lost := len(self._memory):
            alerts = "1 alert" if lost == 1 else f"{lost} alerts"
            _log.error("%s may be lost: not accepted before the end; use a spool", alerts)
        self._log.flush()
        return self._flush_end

    def _live_thread(self) -> threading.Thread | None:
        return self._thread if self._thread is not None and self._thread.is_alive() else None

    def _is_flushed(self) -> bool:
        if self._spool is not None and not self._spool.is_flushed():
            return False
        return not len(self._memory)

    def _wait_until(self, is_true: Callable[[], bool], end: float) -> bool:
        while not is_true():
            left = end - time.monotonic()
            if left <= 0:
                return False
            if not self._live_thread():
                self._give_up_at = end
                self._post_next()
                self._give_up_at = math.inf
            with self._state:
                self._state.wait(min(left, _POLL))
        return True

    def _release_spool(self) -> None:
        """Let another process post the spool, and begin anew afterwards."""
        if self._spool is not None:
            self._spool.release()
            self._poster = Poster(self._spool, self._sender, self._settle)

    def _pause(self, seconds: float) -> bool:
        """Wait between two attempts; return whether to give up."""
        start = time.monotonic()
        with self._state:
            while True:
                now = time.monotonic()
                if self._is_closed or now >= self._give_up_at:
                    return True
                length = min(seconds, HURRY) if self._is_hurried else seconds
                left = min(start + length, self._give_up_at) - now
                if left <= 0:
                    return False
                self._state.wait(left)

    def _run(self) -> None:
        while not self._is_closed:
            pause = self._post_next()
            with self._state:
                if not self._is_woken and not self._is_closed:
                    self._state.wait(pause)
                self._is_woken = False
        if self._spool is not None:
            self._spool.release()

    def _post_next(self) -> float:
        """Post the next batch, if there is one; return the seconds until the next look."""
        pause = _IDLE
        if self._spool is not None:
            try:
                pause = self._post_spooled(self._spool)
            except OSError as error:
                self._log_unreadable(error)
                pause = FAILED_PAUSE
            else:
                if pause < LOOK_EVERY and not self._poster.holds:
                    return pause
        if self._memory_poster.post_next():
            return 0.0
        return min(pause, self._memory_poster.due_in())

    def _post_spooled(self, spool: Spool) -> float:
        if self._poster.post_next():
            return 0.0
        with self._state:
            self._state.notify_all()  # `take` released the lock for posting
        return LOOK_EVERY if spool.is_empty() else LOOK_AGAIN

    def _log_unreadable(self, error: OSError) -> None:
        text = f"spool: cannot be read or emptied ({describe(error)})"
        self._log.write(logging.ERROR, "reading the spool", text)

    def _settle(self, queue: Queue, batch: Batch, progress: Progress) -> None:
        lost = [*batch.cut, *progress.rejected]
        for rejection in lost:
            log_rejection(rejection)
        with self._state:  # who sees that an alert is settled sees it counted
            queue.settle(batch, progress)
            self._accepted += len(progress.accepted)
            self._rejected += len(lost)
            self._state.notify_all()
