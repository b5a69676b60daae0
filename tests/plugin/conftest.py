"""What the plugin's tests share: a fake PagerDuty of two services, and the way there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from hostspec import Alert, Delivery, Installation, Outcome, SendContext, structure
from pagerduty_plugin.client import Client
from pagerduty_plugin.installation import PagerDuty
from pagerduty_plugin.settings import InstallationSettings, TriggerSettings
from pagerduty_plugin.testing import FakePagerDuty
from pagerduty_plugin.trigger import Trigger

KEYS = {
    "checkout": "0123456789abcdef0123456789abcdef",
    "platform": "PLATFORMplatformPLATFORMplatform",
}


@attrs.frozen
class Desk:
    """An action with an installation of the two services at a fake."""

    fake: FakePagerDuty
    action: Trigger
    installation: Installation[InstallationSettings]

    def plan(self, alert: Alert, *services: str, **settings: Any) -> list[Any]:
        """Plan for services, with what else a rule sets; for checkout where none is named."""
        given = {"services": services or ("checkout",), **settings}
        structured = structure(TriggerSettings, given)
        return list(self.action.plan(alert, structured, self.installation, rule="Pages"))

    def deliver(self, delivery: Delivery, **context: Any) -> Outcome:
        """Send one delivery."""
        return self.action.send(delivery, self.installation, SendContext(**context))

    def tell(self, alert: Alert, **settings: Any) -> Delivery:
        """Plan for one service by a rule's settings, and send."""
        (delivery,) = self.plan(alert, **settings)
        assert self.deliver(delivery).delivered
        return delivery

    def send(self, alert: Alert, *services: str, **context: Any) -> Outcome:
        """Plan for one service and send."""
        (delivery,) = self.plan(alert, *services)
        return self.deliver(delivery, **context)

    @property
    def body(self) -> bytes:
        """The bytes of the last request."""
        return self.fake.requests[-1].body

    @property
    def event(self) -> Any:
        """The last request's JSON."""
        return self.fake.requests[-1].json()

    @property
    def payload(self) -> Any:
        """The last request's payload."""
        return self.event["payload"]


def connect(url: str, **keys: str) -> Installation[InstallationSettings]:
    """Make an installation at a base URL, with keys by service."""
    services = [
        {"name": name, "integration_key": key} for name, key in (keys or dict(KEYS)).items()
    ]
    return PagerDuty().installation("acme", {"base_url": url, "services": services})


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    """Give a fake that knows the two services and has no rate limit."""
    with FakePagerDuty(services=KEYS, rate_limit=0) as fake:
        yield fake


@pytest.fixture
def desk(fake: FakePagerDuty) -> Desk:
    """Give the action with an installation at the fake."""
    return Desk(fake, Trigger(Client({})), connect(fake.url))
