"""The engine: accepts alerts for good, and delivers what rules make of them."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Self

import sqlalchemy as sa

from hostspec.action import Limit
from hostspec.alert import Alert
from hostspec.delivery import dispatch, inbox, observing
from hostspec.delivery.dispatch import Claim
from hostspec.delivery.planner import Planner
from hostspec.delivery.presence import Presence, presence
from hostspec.delivery.verdict import LaneState
from hostspec.delivery.writer import Writer
from hostspec.kernel.attempt import Attempt, attempt
from hostspec.kernel.calling import told
from hostspec.kernel.plugins import Plugins
from hostspec.kernel.rules import Rule
from hostspec.outcome import SendContext
from hostspec.provider import Installation
from hostspec.store.database import Database
from hostspec.store.errors import StoreError

_log = logging.getLogger("hostspec")

POLL: Final = 0.5
"""Seconds after which an idle worker looks whether another process accepted something."""

KEEP: Final = 2.0
"""Seconds between two looks for processes that are gone."""


class Engine:
    """Accepts alerts for good, and delivers what rules make of them.

    `accept` returns once a statement is on the disk. From there on threads that `start` starts
    plan, send and settle it; or `drain`, called by the host's own scheduler, does so.

    Args:
        database: where everything is kept.
        plugins: whose actions plan and send.
        rules: which alerts start which actions.
        installations: through which is sent, beside those of the rules: what was opened through
            them before is followed up.
        workers: threads that send.
        clock: gives the time, in seconds of the epoch.
    """

    def __init__(  # noqa: PLR0913 -- one argument for each thing an engine is made of
        self,
        database: Database,
        plugins: Plugins,
        rules: Iterable[Rule],
        *,
        installations: Iterable[Installation] = (),  # type: ignore[type-arg]
        workers: int = 8,
        clock: Callable[[], float] = time.time,
    ) -> None:
        rules = tuple(rules)
        self.database = database
        self._plugins = plugins
        self._clock = clock
        self._writer = Writer(database)
        self._planner = Planner(database, self._writer, plugins, rules)
        used = (use.installation for rule in rules for use in rule.actions)
        self._installations = {each.name: each for each in (*installations, *used)}
        self._workers = workers
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._work = threading.Condition()
        self._calls = 0
        self._planning = threading.Lock()
        self._sick = 0
        self._presence: Presence | None = None

    def accept(
        self,
        alert: Alert,
        *,
        statement_id: str | None = None,
        connection: sa.Connection | None = None,
    ) -> str:
        """Accept one alert; see `accept_many`. Gives the statement's id."""
        given = None if statement_id is None else [statement_id]
        return self.accept_many([alert], statement_ids=given, connection=connection)[0]

    def accept_many(
        self,
        alerts: Sequence[Alert],
        *,
        statement_ids: Sequence[str] | None = None,
        connection: sa.Connection | None = None,
    ) -> tuple[str, ...]:
        """Accept alerts: all of them, or none. They are on the disk when this returns.

        Args:
            alerts: in the order in which they are to be taken.
            statement_ids: names for them; a name that was accepted before is the same statement,
                and is not taken again. None makes new ones.
            connection: of a transaction of the host's own on the same database: the alerts are
                accepted when that commits, and not before.

        Returns:
            the statements' ids.

        Raises:
            StoreError: the database cannot be written; nothing was accepted.
        """
        ids = tuple(statement_ids or (inbox.new_id() for _ in alerts))
        rows = inbox.rows_of(zip(ids, alerts, strict=True), self._clock())
        if connection is not None:
            inbox.accept(connection, rows)
            return ids
        self._writer.run(lambda writing: inbox.accept(writing, rows))
        self._call()
        return ids

    def drain(self, limit: int | None = None) -> int:
        """Plan, send and settle what is due, in this thread; for hosts with a scheduler.

        Args:
            limit: attempts at the most; None for all that is due.

        Returns:
            how many attempts were made.
        """
        self._present()
        self.take_over()
        made = 0
        while limit is None or made < limit:
            self._plan()
            most = 1 if limit is None else min(1, limit - made)
            claims = self._claim(most)
            if not claims:
                break
            for claim in claims:
                self._handle(claim)
                made += 1
        self.tell()
        return made

    def start(self) -> None:
        """Start the threads that plan, send and settle."""
        self._present()
        self.take_over()
        self._stopping.clear()
        self._threads = [
            threading.Thread(target=self._run, name=f"hostspec worker {n}", daemon=True)
            for n in range(self._workers)
        ]
        self._threads.append(
            threading.Thread(target=self._keep, name="hostspec keeper", daemon=True)
        )
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float | None = None) -> bool:
        """Finish what is being sent, and stop the threads.

        Returns:
            whether they stopped in time (in seconds).
        """
        self._stopping.set()
        self._call()
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            thread.join(left)
        stopped = not any(thread.is_alive() for thread in self._threads)
        if stopped and self._presence:
            self._presence.leave()
            self._presence = None
        return stopped

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def take_over(self) -> int:
        """Take up what processes that are gone were sending; say how many deliveries."""
        mine = self._present()
        with self.database.read() as connection:
            held = dispatch.holders(connection)
        dead = mine.gone(held)
        if not dead:
            return 0
        now = self._clock()
        return self._writer.run(lambda writing: dispatch.take_over(writing, dead, now))

    def tell(self) -> None:
        """Tell the observers what became of deliveries."""
        while observing.tell(self.database, self._writer, self._plugins.hooks):
            pass

    def _present(self) -> Presence:
        self.database.migrate()
        if self._presence is None:
            self._presence = presence(self.database)
        return self._presence

    def _call(self) -> None:
        with self._work:
            self._calls += 1
            self._work.notify_all()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._work:
                calls = self._calls
            try:
                busy = self._step()
            except StoreError as error:
                _log.error("the store fails: %s", error)
                busy = False
            except Exception as error:  # noqa: BLE001 -- a worker never dies of one delivery
                _log.error("a worker failed: %s", told(error))
                busy = False
            if not busy:
                self._wait(calls)

    def _step(self) -> bool:
        """Do something; say whether there may be more to do."""
        planned = self._plan()
        claims = self._claim(1)
        for claim in claims:
            self._handle(claim)
        return bool(planned or claims)

    def _wait(self, calls: int) -> None:
        with self._work:
            if self._calls == calls and not self._stopping.is_set():
                self._work.wait(POLL)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                self.take_over()
                self.tell()
            except StoreError as error:
                _log.error("the store fails: %s", error)
            self._stopping.wait(KEEP)

    def _plan(self) -> int:
        """Plan some statements, unless another thread does."""
        if not self._planning.acquire(blocking=False):
            return 0
        try:
            planned = self._planner.plan(self._clock())
        finally:
            self._planning.release()
        if planned:
            self._call()
        return planned

    def _claim(self, most: int) -> Sequence[Claim]:
        name, now = self._present().name, self._clock()
        unhealthy = max(1, self._workers // 2) - self._sick
        with self.database.read() as connection:
            if not dispatch.is_due(connection, now):
                return ()
        claims = self._writer.run(
            lambda writing: dispatch.claim(writing, name, now, most=most, unhealthy=unhealthy)
        )
        if claims:
            self._call()
        return claims

    def _handle(self, claim: Claim) -> None:
        sick = claim.lane is not LaneState.HEALTHY
        self._sick += sick
        try:
            self._send(claim)
        finally:
            self._sick -= sick
            self._call()

    def _send(self, claim: Claim) -> None:
        delivery = claim.delivery
        action = self._plugins.actions.get(delivery.place.action)
        installation = self._installations.get(delivery.place.installation)
        if action is None or installation is None:
            made = Attempt.impossible(delivery.place)
            self._settle(claim, made, ())
            return
        incident = claim.incident.incident
        if incident.handle is not None and not action.can_follow_up(incident, installation):
            reason = "what opened the incident is not held any more"
            now = self._clock()
            self._writer.run(lambda writing: dispatch.strand(writing, claim, reason, now))
            return
        limits = _limits(action, delivery, installation)
        now = self._clock()
        if now - claim.claimed_at > dispatch.START_WITHIN:
            self._writer.run(lambda writing: dispatch.give_back(writing, claim, now))
            return
        context = SendContext(
            handle=incident.handle,
            attempt=claim.attempt,
            accepted_at=dt.datetime.fromtimestamp(claim.accepted_at, dt.UTC),
            now=dt.datetime.fromtimestamp(now, dt.UTC),
            collapsed=claim.collapsed,
        )
        self._settle(claim, attempt(action, delivery, installation, context), limits)

    def _settle(self, claim: Claim, made: Attempt, limits: Sequence[Limit]) -> None:
        now = self._clock()
        self._writer.run(
            lambda writing: dispatch.settle(
                writing, claim, made.outcome, now, arrived=made.may_have_arrived, limits=limits
            )
        )


def _limits(action: object, delivery: object, installation: object) -> tuple[Limit, ...]:
    try:
        return tuple(action.limits(delivery, installation))  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 -- what cannot be read is told by the attempt
        return ()


__all__ = ["Engine"]
