"""Handles one alert: plans it, acquires its locks, and sends to all destinations at once."""

from __future__ import annotations

import contextlib
import contextvars
import datetime as dt
import functools
import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Any, Final

import attrs

from hostspec.alert import Alert, Identity, Status
from hostspec.delivery import Delivery, Incident, IncidentRef, Receipt, SendContext, distinct
from hostspec.errors import Fault, log_message
from hostspec.inprocess.fair_lock import Call, FairLocks, LockTimeoutError, Ticket, begin_call
from hostspec.inprocess.memory import IncidentMemory
from hostspec.inprocess.report import Report, describe_receipt, is_delivered
from hostspec.plugins.isolation import make_attempt
from hostspec.plugins.planning import LATE_REPEAT, Incidents, Plan, PlanBuilder
from hostspec.plugins.registry import Plugins, Rule
from hostspec.provider import Installation

MOST_IN_FLIGHT: Final = 64
"""Attempts in flight to one destination of a host with a time limit, abandoned ones included."""

_log = logging.getLogger("hostspec")
_planning_log = logging.getLogger("hostspec.planning")


@attrs.frozen
class Sender:
    """Plans by rules, makes attempts, and reports them to observers and the log."""

    plugins: Plugins
    rules: tuple[Rule, ...]
    installations: Mapping[str, Installation[Any]]
    memory: IncidentMemory

    def plan(self, alert: Alert, incidents: Incidents) -> Plan:
        """Plan an alert, unless it repeats the episode that ended last."""
        if self.memory.is_late_repeat(alert):
            return Plan(alert, (), (), remark=LATE_REPEAT)
        return self.plan_episode(alert, incidents)

    def plan_episode(self, alert: Alert, incidents: Incidents) -> Plan:
        """Plan an alert that is known not to be a late repeat."""
        alert = alert.as_of(dt.datetime.now(dt.UTC))
        builder = PlanBuilder(self.plugins, incidents, alert)
        matching = [rule for rule in self.rules if builder.matches(rule)]
        if alert.status is not Status.FIRING:
            builder.follow_up()
        for rule in matching:
            builder.open(rule)
        return builder.plan(matching)

    def context(self, delivery: Delivery) -> SendContext:
        """Return the context of an attempt, with the incident's handle."""
        incident = self.memory.at(delivery.ref)
        return SendContext(handle=incident.handle if incident else None)

    def send(self, delivery: Delivery, receipt_id: str) -> Receipt:
        """Make one attempt, and remember its outcome."""
        action = self.plugins.actions[delivery.ref.action]
        installation = self.installations[delivery.ref.installation]
        attempt = make_attempt(action, delivery, installation, self.context(delivery))
        self.memory.record(delivery, attempt.outcome, arrived=attempt.may_have_arrived)
        return Receipt(receipt_id, delivery, attempt.outcome)

    def notify(self, receipt: Receipt) -> None:
        """Notify the observers of a finished delivery."""
        hook = "hostspec_delivered" if is_delivered(receipt) else "hostspec_undelivered"
        self.plugins.hooks.each(hook, receipt=receipt)

    def log_receipt(self, receipt: Receipt) -> None:
        """Log a delivery that its provider did not accept."""
        if not is_delivered(receipt):
            key, described = receipt.delivery.alert.key, describe_receipt(receipt)
            log_message(_log, logging.ERROR, "alert %s: %s", key, described)

    def log_report(self, report: Report) -> None:
        """Log every reason why an alert may not have caused a notification."""
        key = report.plan.alert.key
        for receipt in report.receipts:
            self.log_receipt(receipt)
        for failure in report.plan.failures:
            log_message(_planning_log, logging.ERROR, "alert %s: %s", key, failure)
        for suppression in report.plan.suppressions:
            message = "alert %s: suppressed by %s: %s"
            log_message(_log, logging.WARNING, message, key, suppression.plugin, suppression.reason)
        if report.plan.remark:
            log_message(_log, logging.INFO, "alert %s: %s", key, report.plan.remark)
        if report.unmatched and report.plan.alert.status is Status.FIRING:
            log_message(_log, logging.WARNING, "alert %s: no rule matches, nothing is sent", key)


class _Snapshot:
    """The incidents that one planning has read, to detect changes since."""

    def __init__(self, memory: IncidentMemory) -> None:
        self._memory = memory
        self._incidents: dict[IncidentRef, Incident | None] = {}

    def at(self, ref: IncidentRef) -> Incident | None:
        return self._incidents.setdefault(ref, self._memory.at(ref))

    def held_by(self, alert: Identity) -> tuple[Incident, ...]:
        held = self._memory.held_by(alert)
        for incident in held:
            self._incidents.setdefault(incident.ref, incident)
        return held

    def is_outdated(self, ref: IncidentRef) -> bool:
        return ref not in self._incidents or self._incidents[ref] is not self._memory.at(ref)


@attrs.define(eq=False)
class _Part:
    """The part of an alert's plan about one incident.

    Attributes:
        ticket: the ticket for the incident's lock.
        snapshot: the incidents that the plan was made from.
        receipt: the receipt for its delivery; None until the attempt has ended.
        decided: acquired by the attempt when it begins, or by the caller that stops waiting.
        reason: why the lock was not acquired.
        abandoned: its attempt is still in flight, and no caller waits for it.
    """

    ticket: Ticket
    plan: Plan
    snapshot: _Snapshot
    receipt_id: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    receipt: Receipt | None = None
    decided: threading.Lock = attrs.field(factory=threading.Lock)
    reason: str = "its turn did not come in time"
    abandoned: bool = False

    @property
    def ref(self) -> IncidentRef:
        return self.ticket.name  # type: ignore[no-any-return]


class Handling:
    """The handling of one alert.

    The lock of the alert is held while it is planned and joins the queues of its incidents; the
    lock of an incident is held until the attempt is over. No incident waits for another.
    """

    def __init__(self, sender: Sender, locks: FairLocks, alert: Alert, call: Call) -> None:
        self._sender = sender
        self._memory = sender.memory
        self._locks = locks
        self._alert = alert
        self._call = call
        self._plans: list[Plan] = []
        self._parts: list[_Part] = []
        self._replanned: list[tuple[Plan, _Snapshot]] = []
        self._failures: list[Fault] = []

    def run(self) -> Report:
        """Plan and send; wait no longer than the call may wait."""
        try:
            with self._locks.hold(self._alert.identity, self._call):
                snapshot = _Snapshot(self._memory)
                plan = self._sender.plan(self._alert, snapshot)
                if plan.remark:
                    return Report(plan, ())
                self._plans.append(plan)
                self._memory.note(self._alert)
                # where a trigger is still in flight, a resolve has to follow it
                in_flight = self._locks.owned_by(self._alert.identity)
                fresh = self._enqueue((*plan.refs, *in_flight), plan, snapshot)
        except LockTimeoutError as error:
            self._failures.append(Fault("", str(error)))
            plan, fresh = Plan(self._alert, (), ()), []
        try:
            while fresh:
                self._process_all(fresh)
                fresh = self._enqueue_replanned()
        except BaseException:
            for part in self._parts:
                if part.decided.acquire(blocking=False):
                    self._locks.release(part.ticket)
            raise
        return self._report(plan)

    def _enqueue(self, refs: Iterable[IncidentRef], plan: Plan, snapshot: _Snapshot) -> list[_Part]:
        tickets = self._locks.enqueue(refs, self._call, owner=self._alert.identity)
        parts = [_Part(ticket, plan.at(ticket.name), snapshot) for ticket in tickets]
        self._parts += parts
        return parts

    def _enqueue_replanned(self) -> list[_Part]:
        """Enqueue the incidents that only a plan made again is about."""
        known = {part.ref for part in self._parts}
        fresh: list[_Part] = []
        for plan, snapshot in self._replanned:
            refs = [ref for ref in plan.refs if ref not in known]
            known.update(refs)
            fresh += self._enqueue(refs, plan, snapshot)
        self._replanned.clear()
        return fresh

    def _process_all(self, parts: Sequence[_Part]) -> None:
        """Process all parts at the same time; abandon those that take too long."""
        if len(parts) == 1 and self._call.ends is None:
            self._process(parts[0])
            return
        futures = [_start(functools.partial(self._process, part)) for part in parts]
        done, _ = wait(futures, self._call.left, FIRST_EXCEPTION)
        for future in done:
            future.result()

    def _process(self, part: _Part) -> None:
        """Acquire the lock, plan again if the incident changed, and send."""
        try:
            self._locks.acquire(part.ticket)
            self._send(part)
        except LockTimeoutError as error:
            part.reason = str(error)
        finally:
            self._locks.release(part.ticket)
        if part.receipt is not None:
            # after the lock is released: an observer may call the host
            self._sender.notify(part.receipt)
            if part.abandoned:
                self._sender.log_receipt(part.receipt)

    def _send(self, part: _Part) -> None:
        if part.snapshot.is_outdated(part.ref):
            snapshot = _Snapshot(self._memory)
            plan = self._sender.plan_episode(self._alert, snapshot)
            self._plans.append(plan)
            self._replanned.append((plan, snapshot))
            part.plan = plan.at(part.ref)
        with contextlib.ExitStack() as stack:
            if part.plan.deliveries and self._call.ends is not None:
                # bounds the attempts to one destination, abandoned ones included
                lane = (part.ref.action, part.ref.installation, part.ref.destination)
                stack.enter_context(self._locks.hold(lane, self._call, width=MOST_IN_FLIGHT))
            if not part.decided.acquire(blocking=False):
                return  # reported as not sent
            for ref in part.plan.joined:
                self._memory.join(ref, self._alert.identity)
            for ref in part.plan.released:
                self._memory.release(ref, self._alert.identity)
            for delivery in part.plan.deliveries:
                part.receipt = self._sender.send(delivery, part.receipt_id)

    def _report(self, plan: Plan) -> Report:
        receipts = tuple(filter(None, map(self._receipt, self._parts)))
        parts = [part.plan for part in self._parts]
        return Report(
            attrs.evolve(
                plan,
                deliveries=distinct(each.deliveries for each in parts),
                joined=distinct(each.joined for each in parts),
                released=distinct(each.released for each in parts),
                failures=distinct((*(each.failures for each in self._plans), self._failures)),
                suppressions=distinct(each.suppressions for each in self._plans),
            ),
            receipts,
        )

    def _receipt(self, part: _Part) -> Receipt | None:
        """Return the receipt about an incident; cancel an attempt that has not begun."""
        cancelled = part.receipt is None and part.decided.acquire(blocking=False)
        for delivery in part.plan.deliveries:
            if part.receipt is not None:
                return part.receipt
            if not cancelled:
                part.abandoned = True
                reason = f"no answer within {self._call.seconds:g} s; the attempt goes on"
                return Receipt(part.receipt_id, delivery, None, reason=reason)
            receipt = Receipt(part.receipt_id, delivery, None, attempts=0, reason=part.reason)
            self._sender.notify(receipt)
            return receipt
        if cancelled and (part.plan.refs or self._alert.status is not Status.FIRING):
            path = f"destination {part.ref.destination!r}"
            self._failures.append(Fault(path, part.reason))
            part.plan = attrs.evolve(part.plan, joined=(), released=())
        return None


def _start(work: Callable[[], None]) -> Future[None]:
    """Start work on a thread of its own; do it here if no thread can be started."""
    future: Future[None] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            with begin_call():
                work()
        except BaseException as error:  # noqa: BLE001 -- KeyboardInterrupt belongs to the caller
            future.set_exception(error)
        else:
            future.set_result(None)

    try:
        threading.Thread(target=context.run, args=(run,), name="hostspec send", daemon=True).start()
    except RuntimeError:
        context.run(run)
    return future
