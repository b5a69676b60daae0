"""The host that a program embeds: it plans, follows up and sends."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Any, Final

import attrs

from hostspec.action import AnyAction, Preview
from hostspec.alert import Alert, Identity, Status
from hostspec.delivery import (
    Delivery,
    Incident,
    IncidentRef,
    Outcome,
    OutcomeKind,
    Receipt,
    distinct,
)
from hostspec.errors import Fault, describe_error
from hostspec.inprocess.fair_lock import Call, FairLocks, LockTimeoutError, Ticket, begin_call
from hostspec.inprocess.memory import IncidentMemory
from hostspec.inprocess.sending import Report, Sender, log_receipt, log_report
from hostspec.plugins.limited_log import LimitedLog
from hostspec.plugins.planning import Plan
from hostspec.plugins.registry import Plugins, Rule
from hostspec.provider import Installation

MOST_IN_FLIGHT: Final = 64
"""Attempts in flight to one destination of a host with a time limit, abandoned ones included."""

_log = logging.getLogger("hostspec")


class Host:
    """Plans, follows up and sends, and keeps the incidents that it opened in memory.

    Safe to use from several threads. Messages about one incident are sent in the order of the
    calls, different incidents never wait for each other, and no thread lock is held while plugins,
    rules or log handlers run. An asyncio program calls
    ``await asyncio.to_thread(host.handle, alert)``.

    Args:
        plugins: the loaded plugins.
        rules: the rules that alerts are matched with.
        timeout: seconds that `handle` waits for providers; None for no limit.

    Raises:
        ValueError: two installations have one name, or no plugin offers a rule's action.
    """

    def __init__(
        self, plugins: Plugins, rules: Iterable[Rule], *, timeout: float | None = None
    ) -> None:
        self.plugins = plugins
        self.timeout = timeout
        self.rules = tuple(rules)
        uses = [use for rule in self.rules for use in rule.actions]
        _require_offered(plugins, (use.action for use in uses))
        self._installations = _by_name(use.installation for use in uses)
        self._memory = IncidentMemory()
        self._locks = FairLocks()
        self._without_incident = LimitedLog(_log)
        self._sender = Sender(plugins, self.rules, self._installations, self._memory)

    def handle(self, alert: Alert, *, timeout: float | None = None) -> Report:
        """Plan and send, one attempt for each delivery; a plugin's exception never gets through.

        Deliveries to several destinations are sent at the same time. When the time is up, an
        attempt in flight continues on its own thread, and observers are notified of its end; a
        queued attempt is not made. The report shows which.

        If a plugin, a rule or a log handler calls it while it handles the same alert or incident,
        it does not wait for its own caller: the report has a failure instead.

        The timeout is in seconds; None for the host's own.
        """
        limit = self.timeout if timeout is None else timeout
        with begin_call(limit) as call:
            report = _Handling(self._sender, self._locks, alert, call).run()
            log_report(report, self._without_incident)
            return report

    def plan(self, alert: Alert) -> Plan:
        """Return the plan for an alert; sends and remembers nothing.

        Incidents that this host opened are followed up, whatever the rules say now. Other
        resolves go where the rules with ``resolve_unknown`` say.
        """
        return self._sender.plan(alert, self._memory)

    def send(self, delivery: Delivery) -> Receipt:
        """Make one attempt to send a delivery, and notify the observers."""
        receipt = self._sender.send(delivery, uuid.uuid4().hex)
        self._sender.notify(receipt)
        log_receipt(receipt)
        return receipt

    def held_by(self, alert: Identity) -> tuple[Incident, ...]:
        """Return the incidents of this host that an alert holds open."""
        return self._memory.held_by(alert)

    def name_of(self, ref: IncidentRef) -> str:
        """Return ``installation/destination``, with the destination's current name."""
        installation = self._installations[ref.installation]
        provider = self.plugins.providers[installation.provider]
        try:
            names = {each.id: each.name for each in provider.destinations(installation)}
        except Exception as error:  # noqa: BLE001 -- a missing name costs no page
            _log.error(
                "the provider %s returned no destinations: it %s",
                provider.name,
                describe_error(error),
            )
            names = {}
        return f"{ref.installation}/{names.get(ref.destination, ref.destination)}"

    def preview(self, delivery: Delivery) -> Preview:
        """Return the request that `send` would make, secrets masked; reads no secret."""
        action = self.plugins.actions[delivery.ref.action]
        installation = self._installations[delivery.ref.installation]
        return action.preview(delivery, installation, self._sender.context(delivery))

    def assume(self, plan: Plan) -> None:
        """Remember a plan as if it had been delivered, to show the plan of a later alert."""
        if plan.remark:
            return
        self._memory.note(plan.alert)
        for ref in plan.joined:
            self._memory.join(ref, plan.alert.identity)
        for ref in plan.released:
            self._memory.release(ref, plan.alert.identity)
        for delivery in plan.deliveries:
            self._memory.record(delivery, Outcome(OutcomeKind.DELIVERED), arrived=True)


def _require_offered(plugins: Plugins, actions: Iterable[AnyAction]) -> None:
    for action in actions:
        if plugins.actions.get(action.name) is not action:
            message = f"no plugin of the host offers the action {action.name!r} of a rule"
            raise ValueError(message)


def _by_name(installations: Iterable[Installation[Any]]) -> dict[str, Installation[Any]]:
    named: dict[str, Installation[Any]] = {}
    for installation in installations:
        if named.setdefault(installation.name, installation) != installation:
            message = f"two installations are named {installation.name!r}; rename one"
            raise ValueError(message)
    return named


class _Snapshot:
    """The incidents that one planning has read, to detect changes since."""

    def __init__(self, memory: IncidentMemory) -> None:
        self._memory = memory
        self._incidents: dict[IncidentRef, Incident | None] = {}
        self._resolved: dict[IncidentRef, bool] = {}

    def at(self, ref: IncidentRef) -> Incident | None:
        return self._incidents.setdefault(ref, self._memory.at(ref))

    def held_by(self, alert: Identity) -> tuple[Incident, ...]:
        held = self._memory.held_by(alert)
        for incident in held:
            self._incidents.setdefault(incident.ref, incident)
        return held

    def is_resolved(self, ref: IncidentRef) -> bool:
        return self._resolved.setdefault(ref, self._memory.is_resolved(ref))

    def is_outdated(self, ref: IncidentRef) -> bool:
        if ref not in self._incidents or self._incidents[ref] is not self._memory.at(ref):
            return True
        return ref in self._resolved and self._resolved[ref] != self._memory.is_resolved(ref)


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


class _Handling:
    """The handling of one alert: plans it, acquires its locks, and sends to all at once.

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
                log_receipt(part.receipt)

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
