"""Prometheus Alertmanager, to which the fake must look like PagerDuty."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pagerduty_plugin.testing import FakePagerDuty

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "0123456789abcdef0123456789abcdef"
FETCHED = Path(__file__).parents[2] / ".venv/debian/usr"
# Debian's Alertmanager reads its templates from /usr/share, whatever it is told. Where it is only
# unpacked, it runs in a mount namespace of its own in which its share is the system's.
IN_ITS_OWN_TREE = (
    *("unshare", "--map-root-user", "--mount"),
    *("sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"', str(FETCHED / "share")),
)

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


def command() -> list[str]:
    """Find Alertmanager: as told, on the path, or where tests/fetch-alertmanager.sh puts it."""
    for name in (os.environ.get("ALERTMANAGER"), "prometheus-alertmanager", "alertmanager"):
        if name and (program := shutil.which(name)):
            return [program]
    fetched = FETCHED / "bin/prometheus-alertmanager"
    if not fetched.exists():
        pytest.skip("Alertmanager is not here; tests/fetch-alertmanager.sh gets it where apt is")
    try:
        subprocess.run([*IN_ITS_OWN_TREE, "true"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"Alertmanager is unpacked, but no mount namespace can be had: {error}")
    return [*IN_ITS_OWN_TREE, str(fetched)]


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    """Give a fake with one service."""
    with FakePagerDuty(services={"checkout": KEY}) as fake:
        yield fake


@pytest.fixture
def alertmanager(fake: FakePagerDuty, tmp_path: Path) -> Iterator[str]:
    """Give the URL of an Alertmanager that pages the fake."""
    program = command()
    configuration = tmp_path / "alertmanager.yml"
    configuration.write_text(CONFIGURATION.format(key=KEY, url=fake.url), encoding="utf-8")
    with subprocess.Popen(
        [
            *program,
            f"--config.file={configuration}",
            f"--storage.path={tmp_path / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if match := re.search(r'msg="?Listening on"? address="?([0-9.:]+)', line):
                    break
            else:
                pytest.fail(f"Alertmanager does not listen:\n{''.join(lines)}")
            yield f"http://{match[1]}"
        finally:
            process.terminate()
            process.communicate(timeout=20)


def post(alertmanager: str, **times: str) -> None:
    """Tell Alertmanager about one alert."""
    alert = {
        "labels": {"alertname": "DiskFull", "instance": "db-1"},
        "annotations": {"summary": "Disk full on db-1"},
        **times,
    }
    request = urllib.request.Request(
        f"{alertmanager}/api/v2/alerts",
        json.dumps([alert]).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        assert response.status == 200


def test_a_group_that_fires_and_resolves(fake: FakePagerDuty, alertmanager: str) -> None:
    """An incident opens and is resolved, by Alertmanager's own words only."""
    post(alertmanager, startsAt="2026-01-01T00:00:00Z", endsAt="2126-01-01T00:00:00Z")
    fake.wait_for(lambda fake: [each.state for each in fake.incidents] == ["triggered"], 20)
    post(alertmanager, startsAt="2026-01-01T00:00:00Z", endsAt="2026-01-01T00:00:01Z")
    fake.wait_for(lambda fake: [each.state for each in fake.incidents] == ["resolved"], 20)

    (incident,) = fake.incidents
    assert (incident.service, incident.severity) == ("checkout", "critical")
    assert "DiskFull" in incident.summary
    assert [event["event_action"] for event in incident.log] == ["trigger", "resolve"]
    assert {request.status for request in fake.requests} == {202}
