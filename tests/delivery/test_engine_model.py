"""Whatever happens in whatever order: once the network heals, PagerDuty knows what is true."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import attrs
from engines import Clock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from recorder import Page, plugins_of, rule_of

from hostspec import (
    Alert,
    Delivery,
    Incident,
    Installation,
    Operation,
    Outcome,
    OutcomeKind,
    SendContext,
)
from hostspec.delivery.desk import GIVEN_UP
from hostspec.delivery.engine import Engine
from hostspec.delivery.keeping import Patience
from hostspec.store.database import Database

ALERTS = st.sampled_from(["a1", "a2", "b1", "c1"])
STATUSES = st.sampled_from(["firing", "firing", "acknowledged", "resolved"])

# what an attempt meets: does it arrive, and what does the sender see
FATES = {
    "delivered": ("now", OutcomeKind.DELIVERED),
    "reply lost": ("now", OutcomeKind.UNREACHABLE),
    "lost": ("never", OutcomeKind.UNREACHABLE),
    "late": ("late", OutcomeKind.UNREACHABLE),
    "faulted": ("never", OutcomeKind.FAULTED),
    "faulted, and taken": ("now", OutcomeKind.FAULTED),
    "throttled": ("never", OutcomeKind.THROTTLED),
    "misconfigured": ("never", OutcomeKind.MISCONFIGURED),
    "killed before": ("never", None),
    "killed after": ("now", None),
}


class KilledError(BaseException):
    """The process is gone in the middle of an attempt."""


class KilledEngine(Engine):
    """Writes nothing down of an attempt in which it was killed."""

    killed = False

    def _settle(self, *arguments: Any) -> None:
        if self.killed:
            raise KilledError
        super()._settle(*arguments)


class PagerDuty:
    """The model: incidents by integration key and dedup key, and when each was opened."""

    def __init__(self) -> None:
        self.open: set[tuple[str, str]] = set()
        self.opened: dict[str, int] = {}

    def take(self, key: str, dedup_key: str, operation: Operation, moment: int) -> None:
        if operation is Operation.TRIGGER:
            if (key, dedup_key) not in self.open:
                self.open.add((key, dedup_key))
                self.opened[dedup_key] = moment
        elif operation is Operation.RESOLVE:
            self.open.discard((key, dedup_key))


@attrs.define
class Late:
    """A message that is still on its way."""

    key: str
    dedup_key: str
    operation: Operation


class Pages(Page):
    """The action: it meets what the story says."""

    def __init__(self, story: Story) -> None:
        super().__init__(correlate=lambda alert: alert.key[0])
        self.story = story

    def can_follow_up(self, incident: Incident, installation: Installation[Any]) -> bool:
        return (incident.handle or {}).get("key") in self.story.keys

    def send(
        self, delivery: Delivery, installation: Installation[Any], context: SendContext
    ) -> Outcome:
        return self.story.meet(delivery, context)


class Story(RuleBasedStateMachine):
    """An engine, PagerDuty, and what happens to both."""

    template: Path | None = None

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.database = Database("sqlite:///alerthost.db", self.folder)
        if Story.template is None:
            self.database.migrate()
            self.database.close()
            Story.template = Path(tempfile.mkdtemp()) / "alerthost.db"
            shutil.copy(self.folder / "alerthost.db", Story.template)
        shutil.copy(Story.template, self.folder / "alerthost.db")
        self.clock = Clock()
        self.pagerduty = PagerDuty()
        self.keys = ["key 0"]
        self.rotations = 0
        self.fates: deque[str] = deque()
        self.late: list[Late] = []
        self.statuses: dict[str, str] = {}
        self.moment = 0
        self.began: dict[str, int] = {}
        self.plugins = plugins_of(Pages(self))
        self.restart()

    @rule()
    def restart(self) -> None:
        every = rule_of(self.plugins, "Every")
        some = rule_of(self.plugins, "Some", lambda alert: alert.key in ("a1", "b1"))
        self.engine = KilledEngine(
            self.database,
            self.plugins,
            [every, some],
            clock=self.clock,
            patience=Patience(forget=1e9, keep=1e9),
        )

    def meet(self, delivery: Delivery, context: SendContext) -> Outcome:
        fate = self.fates.popleft() if self.fates else "delivered"
        arrives, kind = FATES[fate]
        key = str((context.handle or {"key": self.keys[0]})["key"])
        assert key in self.keys
        if arrives == "late" and delivery.operation is Operation.RESOLVE:
            arrives = "never"  # nobody can keep a resolve from closing what fires meanwhile
        self.moment += 1
        message = (key, delivery.place.correlation_key, delivery.operation)
        if arrives == "now":
            self.pagerduty.take(*message, self.moment)
        elif arrives == "late":
            self.late.append(Late(*message))
        if kind is None:
            self.engine.killed = True
            kind = OutcomeKind.DELIVERED
        return Outcome(kind, handle={"key": key})

    @rule(
        alert=ALERTS,
        status=STATUSES,
        fates=st.lists(st.sampled_from([*FATES]), max_size=2),
        seconds=st.sampled_from([0.0, 2.0]),
    )
    def say_and_drain(self, alert: str, status: str, fates: list[str], seconds: float) -> None:
        self.fates.extend(fates)
        self.say(alert, status)
        self.drain(None)
        self.clock.now += seconds
        self.drain(None)

    @rule(alert=ALERTS, status=STATUSES)
    def say(self, alert: str, status: str) -> None:
        place = alert[0]
        self.moment += 1
        if status == "firing" and not self.fires(place):
            self.began[place] = self.moment
        if status == "firing" or alert in self.statuses:
            # an acknowledged problem is still one
            self.statuses[alert] = self.statuses[alert] if status == "acknowledged" else status
        self.engine.accept(Alert(alert, status=status))

    def fires(self, place: str) -> bool:
        return any(
            status == "firing" for alert, status in self.statuses.items() if alert[0] == place
        )

    @rule(limit=st.sampled_from([1, 2, None]))
    def drain(self, limit: int | None) -> None:
        try:
            self.engine.drain(limit)
        except KilledError:
            self.restart()

    @rule(fates=st.lists(st.sampled_from([*FATES]), min_size=1, max_size=4))
    def trouble(self, fates: list[str]) -> None:
        self.fates.extend(fates)

    @rule(seconds=st.sampled_from([0.4, 2.0, 31.0, 61.0, 3600.0, -3600.0]))
    def wait(self, seconds: float) -> None:
        if abs(seconds) > 10:
            self.arrive()  # nothing stays on its way for longer than an attempt may take
        self.clock.now += seconds

    @precondition(lambda self: self.late)
    @rule()
    def arrive(self) -> None:
        self.moment += 1
        late, self.late = self.late, []
        for each in late:
            self.pagerduty.take(each.key, each.dedup_key, each.operation, self.moment)

    @precondition(lambda self: self.rotations < 3)
    @rule(keep=st.booleans())
    def rotate(self, keep: bool) -> None:  # noqa: FBT001
        self.rotations += 1
        self.keys = [f"key {self.rotations}", *(self.keys if keep else [])]

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        try:
            self.heal()
            self.check()
        finally:
            self.database.close()
            shutil.rmtree(self.folder)

    def heal(self) -> None:
        self.fates.clear()
        self.run_down()
        for each in self.engine.desk.deliveries(GIVEN_UP):
            if each.state == "set aside":
                self.engine.desk.replay(each.id)
        for alert, status in self.statuses.items():
            if status == "firing":  # what fires on an old key is told again, and opens anew
                self.engine.accept(Alert(alert))
        self.run_down()

    def run_down(self) -> None:
        for _ in range(30):
            self.arrive()
            self.clock.now += 61
            self.drain(None)
            backlog = self.engine.desk.backlog()
            if not backlog.waiting and not backlog.unplanned:
                return
        raise AssertionError(self.engine.desk.deliveries())

    def check(self) -> None:
        known = {place for key, place in self.pagerduty.open if key in self.keys}
        firing = {alert[0] for alert, status in self.statuses.items() if status == "firing"}
        assert known == firing
        held = {
            case.incident.place.correlation_key: {holder.key for holder in case.incident.holders}
            for case in self.engine.desk.incidents()
        }
        assert held == {
            place: {
                alert
                for alert, status in self.statuses.items()
                if status == "firing" and alert[0] == place
            }
            for place in firing
        }
        for place, began in self.began.items():
            assert self.pagerduty.opened.get(place, 0) > began, (place, began)
        told = [(each.state, each.attempts) for each in self.engine.desk.deliveries(most=1000)]
        assert all(state != "waiting" for state, _ in told)


TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=int(os.environ.get("HOSTSPEC_EXAMPLES", "60")),
    stateful_step_count=30,
    deadline=None,
)
