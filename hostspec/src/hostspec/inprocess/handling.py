"""Handles one alert: plans it, waits for its turns, and sends side by side."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Final, TypeVar

import attrs

from hostspec.alert import Alert, Identity, Status
from hostspec.delivery import Incident, IncidentRef, Receipt
from hostspec.errors import Fault
from hostspec.inprocess.fair_lock import Call, NoTurnError, Turn, Turns, calling
from hostspec.inprocess.memory import Memory
from hostspec.inprocess.report import Report
from hostspec.inprocess.sending import Sending
from hostspec.plugins.planning import Plan

MOST_IN_FLIGHT: Final = 64
"""Attempts under way to one destination of a host with a time limit, those left behind included."""

_T = TypeVar("_T")


class _Seen:
    """The incidents as one planning sees them, and which of them it saw."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.incidents: dict[IncidentRef, Incident | None] = {}

    def at(self, ref: IncidentRef) -> Incident | None:
        return self.incidents.setdefault(ref, self._memory.at(ref))

    def held_by(self, alert: Identity) -> tuple[Incident, ...]:
        held = self._memory.held_by(alert)
        for incident in held:
            self.incidents.setdefault(incident.ref, incident)
        return held

    def is_outdated(self, ref: IncidentRef) -> bool:
        """Check whether the incident at a place changed since the planning."""
        return ref not in self.incidents or self.incidents[ref] is not self._memory.at(ref)


@attrs.define(eq=False)
class _Part:
    """The work of one alert at one place.

    Attributes:
        turn: at the place.
        plan: as far as it is about the place.
        seen: what the plan was made on.
        receipt_id: of its delivery.
        receipt: of its delivery, once it has ended.
        decided: taken by the attempt when it begins, or by the caller that waits no longer.
        reason: why its turn did not come.
        left_behind: its attempt is still under way, and no caller waits for it.
    """

    turn: Turn
    ref: IncidentRef
    plan: Plan
    seen: _Seen
    receipt_id: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    receipt: Receipt | None = None
    decided: threading.Lock = attrs.field(factory=threading.Lock)
    reason: str = "its turn did not come in time"
    left_behind: bool = False


class Handling:
    """The handling of one alert.

    The turn of the alert lasts while it is planned and lines up where it has something to do;
    the turn at a place lasts until the attempt there is over. No place waits
    for another.
    """

    def __init__(self, sending: Sending, turns: Turns, alert: Alert, call: Call) -> None:
        self._sending = sending
        self._memory = sending.memory
        self._turns = turns
        self._alert = alert
        self._call = call
        self._plans: list[Plan] = []
        self._parts: list[_Part] = []
        self._anew: list[tuple[Plan, _Seen]] = []
        self._failures: list[Fault] = []

    def run(self) -> Report:
        """Plan and send; wait no longer than the call may wait."""
        try:
            with self._turns.of(self._alert.identity, self._call):
                seen = _Seen(self._memory)
                plan = self._sending.begin(self._alert, seen)
                if plan.remark:
                    return Report(plan, ())
                self._plans.append(plan)
                self._memory.note(self._alert)
                # where a trigger is still on its way, a resolve has something to do
                under_way = self._turns.owned_by(self._alert.identity)
                fresh = self._line_up((*plan.refs, *under_way), plan, seen)
        except NoTurnError as error:
            self._failures.append(Fault("", str(error)))
            plan, fresh = Plan(self._alert, (), ()), []
        try:
            while fresh:
                self._side_by_side(fresh)
                fresh = self._elsewhere()
        except BaseException:
            for part in self._parts:
                if part.decided.acquire(blocking=False):
                    self._turns.leave(part.turn)
            raise
        return self._report(plan)

    def _plan(self) -> tuple[Plan, _Seen]:
        seen = _Seen(self._memory)
        plan = self._sending.plan(self._alert, seen)
        self._plans.append(plan)
        return plan, seen

    def _line_up(self, refs: Iterable[IncidentRef], plan: Plan, seen: _Seen) -> list[_Part]:
        turns = self._turns.line_up(refs, self._call, owner=self._alert.identity)
        parts = [_Part(turn, turn.name, plan.at(turn.name), seen) for turn in turns]
        self._parts += parts
        return parts

    def _elsewhere(self) -> list[_Part]:
        """Line up where a plan that was made again has more to do than those before."""
        met = {part.ref for part in self._parts}
        fresh: list[_Part] = []
        for plan, seen in self._anew:
            refs = [ref for ref in plan.refs if ref not in met]
            met.update(refs)
            fresh += self._line_up(refs, plan, seen)
        self._anew.clear()
        return fresh

    def _side_by_side(self, parts: Sequence[_Part]) -> None:
        """Work on all parts at the same time; those that take too long are left behind."""
        if len(parts) == 1 and self._call.ends is None:
            self._work(parts[0])
            return
        futures = [_started(functools.partial(self._work, part)) for part in parts]
        done, _ = wait(futures, self._call.left, FIRST_EXCEPTION)
        for future in done:
            future.result()

    def _work(self, part: _Part) -> None:
        """Wait for the turn, plan again where the incident changed, and send."""
        try:
            self._turns.wait(part.turn)
            self._send(part)
        except NoTurnError as error:
            part.reason = str(error)
        finally:
            self._turns.leave(part.turn)
        if part.receipt is not None:
            # not in its turn: an observer may call the host
            self._sending.tell(part.receipt)
            if part.left_behind:
                self._sending.log_receipt(part.receipt)

    def _send(self, part: _Part) -> None:
        if part.seen.is_outdated(part.ref):
            plan, seen = self._plan()
            self._anew.append((plan, seen))
            part.plan = plan.at(part.ref)
        with contextlib.ExitStack() as stack:
            if part.plan.deliveries and self._call.ends is not None:
                # attempts may be left behind: no more than so many to one destination
                lane = (part.ref.action, part.ref.installation, part.ref.destination)
                stack.enter_context(self._turns.of(lane, self._call, width=MOST_IN_FLIGHT))
            if not part.decided.acquire(blocking=False):
                return  # reported as not sent
            for ref in part.plan.joined:
                self._memory.join(ref, self._alert.identity)
            for ref in part.plan.released:
                self._memory.release(ref, self._alert.identity)
            for delivery in part.plan.deliveries:
                part.receipt = self._sending.send(delivery, part.receipt_id)

    def _report(self, plan: Plan) -> Report:
        receipts = tuple(filter(None, map(self._receipt, self._parts)))
        parts = [part.plan for part in self._parts]
        return Report(
            attrs.evolve(
                plan,
                deliveries=_distinct(each.deliveries for each in parts),
                joined=_distinct(each.joined for each in parts),
                released=_distinct(each.released for each in parts),
                failures=_distinct((*(each.failures for each in self._plans), self._failures)),
                suppressions=_distinct(each.suppressions for each in self._plans),
            ),
            receipts,
        )

    def _receipt(self, part: _Part) -> Receipt | None:
        """Return the receipt at a place; an attempt that is not begun by now is not made."""
        given_up = part.receipt is None and part.decided.acquire(blocking=False)
        for delivery in part.plan.deliveries:
            if part.receipt is not None:
                return part.receipt
            if not given_up:
                part.left_behind = True
                reason = f"no answer within {self._call.seconds:g} s; the attempt goes on"
                return Receipt(part.receipt_id, delivery, None, reason=reason)
            receipt = Receipt(part.receipt_id, delivery, None, attempts=0, reason=part.reason)
            self._sending.tell(receipt)
            return receipt
        if given_up and (part.plan.refs or self._alert.status is not Status.FIRING):
            path = f"destination {part.ref.destination!r}"
            self._failures.append(Fault(path, part.reason))
            part.plan = attrs.evolve(part.plan, joined=(), released=())
        return None


def _started(work: Callable[[], None]) -> Future[None]:
    """Start work on a thread of its own; do it here where no thread can be started."""
    future: Future[None] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            with calling():
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


def _distinct(several: Iterable[Iterable[_T]]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(itertools.chain.from_iterable(several)))
