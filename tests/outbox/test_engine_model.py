"""After any events in any order, PagerDuty has the true state once the network heals."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import progress
import pytest
import sqlalchemy as sa
from engines import EITHER, Clock, Observer
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from recorder import SILENT, Page, PagerPlugin, rule_of
from size import EXAMPLES, SEARCHES

from alerthost.outbox import completion, held_leases, planner
from alerthost.outbox.admin_rows import AdminError, DeliveryRow
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.engine import Engine
from alerthost.outbox.leasing import Lease
from alerthost.outbox.maintenance import Patience
from alerthost.outbox.retry_policy import GIVEN_UP
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.tables import deliveries, metadata
from hostspec import (
    Alert,
    Delivery,
    Handle,
    Incident,
    IncidentRef,
    Installation,
    Limit,
    Operation,
    Outcome,
    OutcomeKind,
    SendContext,
)
from hostspec.plugins import load
from hostspec.plugins.planning import RESOLVED_FOR

ONE, TWO = "one", "two"
LANES = st.sampled_from([ONE, TWO])
RULES = {
    # which alerts go to which lane
    "both": {ONE: {"a1", "a2", "b1", "c1"}, TWO: {"a1", "b1"}},
    "only one": {ONE: {"a1", "a2", "b1", "c1"}},
    "others": {ONE: {"a2"}, TWO: {"a1", "a2", "c1"}},
    "none": {},
    "all": {ONE: {"a1", "a2", "b1", "c1"}, TWO: {"a1", "a2", "b1", "c1"}},
}
UNKNOWN = st.sampled_from([(), (), (ONE,), (ONE, TWO)])
"""The lanes whose rules send the resolves of unknown alerts."""

NEVER = 1e8
"""Seconds until an alert expires after the end of each story."""

ALERTS = st.sampled_from(["a1", "a2", "b1", "c1"])
STATUSES = st.sampled_from(["firing", "firing", "acknowledged", "resolved"])

MEANWHILE = st.lists(st.one_of(STATUSES, st.sampled_from(["discarded", "rotated"])), max_size=3)
HANGING = st.sampled_from([0.0, 61.0, 122.0])
LONGEST_ATTEMPT = 20.0

# the fate of an attempt: whether it arrives, and the outcome that the sender sees
FATES = {
    "delivered": ("now", OutcomeKind.DELIVERED),
    "reply lost": ("now", OutcomeKind.UNREACHABLE),
    "lost": ("never", OutcomeKind.UNREACHABLE),
    "late": ("late", OutcomeKind.UNREACHABLE),
    "faulted": ("never", OutcomeKind.FAULTED),
    "faulted, and taken": ("now", OutcomeKind.FAULTED),
    "throttled": ("never", OutcomeKind.THROTTLED),
    "rejected": ("never", OutcomeKind.REJECTED),
    "misconfigured": ("never", OutcomeKind.MISCONFIGURED),
    "killed before": ("never", None),
    "killed after": ("now", None),
    "delivered at last": ("at last", OutcomeKind.DELIVERED),
    "reply lost at last": ("at last", OutcomeKind.UNREACHABLE),
}
PAGE, RECORD, DROP = "page", "record", "drop"
RECORDED = "#missed"


class KilledError(BaseException):
    """The process ends in the middle of an attempt."""


class KilledEngine(Engine):
    """Records no outcome of an attempt in which it was killed, or that was reclaimed.

    Attributes:
        together: outcomes are recorded with those of the deliveries that were leased together. A
            killed engine loses all of them, and the leases that it did not use.
    """

    killed = False
    together = False

    @property
    def name(self) -> str:
        assert self._registration.current is not None
        return self._registration.current.name

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._dispatcher._complete = functools.partial(  # type: ignore[method-assign]
            self.complete, self._dispatcher._complete
        )
        self._dispatcher.settle = functools.partial(  # type: ignore[method-assign]
            self.settle, self._dispatcher.settle
        )

    def settle(self, settle: Callable[[], None]) -> None:
        if not self.killed:
            settle()

    def complete(self, complete: Callable[..., None], lease: Lease, *arguments: Any) -> None:
        if self.killed:
            raise KilledError
        if self.together:
            complete(lease, *arguments)
            return
        before = self.row(lease)
        complete(lease, *arguments)
        self._dispatcher.complete_all()
        mine = (before.worker_id, before.attempts) == (lease.worker_id, lease.attempt)
        assert mine or self.row(lease) == before, (
            "a worker that lost its lease leaves the delivery alone"
        )

    def row(self, lease: Lease) -> sa.Row[Any]:
        with self.database.read() as connection:
            # the log of its attempts tells what became of the late one
            columns = [each for each in deliveries.c if each.name != "attempt_log"]
            which = sa.select(*columns).where(deliveries.c.id == lease.id)
            return connection.execute(which).one()


class PagerDuty:
    """The model: incidents by integration key and place, and when each place was opened last."""

    def __init__(self) -> None:
        self.open: set[tuple[str, Spot]] = set()
        self.opened: dict[Spot, int] = {}
        self.recorded: dict[Spot, int] = {}

    def take(self, message: Message, moment: int) -> None:
        incident = (message.key, message.spot)
        lane, key = message.spot
        if key.endswith(RECORDED):
            self.recorded[lane, key.removesuffix(RECORDED)] = moment
        elif message.operation is Operation.TRIGGER:
            if incident not in self.open:
                self.open.add(incident)
                self.opened[message.spot] = moment
        elif message.operation is Operation.RESOLVE:
            self.open.discard(incident)


Spot = tuple[str, str]
"""A lane, and the correlation key of an incident there."""


def spot_of(ref: IncidentRef) -> Spot:
    return ref.destination, ref.correlation_key


@attrs.frozen
class Message:
    """A message on its way."""

    key: str
    spot: Spot
    operation: Operation


class Pages(Page):
    """The action; its attempts end as the story says."""

    def __init__(self, story: Story) -> None:
        super().__init__(correlate=lambda alert: alert.key[0])
        self.story = story

    def can_follow_up(self, incident: Incident, installation: Installation[Any]) -> bool:
        return (incident.handle or {}).get("key") in self.story.keys

    def limits(
        self, delivery: Delivery, installation: Installation[Any], handle: Handle | None = None
    ) -> Sequence[Limit]:
        self.story.freeze(delivery.ref.destination)
        return super().limits(delivery, installation, handle)

    def plan(self, *arguments: Any, **named: Any) -> Any:
        self.story.interrupt_planning()
        return super().plan(*arguments, **named)

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        self.story.interrupt_planning()
        return super().follow_up(incident, alert)

    def on_missed(self, opening: Delivery, closing: Delivery) -> Sequence[Delivery]:
        if self.story.missed == RECORD:
            ref = opening.ref
            key = f"{ref.correlation_key}{RECORDED}"
            there = attrs.evolve(ref, action=Records.name, correlation_key=key)
            return (attrs.evolve(opening, operation=Operation.RESOLVE, ref=there, over=True),)
        return () if self.story.missed == DROP else (opening, closing)

    def expected_handle(self, delivery: Delivery, installation: Installation[Any]) -> Handle:
        return {"key": self.story.keys[0]}

    def send(
        self, delivery: Delivery, installation: Installation[Any], context: SendContext
    ) -> Outcome:
        return self.story.meet(delivery, context)


class Records(Pages):
    """Records are not followed up."""

    name = "pager.record"

    def __init__(self, story: Story) -> None:
        super().__init__(story)
        self.capabilities = SILENT  # type: ignore[misc]


STORIES: list[Story] = []
"""The story that runs."""


class Story(RuleBasedStateMachine):
    """Two engines on one database, PagerDuty, and the events around them."""

    def __init__(self, database: Database, number: int) -> None:
        super().__init__()
        self.database = database
        STORIES[:] = [self]
        if not number % progress.EVERY:
            progress.report(f"{database.engine.dialect.name}: {number} examples")

    @initialize(
        missed=st.sampled_from([PAGE, PAGE, RECORD, DROP]),
        together=st.booleans(),
        unknown=UNKNOWN,
    )
    def start(self, missed: str, *, together: bool = False, unknown: Sequence[str] = ()) -> None:
        self.missed = missed
        self.unknown = unknown
        self.together = together
        with self.database.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(sa.delete(table))
        self.clock = Clock()
        self.pagerduty = PagerDuty()
        self.keys = ["key 0"]
        self.rotations = 0
        self.rules = "both"
        self.statuses: dict[str, deque[str]] = {ONE: deque(), TWO: deque()}
        self.meanwhile: dict[str, deque[tuple[str, list[str], float]]] = {
            ONE: deque(),
            TWO: deque(),
        }
        self.frozen: dict[str, deque[tuple[str, list[str], float]]] = {ONE: deque(), TWO: deque()}
        self.leases: dict[IncidentRef, float] = {}
        self.wrong: list[str] = []
        self.interruptions = 0
        self.failures = 0
        self.plans = False
        self.running: list[KilledEngine] = []
        self.down: set[str] = set()
        self.late: list[Message] = []
        self.firing: set[str] = set()
        self.moment = 0
        self.held: dict[Spot, set[str]] = {}
        self.began: dict[Spot, int] = {}
        self.left_open: set[Spot] = set()
        self.dropped_orphans: set[int] = set()
        self.observer = Observer()
        pager = PagerPlugin(Pages(self), Records(self))
        self.plugins = load([], own={"pager": pager, "observer": self.observer})
        self.restart()

    @rule()
    def restart(self) -> None:
        self.engine = self.new_engine()
        self.other = self.new_engine()

    def new_engine(self) -> KilledEngine:
        rules = [
            rule_of(self.plugins, lane, lambda alert, of=keys: alert.key in of, teams=[lane])
            for lane, keys in RULES[self.rules].items()
        ]
        rules = [attrs.evolve(each, resolve_unknown=each.name in self.unknown) for each in rules]
        account = rule_of(self.plugins).actions[0].installation
        engine = KilledEngine(
            self.database,
            self.plugins,
            rules,
            installations=[account],
            clock=self.clock,
            patience=Patience(forget=1e9, keep=1e9),
        )
        engine.together = self.together
        return engine

    @rule()
    def swap(self) -> None:
        """Switch to the other engine."""
        self.engine, self.other = self.other, self.engine

    @rule(name=st.sampled_from([*RULES]))
    def reconfigure(self, name: str) -> None:
        self.engine._dispatcher.plan_ahead()  # earlier alerts follow the earlier rules
        self.rules = name
        self.restart()

    @rule(lanes=UNKNOWN)
    def send_unknown(self, lanes: Sequence[str]) -> None:
        """Change which rules send the resolves of unknown alerts."""
        self.engine._dispatcher.plan_ahead()
        self.unknown = lanes
        self.restart()

    def meet(self, delivery: Delivery, context: SendContext) -> Outcome:
        lease, ref = self.lease_of(context.attempt), delivery.ref
        if lease - self.clock.now < LONGEST_ATTEMPT:
            self.wrong.append(f"an attempt without a lease: {delivery}")
        before = self.leases.get(ref, 0.0)
        if before > self.clock.now:
            self.wrong.append(f"sent beside a delivery in flight: {delivery}")
        self.leases[ref] = lease
        try:
            return self.attempt(delivery, context)
        except Exception as error:  # which the engine takes for a plugin's
            self.wrong.append(repr(error))
            raise
        finally:
            self.leases[ref] = before

    def lease_of(self, attempt: int) -> float:
        """Return until when the engine that runs may make an attempt; 0 for not at all."""
        which = (
            "SELECT max(lease_until) FROM deliveries WHERE worker_id = :worker_id AND attempts = :n"
        )
        with self.database.read() as connection:
            worker_id = self.running[-1].name
            found = connection.execute(sa.text(which), {"worker_id": worker_id, "n": attempt})
            return found.scalar() or 0.0

    def attempt(self, delivery: Delivery, context: SendContext) -> Outcome:
        lane = delivery.ref.destination
        statuses = self.statuses[lane]
        fate = "lost" if lane in self.down else statuses.popleft() if statuses else "delivered"
        arrives, kind = FATES[fate]
        key = str((context.handle or {"key": self.keys[0]})["key"])
        assert key in self.keys
        if arrives == "late" and delivery.operation is Operation.RESOLVE:
            arrives = "never"  # a late resolve would close the new episode
        if arrives == "at last" and delivery.operation is Operation.RESOLVE:
            arrives = "now"
        if kind is OutcomeKind.REJECTED and delivery.operation is not Operation.TRIGGER:
            arrives, kind = "now", OutcomeKind.DELIVERED
        self.moment += 1
        message = Message(key, spot_of(delivery.ref), delivery.operation)
        if kind is OutcomeKind.REJECTED:
            self.began.pop(message.spot, None)  # observers are notified instead
        if arrives == "now":
            self.pagerduty.take(message, self.moment)
        if self.meanwhile[lane] and len(self.running) == 1:
            self.let_the_other_work(*self.meanwhile[lane].popleft())
        if arrives == "at last":
            self.moment += 1
            self.pagerduty.take(message, self.moment)
        elif arrives == "late":
            self.late.append(message)
        if kind is None and self.plans:
            kind = OutcomeKind.UNREACHABLE  # a killed process plans nothing
        if kind is None:
            self.running[-1].killed = True
            kind = OutcomeKind.DELIVERED
        return Outcome(kind, handle={"key": key})

    def freeze(self, lane: str) -> None:
        """Freeze an engine between leasing and sending."""
        if self.frozen[lane] and len(self.running) == 1:
            alert, statuses, seconds = self.frozen[lane].popleft()
            # a key that is removed now is still used by an engine that has it
            statuses = [each for each in statuses if each != "rotated"]
            self.let_the_other_work(alert, statuses, seconds)

    def let_the_other_work(self, alert: str, statuses: list[str], seconds: float) -> None:
        """Run the other engine while one hangs, longer than its lease or not.

        The longest lasts until each unconfirmed resolve has been sent again.
        """
        for status in statuses:
            if status == "discarded":
                self.drop_by_hand(0)
            elif status == "rotated":
                self.rotate(keep=False)
            else:
                self.accept(alert, status)
        if seconds:
            self.wait(min(seconds, 61.0))
        for pause in (0.0, 2.0, *([61.0] if seconds > 61 else [])):
            self.wait(pause)
            try:
                self.run(self.other, None)
            except KilledError:
                self.other = self.new_engine()

    def interrupt_planning(self) -> None:
        """Send in another thread of the same engine while this one plans."""
        if self.interruptions and len(self.running) == 1:
            self.interruptions -= 1
            self.plans = True
            self.run(self.running[0], None)
            self.plans = False

    def run(self, engine: KilledEngine, limit: int | None) -> None:
        self.running.append(engine)
        try:
            engine.drain(limit)
        except StoreError:
            pass  # the outcomes are kept
        finally:
            self.running.pop()
        assert not self.wrong

    @rule(
        alert=ALERTS,
        status=STATUSES,
        lane=LANES,
        statuses=st.lists(st.sampled_from([*FATES]), max_size=2),
        seconds=st.sampled_from([0.0, 2.0]),
    )
    def say_and_drain(
        self, alert: str, status: str, lane: str, statuses: list[str], seconds: float
    ) -> None:
        self.statuses[lane].extend(statuses)
        self.accept(alert, status)
        self.drain(None)
        self.clock.now += seconds
        self.drain(None)

    @rule(alert=ALERTS, lane=LANES, fate=st.sampled_from([*FATES]))
    def come_and_go(self, alert: str, lane: str, fate: str) -> None:
        """Disturb the delivery of a problem that is resolved soon after."""
        self.say_and_drain(alert, "firing", lane, [fate], 2.0)
        self.say_and_drain(alert, "resolved", lane, [], 0.0)

    @rule(
        alert=ALERTS,
        lane=LANES,
        meanwhile=st.sampled_from(
            [["resolved"], ["resolved", "rotated", "firing"], ["firing", "discarded", "discarded"]]
        ),
        freezes=st.booleans(),
        seconds=HANGING,
    )
    def go_meanwhile(
        self, alert: str, lane: str, meanwhile: list[str], seconds: float, *, freezes: bool
    ) -> None:
        """Hang an engine before or in its attempt, until the other one has sent the rest."""
        for ahead in (self.statuses, self.meanwhile, self.frozen):
            ahead[lane].clear()
        self.down.clear()
        self.say_and_drain(alert, "resolved", lane, [], 0.0)
        if freezes:
            self.frozen[lane].append((alert, meanwhile, seconds))
            self.say_and_drain(alert, "firing", lane, [], 0.0)
        else:
            self.hang(alert, lane, meanwhile, "delivered at last", seconds)

    @rule(alert=ALERTS, lane=LANES)
    def come_again(self, alert: str, lane: str) -> None:
        """Deliver a trigger late, after its resolve, and fire again."""
        self.come_and_go(alert, lane, "late")
        self.arrive()
        self.say_and_drain(alert, "firing", lane, [], 0.0)

    @rule(
        alert=ALERTS,
        lane=LANES,
        statuses=MEANWHILE,
        fate=st.sampled_from([*FATES]),
        seconds=HANGING,
    )
    def hang(self, alert: str, lane: str, statuses: list[str], fate: str, seconds: float) -> None:
        """Hang an attempt while another engine accepts the next updates and delivers them."""
        self.statuses[lane].append(fate)
        self.meanwhile[lane].append((alert, statuses, seconds))
        self.accept(alert, "firing")
        self.drain(None)

    @rule(
        lane=LANES,
        alert=ALERTS,
        statuses=MEANWHILE,
        seconds=st.sampled_from([2.0, 45.0, 61.0, 122.0]),
    )
    def freeze_next(self, lane: str, alert: str, statuses: list[str], seconds: float) -> None:
        self.frozen[lane].append((alert, statuses, seconds))

    @rule(lane=LANES, alert=ALERTS, statuses=MEANWHILE, seconds=HANGING)
    def hang_next(self, lane: str, alert: str, statuses: list[str], seconds: float) -> None:
        self.meanwhile[lane].append((alert, statuses, seconds))

    @rule(times=st.integers(1, 3))
    def interrupt(self, times: int) -> None:
        self.interruptions = times

    @rule(alert=ALERTS, status=STATUSES)
    def accept(self, alert: str, status: str) -> None:
        self.note(alert, status)
        self.engine.accept(Alert(alert, status=status))

    def note(self, alert: str, status: str) -> None:
        """Note a new state of an alert."""
        self.moment += 1
        if status == "firing":
            self.firing.add(alert)
            for lane, keys in RULES[self.rules].items():
                if alert in keys:
                    self.hold((lane, alert[0]), alert)
        elif status == "resolved":
            self.firing.discard(alert)
            for holders in self.held.values():
                holders.discard(alert)

    @rule(
        alert=ALERTS,
        status=st.sampled_from(["firing", "firing", "resolved"]),
        seconds=st.sampled_from([None, NEVER]),
    )
    def repeat(self, alert: str, status: str, seconds: float | None) -> None:
        """Report an alert as Prometheus does: a repeat renews its expiry, and sends nothing."""
        now = dt.datetime.fromtimestamp(self.clock.now, dt.UTC)
        expires_at = None if seconds is None else now + dt.timedelta(seconds=seconds)
        reported = Alert(alert, status=status)
        (repeated,) = self.engine.renew([reported], [expires_at])
        if repeated:
            assert (alert in self.firing) == (status == "firing")
        else:
            self.note(alert, status)
            self.engine.accept(reported, expires_at=expires_at)

    @rule(
        alert=ALERTS,
        lane=LANES,
        statuses=st.lists(st.sampled_from([*FATES]), max_size=4),
        renewals=st.integers(0, 2),
    )
    def expire(self, alert: str, lane: str, statuses: list[str], renewals: int) -> None:
        """Report an alert, and let it expire after its renewals."""
        for ahead in (*self.meanwhile.values(), *self.frozen.values()):
            ahead.clear()
        self.interruptions = 0
        self.statuses[lane].extend(statuses)
        self.accept(alert, "resolved")
        self.repeat(alert, "firing", 60.0)
        self.work(40)
        for _ in range(renewals):
            self.repeat(alert, "firing", 60.0)
            self.work(40)
        assert self.status_of(alert) == "firing"
        self.note(alert, "resolved")
        self.work(60)
        assert self.status_of(alert) == "resolved"

    def work(self, seconds: int) -> None:
        """Run the engine often enough that due times are not moved."""
        for _ in range(seconds // 10):
            self.drain(None)
            self.clock.now += 10
        self.drain(None)

    def status_of(self, alert: str) -> str:
        with self.database.read() as connection:
            which = sa.text("SELECT status FROM alerts WHERE key = :key")
            return str(connection.execute(which, {"key": alert}).scalar_one())

    @rule(alert=ALERTS, lane=LANES)
    def resolve_elsewhere(self, alert: str, lane: str) -> None:
        """Resolve the incident of another host, where a rule sends the resolves of its alerts."""
        self.end_trouble()
        self.run_down()
        self.wait(RESOLVED_FOR + 1)
        spot = (lane, alert[0])
        incident = self.keys[0], spot
        known = {spot_of(case.incident.ref) for case in self.engine.admin.incidents(most=1000)}
        if spot in known or incident in self.pagerduty.open:
            return
        self.pagerduty.open.add(incident)
        self.accept(alert, "resolved")
        self.run_down()
        asked = lane in self.unknown and alert in RULES[self.rules].get(lane, ())
        assert (incident in self.pagerduty.open) != asked
        self.pagerduty.open.discard(incident)

    def hold(self, spot: Spot, alert: str) -> None:
        holders = self.held.setdefault(spot, set())
        if not holders and spot not in self.left_open:
            self.began[spot] = self.moment
        self.left_open.discard(spot)
        holders.add(alert)

    @rule(limit=st.sampled_from([1, 2, None]))
    def drain(self, limit: int | None) -> None:
        try:
            self.run(self.engine, limit)
        except KilledError:
            self.restart()

    @rule(
        alerts=st.lists(ALERTS, min_size=2, max_size=4, unique=True),
        lane=LANES,
        statuses=st.lists(st.sampled_from([*FATES]), max_size=4),
    )
    def fire_together(self, alerts: list[str], lane: str, statuses: list[str]) -> None:
        """Send several deliveries that were leased together."""
        self.statuses[lane].extend(statuses)
        for alert in alerts:
            self.accept(alert, "firing")
        self.drain(None)

    @rule(times=st.integers(1, 2))
    def fail_to_record(self, times: int) -> None:
        """Make the store fail when outcomes are recorded: they are kept, or lost with a kill."""
        self.failures = times

    def fail(self) -> None:
        """Raise an error as often as the store is to fail."""
        if self.failures:
            self.failures -= 1
            raise StoreError("full")

    @rule(lane=LANES, statuses=st.lists(st.sampled_from([*FATES]), min_size=1, max_size=4))
    def trouble(self, lane: str, statuses: list[str]) -> None:
        self.statuses[lane].extend(statuses)

    @rule(lane=LANES)
    def go_down(self, lane: str) -> None:
        self.down.add(lane)

    @precondition(lambda self: self.down)
    @rule()
    def come_back(self) -> None:
        self.down.clear()

    @rule(seconds=st.sampled_from([0.4, 2.0, 31.0, 61.0, 3600.0, -3600.0]))
    def wait(self, seconds: float) -> None:
        if abs(seconds) > 10:
            self.arrive()  # nothing stays on its way for longer than an attempt may take
        self.clock.now += seconds

    @rule()
    def arrive(self) -> None:
        self.moment += 1
        late, self.late = self.late, []
        for each in late:
            self.pagerduty.take(each, self.moment)

    @rule(keep=st.booleans())
    def rotate(self, *, keep: bool) -> None:
        self.rotations += 1
        self.keys = [f"key {self.rotations}", *(self.keys if keep else [])]

    @rule(number=st.integers(0, 5))
    def resolve_by_hand(self, number: int) -> None:
        self.engine._dispatcher.plan_ahead()
        cases = self.engine.admin.incidents()
        if cases:
            case = cases[number % len(cases)]
            self.engine.admin.resolve(case.id)
            self.forget(spot_of(case.incident.ref))

    @rule(number=st.integers(0, 5))
    def drop_by_hand(self, number: int) -> None:
        self.engine._dispatcher.plan_ahead()
        may_be_open = {
            spot_of(case.incident.ref)
            for case in self.engine.admin.incidents(most=1000)
            if case.may_be_open
        }
        waiting = [
            each
            for each in self.engine.admin.deliveries()
            # the operator who discards a confirming resolve accepts the doubt
            if each.state == "queued"
            and (
                each.delivery.operation is not Operation.RESOLVE
                or spot_of(each.delivery.ref) in may_be_open
            )
        ]
        if not waiting:
            return
        entry = waiting[number % len(waiting)]
        try:
            self.engine.admin.discard_delivery(entry.id)
        except AdminError:  # a process that was killed is sending it
            return
        spot = spot_of(entry.delivery.ref)
        self.began.pop(spot, None)
        if entry.incident_id in self.orphaned_ids():
            self.dropped_orphans.add(entry.incident_id)
        elif entry.delivery.operation is Operation.RESOLVE:
            self.left_open.add(spot)
            self.dropped_orphans.add(entry.incident_id)  # if its key is removed later
        open_ones = {spot_of(case.incident.ref) for case in self.engine.admin.incidents()}
        if spot not in open_ones:
            self.forget(spot)

    @rule(number=st.integers(0, 5))
    def replay_by_hand(self, number: int) -> None:
        self.engine._dispatcher.plan_ahead()
        given_up = self.engine.admin.deliveries(GIVEN_UP)
        if given_up:
            self.replay(given_up[number % len(given_up)])

    def replay(self, entry: DeliveryRow) -> None:
        self.moment += 1
        self.engine.admin.replay(entry.id)
        self.engine._dispatcher.plan_ahead()
        alert, spot = entry.delivery.alert.key, spot_of(entry.delivery.ref)
        goes_there = alert in RULES[self.rules].get(spot[0], ())
        if entry.delivery.operation is Operation.TRIGGER and alert in self.firing and goes_there:
            self.hold(spot, alert)

    @property
    def never_closed(self) -> set[Spot]:
        """Return the incidents whose resolve was dead-lettered, by the receipts."""
        failed = {OutcomeKind.UNREACHABLE, OutcomeKind.FAULTED}
        return {
            spot_of(receipt.delivery.ref)
            for name, receipt in self.observer.reported
            if name == "undelivered"
            and receipt.delivery.operation is Operation.RESOLVE
            and receipt.outcome is not None
            and receipt.outcome.kind in failed
        }

    def forget(self, spot: Spot) -> None:
        self.held.pop(spot, None)
        self.began.pop(spot, None)

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        self.heal()
        self.check()
        if not self.engine.admin.incidents(orphaned=True):
            return
        self.bring_keys_back()
        assert self.orphaned_ids() <= self.dropped_orphans
        for number in self.orphaned_ids():
            self.engine.admin.resolve(number)
        self.run_down()
        self.check()
        assert not self.pagerduty.open
        assert not self.engine.admin.incidents(orphaned=True)

    def orphaned_ids(self) -> set[int]:
        return {case.id for case in self.engine.admin.incidents(orphaned=True, most=1000)}

    def bring_keys_back(self) -> None:
        """Resolve the firing alerts and bring all keys back.

        Only incidents whose resolve was discarded by hand may stay orphaned.
        """
        for alert in sorted(self.firing):
            self.accept(alert, "resolved")
        self.run_down()
        self.keys = [f"key {number}" for number in range(self.rotations, -1, -1)]
        self.restart()
        self.run_down()

    def end_trouble(self) -> None:
        self.down.clear()
        for ahead in (*self.statuses.values(), *self.meanwhile.values(), *self.frozen.values()):
            ahead.clear()
        self.interruptions = self.failures = 0

    def heal(self) -> None:
        self.end_trouble()
        self.run_down()
        for each in self.engine.admin.deliveries(GIVEN_UP):
            if each.state in {"dead", "rejected", "uncertain"}:
                self.replay(each)
        self.reconfigure("all")
        for alert in sorted(self.firing):
            # an alert that fires on an old key is sent again, and opens a new incident
            self.accept(alert, "firing")
        self.run_down()
        for case in self.engine.admin.incidents():
            if spot_of(case.incident.ref) in self.left_open and not case.incident.holders:
                self.engine.admin.resolve(case.id)
        self.run_down()

    def run_down(self) -> None:
        for _ in range(30):
            self.arrive()
            self.clock.now += 61
            self.drain(None)
            backlog = self.engine.admin.backlog()
            if not backlog.queued and not backlog.pending:
                return
        raise AssertionError(self.engine.admin.deliveries())

    def check(self) -> None:
        held = {spot: holders for spot, holders in self.held.items() if holders}
        cases = self.engine.admin.incidents(most=1000)
        assert held == {
            spot_of(case.incident.ref): {holder.key for holder in case.incident.holders}
            for case in cases
        }
        assert not any(case.orphaned for case in cases)
        # exactly the held incidents are open at PagerDuty
        known = {spot for key, spot in self.pagerduty.open if key in self.keys}
        assert known == set(held)
        # incidents under a removed key are listed
        orphaned = self.engine.admin.incidents(orphaned=True, most=1000)
        lost = {spot for key, spot in self.pagerduty.open if key not in self.keys}
        assert lost <= {spot_of(case.incident.ref) for case in orphaned}
        # the latest episode of each paged, unless it joined an incident that could not be closed
        for spot, began in self.began.items():
            if spot in self.never_closed:
                continue
            notified = self.pagerduty.opened.get(spot, 0)
            if self.missed == RECORD:
                notified = max(notified, self.pagerduty.recorded.get(spot, 0))
            if self.missed != DROP or spot in held:
                assert notified > began, (spot, began)
        # every delivery has ended, and observers were notified of it
        entries = self.engine.admin.deliveries(most=1000)
        assert not any(each.state == "queued" for each in entries)
        with self.database.read() as connection:
            uids = set(connection.execute(sa.text("SELECT uid FROM deliveries")).scalars())
        assert {receipt.id for _, receipt in self.observer.reported} == uids


@pytest.fixture(autouse=True)
def _batches_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan and lease the same batches each time that a story runs."""
    monkeypatch.setattr(planner, "BATCH_SECONDS", float("inf"))
    monkeypatch.setattr(held_leases, "WITHIN", 1e9)


@pytest.fixture(autouse=True)
def _store_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stories make the store fail when outcomes are recorded."""
    complete = completion.complete

    def fail_or_complete(uow: UnitOfWork, results: Sequence[completion.Result]) -> None:
        STORIES[-1].fail()
        complete(uow, results)

    monkeypatch.setattr(completion, "complete", fail_or_complete)


@pytest.mark.sized
@EITHER
def test_after_any_events_the_provider_has_the_true_state(database: Database) -> None:
    numbers = itertools.count(1)
    examples = EXAMPLES if database.file else EXAMPLES // 3  # a server takes its time
    run_state_machine_as_test(
        lambda: Story(database, next(numbers)),
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, derandomize=not SEARCHES
        ),
    )


@EITHER
def test_an_incident_that_is_orphaned_while_its_trigger_hangs_recovers(database: Database) -> None:
    story = Story(database, 1)
    story.start(PAGE)
    story.hang_next(lane=ONE, alert="b1", statuses=["resolved", "rotated"], seconds=122.0)
    story.accept("b1", "firing")
    story.drain(None)
    assert story.pagerduty.open == {("key 0", (ONE, "b"))}
    story.teardown()
    assert not story.pagerduty.open


@EITHER
def test_an_orphan_whose_resolve_is_discarded_is_still_listed(database: Database) -> None:
    story = Story(database, 1)
    story.start(missed="page")
    story.hang(
        alert="c1", fate="delivered", lane="two", seconds=0.0, statuses=["firing", "rotated"]
    )
    story.rotate(keep=True)
    story.come_again(alert="a1", lane="one")
    story.freeze_next(alert="a1", lane="two", seconds=2.0, statuses=["firing", "firing", "firing"])
    story.come_and_go(alert="a1", fate="delivered", lane="one")
    story.wait(seconds=0.4)
    story.go_meanwhile(alert="a1", freezes=True, lane="one", meanwhile=["resolved"], seconds=0.0)
    story.rotate(keep=True)
    story.hang(alert="a1", fate="reply lost at last", lane="one", seconds=0.0, statuses=[])
    story.come_and_go(alert="c1", fate="delivered", lane="one")
    story.drop_by_hand(number=5)
    story.wait(seconds=2.0)
    story.wait(seconds=2.0)
    story.replay_by_hand(number=3)
    story.freeze_next(alert="b1", lane="one", seconds=45.0, statuses=[])
    story.drop_by_hand(number=1)
    story.accept(alert="a2", status="acknowledged")
    story.teardown()


@EITHER
def test_a_resolve_by_hand_that_is_discarded_leaves_no_incident(database: Database) -> None:
    story = Story(database, 1)
    story.start(missed="record", together=True)
    story.hang(alert="a1", fate="delivered", lane="one", seconds=61.0, statuses=[])
    story.accept(alert="b1", status="firing")
    story.go_down(lane="two")
    story.fire_together(alerts=["a1", "c1", "b1"], lane="one", statuses=[])
    story.arrive()
    story.trouble(lane="one", statuses=["faulted, and taken", "misconfigured", "killed before"])
    story.arrive()
    story.go_meanwhile(
        alert="c1",
        freezes=False,
        lane="one",
        meanwhile=["resolved", "rotated", "firing"],
        seconds=122.0,
    )
    story.accept(alert="c1", status="acknowledged")
    story.trouble(lane="one", statuses=["reply lost at last"])
    story.drop_by_hand(number=2)
    story.replay_by_hand(number=5)
    story.go_meanwhile(alert="a1", freezes=False, lane="one", meanwhile=["resolved"], seconds=122.0)
    story.say_and_drain(alert="c1", lane="one", seconds=2.0, status="firing", statuses=[])
    story.freeze_next(alert="a1", lane="one", seconds=45.0, statuses=["resolved"])
    story.come_again(alert="b1", lane="two")
    story.interrupt(times=3)
    story.fail_to_record(times=1)
    story.replay_by_hand(number=2)
    story.hang(alert="b1", fate="delivered", lane="two", seconds=0.0, statuses=["resolved"])
    story.come_and_go(alert="b1", fate="rejected", lane="one")
    story.fail_to_record(times=2)
    story.drop_by_hand(number=2)
    story.say_and_drain(
        alert="b1",
        lane="two",
        seconds=2.0,
        status="acknowledged",
        statuses=["killed after", "late"],
    )
    story.freeze_next(alert="a1", lane="two", seconds=61.0, statuses=["discarded", "discarded"])
    story.hang(
        alert="a1",
        fate="throttled",
        lane="two",
        seconds=122.0,
        statuses=["resolved", "resolved", "discarded"],
    )
    story.arrive()
    story.come_and_go(alert="a2", fate="delivered at last", lane="two")
    story.replay_by_hand(number=1)
    story.teardown()
