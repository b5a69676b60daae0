"""Plans pending submissions; leases, sends and completes deliveries."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa

from alerthost.outbox import completion, inbox, incident_store, leasing
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.group_commit import Resources
from alerthost.outbox.heartbeat import Registration
from alerthost.outbox.leasing import Lease
from alerthost.outbox.planner import Planner
from alerthost.outbox.retry_policy import LaneState
from alerthost.outbox.workers import Signal
from alerthost.store.errors import StoreError, UnstorableError
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

Completion: TypeAlias = Callable[[UnitOfWork], None]
"""Completes or returns a lease in the store."""

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

    Args:
        installations: by name; deliveries are sent through them.
        workers: number of workers; half of them may be busy with unhealthy lanes.
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
    _leasing: threading.Lock = attrs.field(init=False, factory=threading.Lock)
    _in_flight: dict[int, tuple[Lease, float]] = attrs.field(init=False, factory=dict)
    _expected_handles: dict[leasing.HandleKey, str | None] = attrs.field(init=False, factory=dict)
    _uncompleted: deque[tuple[Lease, float, Completion]] = attrs.field(init=False, factory=deque)
    _held: set[int] = attrs.field(init=False, factory=set)

    def note_accepted(self) -> None:
        """Wake a worker to plan a new submission."""
        self._pending.set()
        self._signal.notify()

    def call(self) -> None:
        """Wake a worker."""
        self._signal.notify()

    def poll(self) -> None:
        """Wake a worker if there is something to do, whichever process caused it."""
        now = self._resources.clock()
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
        return queued or bool(self._in_flight)

    def step(self, worker_id: str) -> bool:
        """Plan one batch and send one delivery; return whether there may be more to do."""
        self.complete_all()
        planned = self.plan() if self._pending.is_set() else 0
        lease = self.lease(worker_id)
        if lease is not None:
            self.handle(lease)
        return bool(planned or lease)

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
            self._changes.notify_all()
        return planned

    def lease(self, worker_id: str) -> Lease | None:
        """Lease the next delivery; None where nothing may be sent now."""
        with self._leasing:
            now = self._resources.clock()
            if self._resources.database.file is not None:  # in SQLite a write waits for all others
                with self._resources.database.read() as connection:
                    if not leasing.is_ready(connection, now):
                        return None
            half = max(1, self._workers // 2)
            unhealthy = self._count_unhealthy(now) < half
            found = self._resources.writer.run(
                lambda writing: leasing.Leasing(
                    writing,
                    worker_id,
                    now,
                    together=min(half, leasing.MOST_IN_FLIGHT),
                    unhealthy=unhealthy,
                    seconds=self._lease_seconds,
                    expected_handles=self._expected_handles,
                ).lease()
            )
            if found is not None:
                self._held.add(found.id)
                self._in_flight[found.id] = found, time.monotonic()
        if found is not None:
            self._signal.notify()
        return found

    def _count_unhealthy(self, now: float) -> int:
        """Count the workers busy with lanes that fail, or where an attempt takes long."""
        return sum(
            each.lane is not LaneState.HEALTHY or each.leased_at < now - leasing.SLOW
            for each, _ in tuple(self._in_flight.values())
        )

    def has_run_out(self, held: sa.Row[Any], now: float) -> bool:
        """Check that a lease has run out, by its clock and by this process's own."""
        in_flight = self._in_flight.get(held.id)
        leased_now = in_flight is not None and time.monotonic() - in_flight[1] < self._lease_seconds
        return held.lease_until <= now and not leased_now

    def is_idle(self, held: sa.Row[Any], now: float) -> bool:
        """Check that no attempt of a lease may start any more; a clock may have gone back."""
        leased_at = held.lease_until - self._lease_seconds
        starts = leased_at <= now <= leased_at + self._lease_seconds * leasing.START_WITHIN
        return held.id not in self._held and not starts

    def handle(self, lease: Lease) -> None:
        """Send a leased delivery, and record the outcome."""
        try:
            self._send(lease)
        finally:
            self._in_flight.pop(lease.id, None)
            self._changes.notify_all()

    def _send(self, lease: Lease) -> None:
        delivery, incident = lease.delivery, lease.incident.incident
        action = self._resources.plugins.actions.get(delivery.ref.action)
        installation = self._installations.get(delivery.ref.installation)
        if action is None or installation is None:
            self._complete(lease, Attempt.impossible(delivery.ref), ())
            return
        if incident.handle is not None and not can_follow_up(action, incident, installation):
            self._orphan(lease)
            return
        limits = _limits(action, lease, installation)
        lease = self._expect_handle(action, lease, installation)
        now = self._resources.clock()
        if not lease.leased_at <= now <= lease.start_by:
            self._record(lease, now, lambda uow: completion.return_lease(uow, lease))
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
            self._complete(lease, Attempt(interrupted, may_have_arrived=True), limits)
            raise
        self._complete(lease, made, limits)

    def _orphan(self, lease: Lease) -> None:
        ref = lease.delivery.ref
        _log.error(
            "the incident %s at %s/%s is orphaned: %s",
            ref.correlation_key,
            ref.installation,
            ref.destination,
            completion.ORPHANED,
        )
        now = self._resources.clock()
        self._record(lease, now, lambda uow: completion.orphan(uow, lease, completion.ORPHANED))

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
            now = self._resources.clock()
            self._uncompleted.append((lease, now, lambda uow: completion.return_lease(uow, lease)))
            raise
        self._expected_handles[leasing.handle_key(lease.delivery.ref)] = expected
        return lease

    def _complete(self, lease: Lease, made: Attempt, limits: Sequence[Limit]) -> None:
        now, outcome = self._resources.clock(), made.outcome
        self._watch(lease, outcome, now)
        arrived = made.may_have_arrived
        self._record(
            lease,
            now,
            lambda uow: completion.complete(uow, lease, outcome, arrived=arrived, limits=limits),
        )

    def _record(self, lease: Lease, now: float, work: Completion) -> None:
        """Complete a lease now, or as soon as the store can be written again."""
        self._uncompleted.append((lease, now, work))
        self.complete_all()

    def complete_all(self) -> None:
        """Complete the leases that could not be completed while the store failed."""
        while True:
            try:
                lease, now, work = self._uncompleted.popleft()
            except IndexError:
                return
            try:
                self._resources.run(work, now)
            except UnstorableError:
                raise  # this one is reclaimed when its lease runs out; the next may be storable
            except StoreError:
                self._uncompleted.appendleft((lease, now, work))
                raise
            self._held.discard(lease.id)


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
