"""A storm: 10,000 alerts on 100 problems of one service, at a fake that enforces the rate limit.

Measured are the minutes from its end until the last state of each problem has arrived. The
baseline is the least that the limit allows for the changes that are owed then, at 120 a minute: a
problem that ended and began anew owes a resolve and a trigger. Time is simulated: engine and fake
read one clock, which advances while a message is on its way and while nothing may be sent.
"""

from __future__ import annotations

import datetime as dt
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from figures import Figure, main
from measuring import KEY

from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from hostspec import Alert, Outcome
from hostspec.plugins import Rule, load
from pagerduty_plugin.constants import EVENTS_PER_MINUTE
from pagerduty_plugin.testing import FakePagerDuty

STATUSES = ("firing", "firing", "acknowledged", "resolved")
SEVERITIES = ("critical", "error", "error", "warning", "info")
BEGAN = 1_795_000_000.0
IDLE = 0.5
"""Seconds that pass while nothing may be sent."""


class Clock:
    """The simulated time."""

    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> float:
        return self.now

    def moment(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.now, dt.UTC)


def storm(
    count: int, problems: int, lasts: float, chance: random.Random
) -> list[tuple[float, Alert]]:
    """Make alerts with the moments at which they are posted."""
    moments = sorted(BEGAN + chance.uniform(0, lasts) for _ in range(count))
    severities = [chance.choice(SEVERITIES) for _ in range(problems)]
    made = []
    for moment in moments:
        problem = chance.randrange(problems)
        status, severity = chance.choice(STATUSES), severities[problem]
        made.append((moment, Alert(f"p{problem}", "Slow", status=status, severity=severity)))
    return made


def pager_on(database: Database, url: str, clock: Clock, chance: random.Random) -> Engine:
    plugins = load(["pagerduty"])
    service = {"name": "checkout", "integration_key": KEY}
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


def send_all(alerts: Sequence[tuple[float, Alert]], chance: random.Random) -> FakePagerDuty:
    """Post alerts at their moments, and send until nothing is queued; return what received it."""
    clock = Clock()
    coming = list(reversed(alerts))
    with (
        tempfile.TemporaryDirectory() as folder,
        FakePagerDuty(services={"checkout": KEY}, clock=clock.moment) as fake,
        Database("sqlite:///alerthost.db", Path(folder)) as database,
    ):
        engine = pager_on(database, fake.url, clock, chance)
        while coming or engine.admin.backlog().queued:
            due = []
            while coming and coming[-1][0] <= clock.now:
                due.append(coming.pop()[1])
            if due:
                engine.accept_many(due)
            if not engine.drain(1):
                clock.now += IDLE
    return fake


def changes(fake: FakePagerDuty) -> list[float]:
    """Return the moments at which the state of an incident changed."""
    following = {
        ("resolved", "trigger"): "triggered",
        ("triggered", "acknowledge"): "acknowledged",
        ("triggered", "resolve"): "resolved",
        ("acknowledged", "resolve"): "resolved",
    }
    states: dict[str, str] = {}
    moments = []
    for request in fake.requests:
        event = request.json()
        key = event["dedup_key"]
        change = states.get(key, "resolved"), event["event_action"]
        if request.status == 202 and change in following:
            states[key] = following[change]
            moments.append(request.arrived_at.timestamp())
    assert states == {each.dedup_key: each.state for each in fake.incidents}
    return moments


def check(alerts: Sequence[tuple[float, Alert]], fake: FakePagerDuty) -> None:
    """Check that the last state of each problem arrived."""
    last = {alert.key: str(alert.status) for _, alert in alerts if alert.status != "acknowledged"}
    known = {incident.dedup_key: incident.state for incident in fake.incidents}
    wrong = {
        key
        for key, status in last.items()
        if (known.get(key, "resolved") == "resolved") != (status == "resolved")
    }
    assert not wrong, wrong


def measure(quick: bool) -> Iterator[Figure]:  # noqa: FBT001 -- see `figures.Measure`
    count, problems, lasts = (200, 20, 30.0) if quick else (10_000, 100, 600.0)
    chance = random.Random(20261123)
    alerts = storm(count, problems, lasts, chance)
    fake = send_all(alerts, chance)
    check(alerts, fake)
    owed = [moment for moment in changes(fake) if moment > BEGAN + lasts]
    minutes = (max(owed) - BEGAN - lasts) / 60
    title = f"storm, {count:,} alerts on {problems} problems"
    yield Figure(
        f"{title}: minutes from its end to the last state of all",
        minutes,
        len(owed) / EVENTS_PER_MINUTE,
        at_most=1.3,
    )
    yield Figure(f"{title}: messages", len(fake.requests), count)
    throttled = sum(request.status == 429 for request in fake.requests)
    yield Figure(f"{title}: messages above the limit", throttled, at_most=0)


if __name__ == "__main__":
    main(measure)
