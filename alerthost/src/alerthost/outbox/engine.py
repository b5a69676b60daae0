"""The engine: accepts alerts for good, and delivers what rules make of them."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Self, TypeAlias

import attrs
import sqlalchemy as sa

from alerthost.outbox import (
    backend,
    channels,
    completion,
    inbox,
    incident_store,
    leasing,
    maintenance,
    notifier,
    orphans,
    reclaim,
)
from alerthost.outbox.admin import Admin, SubmissionStatus
from alerthost.outbox.group_commit import Writer
from alerthost.outbox.heartbeat import Presence, presence
from alerthost.outbox.intake import Intake
from alerthost.outbox.leasing import Lease
from alerthost.outbox.logs import BlockedLog, PlannedLog
from alerthost.outbox.maintenance import Patience
from alerthost.outbox.planner import Planner, WatchPlanned
from alerthost.outbox.retry_policy import LaneState
from alerthost.outbox.unit_of_work import UnitOfWork
from alerthost.store.database import Database
from alerthost.store.errors import LostCommitError, ReentryError, StoreError, UnstorableError
from hostspec.action import AnyAction, Limit, is_limit
from hostspec.alert import Alert
from hostspec.delivery import Outcome, OutcomeKind, SendContext
from hostspec.errors import describe_error
from hostspec.forking import of_its_process
from hostspec.plugins.attempt import Attempt, can_follow_up, make_attempt
from hostspec.plugins.isolation import failures_not_counted
from hostspec.plugins.registry import Plugins
from hostspec.provider import Installation
from hostspec.rules import Rule

_log = logging.getLogger("hostspec")

POLL: Final = 0.5
"""Seconds after which an idle worker looks whether another process accepted something."""

LOOK_AGAIN: Final = 0.05
"""Seconds after which it is looked again whether there is something to do."""

KEEP: Final = 2.0
"""Seconds between two rounds of keeping house."""

LOOK_FOR_KEYS: Final = 30.0
"""Seconds after which it is checked again whether the keys of orphaned incidents are back."""

SMALL: Final = 200
"""Rows that keeping house changes in one transaction, at most: others want to write too."""

OTHERS_PLAN: Final = 0.25
"""Seconds for which planning is left to the process that was found doing it."""

BEHIND: Final = 0.2
"""Seconds after which it is checked again whether planning is behind."""

AHEAD: Final = 10
"""Batches that `drain` plans before it sends something."""

RETRY_STORE: Final = 1.0
"""Seconds after which a store that fails is tried again."""

Watch: TypeAlias = Callable[[Lease, Outcome, float], None]
"""Is told of an attempt: what was sent, what came of it, and when, in seconds of the epoch."""


@of_its_process
class Engine:
    """Accepts alerts for good, and delivers what rules make of them.

    `accept` returns once a statement is on the disk. From there on threads that `start` starts
    plan, send and settle it; or `drain`, called by the host's own scheduler, does so. Several
    engines may work on one database, in one process or in several: for new rules, make a new
    engine, start it, and stop the old one.

    Safe to use from several threads. In a child that was forked after it was made, its methods
    raise RuntimeError: make it, and its database, where they work.

    Args:
        database: where everything is kept.
        plugins: whose actions plan and send.
        rules: which alerts start which actions.
        installations: through which is sent, beside those of the rules: what was opened through
            them before is followed up.
        workers: threads that send.
        patience: how long things are waited for, and kept.
        lease: seconds for which what is being sent belongs to who sends it; longer than any
            attempt may take, and the same for all who share the database.
        clock: gives the time, in seconds of the epoch; None for the clock of those who share
            the database, which is the server's, or else this machine's.
        watch: is told of each attempt, as soon as it is made, in the thread that made it, with
            the claim, the outcome, and the time. It is for counting, and never raises. None
            logs each lane that is blocked or goes on.
        watch_planned: is called with each submission, once its plan is committed, and with its
            failures and suppressions. It is for counting, and never raises. Unmatched, suppressed
            and failed submissions are logged in any case.
        observe: the host's own observer; no deadline is set to it. None logs late and
            undelivered receipts.

    Attributes:
        admin: what an operator sees and does.
        trouble: why the store fails now, for a person; None while it works.
    """

    def __init__(  # noqa: PLR0913 -- one argument for each thing an engine is made of
        self,
        database: Database,
        plugins: Plugins,
        rules: Iterable[Rule],
        *,
        installations: Iterable[Installation[Any]] = (),
        workers: int = 8,
        patience: Patience | None = None,
        lease: float = leasing.LEASE,
        clock: Callable[[], float] | None = None,
        watch: Watch | None = None,
        watch_planned: WatchPlanned | None = None,
        observe: notifier.Observe | None = None,
    ) -> None:
        rules = tuple(rules)
        self.database = database
        self.trouble: str | None = None
        self._plugins = plugins
        self._clock = clock or backend.clock(database)
        self._lease = lease
        self._watch = watch or BlockedLog()
        self._observe = observe or notifier.log_receipt
        self._patience = patience or Patience()
        self._writer = Writer(database)
        self._intake = Intake(database, self._writer)
        self._watch_planned = watch_planned
        self._planned_log = PlannedLog()
        self._planner = Planner(database, self._writer, plugins, rules, self._planned)
        self.admin = Admin(database, plugins, self._clock, self._writer)
        used = (use.installation for rule in rules for use in rule.actions)
        self._installations = {each.name: each for each in (*installations, *used)}
        self._workers = workers
        self._threads: list[threading.Thread] = []
        self._ending: threading.Thread | None = None
        self._stopping = threading.Event()
        self._work = threading.Condition()
        self._calls = 0
        self._changed = threading.Condition()
        self._changes = 0
        self._planning = threading.Lock()
        self._unplanned = threading.Event()
        self._others_plan_until = 0.0
        self._claiming = threading.Lock()
        self._flying: dict[int, tuple[Lease, float]] = {}
        self._promises: dict[leasing.Promise, str | None] = {}
        self._unsettled: deque[tuple[Lease, Callable[[sa.Connection], None]]] = deque()
        self._held: set[int] = set()
        self._presence: Presence | None = None
        self._present_for = 0
        self._presences = threading.Lock()
        self._troubles = threading.Lock()
        self._failed_at = 0.0
        self._reasons: set[str] = set()
        self._looked_for_keys_at = float("-inf")
        self._behind = False
        self._looked_behind_at = float("-inf")

    def accept(
        self,
        alert: Alert,
        *,
        submission_id: str | None = None,
        connection: sa.Connection | None = None,
    ) -> str:
        """Accept one alert; see `accept_many`. Gives the statement's id."""
        given = None if submission_id is None else [submission_id]
        return self.accept_many([alert], submission_ids=given, connection=connection)[0]

    def accept_many(
        self,
        alerts: Sequence[Alert],
        *,
        submission_ids: Sequence[str] | None = None,
        connection: sa.Connection | None = None,
    ) -> tuple[str, ...]:
        """Accept alerts: all of them, or none. They are on the disk when this returns.

        Args:
            alerts: in the order in which they are to be taken.
            submission_ids: names for them; a name that was accepted before is the same statement,
                and is not taken again. None makes new ones.
            connection: of a transaction of the host's own on the same database, which is of
                this version (see `alerthost.store.database.Database.migrate`): the alerts are
                accepted when that commits, and not before. Errors of the database are
                SQLAlchemy's then.

        Returns:
            the statements' ids.

        Raises:
            ValueError: a name is no text that every database takes, of 1 to 255 characters.
            LostCommitError: the alerts may be lost, for the database was deleted, replaced or
                truncated; they are delivered only while this process runs. Accept them again.
            UnknownCommitError: it is not known whether the alerts were accepted. Accept them again
                under the same ids.
            StoreError: the database cannot be written; nothing was accepted.
        """
        ids = tuple(submission_ids or (inbox.new_id() for _ in alerts))
        inbox.check_ids(ids)
        now = self._clock()
        moment = dt.datetime.fromtimestamp(now, dt.UTC)
        taken = (alert.as_of(moment) for alert in alerts)
        given = zip(ids, taken, strict=True)
        if connection is not None:
            inbox.accept(connection, inbox.build_rows(given, now))
            return ids
        turns = len(alerts) > inbox.BATCH or self._is_behind()
        rows = inbox.build_rows(given, now, self.lanes_of if turns else None)
        try:
            self._intake.take(rows)
            self._verify_commit()
        except (ReentryError, UnstorableError):
            raise  # the store works
        except StoreError as error:
            self._note_trouble(error)
            raise
        self._unplanned.set()
        self._call()
        return ids

    def _is_behind(self) -> bool:
        """Return whether planning is behind, so that destinations have to take turns."""
        if time.monotonic() - self._looked_behind_at >= BEHIND:
            with contextlib.suppress(StoreError), self.database.read() as connection:
                self._behind = inbox.is_behind(connection)
            self._looked_behind_at = time.monotonic()
        return self._behind

    def _verify_commit(self) -> None:
        try:
            self.database.verify()
        except StoreError as error:
            raise LostCommitError(str(error)) from error

    def check_store(self) -> str | None:
        """Return why the store fails now, for the operator; None while it works."""
        try:
            self.database.verify()
        except StoreError as error:
            self._note_trouble(error)
        else:
            if not self._threads:  # nothing else notices it
                self._note_recovery()
        return self.trouble

    def lanes_of(self, alert: Alert) -> frozenset[tuple[str, str]]:
        """Return the lanes of what an alert opens while it fires: installation, destination."""
        with failures_not_counted():
            return self._planner.lanes_of(alert)

    def wait(self, submission_ids: Sequence[str], timeout: float) -> tuple[SubmissionStatus, ...]:
        """Wait until nothing more happens to statements by itself.

        Args:
            submission_ids: which.
            timeout: seconds.

        Returns:
            what became of each, in their order; where the time was over first, some of them
            are not settled.

        Raises:
            StoreError: the database cannot be read.
        """
        deadline = time.monotonic() + timeout
        while True:
            statuses = self.admin.statuses(submission_ids)
            left = deadline - time.monotonic()
            if left <= 0 or all(fate.settled for fate in statuses):
                return statuses
            with self._changed:
                self._changed.wait(min(left, POLL))

    def wait_change(self, seen: int, timeout: float) -> int:
        """Wait until this engine changed something that its desk shows; others tell nobody.

        Args:
            seen: what the last call gave; 0 for the first one.
            timeout: seconds.

        Returns:
            a number that is another one after each change.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._changes != seen, timeout)
            return self._changes

    def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing is to be done now: what is left is due later, or needs a person.

        Args:
            timeout: seconds.

        Returns:
            whether it came to that in time.

        Raises:
            StoreError: the database cannot be read.
        """
        deadline = time.monotonic() + timeout
        while self._is_busy():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with self._changed:
                self._changed.wait(min(left, LOOK_AGAIN))
        return True

    def drain(self, limit: int | None = None) -> int:
        """Plan, send and settle what is due, in this thread; for hosts with a scheduler.

        Call it from a task of your own, every few seconds and after `accept`. What is not due
        yet, because it is tried again later or a budget is used up, waits for the next call.

        Args:
            limit: attempts at most; None for all that is due.

        Returns:
            how many attempts were made.

        Raises:
            StoreError: the database cannot be written.
        """
        with self._present() as name:
            self._settle_all()
            self._keep_house(name)
            made = 0
            while limit is None or made < limit:
                self._settle_all()
                planned = self._plan_ahead()
                lease = self._claim(name)
                if lease is not None:
                    self._handle(lease)
                    made += 1
                elif not planned:
                    break
            self.tell(name, enough=lambda: False)
            self._planned_log.flush()
            self.database.verify()
            return made

    def recover_orphans(self) -> tuple[str, ...]:
        """Queue the resolves of orphaned incidents whose keys are back.

        `drain` and the threads that `start` starts do so from time to time.

        Returns:
            the ids of the statements that the resolves go by.

        Raises:
            StoreError: the database cannot be written.
        """
        now, actions = self._clock(), self._plugins.actions
        self._looked_for_keys_at = time.monotonic()
        last = 0
        queued: list[str] = []

        def recover(
            back: Sequence[incident_store.StoredIncident], writing: sa.Connection
        ) -> Sequence[str]:
            return orphans.recover(UnitOfWork(writing, now, actions), back)

        while True:
            with self.database.read() as connection:
                found = orphans.find(connection, last)
            back = [each for each in found if self._is_key_back(each)]
            if back:
                queued += self._writer.run(functools.partial(recover, back))
            if len(found) < orphans.MOST:
                if queued:
                    self._call()
                return tuple(queued)
            last = found[-1].id

    def start(self) -> None:
        """Start the threads that plan, send and settle.

        Failing channels are tried at once, for the cause may be gone.

        Raises:
            RuntimeError: they were started already.
            StoreError: the database cannot be written.
        """
        if self._threads:
            message = "the engine was started already"
            raise RuntimeError(message)
        name = self._arrive()
        try:
            self.database.check()
            self._take_over(name)
            now = self._clock()
            self._writer.run(lambda writing: channels.resume(writing, now))
        except BaseException:
            self._leave()
            raise
        self._stopping.clear()
        jobs: list[tuple[str, Callable[[str], object]]] = [
            (f"worker {number}", self._work_on) for number in range(1, self._workers + 1)
        ]
        jobs += [
            ("looker", lambda _: self._every(backend.poll(self.database), self._look)),
            ("keeper", lambda name: self._every(KEEP, lambda: self._maintain(name))),
            ("notifier", lambda name: self._every(POLL, lambda: self.tell(name))),
        ]
        self._threads = [
            threading.Thread(target=job, args=(name,), name=f"hostspec {title}", daemon=True)
            for title, job in jobs
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float | None = None) -> bool:
        """Finish what is being sent, stop the threads, and tell the observers of it.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            whether they stopped in time. What did not is in doubt until its lease runs out, or
            its process ends.
        """
        self._stopping.set()
        with self._work:
            self._work.notify_all()
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            return False
        if self._threads:
            self._threads = []
            # in a thread of its own: a store or an observer that hangs costs no more than the time
            self._ending = threading.Thread(
                target=self._end, args=(deadline,), name="hostspec end", daemon=True
            )
            self._ending.start()
        if self._ending is not None:
            self._ending.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return self._ending is None or not self._ending.is_alive()

    def _end(self, deadline: float | None) -> None:
        try:
            self._tell_rest(deadline)
        finally:
            self._planned_log.flush(everything=True)
            self.database.remove_reserve()
            self._leave()

    def _tell_rest(self, deadline: float | None) -> None:
        """Tell the observers of what came last; what there is no time for, who comes next."""
        assert self._presence is not None  # noqa: S101 -- it leaves after this
        try:
            self.tell(
                self._presence.name,
                enough=lambda: deadline is not None and time.monotonic() >= deadline,
            )
        except StoreError as error:
            _log.error("the store fails: %s", error)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def tell(self, name: str, *, enough: Callable[[], bool] | None = None) -> None:
        """Tell the observers what was noted about deliveries, unless another process does.

        Args:
            name: of this process.
            enough: says when to leave the rest to who comes next; None for once it stops.
        """
        enough = enough or self._stopping.is_set
        notifier.adopt(self.database, self._writer, name)
        hooks, observe = self._plugins.hooks, self._observe
        while notifier.tell(
            self.database, self._writer, hooks, observe=observe, worker_id=name, enough=enough
        ):
            pass

    @property
    def working(self) -> bool:
        """Whether all threads that were started live."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    @contextlib.contextmanager
    def _present(self) -> Iterator[str]:
        """Be present among those who share the database, under a name."""
        name = self._arrive()
        try:
            yield name
        finally:
            self._leave()

    def _arrive(self) -> str:
        self.database.migrate()
        with self._presences:
            if self._presence is None:
                self._presence = presence(self.database)
            self._present_for += 1
            return self._presence.name

    def _leave(self) -> None:
        with self._presences:
            self._present_for -= 1
            if self._presence is not None and not self._present_for:
                self._presence.leave()
                self._presence = None

    def _is_busy(self) -> bool:
        with self.database.read() as connection:
            waits = leasing.is_due(connection, self._clock())
            waits = waits or inbox.has_pending(connection)
        return waits or bool(self._flying)

    def _call(self) -> None:
        """Wake one worker that waits; one that is busy looks again before it waits."""
        with self._work:
            self._calls += 1
            self._work.notify()

    def _tell_waiting(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _work_on(self, name: str) -> None:
        while not self._stopping.is_set():
            with self._work:
                calls = self._calls
            busy = failed = False
            try:
                busy = self._step(name)
            except StoreError as error:
                self._note_trouble(error)
                failed = True
            except BaseException as error:  # noqa: BLE001 -- a worker never dies of one delivery
                _log.error("a worker %s", describe_error(error))
                failed = True
            if failed:
                self._stopping.wait(RETRY_STORE)
            elif not busy:
                self._wait(calls)

    def _step(self, name: str) -> bool:
        """Do something; say whether there may be more to do."""
        self._settle_all()
        planned = self._plan() if self._unplanned.is_set() else 0
        lease = self._claim(name)
        if lease is not None:
            self._handle(lease)
        return bool(planned or lease)

    def _wait(self, calls: int) -> None:
        with self._work:
            if self._calls == calls and not self._stopping.is_set():
                self._work.wait()

    def _every(self, seconds: float, job: Callable[[], object]) -> None:
        while not self._stopping.is_set():
            pause = seconds
            try:
                job()
            except StoreError as error:
                self._note_trouble(error)
                pause = max(seconds, RETRY_STORE)
            except Exception as error:  # noqa: BLE001 -- the next round may do better
                _log.error("keeping house %s", describe_error(error))
            self._stopping.wait(pause)

    def _note_trouble(self, error: StoreError) -> None:
        """Log that the store fails: each reason once, until the store works again."""
        with self._troubles:
            self._failed_at = time.monotonic()
            self.trouble = str(error)
            known = self.trouble in self._reasons
            self._reasons.add(self.trouble)
        if not known:
            _log.error("the store fails: %s", error)

    def _note_recovery(self) -> None:
        """Tell a person that the store works again: nobody has failed for a while."""
        with self._troubles:
            if self.trouble is None or time.monotonic() - self._failed_at < 2 * RETRY_STORE:
                return
            self.trouble = None
            self._reasons.clear()
        _log.warning("the store works again")

    def _look(self) -> None:
        """Call a worker if there is something to do, whoever made it so."""
        now = self._clock()
        with self.database.read() as connection:
            unplanned = inbox.has_pending(connection)
            found = unplanned or leasing.is_ready(connection, now)
        if unplanned and time.monotonic() >= self._others_plan_until:
            self._unplanned.set()
        if found:
            self._call()

    def _maintain(self, name: str) -> None:
        """Run a round of maintenance, and check that the store is still there."""
        self._keep_house(name)
        self.database.verify()
        self.database.fill_reserve()
        self.database.check_reserve()
        self._note_recovery()
        self._planner.note_hanging()
        self._planned_log.flush()

    def _keep_house(self, name: str) -> None:
        assert self._presence is not None  # noqa: S101 -- who keeps house is present
        self._presence.renew()
        self._take_over(name)
        now, patience = self._clock(), self._patience

        def keep(writing: sa.Connection) -> int:
            if not backend.turn(writing, backend.KEEPING):
                return 0
            steady = maintenance.steady_for(writing, now)
            forgets = steady >= min(maintenance.DAY, patience.forget)
            prunes = steady >= min(maintenance.DAY, patience.keep)
            silent = (
                maintenance.forget(
                    UnitOfWork(writing, now, self._plugins.actions), now - patience.forget, SMALL
                )
                if forgets
                else 0
            )
            ahead = maintenance.put_right(writing, now, SMALL)
            late = maintenance.tell_late(writing, now - patience.late, name, SMALL)
            pruned = maintenance.prune(writing, now - patience.keep, SMALL) if prunes else 0
            return max(ahead, late, silent, pruned)

        while self._writer.run(keep) >= SMALL and not self._stopping.is_set():
            pass
        if time.monotonic() - self._looked_for_keys_at >= LOOK_FOR_KEYS:
            self.recover_orphans()

    def _is_key_back(self, stored: incident_store.StoredIncident) -> bool:
        ref = stored.incident.ref
        action = self._plugins.actions.get(ref.action)
        installation = self._installations.get(ref.installation)
        return bool(
            action and installation and can_follow_up(action, stored.incident, installation)
        )

    def _take_over(self, name: str) -> None:
        """Take up what processes that are gone were sending, and what hangs."""
        now = self._clock()
        with self.database.read() as connection:
            held = reclaim.held(connection)
            tellers = notifier.tellers(connection)
        assert self._presence is not None  # noqa: S101 -- who takes over is present
        gone = self._presence.gone({*(each.worker_id for each in held), *tellers})
        missing = {name, *gone}
        certain = gone if self._presence.certain else ()
        lost = [
            each
            for each in held
            if each.worker_id in certain
            or (each.lease_until <= now and not self._is_fresh(each.id))
            or (
                each.worker_id in missing and each.id not in self._held and self._is_idle(each, now)
            )
        ]
        if not lost and not gone:
            return

        def take_over(writing: sa.Connection) -> int:
            notifier.hand_over(writing, gone, name)
            return reclaim.take_over(UnitOfWork(writing, now, self._plugins.actions), lost, name)

        taken = self._writer.run(take_over)
        if taken:
            _log.warning("%s deliveries were taken over from who did not finish them", taken)
            self._call()

    def _is_fresh(self, number: int) -> bool:
        """Check whether this process claimed a delivery a moment ago, whatever a clock says."""
        flying = self._flying.get(number)
        return flying is not None and time.monotonic() - flying[1] < self._lease

    def _is_idle(self, held: reclaim.Held, now: float) -> bool:
        """Check whether an attempt must not start now; a clock may have gone back."""
        leased_at = held.lease_until - self._lease
        return not leased_at <= now <= leased_at + self._lease * leasing.START_WITHIN

    def _plan_ahead(self) -> bool:
        """Plan what waits, so that it coalesces before it is sent; say whether more may wait."""
        return all(self._plan() for _ in range(AHEAD))

    def _plan(self) -> int:
        """Plan some statements, unless another thread does."""
        if not self._planning.acquire(blocking=False):
            return 0
        try:
            self._unplanned.clear()
            planned = self._planner.plan(self._clock(), self._presence)
        finally:
            self._planning.release()
        if planned is None:
            self._others_plan_until = time.monotonic() + OTHERS_PLAN
            return 0
        if planned:
            self._unplanned.set()  # there may be more
            self._tell_waiting()
        return planned

    def _planned(self, submission: inbox.Submission, note: inbox.Note) -> None:
        self._planned_log.write(submission, note)
        if self._watch_planned is not None:
            self._watch_planned(submission, note)

    def _claim(self, name: str) -> Lease | None:
        half = max(1, self._workers // 2)
        with self._claiming:
            now = self._clock()
            if self.database.file is not None:  # who writes there waits for all others
                with self.database.read() as connection:
                    if not leasing.is_ready(connection, now):
                        return None
            together = min(half, leasing.FLYING_TOGETHER)
            unhealthy = self._count_unhealthy(now) < half
            found = self._writer.run(
                lambda writing: leasing.lease(
                    writing,
                    name,
                    now,
                    together=together,
                    unhealthy=unhealthy,
                    lease=self._lease,
                    promises=self._promises,
                )
            )
            if found is not None:
                self._held.add(found.id)
                self._flying[found.id] = found, time.monotonic()
        if found is not None:
            self._call()
        return found

    def _count_unhealthy(self, now: float) -> int:
        """Count the workers that are busy with lanes that others must not wait for."""
        flying = tuple(self._flying.values())
        return sum(
            each.lane is not LaneState.HEALTHY or each.leased_at < now - leasing.SLOW
            for each, _ in flying
        )

    def _handle(self, lease: Lease) -> None:
        try:
            self._send(lease)
        finally:
            self._flying.pop(lease.id, None)
            self._tell_waiting()

    def _send(self, lease: Lease) -> None:
        delivery = lease.delivery
        action = self._plugins.actions.get(delivery.ref.action)
        installation = self._installations.get(delivery.ref.installation)
        if action is None or installation is None:
            self._settle(lease, Attempt.impossible(delivery.ref), ())
            return
        incident = lease.incident.incident
        if incident.handle is not None and not can_follow_up(action, incident, installation):
            reason = completion.ORPHANED
            ref = delivery.ref
            _log.error(
                "the incident %s at %s/%s is orphaned: %s",
                ref.correlation_key,
                ref.installation,
                ref.destination,
                reason,
            )
            orphaned = self._clock()
            self._write(
                lease,
                lambda writing: completion.orphan(
                    UnitOfWork(writing, orphaned, self._plugins.actions), lease, reason
                ),
            )
            return
        limits = _limits(action, lease, installation)
        lease = self._promise(action, lease, installation)
        now = self._clock()
        if not lease.leased_at <= now <= lease.start_by:
            actions = self._plugins.actions
            self._write(
                lease, lambda writing: leasing.give_back(UnitOfWork(writing, now, actions), lease)
            )
            return
        context = SendContext(
            handle=lease.incident.incident.handle,
            attempt=lease.attempt,
            accepted_at=dt.datetime.fromtimestamp(lease.accepted_at, dt.UTC),
            now=dt.datetime.fromtimestamp(now, dt.UTC),
            coalesced=lease.coalesced,
        )
        try:
            made = make_attempt(action, delivery, installation, context)
        except KeyboardInterrupt:
            interrupted = Outcome(OutcomeKind.UNREACHABLE, "the attempt was interrupted")
            self._settle(lease, Attempt(interrupted, may_have_arrived=True), limits)
            raise
        self._settle(lease, made, limits)

    def _promise(self, action: AnyAction, lease: Lease, installation: Installation[Any]) -> Lease:
        """Keep the handle that the attempt will give, unless the claim has it right already."""
        if lease.incident.incident.handle is not None:
            return lease
        expected_handle = _promised(action, lease, installation)
        if expected_handle == lease.expected_handle:
            return lease
        lease = attrs.evolve(lease, expected_handle=expected_handle)
        try:
            self._writer.run(lambda writing: leasing.promise(writing, lease))
        except StoreError:
            actions, now = self._plugins.actions, self._clock()
            self._unsettled.append(
                (lease, lambda writing: leasing.give_back(UnitOfWork(writing, now, actions), lease))
            )
            raise
        self._promises[leasing.promise_at(lease.delivery.ref)] = expected_handle
        return lease

    def _settle(self, lease: Lease, made: Attempt, limits: Sequence[Limit]) -> None:
        now, actions = self._clock(), self._plugins.actions
        self._watch(lease, made.outcome, now)
        self._write(
            lease,
            lambda writing: completion.settle(
                UnitOfWork(writing, now, actions),
                lease,
                made.outcome,
                arrived=made.may_have_arrived,
                limits=limits,
            ),
        )

    def _write(self, lease: Lease, work: Callable[[sa.Connection], None]) -> None:
        """Write down what came of a claim, now or as soon as the store can be written again."""
        self._unsettled.append((lease, work))
        self._settle_all()

    def _settle_all(self) -> None:
        while True:
            try:
                lease, work = self._unsettled.popleft()
            except IndexError:
                return
            try:
                self._writer.run(work)
            except UnstorableError:
                raise  # the next one may fare better; this one is taken over when its lease ends
            except StoreError:
                self._unsettled.appendleft((lease, work))
                raise
            self._held.discard(lease.id)


def _promised(action: AnyAction, lease: Lease, installation: Installation[Any]) -> str | None:
    try:
        expected_handle = action.expected_handle(lease.delivery, installation)
        return None if expected_handle is None else incident_store.dump_handle(expected_handle)
    except Exception as error:  # noqa: BLE001 -- the attempt is made all the same
        _log.error("the action %s %s", action.name, describe_error(error))
        return None


def _limits(action: AnyAction, lease: Lease, installation: Installation[Any]) -> tuple[Limit, ...]:
    handle = lease.incident.incident.handle
    try:
        limits = tuple(action.limits(lease.delivery, installation, handle))
    except Exception:  # noqa: BLE001 -- what cannot be read is told by the attempt
        return ()
    sound = tuple(filter(is_limit, limits))
    if sound != limits:
        _log.error("the action %s gives limits that nobody can count by", action.name)
    return sound
