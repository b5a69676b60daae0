"""Post the batches of one queue in order, but hold none for alerts that are refused for now."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

from alerthost_client.batch import Batch, Identity, Progress, Record
from alerthost_client.sender import FIRST_PAUSE, Sender

MOST_HELD = 50_000
"""Refused alerts, counted once for each batch, beyond which no new batch is posted."""


class Queue(Protocol):
    """Alerts in memory or in a spool."""

    def take(self, after: str) -> Batch | None:
        """Return the first batch whose key is after another one; None without one.

        A batch is the same one until it is settled.
        """

    def settle(self, batch: Batch, progress: Progress) -> None:
        """Remove the accepted and the rejected alerts of a batch."""


class Poster:
    """Posts the batches of one queue.

    A batch with refused alerts is held: later batches are posted without waiting for it. Of an
    alert with a held state, only one that supersedes this is posted, and if it is accepted the held
    one is not posted any more; others wait behind it. The held batches are posted again in turn,
    with a pause after each of which no alert is accepted.

    Args:
        queue: of this process, or shared with others that do not post now.
        sender: posts a batch.
        settle: is called with the queue, a batch and its progress.
    """

    def __init__(
        self, queue: Queue, sender: Sender, settle: Callable[[Queue, Batch, Progress], None]
    ) -> None:
        self._queue = queue
        self._sender = sender
        self._settle = settle
        self._held: dict[str, dict[Identity, set[str]]] = {}  # the statuses, by batch
        self._last = self._tried = ""
        self._due = math.inf
        self._pause = FIRST_PAUSE
        self._longest_pause = math.inf

    @property
    def holds(self) -> bool:
        """Whether alerts are refused for now."""
        return bool(self._held)

    def due_in(self) -> float:
        """Return the seconds until held alerts are posted again; infinity without any."""
        return max(0.0, self._due - time.monotonic())

    def hurry(self, longest_pause: float) -> None:
        """Shorten the pauses from now on."""
        self._longest_pause = longest_pause
        self._due = min(self._due, time.monotonic() + longest_pause)

    def post_next(self) -> bool:
        """Post the next batch; return whether there was one, accepted or not.

        Raises:
            OSError: of the queue.
        """
        again = self._held and time.monotonic() >= self._due
        if not again and sum(map(len, self._held.values())) >= MOST_HELD:
            return False
        batch = self._queue.take(self._tried if again else self._last)
        if again:
            self._forget_removed(batch)
        if batch is None:
            if not self._held:
                self._last = ""  # keys are times, and a clock may be set back
            return False
        ready, behind = self._split(batch)
        progress = self._sender.post(batch.key, ready)
        if progress is None:
            return True
        progress.refused += behind
        self._supersede(batch, progress)
        self._settle(self._queue, batch, progress)
        self._last = max(self._last, batch.key)
        self._hold(batch, progress)
        return True

    def _split(self, batch: Batch) -> tuple[list[Record], list[Record]]:
        """Return the alerts of a batch that are posted now, and those that wait behind others."""
        if not any(key < batch.key for key in self._held):
            return [*batch.records], []
        held: dict[Identity, set[str]] = {}
        for key, alerts in self._held.items():
            for identity, statuses in alerts.items() if key < batch.key else ():
                held.setdefault(identity, set()).update(statuses)
        ready: list[Record] = []
        behind: list[Record] = []
        for record in batch.records:
            state = record.read()
            earlier = held.get(state.identity, set())
            if all(map(state.supersedes, earlier)):
                ready.append(record)
            else:
                behind.append(record)
                earlier.add(state.status)
        return ready, behind

    def _supersede(self, batch: Batch, progress: Progress) -> None:
        """Settle the held states, in batches before this one, of alerts that are accepted now."""
        held = [key for key in self._held if key < batch.key]
        accepted = {each.read().identity for each in progress.accepted} if held else set()
        for before, key in zip(["", *held], held):
            over = accepted & self._held[key].keys()
            found = self._queue.take(before) if over else None
            if found is not None and found.key == key:  # it may be removed by hand
                rest = Progress()
                for record in found.records:
                    is_over = record.read().identity in over
                    (rest.accepted if is_over else rest.refused).append(record)
                self._settle(self._queue, found, rest)
                self._remember(key, rest)

    def _remember(self, key: str, progress: Progress) -> None:
        """Note the refused alerts of a batch."""
        alerts: dict[Identity, set[str]] = {}
        for identity, status, _ in (each.read() for each in progress.refused):
            alerts.setdefault(identity, set()).add(status)
        if alerts:
            self._held[key] = alerts
        else:
            self._held.pop(key, None)

    def _hold(self, batch: Batch, progress: Progress) -> None:
        """Hold a batch while some of its alerts are refused, and choose what is posted next."""
        was_held = batch.key in self._held
        self._remember(batch.key, progress)
        if progress.refused:
            self._pause = max(FIRST_PAUSE, progress.pause)
        if not self._held:
            self._forget()
            return
        if was_held:
            self._tried = batch.key if batch.key < max(self._held) else ""
        is_next_at_once = was_held and progress.moved and self._tried
        if (was_held and not is_next_at_once) or self._due == math.inf:
            self._due = time.monotonic() + min(self._pause, self._longest_pause)

    def _forget_removed(self, found: Batch | None) -> None:
        """Forget held batches that were removed by hand: another one was found in their place."""
        for key in [*self._held]:
            if key > self._tried and (found is None or key < found.key):
                del self._held[key]
        if not self._held:
            self._forget()

    def _forget(self) -> None:
        self._tried = ""
        self._due = math.inf
