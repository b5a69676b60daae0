"""``alerthost send``: alerts in, deliveries out."""

from __future__ import annotations

import datetime as dt
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO, Final

from alerthost.cli.progress import Followed, Following
from alerthost.cli.signals import Interrupts
from alerthost.ingest import json_alerts
from alerthost.ingest.json_alerts import ParsedAlert
from alerthost.store.errors import LostCommitError, StoreError, UnknownCommitError
from hostspec.alert import Alert, Identity
from hostspec.errors import Fault

if TYPE_CHECKING:
    from alerthost.outbox.engine import Engine

GROUP: Final = 100
"""Statements that are accepted together, at most, where so many have come."""

MOST: Final = 10_000
"""Statements that are followed at once: as long as some get through, more wait to be read."""

STUCK: Final = 5.0
"""Seconds without any getting through after which the oldest is followed no longer."""

APART: Final = 5.0
"""Seconds that a statement waits for the one before it about the same problem."""

MOST_APART: Final = 100
"""Statements that wait so, at most: where there are more, what they say coalesces."""

LINGER: Final = 10.0
"""Seconds, at most, for what waits from before and is due."""

_PAUSE: Final = 0.05
_IDLE: Final = 0.2


class Sending:
    """Accepts statements as they come, and stays until it is known what came of them.

    Statements about one problem are kept apart for a moment, so that each of them is told: what
    waits together coalesces.

    Args:
        engine: started.
        following: shows what comes of them.
        interrupts: end it before the time.
    """

    def __init__(self, engine: Engine, following: Following, interrupts: Interrupts) -> None:
        self._engine = engine
        self._following = following
        self._interrupts = interrupts
        self._last: dict[Identity, Followed] = {}
        self._apart: dict[Identity, deque[tuple[Followed, Alert]]] = {}

    def run(self, given: Iterable[ParsedAlert], timeout: float) -> None:
        """Send all of them.

        Args:
            given: read in a thread of its own, for it may take as long as it likes.
            timeout: seconds to wait after the last one for what is on its way.

        Raises:
            StoreError: the store cannot be read.
        """
        reading = _Reading(given)
        while not self._interrupts.count and not reading.ended:
            fresh = self._read_on(reading)
            self._let_go()
            self._look(0.0 if fresh else _PAUSE)
        end = time.monotonic() + timeout
        self._wait(end)
        if not self._interrupts.count:
            # an incident that was just resolved may have blocked an orphaned one
            self._following.add_recovered(self._engine.recover_orphans())
            self._wait(end)
        self._take_in(reading.rest())
        self._let_go(everything=True)
        self._linger(end)

    def _wait(self, end: float) -> None:
        """Wait for all that is followed, until a moment on the monotonic clock."""
        while not self._interrupts.count and self._following.count and time.monotonic() < end:
            self._let_go()
            self._look(_PAUSE)

    def _read_on(self, reading: _Reading) -> int:
        """Take in what has come; say how much."""
        following = self._following
        if following.count >= MOST:
            if time.monotonic() - following.moved_at < STUCK:
                return 0
            for _ in range(GROUP):
                following.leave_oldest()
        fresh = reading.take(0.0 if following.count else _IDLE)
        self._take_in(fresh)
        return len(fresh)

    def _look(self, timeout: float) -> None:
        if self._following.count:
            self._following.look(timeout)
        if len(self._last) > MOST:
            kept = ((alert, each) for alert, each in self._last.items() if _is_on_its_way(each))
            self._last = dict(kept)

    def _linger(self, deadline: float) -> None:
        """Let what is due go out too, though it waited from before: nobody else may send it."""
        end = min(deadline, time.monotonic() + LINGER)
        while not self._interrupts.count and time.monotonic() < end:
            if self._engine.wait_idle(_IDLE):
                return

    def _take_in(self, fresh: Sequence[ParsedAlert]) -> None:
        following, ready = self._following, []
        for statement in fresh:
            if statement.alert is None:
                following.tally.faulty += 1
                following.add(Followed.faulty(statement.location, map(str, statement.faults)))
                continue
            alert = statement.alert.as_of(dt.datetime.now(dt.UTC))
            followed = Followed.of(statement.location, alert)
            following.add(followed)
            before = self._last.get(alert.identity)
            if alert.identity in self._apart or (before and _is_on_its_way(before)):
                self._apart.setdefault(alert.identity, deque()).append((followed, alert))
            else:
                self._last[alert.identity] = followed
                ready.append((followed, alert))
        self._accept(ready)

    def _let_go(self, *, everything: bool = False) -> None:
        """Accept those that waited long enough for the ones before them."""
        everything = everything or sum(map(len, self._apart.values())) > MOST_APART
        ready = []
        for identity, waiting in list(self._apart.items()):
            while waiting and (everything or not _is_on_its_way(self._last[identity])):
                followed, alert = waiting.popleft()
                self._last[identity] = followed
                ready.append((followed, alert))
            if not waiting:
                del self._apart[identity]
        self._accept(ready)

    def _accept(self, ready: Sequence[tuple[Followed, Alert]]) -> None:
        if not ready:
            return
        try:
            ids = self._engine.accept_many([alert for _, alert in ready])
        except StoreError as error:
            self._following.tally.unaccepted += len(ready)
            for followed, _ in ready:
                followed.refuse(f"{_told(error)}: {error}")
            return
        for (followed, _), submission_id in zip(ready, ids, strict=True):
            followed.accept(submission_id)


def _told(error: StoreError) -> str:
    if isinstance(error, LostCommitError):
        return "may be lost"
    if isinstance(error, UnknownCommitError):
        return "may be accepted or not; send it again"
    return "not accepted"


def _is_on_its_way(statement: Followed) -> bool:
    """Check whether the next statement about its problem had better wait."""
    if statement.is_known:
        return False
    return statement.submission_id is None or time.monotonic() - statement.accepted_at < APART


class _Reading:
    """Statements as they come, read in a thread of its own.

    Attributes:
        ended: there are no more.
    """

    def __init__(self, given: Iterable[ParsedAlert]) -> None:
        self.ended = False
        self._read: queue.Queue[ParsedAlert | None] = queue.Queue(GROUP)
        threading.Thread(target=self._fill, args=(given,), daemon=True).start()

    def take(self, timeout: float) -> Sequence[ParsedAlert]:
        """Return what is there, and wait for the first one if there is nothing."""
        found: list[ParsedAlert] = []
        try:
            while len(found) < GROUP and not self.ended:
                each = self._read.get(block=not found and timeout > 0, timeout=timeout)
                if each is None:
                    self.ended = True
                else:
                    found.append(each)
        except queue.Empty:
            pass
        return found

    def rest(self) -> Sequence[ParsedAlert]:
        """Return what was read and not taken yet."""
        found: list[ParsedAlert] = []
        while some := self.take(0.0):
            found += some
        return found

    def _fill(self, given: Iterable[ParsedAlert]) -> None:
        try:
            for each in given:
                self._read.put(each)
        except OSError as error:
            fault = Fault("", f"cannot be read on: {error.strerror}")
            self._read.put(ParsedAlert("input", None, (fault,)))
        finally:
            self._read.put(None)


def aside(files: Sequence[BinaryIO]) -> Iterator[ParsedAlert]:
    """Read several files, one after the other, in a thread that may be left waiting for them.

    Each is opened again: who ends the process must not have to wait for the one that reads.
    """
    for file in files:
        name = file.name if len(files) > 1 else ""
        try:
            descriptor = os.dup(file.fileno())
        except OSError:  # no file of the system's, which a test may give
            yield from json_alerts.parse_lines(name, file)
        else:
            with os.fdopen(descriptor, "rb") as own:
                yield from json_alerts.parse_lines(name, own)
