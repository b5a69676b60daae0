"""``alerthost send``: reads alerts, and sends them."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import attrs
import click

from alerthost.cli.options import command, with_config, with_timeout
from alerthost.cli.output import Screen
from alerthost.cli.session import STUCK, Session, conclude, open_session
from alerthost.cli.tracked import Count, Tracked
from alerthost.config import configuration
from alerthost.config.document import ConfigFile
from alerthost.ingest import json_alerts
from alerthost.ingest.json_alerts import ParsedAlert
from alerthost.store.errors import LostCommitError, StoreError, UnknownCommitError
from hostspec.alert import Alert, Identity
from hostspec.errors import Fault

GROUP: Final = 100
"""Alerts that are accepted in one transaction, at most."""

MOST: Final = 10_000
"""Submissions that are tracked at once; reading waits while there is progress."""

APART: Final = 5.0
"""Seconds that an alert waits for the delivery of an earlier one with the same identity."""

MOST_APART: Final = 100
"""Alerts that wait like this, at most; more of them may coalesce."""

LINGER: Final = 10.0
"""Seconds to deliver what earlier runs left and is due."""

_PAUSE: Final = 0.05
_IDLE: Final = 0.2


@command("Send alerts.", example="alerthost send alerts.jsonl")
@with_config
@with_timeout
@click.argument("files", type=click.File("rb"), nargs=-1)
def send(path: Path, *, timeout: float, files: tuple[BinaryIO, ...]) -> None:
    """Send the alerts in FILES (default: standard input), one JSON object per line.

    Each alert is stored before it is sent, so that none is lost. Prints one line per delivery,
    and exits when each is delivered or needs the operator. Exit codes: 0 if every alert was
    read and every delivery delivered, 1 if not, 2 for a configuration error; then nothing is
    sent.
    """
    source = ConfigFile.read(path)
    loaded = configuration.load(source, ready=True, needs_rule=True)
    screen = Screen()
    with (
        open_session(source, loaded, screen, earlier=True) as session,
        screen.progress("sending", None) as session.tracker.advance,
    ):
        Sender(session).run(_read_files(files or (sys.stdin.buffer,)), timeout)
        session.finish()
    conclude(session.tracker.tally, screen)


class Sender:
    """Accepts alerts as they are read, and waits until they are delivered.

    Alerts with the same identity wait for each other for a moment: queued together, they would
    coalesce, and only the last one would be delivered.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tracker = session.tracker
        self._engine = session.engine
        self._last: dict[Identity, Tracked] = {}
        self._apart: dict[Identity, deque[_Ready]] = {}

    def run(self, submissions: Iterable[ParsedAlert], timeout: float) -> None:
        """Send all submissions; after the last one, wait up to `timeout` seconds.

        They are read in another thread, as their source may block.
        """
        reader = _Reader(submissions)
        while not self._session.interrupts.count and not reader.ended:
            fresh = self._read(reader)
            self._release()
            self._update(0.0 if fresh else _PAUSE)
        end = time.monotonic() + timeout
        self._wait(end)
        if not self._session.interrupts.count:
            # resolving an incident may allow an orphaned one to be resolved
            recovered = self._engine.recover_orphans()
            self._tracker.add_earlier(Tracked("", submission_id=each) for each in recovered)
            self._wait(end)
        self._add(reader.rest())
        self._release(everything=True)
        self._linger(end)

    def _wait(self, end: float) -> None:
        while self._session.is_waiting(end):
            self._release()
            self._update(_PAUSE if self._apart else _IDLE)

    def _read(self, reader: _Reader) -> int:
        """Add alerts that were read, and return how many."""
        tracker = self._tracker
        if tracker.count >= MOST:
            if time.monotonic() - tracker.moved_at < STUCK:
                return 0
            for _ in range(GROUP):
                tracker.leave_oldest()
        fresh = reader.take(0.0 if tracker.count else _IDLE)
        self._add(fresh)
        return len(fresh)

    def _update(self, timeout: float) -> None:
        if self._tracker.count:
            self._tracker.update(timeout)
        if len(self._last) > MOST:
            kept = ((alert, each) for alert, each in self._last.items() if _is_pending(each))
            self._last = dict(kept)

    def _linger(self, deadline: float) -> None:
        """Deliver what earlier runs left and is due: no other process may be running."""
        end = min(deadline, time.monotonic() + LINGER)
        while not self._session.interrupts.count and time.monotonic() < end:
            if self._engine.wait_idle(_IDLE):
                return

    def _add(self, fresh: Sequence[ParsedAlert]) -> None:
        ready = []
        for submission in fresh:
            parsed = submission.as_of(dt.datetime.now(dt.UTC))
            alert = parsed.alert
            if alert is None:
                self._tracker.tally.counts[Count.FAULTY] += 1
                errors = tuple(map(str, submission.faults))
                self._tracker.add(Tracked(submission.location, errors=errors))
                continue
            tracked = Tracked(
                submission.location, alert.key, str(alert.status), alert.reported_repairs
            )
            self._tracker.add(tracked)
            each = _Ready(tracked, alert, parsed.expires_at)
            before = self._last.get(alert.identity)
            if alert.identity in self._apart or (before and _is_pending(before)):
                self._apart.setdefault(alert.identity, deque()).append(each)
            else:
                self._last[alert.identity] = tracked
                ready.append(each)
        self._accept(ready)

    def _release(self, *, everything: bool = False) -> None:
        """Accept alerts that waited long enough for earlier ones with the same identity."""
        everything = everything or sum(map(len, self._apart.values())) > MOST_APART
        ready = []
        for identity, waiting in list(self._apart.items()):
            while waiting and (everything or not _is_pending(self._last[identity])):
                each = waiting.popleft()
                self._last[identity] = each.tracked
                ready.append(each)
            if not waiting:
                del self._apart[identity]
        self._accept(ready)

    def _accept(self, ready: Sequence[_Ready]) -> None:
        if not ready:
            return
        try:
            ids = self._engine.accept_many(
                [each.alert for each in ready], expires_at=[each.expires_at for each in ready]
            )
        except StoreError as error:
            self._tracker.tally.counts[Count.UNACCEPTED] += len(ready)
            for each in ready:
                each.tracked.errors = (f"{_consequence(error)}: {error}",)
            return
        for each, submission_id in zip(ready, ids, strict=True):
            each.tracked.accept(submission_id)


@attrs.frozen(eq=False)
class _Ready:
    """An alert that was read, and can be accepted."""

    tracked: Tracked
    alert: Alert
    expires_at: dt.datetime | None


def _consequence(error: StoreError) -> str:
    if isinstance(error, LostCommitError):
        return "may be lost"
    if isinstance(error, UnknownCommitError):
        return "may or may not be accepted; send it again"
    return "not accepted"


def _is_pending(tracked: Tracked) -> bool:
    """Check whether the next alert with the same identity should wait."""
    if tracked.is_known:
        return False
    return tracked.submission_id is None or time.monotonic() - tracked.accepted_at < APART


class _Reader:
    """Reads submissions in a thread."""

    def __init__(self, submissions: Iterable[ParsedAlert]) -> None:
        self.ended = False  # set when all were taken
        self._queue: queue.Queue[ParsedAlert | None] = queue.Queue(GROUP)
        threading.Thread(target=self._read, args=(submissions,), daemon=True).start()

    def take(self, timeout: float) -> Sequence[ParsedAlert]:
        """Return the submissions read; wait up to `timeout` seconds for the first one."""
        found: list[ParsedAlert] = []
        with contextlib.suppress(queue.Empty):
            while len(found) < GROUP and not self.ended:
                each = self._queue.get(block=not found and timeout > 0, timeout=timeout)
                if each is None:
                    self.ended = True
                else:
                    found.append(each)
        return found

    def rest(self) -> Sequence[ParsedAlert]:
        """Return all that was read and not taken yet."""
        found: list[ParsedAlert] = []
        while some := self.take(0.0):
            found += some
        return found

    def _read(self, submissions: Iterable[ParsedAlert]) -> None:
        try:
            for each in submissions:
                self._queue.put(each)
        except OSError as error:
            fault = Fault("", f"cannot be read: {error.strerror}")
            self._queue.put(ParsedAlert("input", None, (fault,)))
        finally:
            self._queue.put(None)


def _read_files(files: Sequence[BinaryIO]) -> Iterator[ParsedAlert]:
    """Read files one after the other.

    Each is reopened: closing the original must not wait for a thread that is reading it.
    """
    for file in files:
        name = file.name if len(files) > 1 else ""
        try:
            descriptor = os.dup(file.fileno())
        except OSError:  # click's test runner has no file descriptors
            yield from json_alerts.parse_lines(name, file)
        else:
            with os.fdopen(descriptor, "rb") as own:
                yield from json_alerts.parse_lines(name, own)
