"""The engine: accepts alerts durably, and delivers what rules make of them."""

from __future__ import annotations

import datetime as dt
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import sqlalchemy as sa

from alerthost.outbox import backend, lane_store, leasing, maintenance, notifier
from alerthost.outbox.acceptance import Acceptance
from alerthost.outbox.admin import Admin
from alerthost.outbox.dispatcher import BlockedLog, Dispatcher, Watch
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat
from alerthost.outbox.group_commit import Resources, SubmissionWriter, Writer
from alerthost.outbox.heartbeat import Registration
from alerthost.outbox.maintenance import Maintenance, Patience
from alerthost.outbox.notifier import Notifier, Observe, log_receipt
from alerthost.outbox.planner import Planner, WatchPlanned
from alerthost.outbox.proposing import Proposer
from alerthost.outbox.repeats import Repeats
from alerthost.outbox.submission import PlannedLog
from alerthost.outbox.waiting import POLL, Waiting
from alerthost.outbox.workers import Signal, StoreHealth, WorkerThreads, join
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from hostspec.alert import Alert
from hostspec.errors import describe_any_error
from hostspec.forking import of_its_process
from hostspec.plugins import Rule
from hostspec.plugins.isolation import failures_not_counted
from hostspec.plugins.registry import Plugins
from hostspec.provider import Installation

_log = logging.getLogger("hostspec")


@of_its_process
class Engine(Waiting):
    """Accepts alerts durably, and delivers what rules make of them.

    `accept` returns once a submission is on the disk. The threads that `start` starts then plan,
    send and complete it; or the host's own scheduler calls `drain`. Several engines may work on
    one database, in one process or in several. For new rules, make a new engine, start it, and
    stop the old one.

    Its methods raise StoreError when the database cannot be read or written.

    Safe to use from several threads. In a child that was forked after it was made, its methods
    raise RuntimeError: make it, and its database, in the process that uses it.

    Args:
        database: the store.
        plugins: whose actions plan and send.
        rules: which alerts start which actions.
        installations: to send through, beside those of the rules: incidents that were opened
            through them are followed up.
        workers: number of threads that send.
        patience: deadlines of maintenance.
        lease: seconds for which a delivery belongs to the worker that sends it; longer than any
            attempt may take, and the same for all engines on the database.
        clock: returns the time, in seconds of the epoch; None for the server's clock, or this
            machine's where the store is a file.
        watch: is called after each attempt, in its thread, with the lease, the outcome and the
            time. It is for counting, and never raises. None logs each lane that gets blocked or
            goes on.
        watch_planned: is called with each submission, once its plan is committed, and with its
            failures and suppressions. It is for counting, and never raises. Unmatched, suppressed
            and failed submissions are logged in any case.
        observe: the host's own observer; it has no deadline. None logs late and undelivered
            receipts.
        heartbeats: the expected signs of life of other programs.

    Attributes:
        database: the store.
        admin: what an operator sees and does.
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
        observe: Observe | None = None,
        heartbeats: Iterable[ExpectedHeartbeat] = (),
    ) -> None:
        rules, heartbeats = tuple(rules), tuple(heartbeats)
        self.database = database
        clock = clock or backend.clock(database)
        self._writer = Writer(database)
        observes_delivered = observe is not None or any(
            notifier.DELIVERED in info.hooks for info in plugins.infos
        )
        self._resources = Resources(database, plugins, clock, self._writer, observes_delivered)
        self._workers = workers
        self._health = StoreHealth()
        self._threads = WorkerThreads(self._health)
        self._ending: threading.Thread | None = None
        changes = Signal()
        self._registration = Registration(database)
        self._planned_log = PlannedLog(watch_planned)
        self._proposer = Proposer(rules, heartbeats)
        self._planner = Planner(self._resources, self._proposer, self._planned_log.write)
        used = (use.installation for rule in rules for use in rule.actions)
        by_name = {each.name: each for each in (*installations, *used)}
        self._dispatcher = Dispatcher(
            resources=self._resources,
            planner=self._planner,
            installations=by_name,
            workers=workers,
            lease_seconds=lease,
            watch=watch or BlockedLog(),
            registration=self._registration,
            signal=self._threads.signal,
            changes=changes,
        )
        admin = Admin(database, plugins, clock, self._writer)
        super().__init__(admin, self._dispatcher, changes)
        self._submission_writer = SubmissionWriter(database, self._writer)
        self._acceptance = Acceptance(
            resources=self._resources,
            writer=self._submission_writer,
            dispatcher=self._dispatcher,
            health=self._health,
            lanes_of=self.lanes_of,
            heartbeats={each.key: each for each in heartbeats},
        )
        self._repeats = Repeats(self._resources)
        self._maintenance = Maintenance(
            resources=self._resources,
            installations=by_name,
            dispatcher=self._dispatcher,
            registration=self._registration,
            patience=patience or Patience(),
            heartbeats=heartbeats,
            is_stopping=self._threads.stopping.is_set,
        )
        self._notifier = Notifier(self._resources, observe or log_receipt)

    @property
    def trouble(self) -> str | None:
        """Why the store fails now, for the operator; None while it works."""
        return self._health.trouble

    @property
    def working(self) -> bool:
        """Whether all threads that were started are alive."""
        return self._threads.alive

    def accept(
        self,
        alert: Alert,
        *,
        submission_id: str | None = None,
        expires_at: dt.datetime | None = None,
        connection: sa.Connection | None = None,
    ) -> str:
        """Accept one alert; see `accept_many`. Return the id of its submission."""
        ids = None if submission_id is None else [submission_id]
        return self._acceptance.accept([alert], ids, [expires_at], connection)[0]

    def accept_many(
        self,
        alerts: Sequence[Alert],
        *,
        submission_ids: Sequence[str] | None = None,
        expires_at: Sequence[dt.datetime | None] | None = None,
        connection: sa.Connection | None = None,
    ) -> tuple[str, ...]:
        """Accept all alerts or none; they are on the disk when this returns their submission ids.

        Args:
            alerts: in order.
            submission_ids: names for them; an id that was accepted before is the same submission,
                and is not accepted again. None makes new ones.
            expires_at: when each alert is resolved unless it is reported again, aware; None for
                never. A minute after its acceptance is the earliest.
            connection: of a transaction of the host's own on the same database, which is of
                this version (see `alerthost.store.database.Database.migrate`): the alerts are
                accepted when that commits, and not before. Errors of the database are
                SQLAlchemy's then.

        Raises:
            ValueError: an id is not text of 1 to 255 characters that every database can store.
            LostCommitError: the alerts may be lost, for the database was deleted, replaced or
                truncated; they are delivered only while this process runs. Accept them again.
            UnknownCommitError: it is not known whether the alerts were accepted. Accept them again
                under the same ids.
            StoreError: the database cannot be written; nothing was accepted.
        """
        return self._acceptance.accept(alerts, submission_ids, expires_at, connection)

    def hear(self, key: str) -> float:
        """Record the sign of life of an expected heartbeat; it is on the disk when this returns.

        Returns:
            when the next one is missed, in seconds of the epoch.

        Raises:
            UnknownHeartbeatError: no heartbeat with this key is expected.
            StoreError: the database cannot be written.
        """
        return self._acceptance.hear(key)

    def renew(
        self, alerts: Sequence[Alert], expires_at: Sequence[dt.datetime | None]
    ) -> Sequence[bool]:
        """Renew the expiry of alerts whose report says nothing new; return which those are.

        Accept the others. It is for senders that repeat all their alerts every minute or so.
        """
        return self._repeats.renew(alerts, expires_at)

    def check_store(self) -> str | None:
        """Return why the store fails now, for the operator; None while it works."""
        try:
            self.database.verify()
        except StoreError as error:
            self._health.note_failure(error)
        else:
            if not self._threads.started:  # no thread notices it
                self._health.note_success()
        return self.trouble

    def lanes_of(self, alert: Alert) -> frozenset[tuple[str, str]]:
        """Return the lanes of what an alert opens while it fires: installation, destination."""
        with failures_not_counted():
            return self._proposer.lanes_of(alert)

    def drain(self, limit: int | None = None) -> int:
        """Plan, send and complete due deliveries, in this thread; for hosts with a scheduler.

        Call it from a task of your own, every few seconds and after `accept`. A delivery that is
        retried later, or whose rate limit is used up, is left to the next call.

        Args:
            limit: most attempts; None for all that is due.

        Returns:
            the number of attempts.
        """
        with self._registration.registered() as worker_id:
            self._dispatcher.complete_all()
            self._maintenance.run(worker_id)
            made = self._dispatcher.drain(worker_id, limit)
            self._notifier.notify(worker_id, lambda: False)
            self._planned_log.flush()
            self.database.verify()
            return made

    def recover_orphans(self) -> tuple[str, ...]:
        """Queue the resolves of orphaned incidents whose keys are back; return their submissions.

        The threads and `drain` do so every 30 seconds.
        """
        return self._maintenance.recover_orphans()

    def start(self) -> None:
        """Start the threads that plan, send and complete.

        Failing channels are tried at once, for the cause may be gone.

        Raises:
            RuntimeError: they were started already.
            StoreError: the database cannot be written.
        """
        if self._threads.started:
            message = "the engine was started already"
            raise RuntimeError(message)
        worker_id = self._registration.enter()
        try:
            self.database.check()
            self._maintenance.reclaim(worker_id)
            self._resources.run(lambda uow: lane_store.resume(uow.connection, uow.now))
        except BaseException:
            self._registration.leave()
            raise
        threads = self._threads
        maintain = functools.partial(self._maintain, worker_id)
        notify = functools.partial(self._notifier.notify, worker_id, threads.stopping.is_set)
        work = functools.partial(self._work, worker_id)
        poll = backend.poll_interval(self.database)
        jobs = [(f"worker {number}", work) for number in range(1, self._workers + 1)]
        jobs += [
            ("poller", functools.partial(threads.repeat, poll, self._dispatcher.poll)),
            ("maintenance", functools.partial(threads.repeat, maintenance.KEEP, maintain)),
            ("notifier", functools.partial(threads.repeat, POLL, notify)),
        ]
        threads.start(jobs)

    def _work(self, worker_id: str) -> None:
        """Plan and send until the threads are to end; then record the ended attempts.

        Others may be sending for longer than `stop` waits.
        """
        self._threads.work(functools.partial(self._dispatcher.step, worker_id))
        self._settle()

    def _settle(self) -> None:
        try:
            self._dispatcher.settle()
        except StoreError as error:
            self._health.note_failure(error)
        except Exception as error:  # noqa: BLE001 -- a faulty outcome costs no other
            _log.error("a worker %s", describe_any_error(error))

    def _maintain(self, worker_id: str) -> None:
        """Run a round of maintenance, and check that the store is still there."""
        self._maintenance.run(worker_id)
        self.database.verify()
        self.database.fill_reserve()
        self.database.check_reserve()
        self._health.note_success()
        self._planner.note_hanging()
        self._planned_log.flush()

    def stop(self, timeout: float | None = None) -> bool:
        """Finish the attempts in flight, stop the threads, and notify the observers.

        Args:
            timeout: seconds; None for no limit.

        Returns:
            whether they stopped in time. An attempt that did not is in doubt until its lease runs
            out, or its process ends.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        started = self._threads.started
        if not self._threads.join(deadline):
            return False
        if started:
            # in a thread of its own: a store or an observer that hangs costs no more than the time
            self._ending = threading.Thread(
                target=self._end, args=(deadline,), name="hostspec end", daemon=True
            )
            self._ending.start()
        if self._ending is not None:
            join(self._ending, deadline)
        return self._ending is None or not self._ending.is_alive()

    def _end(self, deadline: float | None) -> None:
        """Notify the observers of the last receipts; the next process reports the rest."""
        worker = self._registration.current
        assert worker is not None  # noqa: S101 -- it leaves after this
        self._settle()
        try:
            self._notifier.notify(
                worker.name, lambda: deadline is not None and time.monotonic() >= deadline
            )
        except StoreError as error:
            _log.error("the store fails: %s", error)
        finally:
            self._planned_log.flush(everything=True)
            self.database.remove_reserve()
            self._registration.leave()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
