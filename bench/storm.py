"""A storm: 10,000 alerts over 100 problems of one service, at a fake that enforces the limit.

Time is simulated: engine and fake read one clock, which advances while a message is on its way
and while nothing may be sent. The contender sends every alert in order, from the same budget.
"""

from __future__ import annotations

import datetime as dt
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import sqlalchemy as sa
from measuring import KEYS, table

from alerthost.outbox.engine import POLL, Engine
from alerthost.outbox.rate_limit import ORDINARY, USABLE, RateLimit
from alerthost.store.database import Database
from alerthost.store.tables import deliveries
from hostspec import Alert, Limit, Operation, Outcome, Severity
from hostspec.plugins import Rule, load
from pagerduty_plugin.constants import EVENTS_PER_MINUTE, RATE_WINDOW
from pagerduty_plugin.testing import FakePagerDuty

ALERTS: Final = 10_000
PROBLEMS: Final = 100
LASTS: Final = 600.0
"""Seconds over which the alerts are posted."""

STATUSES: Final = ("firing", "firing", "acknowledged", "resolved")
SEVERITIES: Final = ("critical", "error", "error", "warning", "info")
BEGAN: Final = 1_795_000_000.0
ALL: Final = EVENTS_PER_MINUTE * USABLE // 100
NOT_URGENT: Final = ALL * ORDINARY // 100
GOAL: Final = 0.95


class Clock:
    """The simulated time."""

    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> float:
        return self.now

    def moment(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.now, dt.UTC)


def storm(chance: random.Random) -> list[tuple[float, Alert]]:
    """Make alerts with the moments at which they are posted."""
    moments = sorted(BEGAN + chance.uniform(0, LASTS) for _ in range(ALERTS))
    severities = [chance.choice(SEVERITIES) for _ in range(PROBLEMS)]
    made = []
    for moment in moments:
        problem = chance.randrange(PROBLEMS)
        status, severity = chance.choice(STATUSES), severities[problem]
        made.append((moment, Alert(f"p{problem}", "Slow", status=status, severity=severity)))
    return made


@attrs.define
class Measured:
    """The results of one run, in simulated seconds since the storm began."""

    sent: int = 0
    throttled: int = 0
    last_sent: dict[str, float] = attrs.field(factory=dict)
    shares: list[tuple[float, float]] = attrs.field(factory=list)


def through_the_engine(alerts: Sequence[tuple[float, Alert]], chance: random.Random) -> Measured:
    clock = Clock()
    coming = list(reversed(alerts))
    with (
        tempfile.TemporaryDirectory() as folder,
        FakePagerDuty(services={"checkout": KEYS["checkout"]}, clock=clock.moment) as fake,
        Database("sqlite:///alerthost.db", Path(folder)) as database,
    ):
        engine = _engine(database, fake.url, clock, chance)
        measured = Measured()
        while coming or engine.admin.backlog().queued:
            due = []
            while coming and coming[-1][0] <= clock.now:
                due.append(coming.pop()[1])
            if due:
                engine.accept_many(due)
            before, idle = clock.now, not engine.drain(1)
            share = _share(database, clock.now)
            if idle:
                clock.now += POLL
            if share is not None:
                measured.shares.append((share, clock.now - before))
        _check(alerts, fake)
        for request in fake.requests:
            key = request.json()["dedup_key"]
            measured.last_sent[key] = request.arrived_at.timestamp() - BEGAN
        measured.sent = len(fake.requests)
        measured.throttled = sum(request.status == 429 for request in fake.requests)
    return measured


def _engine(database: Database, url: str, clock: Clock, chance: random.Random) -> Engine:
    plugins = load(["pagerduty"])
    service = {"name": "checkout", "integration_key": KEYS["checkout"]}
    acme = plugins.installation("pagerduty", "acme", {"base_url": url, "services": [service]})
    page = plugins.rule_action("pagerduty.trigger", acme, {"services": ["checkout"]})
    send = page.action.send

    def slowly(*arguments: Any) -> Outcome:
        """Take as long as PagerDuty does: mostly a fraction of a second, at times seconds."""
        clock.now += chance.expovariate(10)
        outcome = send(*arguments)
        clock.now += chance.expovariate(10)
        return outcome

    page.action.send = slowly  # type: ignore[method-assign]
    rules = [Rule("Pages", [page])]
    return Engine(database, plugins, rules, clock=clock, observe=lambda *_: None)


def _share(database: Database, now: float) -> float | None:
    """Return the used share of the budget that queued deliveries may use; None if none is queued.

    Deliveries that are not urgent may use a part of it, unless urgent ones have used it up. A
    message counts from its last attempt, and earlier attempts are left out: each of them was
    throttled, and `main` counts these.
    """
    urgent = sa.or_(
        deliveries.c.operation == Operation.RESOLVE, deliveries.c.severity == Severity.CRITICAL
    )
    counts = sa.select(urgent, sa.func.count()).group_by(urgent)
    recent = counts.where(
        deliveries.c.state == "delivered", deliveries.c.tried_at > now - RATE_WINDOW
    )
    with database.read() as connection:
        queued = dict(connection.execute(counts.where(deliveries.c.is_head)).all())
        sent = dict(connection.execute(recent).all())
    if not queued:
        return None
    if True in queued:
        return sum(sent.values()) / ALL
    return min(1.0, max(sent.get(False, 0) / NOT_URGENT, sum(sent.values()) / ALL))


def _check(alerts: Sequence[tuple[float, Alert]], fake: FakePagerDuty) -> None:
    """Check that the last state of each problem arrived."""
    last = {alert.key: str(alert.status) for _, alert in alerts if alert.status != "acknowledged"}
    known = {incident.dedup_key: incident.state for incident in fake.incidents}
    wrong = {
        key
        for key, status in last.items()
        if (known.get(key, "resolved") == "resolved") != (status == "resolved")
    }
    assert not wrong, wrong


def in_order(alerts: Sequence[tuple[float, Alert]]) -> Measured:
    """Send every alert in order, as soon as the whole budget allows."""
    budget = RateLimit(Limit("key", EVENTS_PER_MINUTE, RATE_WINDOW))
    now = BEGAN
    measured = Measured(sent=len(alerts))
    for moment, alert in alerts:
        now = max(now, moment)
        now = budget.free_at(now, urgent=True)
        budget = budget.take(now, urgent=True)
        measured.last_sent[alert.key] = now - BEGAN
    return measured


def main() -> None:
    chance = random.Random(20261123)
    alerts = storm(chance)
    engine, order = through_the_engine(alerts, chance), in_order(alerts)
    waited = sum(seconds for _, seconds in engine.shares)
    share = sum(each * seconds for each, seconds in engine.shares) / waited
    rows = [
        (name, f"{each.sent:,}", f"{each.throttled}", f"{max(each.last_sent.values()) / 60:.1f}")
        for name, each in (("engine", engine), ("all in order", order))
    ]
    title = f"A storm of {ALERTS:,} alerts over {PROBLEMS} problems in {LASTS / 60:g} minutes"
    table(title, ("", "events sent", "429s", "minutes until the last state of all is sent"), rows)
    print(f"\n  429s: {engine.throttled} (goal: 0)")
    met = "yes" if share >= GOAL else "NO"
    print(
        f"  share of the usable budget used while any is queued: {share:.3f} (goal: {GOAL}) {met}"
    )


if __name__ == "__main__":
    main()
