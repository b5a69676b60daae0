"""A strict stand-in for PagerDuty, as a server and as a pytest fixture.

>>> from pagerduty_plugin.testing import FakePagerDuty
>>> with FakePagerDuty() as fake:
...     key = fake.add_service("checkout")
...     fake.incidents
()

It shares no code with the sender, so that neither hides a mistake of the other.
"""

from __future__ import annotations

from pagerduty_plugin.testing.account import Change, Incident, Integration, Service
from pagerduty_plugin.testing.backend import Request
from pagerduty_plugin.testing.fake import FakePagerDuty
from pagerduty_plugin.testing.misbehaviour import (
    Gate,
    Misbehaviour,
    Script,
    accepting_without_json,
    captive_portal,
    closing,
    dripping,
    failing,
    garbage,
    late,
    redirecting,
    refusing,
    reset,
    reset_unread,
    throttling,
    truncated,
)
from pagerduty_plugin.testing.pages import App
from pagerduty_plugin.testing.responses import Response

__all__ = [
    "App",
    "Change",
    "FakePagerDuty",
    "Gate",
    "Incident",
    "Integration",
    "Misbehaviour",
    "Request",
    "Response",
    "Script",
    "Service",
    "accepting_without_json",
    "captive_portal",
    "closing",
    "dripping",
    "failing",
    "garbage",
    "late",
    "redirecting",
    "refusing",
    "reset",
    "reset_unread",
    "throttling",
    "truncated",
]
