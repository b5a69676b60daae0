"""Plans pending submissions; leases, sends and completes deliveries."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend, completion, inbox, incident_store, leasing
from alerthost.outbox.group_commit import Resources
from alerthost.outbox.heartbeat import Registration
from alerthost.outbox.held_leases import LONGEST_WAIT, HeldLeases
from alerthost.outbox.leasing import Lease
from alerthost.outbox.planner import Planner
from alerthost.outbox.results import EndedAttempt, OrphaningLease, Result, UnusedLease
from alerthost.outbox.retry_policy import ANSWERED
from alerthost.outbox.workers import Signal
from alerthost.store.errors import StoreError
from hostspec.action import AnyAction, Limit, as_durable, is_limit
from hostspec.delivery import Outcome, OutcomeKind, SendContext
from hostspec.errors import describe_error
from hostspec.plugins.isolation import Attempt, can_follow_up, make_attempt
from hostspec.provider import Installation

_log = logging.getLogger("hostspec")

OTHERS_PLAN: Final = 0.25
"""Seconds for which planning is left to the process that was found planning."""

AHEAD: Final = 10
"""Batches that are planned before the next delivery is sent by `drain`."""

BEHIND: Final = 0.2
"""Seconds after which it is checked again whether planning is behind."""

Watch: TypeAlias = Callable[[Lease, Outcome, float], None]
"""Called after each attempt with its lease, its outcome and the time in seconds of the epoch."""

Installations: TypeAlias = Mapping[str, Installation[Any]]


class BlockedLog:
    """Logs each lane when it is blocked, and when it delivers again."""

    def __init__(self) -> None:
        self._blocked: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def __call__(self, lease: Lease, outcome: Outcome, _: float) -> None:
        """Log if an outcome blocks or unblocks a lane."""
        ref = lease.delivery.ref
        lane = ref.installation, ref.destination
        with self._lock:
            before = self._blocked.get(lane)
            if outcome.kind is OutcomeKind.MISCONFIGURED:
                self._blocked[lane] = outcome.reason
            elif outcome.delivered:
                self._blocked.pop(lane, None)
        name = "/".join(lane)
        if outcome.kind is OutcomeKind.MISCONFIGURED and outcome.reason != before:
            _log.error("%s is blocked until it is repaired: %s", name, outcome.reason)
        elif outcome.delivered and before is not None:
            _log.warning("%s delivers again", name)


@attrs.define(eq=False, slots=False, kw_only=True)
class Dispatcher:
    """The work that all workers of an engine share: planning, leasing, sending, completing.

    Whichever worker is free leads: it completes the attempts that have ended, and leases for all
    workers, both in one transaction for many deliveries. The others only send. While all send, the
    poller completes.

    Args:
        installations: by name; deliveries are sent through them.
        workers: number of workers.
        lease_seconds: for which a lease is valid.
    """

    _resources: Resources = attrs.field(alias="resources")
    _planner: Planner = attrs.field(alias="planner")
    _installations: Installations = attrs.field(alias="installations")
    _workers: int = attrs.field(alias="workers")
    _lease_seconds: float = attrs.field(alias="lease_seconds")
    _watch: Watch = attrs.field(alias="watch")
    _registration: Registration = attrs.field(alias="registration")
    _signal: Signal = attrs.field(alias="signal")
    _changes: Signal = attrs.field(alias="changes")

    _planning: threading.Lock = attrs.field(init=False, factory=threading.Lock)
    _pending: threading.Event = attrs.field(init=False, factory=threading.Event)
    _others_plan_until: float = attrs.field(init=False, default=0.0)
    _behind: bool = attrs.field(init=False, default=False)
    _looked_behind_at: float = attrs.field(init=False, default=float("-inf"))
    _leading: threading.RLock = attrs.field(init=False, factory=threading.RLock)
    _queued: threading.Event = attrs.field(init=False, factory=threading.Event)
    _leases: HeldLeases = attrs.field(init=False)
    _expected_handles: dict[leasing.HandleKey, str | None] = attrs.field(init=False, factory=dict)
    _results: list[Result] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self._leases = HeldLeases(self._workers)

    def note_accepted(self) -> None:
        """Wake a worker to plan a new submission."""
        self._pending.set()
        self._signal.notify()

    def call(self) -> None:
        """Wake a worker."""
        self._queued.set()
        self._signal.notify()

    def poll(self) -> None:
        """Wake a worker if there is something to do, whichever process caused it.

        Attempts that have ended are completed, and leases that wait too long are given back: all
        workers may be busy for long.
        """
        now = self._resources.clock()
        self._give_back(lambda each: not 0 <= now - each.leased_at <= LONGEST_WAIT)
        self.complete_all()
        with self._resources.database.read() as connection:
            pending = inbox.has_pending(connection)
            found = pending or leasing.is_ready(connection, now)
        if pending and time.monotonic() >= self._others_plan_until:
            self._pending.set()
        if found:
            self._signal.notify()

    def is_behind(self) -> bool:
        """Return whether planning is behind, so that destinations have to take turns."""
        if time.monotonic() - self._looked_behind_at >= BEHIND:
            with contextlib.suppress(StoreError), self._resources.database.read() as connection:
                self._behind = inbox.is_behind(connection)
            self._looked_behind_at = time.monotonic()
        return self._behind

    def is_busy(self) -> bool:
        """Return whether something is to be planned or sent now, or is in flight."""
        with self._resources.database.read() as connection:
            queued = leasing.is_due(connection, self._resources.clock())
            queued = queued or inbox.has_pending(connection)
        return queued or bool(self._leases) or bool(self._results)

    def step(self, worker_id: str) -> bool:
        """Plan one batch and send one delivery; return whether there may be more to do."""
        planned = self.plan() if self._pending.is_set() else 0
        lease = self.next(worker_id, self._workers)
        if lease is not None:
            self.handle(lease)
        return bool(planned or lease)

    def drain(self, worker_id: str, limit: int | None) -> int:
        """Plan and send everything due, as the only worker; return the number of attempts."""
        made = 0
        try:
            while limit is None or made < limit:
                planned = not self._leases.has_waiting and self.plan_ahead()
                most = None if limit is None else limit - made
                lease = self.next(worker_id, workers=1, most=most)
                if lease is not None:
                    self.handle(lease)
                    made += 1
                elif not planned:
                    break
        finally:
            self.settle()
        return made

    def plan_ahead(self) -> bool:
        """Plan several batches, which then coalesce; return whether more may be pending."""
        return all(self.plan() for _ in range(AHEAD))

    def plan(self) -> int:
        """Plan one batch of submissions, unless another thread plans; return how many."""
        if not self._planning.acquire(blocking=False):
            return 0
        try:
            self._pending.clear()
            planned = self._planner.plan(self._resources.clock(), self._registration.current)
        finally:
            self._planning.release()
        if planned is None:
            self._others_plan_until = time.monotonic() + OTHERS_PLAN
            return 0
        if planned:
            self._pending.set()  # there may be more
            self._queued.set()
            self._changes.notify_all()
        return planned

    def next(self, worker_id: str, workers: int, most: int | None = None) -> Lease | None:
        """Return the delivery to send next; None where nothing may be sent now.

        Args:
            worker_id: of this process.
            workers: how many share the work; the caller is one that is free.
            most: deliveries to lease; None for as many as the workers can send soon.
        """
        if not self._queued.is_set() and (lease := self._take()):
            return lease
        with self._leading:
            if not self._queued.is_set() and (lease := self._take()):
                return lease  # another worker led meanwhile
            self._queued.clear()
            self.complete_all()
            if self._lease(worker_id, workers, most):
                self._signal.notify()  # other lanes may be ready, too
        return self._take()

    def _take(self) -> Lease | None:
        """Take a waiting lease; if anything is left to do meanwhile, wake another worker."""
        lease = self._leases.take()
        if lease is not None and (self._leases.has_waiting or self._results):
            self._signal.notify()
        return lease

    def _lease(self, worker_id: str, workers: int, most: int | None) -> bool:
        now = self._resources.clock()
        if self._resources.database.file is not None:  # in SQLite a write waits for all others
            with self._resources.database.read() as connection:
                if not leasing.is_ready(connection, now):
                    return False
        quota = self._leases.quota(now, workers)
        if most is not None:
            quota = attrs.evolve(quota, most=min(quota.most, most))
        leasing_ = functools.partial(
            leasing.Leasing,
            worker_id=worker_id,
            quota=quota,
            seconds=self._lease_seconds,
            expected_handles=self._expected_handles,
        )
        leases = self._resources.run(lambda uow: leasing_(uow).lease(), now)
        self._leases.add(leases)
        return bool(leases)

    def has_run_out(self, held: sa.Row[Any], now: float) -> bool:
        """Check that a lease has run out, by its clock and by this process's own."""
        seconds = self._leases.seconds_held((held.id, held.attempts))
        leased_now = seconds is not None and seconds < self._lease_seconds
        return held.lease_until <= now and not leased_now

    def is_idle(self, held: sa.Row[Any], now: float) -> bool:
        """Check that no attempt of a lease may start any more; a clock may have gone back."""
        leased_at = held.lease_until - self._lease_seconds
        starts = leased_at <= now <= leased_at + self._lease_seconds * leasing.START_WITHIN
        return (held.id, held.attempts) not in self._leases and not starts

    def handle(self, lease: Lease) -> None:
        """Send a leased delivery; its outcome is recorded by `complete_all`."""
        try:
            self._send(lease)
        finally:
            self._leases.sent(lease)

    def _send(self, lease: Lease) -> None:
        delivery, incident = lease.delivery, lease.incident.incident
        action = self._resources.plugins.actions.get(delivery.ref.action)
        installation = self._installations.get(delivery.ref.installation)
        if action is None or installation is None:
            self._complete(lease, Attempt.impossible(delivery.ref), (), self._resources.clock())
            return
        if incident.handle is not None and not can_follow_up(action, incident, installation):
            self._results.append(OrphaningLease(lease, self._resources.clock()))
            return
        limits = _limits(action, lease, installation)
        lease = self._expect_handle(action, lease, installation)
        now = self._resources.clock()
        if not lease.leased_at <= now <= lease.start_by:
            self._results.append(UnusedLease(lease, now))
            return
        context = SendContext(
            handle=incident.handle,
            attempt=lease.attempt,
            accepted_at=dt.datetime.fromtimestamp(lease.accepted_at, dt.UTC),
            now=dt.datetime.fromtimestamp(now, dt.UTC),
            coalesced=lease.coalesced,
        )
        try:
            made = make_attempt(action, delivery, installation, context)
        except KeyboardInterrupt:
            interrupted = Outcome(OutcomeKind.UNREACHABLE, "the attempt was interrupted")
            self._complete(lease, Attempt(interrupted, may_have_arrived=True), limits, now)
            raise
        self._leases.note_attempt(lease)
        self._complete(lease, made, limits, now)

    def _expect_handle(
        self, action: AnyAction, lease: Lease, installation: Installation[Any]
    ) -> Lease:
        """Record the handle that the attempt will open its incident under, if it will open one."""
        if lease.incident.incident.handle is not None:
            return lease
        expected = _expected_handle(action, lease, installation)
        if expected == lease.expected_handle:
            return lease
        lease = attrs.evolve(lease, expected_handle=expected)
        try:
            self._resources.writer.run(
                lambda writing: leasing.record_expected_handle(writing, lease)
            )
        except StoreError:
            self._results.append(UnusedLease(lease, self._resources.clock()))
            raise
        self._expected_handles[leasing.handle_key(lease.delivery.ref)] = expected
        return lease

    def _complete(self, lease: Lease, made: Attempt, limits: Sequence[Limit], start: float) -> None:
        now = self._resources.clock()
        self._watch(lease, made.outcome, now)
        arrived = made.may_have_arrived
        self._results.append(EndedAttempt(lease, made.outcome, arrived, limits, start, now))
        if made.outcome.kind not in ANSWERED:
            # the others in its lane are leased when it may be tried again
            lane = lease.incident.lane_id
            self._give_back(lambda each: each.incident.lane_id == lane)

    def _give_back(self, which: Callable[[Lease], bool]) -> None:
        """Return waiting leases that fulfil a condition to the store."""
        if back := self._leases.take_back(which):
            now = self._resources.clock()
            self._results += [UnusedLease(each, now) for each in back]

    def settle(self) -> None:
        """Return the leases whose attempts were not started, and complete all others."""
        self._give_back(lambda _: True)
        self.complete_all()

    def complete_all(self) -> None:
        """Complete the leases whose attempts have ended, also those kept while the store failed.

        One that the database cannot store is reclaimed when its lease runs out.
        """
        with self._leading:
            results = self._results[:]
            if not results:
                return
            try:
                self._record(results)
            except Exception as error:
                if backend.is_store_failure(error):
                    raise
                self._record_each(results)

    def _record_each(self, results: Sequence[Result]) -> None:
        """Complete leases one by one, so that a faulty one costs no other."""
        faulty: Exception | None = None
        for result in results:
            try:
                self._record([result])
            except Exception as error:
                if backend.is_store_failure(error):
                    raise
                faulty = error
                del self._results[0]
        if faulty is not None:
            raise faulty

    def _record(self, results: Sequence[Result]) -> None:
        """Complete leases, the first of those kept."""
        now = max(each.at for each in results)
        self._resources.run(lambda uow: completion.complete(uow, results), now)
        del self._results[: len(results)]
        self._leases.complete(each.lease for each in results)
        self._changes.notify_all()


def _expected_handle(
    action: AnyAction, lease: Lease, installation: Installation[Any]
) -> str | None:
    try:
        expected = as_durable(action).expected_handle(lease.delivery, installation)
        return None if expected is None else incident_store.dump_handle(expected)
    except BaseException as error:  # noqa: BLE001 -- the attempt is made all the same
        _log.error("the action %s %s", action.name, describe_error(error))
        return None


def _limits(action: AnyAction, lease: Lease, installation: Installation[Any]) -> tuple[Limit, ...]:
    handle = lease.incident.incident.handle
    try:
        limits = tuple(as_durable(action).limits(lease.delivery, installation, handle))
    except BaseException as error:  # noqa: BLE001 -- the attempt is made all the same
        _log.error("the action %s %s", action.name, describe_error(error))
        return ()
    sound = tuple(filter(is_limit, limits))
    if sound != limits:
        _log.error("the action %s returns limits that are not valid", action.name)
    return sound
