"""After any events in any order, each due time has its effect once, and never too early.

The model counts the time in which an engine worked (`Story.time`). Downtime and jumps of the clock
do not count.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import progress
import pytest
import sqlalchemy as sa
from engines import EITHER_IN_PROOF, Clock, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from recorder import rule_of
from size import EXAMPLES, SEARCHES

from alerthost.outbox import inbox, planner
from alerthost.outbox.clock_watch import UNWATCHED
from alerthost.outbox.engine import Engine
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat
from alerthost.outbox.timing import LEAST_LIFETIME, TimedRule
from alerthost.store.columns import metadata
from alerthost.store.database import Database
from hostspec import Alert
from hostspec.plugins import Rule
from hostspec.plugins.planning import RESOLVED_FOR

STEP = 10.0
WAIT = 120.0
EVERY = ExpectedHeartbeat(
    key="job", every=120, grace=60, matches=lambda alert: alert.class_ == "Watchdog"
)
BEAT = "heartbeat/job"
NAMES = st.sampled_from(["a", "b"])
JUMPS = [-86_400 * 400, -3600, -100, 100, 3600, 86_400 * 400]


class KilledError(BaseException):
    """The process ends before it removes a due time."""


@attrs.define
class Expected:
    """An alert as it should be; times are those of the model.

    Attributes:
        status: its newest one.
        lifetime: of the last report.
        expires_at: None for never.
        since: when it fired first in this episode.
        waits_until: when the rule `later` is due; None while it does not wait.
        pending: the report that is not planned yet, with its time on the clock.
        open: the teams that were paged.
        resolved_at: when a resolve was sent to each team, on the clock.
    """

    status: str = ""
    lifetime: float | None = None
    expires_at: float | None = None
    since: float | None = None
    waits_until: float | None = None
    pending: tuple[str, float | None, float] | None = None
    open: set[str] = attrs.field(factory=set)
    resolved_at: dict[str, float] = attrs.field(factory=dict)

    def end(self, now: float, asked: Iterable[str]) -> list[str]:
        """End the episode; return the operations that are sent for it.

        Args:
            now: on the clock.
            asked: the teams whose rules send the resolves of unknown alerts.
        """
        unknown = {each for each in asked if not self.was_resolved(each, now)}
        teams = sorted(self.open | unknown)
        self.resolved_at.update(dict.fromkeys(teams, now))
        self.status, self.open = "resolved", set()
        self.lifetime = self.expires_at = self.since = self.waits_until = None
        return [f"resolve {team}" for team in teams]

    def was_resolved(self, team: str, now: float) -> bool:
        return abs(now - self.resolved_at.get(team, -math.inf)) <= RESOLVED_FOR


def rules(plugins: Any, unknown: Iterable[str]) -> list[Rule]:
    """Return a rule that pages at once, and one that waits.

    Args:
        unknown: the names of those that send the resolves of unknown alerts.
    """
    now = rule_of(plugins, "now", teams=["now"])
    later = rule_of(plugins, "later", lambda alert: alert.class_ != "heartbeat", teams=["later"])
    found = [now, TimedRule(later.name, later.actions, later.matches, wait=WAIT)]
    return [attrs.evolve(each, resolve_unknown=each.name in unknown) for each in found]


class Story(RuleBasedStateMachine):
    """Two engines on one database that work in turn, and the events around them."""

    def __init__(self, database: Database, number: int) -> None:
        super().__init__()
        self.database = database
        if not number % progress.EVERY:
            progress.report(f"{database.engine.dialect.name}: {number} examples")

    @initialize(unknown=st.sampled_from([(), ("now",), ("later",), ("now", "later")]))
    def start(self, unknown: Sequence[str]) -> None:
        self.unknown = unknown
        with self.database.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(sa.delete(table))
        self.clock = Clock()
        self.world = World(
            self.database,
            self.clock,
            rules=functools.partial(rules, unknown=unknown),
            heartbeats=[EVERY],
        )
        self.engines: list[Engine] = []
        self.restart()
        self.time = self.drained_at = 0.0
        self.alerts = {"a": Expected(), "b": Expected()}
        self.beat_due: float | None = EVERY.period
        self.beats = 0
        self.drain()

    @rule()
    def restart(self) -> None:
        self.engines = [self.world.new_engine(), self.world.new_engine()]

    @rule()
    def swap(self) -> None:
        """Switch to the other engine."""
        self.engines.reverse()

    @rule(
        name=NAMES,
        lifetime=st.sampled_from([None, None, 0.0, 90.0, 300.0]),
        drains=st.booleans(),
    )
    def fire(self, name: str, lifetime: float | None, *, drains: bool) -> None:
        self.report(name, "firing", lifetime, drains=drains)

    @rule(name=NAMES, status=st.sampled_from(["acknowledged", "resolved"]), drains=st.booleans())
    def follow_up(self, name: str, status: str, *, drains: bool) -> None:
        self.report(name, status, None, drains=drains)

    def report(self, name: str, status: str, lifetime: float | None, *, drains: bool) -> None:
        if self.alerts[name].pending:
            self.drain()
        now = self.clock.now
        expires_at = None if lifetime is None else dt.datetime.fromtimestamp(now + lifetime, dt.UTC)
        self.engines[0].accept(Alert(name, status=status), expires_at=expires_at)
        self.alerts[name].pending = status, lifetime, now
        if drains:
            self.drain()

    @rule(
        name=NAMES,
        status=st.sampled_from(["firing", "firing", "resolved"]),
        lifetime=st.sampled_from([None, 0.0, 90.0, 300.0]),
    )
    def repeat(self, name: str, status: str, lifetime: float | None) -> None:
        """Report an alert as Prometheus does: a repeat renews its expiry only."""
        self.drain()
        alert, now = self.alerts[name], self.clock.now
        expires_at = None if lifetime is None else dt.datetime.fromtimestamp(now + lifetime, dt.UTC)
        (repeated,) = self.engines[0].renew([Alert(name, status=status)], [expires_at])
        if not repeated:
            self.report(name, status, lifetime, drains=True)
            return
        assert (status == "resolved") == (alert.status == "resolved")
        if status == "firing":
            alert.lifetime = None if lifetime is None else max(lifetime, LEAST_LIFETIME)
            alert.expires_at = None if lifetime is None else self.time + alert.lifetime
        self.drain()

    @rule()
    def beat(self) -> None:
        if self.beat_due is None:
            self.beats = 1
        self.engines[0].hear("job")
        self.beat_due = self.time + EVERY.period

    @rule()
    def feed(self) -> None:
        """Send the Watchdog that feeds the heartbeat."""
        self.drain()
        self.engines[0].accept(Alert("watchdog", class_="Watchdog"))
        if self.beat_due is None:
            self.beats = 1
        self.beat_due = self.time + EVERY.period
        self.drain()

    @rule(steps=st.integers(1, 14))
    def wait(self, steps: int) -> None:
        for _ in range(steps):
            self.clock.now += STEP
            self.time += STEP
            self.drain()

    @rule(seconds=st.sampled_from(JUMPS), restarts=st.booleans())
    def jump(self, seconds: float, *, restarts: bool) -> None:
        """Move the clock: a jump, or a downtime."""
        self.clock.now += seconds
        if restarts:
            self.restart()

    @rule(
        name=NAMES,
        lifetime=st.sampled_from([None, 90.0]),
        seconds=st.sampled_from(JUMPS),
        restarts=st.booleans(),
    )
    def fire_before_a_jump(
        self, name: str, lifetime: float | None, seconds: float, *, restarts: bool
    ) -> None:
        """Report an alert that is planned after a jump or a downtime."""
        self.report(name, "firing", lifetime, drains=False)
        self.jump(seconds, restarts=restarts)
        self.wait(2)

    @rule(steps=st.integers(1, 14))
    @precondition(lambda self: any(each.waits_until for each in self.alerts.values()))
    def die(self, steps: int) -> None:
        """Kill the engine when it serves a due time, if it does so within some steps."""

        def accept_and_die(accept: Any) -> Any:
            def accepting(*arguments: Any) -> None:
                accept(*arguments)
                raise KilledError

            return accepting

        for _ in range(steps):
            self.clock.now += STEP
            self.time += STEP
            self.note_gap()
            with pytest.MonkeyPatch.context() as patch:
                for name in ("accept_own", "accept_again"):
                    patch.setattr(inbox, name, accept_and_die(getattr(inbox, name)))
                try:
                    with self.engines[0]._registration.registered() as worker:
                        self.engines[0]._maintenance.run(worker)
                except KilledError:
                    self.restart()
            self.drain()

    def drain(self) -> None:
        """Run an engine, and compare its messages."""
        self.note_gap()
        before = len(self.world.page.sent)
        self.engines[0].drain()
        sent: dict[str, list[str]] = {BEAT: [], "a": [], "b": []}
        for each in self.world.page.sent[before:]:
            sent[each.key].append(f"{each.operation} {each.destination}")
        is_pending = any(each.pending for each in self.alerts.values())
        expected = {name: self.expect(each) for name, each in self.alerts.items()}
        expected[BEAT] = self.expect_beat(is_pending=is_pending)
        assert {name: sorted(each) for name, each in sent.items()} == expected
        self.drained_at = self.time

    def note_gap(self) -> None:
        """Move the due times if no engine worked, or the clock jumped, since the last round."""
        with self.database.begin() as connection:
            seen = connection.execute(sa.text("SELECT seen_at FROM clock")).scalar()
        if seen is None or abs(self.clock.now - seen) <= UNWATCHED:
            return
        self.time = self.drained_at
        soonest = self.time + LEAST_LIFETIME
        for each in self.alerts.values():
            if each.expires_at is not None:
                each.expires_at = max(each.expires_at, soonest)
            if each.waits_until is not None:
                each.waits_until = max(each.waits_until, soonest)
        if self.beat_due is not None:
            self.beat_due = self.time + EVERY.period

    def expect(self, alert: Expected) -> list[str]:
        """Return the messages about an alert in this round."""
        if alert.pending is not None:
            status, lifetime, accepted_at = alert.pending
            alert.pending = None
            return self.expect_report(alert, status, lifetime, accepted_at)
        if alert.expires_at is not None and alert.expires_at <= self.time:
            return alert.end(self.clock.now, ())
        if alert.waits_until is not None and alert.waits_until <= self.time:
            alert.waits_until = None
            alert.open.add("later")
            return ["trigger later"]
        return []

    def expect_report(
        self, alert: Expected, status: str, lifetime: float | None, accepted_at: float
    ) -> list[str]:
        if status == "resolved":
            return alert.end(self.clock.now, self.unknown)
        if status == "acknowledged" and alert.status == "resolved":
            return []
        alert.since = self.time if alert.since is None else alert.since
        if lifetime is not None:
            lifetime = max(lifetime, LEAST_LIFETIME)
        elif status == "acknowledged":
            lifetime = alert.lifetime
        alert.status, alert.lifetime, alert.waits_until = status, lifetime, None
        alert.expires_at = None if lifetime is None else self.time + lifetime
        if status == "acknowledged":
            return [f"acknowledge {team}" for team in sorted(alert.open)]
        # a report from before a gap does not count the gap
        reported_at = self.time + min(0.0, accepted_at - self.clock.now)
        if alert.since + WAIT > reported_at:
            alert.waits_until = alert.since + WAIT
            alert.open.add("now")
            return ["trigger now"]
        alert.open |= {"now", "later"}
        return ["trigger later", "trigger now"]

    def expect_beat(self, *, is_pending: bool) -> list[str]:
        """Return the messages about the heartbeat; a report that is pending may feed it."""
        resolved, self.beats = self.beats, 0
        if self.beat_due is not None and self.beat_due <= self.time and not is_pending:
            self.beat_due = None
            return ["trigger now"]
        return ["resolve now"] * resolved

    def teardown(self) -> None:
        if not self.engines:
            return
        self.drain()
        self.wait(60)
        with self.database.read() as connection:
            stored = connection.execute(
                sa.text("SELECT key, waits_until FROM alerts WHERE waits_until IS NOT NULL")
            ).all()
        assert stored == []
        assert all(each.waits_until is None for each in self.alerts.values())


@pytest.fixture(autouse=True)
def _batches_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan the same batches each time that a story runs."""
    monkeypatch.setattr(planner, "BATCH_SECONDS", float("inf"))


@pytest.mark.sized
@EITHER_IN_PROOF
def test_after_any_events_each_due_time_has_its_effect_once(database: Database) -> None:
    numbers = itertools.count(1)
    examples = EXAMPLES if database.file else EXAMPLES // 3 + 1  # a server takes its time
    run_state_machine_as_test(
        lambda: Story(database, next(numbers)),
        settings=settings(
            max_examples=examples, stateful_step_count=20, deadline=None, derandomize=not SEARCHES
        ),
    )
