"""An engine with the strict fake PagerDuty, and a clock that the test sets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from engines import Clock

from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from hostspec import Alert
from hostspec.plugins import Rule, load
from pagerduty_plugin.testing import FakePagerDuty, Request

KEY, NEW_KEY = "0123456789abcdef" * 2, "fedcba9876543210" * 2


@contextmanager
def fake_at(clock: Clock, *, rate_limit: int = 0) -> Iterator[FakePagerDuty]:
    """Start a fake on the clock of the test, with a service for each key."""

    def now() -> dt.datetime:
        return dt.datetime.fromtimestamp(clock(), dt.UTC)

    keys = {"checkout": KEY, "checkout again": NEW_KEY}
    with FakePagerDuty(services=keys, rate_limit=rate_limit, clock=now) as fake:
        yield fake


def alert(status: str = "firing", *, key: str = "disk", **fields: Any) -> Alert:
    return Alert(key, "Disk full", status=status, **fields)


class Paging:
    """One service of one account that a rule pages.

    Attributes:
        settings: what the rule says, from the next `connect` on.
    """

    def __init__(
        self, fake: FakePagerDuty, database: Database, clock: Clock, **settings: Any
    ) -> None:
        self.fake = fake
        self.clock = clock
        self.database = database
        self.settings = settings
        self.engine = self.connect(KEY)

    def connect(self, *keys: str, **account: Any) -> Engine:
        """Return an engine as after a reload, with these keys and settings."""
        plugins = load(["pagerduty"])
        service = {"name": "checkout", "integration_key": list(keys)}
        other = {"name": "other", "integration_key": "env:PD_OTHER"}
        services = [service, other] if keys else [other]
        settings = {"base_url": self.fake.url, "services": services, **account}
        acme = plugins.installation("pagerduty", "acme", settings)
        wanted = {"services": ["checkout"], **self.settings}
        rules = (
            [Rule("Pages", [plugins.rule_action("pagerduty.trigger", acme, wanted)])]
            if keys
            else []
        )
        self.engine = Engine(self.database, plugins, rules, installations=[acme], clock=self.clock)
        return self.engine

    def deliver(self, *statuses: str, key: str = "disk", **fields: Any) -> None:
        """Accept the updates of one alert one by one, and deliver each."""
        for status in statuses:
            self.engine.accept(alert(status, key=key, **fields))
            self.engine.drain()

    def advance(self, seconds: float) -> None:
        self.clock.now += seconds
        self.engine.drain()

    @property
    def taken(self) -> Sequence[Request]:
        """The events that PagerDuty accepted."""
        return [each for each in self.fake.requests if each.status == 202]

    @property
    def reported(self) -> list[str]:
        """The events that PagerDuty received, and their keys."""
        return [_told(each.json()) for each in self.taken]


def _told(event: Any) -> str:
    which = "new " if event["routing_key"] == NEW_KEY else ""
    return which + event.get("event_action", "change")
