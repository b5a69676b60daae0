"""Prometheus Alertmanager, to which the fake must look like PagerDuty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import alertmanagers
import pytest

from pagerduty_plugin.testing import FakePagerDuty

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.proof

KEY = "0123456789abcdef0123456789abcdef"

CONFIGURATION = """
route:
  receiver: pagerduty
  group_by: [alertname]
  group_wait: 10ms
  group_interval: 10ms
  repeat_interval: 1h
receivers:
  - name: pagerduty
    pagerduty_configs:
      - routing_key: {key}
        url: {url}/v2/enqueue
        send_resolved: true
        severity: critical
        class: disk
        links: [{{href: "https://wiki.example/disk", text: Runbook}}]
        images: [{{src: "https://graphs.example/1.png", alt: Graph}}]
"""


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    """Return a fake with one service."""
    with FakePagerDuty(services={"checkout": KEY}) as fake:
        yield fake


@pytest.fixture
def alertmanager(fake: FakePagerDuty, tmp_path: Path) -> Iterator[str]:
    """Return the URL of an Alertmanager that pages the fake."""
    with alertmanagers.running(CONFIGURATION.format(key=KEY, url=fake.url), tmp_path) as url:
        yield url


def test_alertmanager_opens_and_resolves_an_incident(
    fake: FakePagerDuty, alertmanager: str
) -> None:
    """An incident opens and is resolved by Alertmanager's requests alone."""
    alertmanagers.post(alertmanager, fires=True)
    fake.wait_for(lambda fake: [each.state for each in fake.incidents] == ["triggered"], 60)
    alertmanagers.post(alertmanager, fires=False)
    fake.wait_for(lambda fake: [each.state for each in fake.incidents] == ["resolved"], 60)

    (incident,) = fake.incidents
    assert (incident.service, incident.severity) == ("checkout", "critical")
    assert "DiskFull" in incident.summary
    assert [event["event_action"] for event in incident.log] == ["trigger", "resolve"]
    assert {request.status for request in fake.requests} == {202}
