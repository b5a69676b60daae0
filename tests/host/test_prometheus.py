"""A real Prometheus posts its alerts to ``alerthost run``, without an Alertmanager."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import prometheuses
import pytest
from serving import TOKEN, Process, measured, run
from waiting import wait_until
from workspace import Workspace

pytestmark = pytest.mark.proof

PAGE = Path(__file__).parents[2] / "docs" / "prometheus.md"

SCRAPING = """
global: {{evaluation_interval: 1s, scrape_interval: 1s}}
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["{target}"]}}]
"""


def documented(name: str) -> str:
    """Return a documented file."""
    found = re.search(rf"```yaml\n# {name}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def configuration(url: str, token: Path, target: str) -> str:
    """Return the documented configuration with the addresses of the test."""
    text = documented("prometheus.yml")
    for shown, here in (
        ("127.0.0.1:9095", url.removeprefix("http://")),
        ("/etc/alerthost/token", str(token)),
    ):
        assert shown in text
        text = text.replace(shown, here)
    return text + SCRAPING.format(target=target)


def repeated(url: str) -> float:
    found = measured(url, Authorization=f"Bearer {TOKEN}")
    return found.get(("alerthost_repeated_total", "/api/v2/alerts"), 0.0)


def at_least(count: int, url: str) -> Callable[[], bool]:
    return lambda: repeated(url) >= count


def test_alert_of_prometheus_fires_through_restarts_and_is_resolved(
    workspace: Workspace, tmp_path: Path
) -> None:
    fake = workspace.fake
    token = tmp_path / "token"
    token.write_text(TOKEN, encoding="utf-8")
    rules = documented("rules.yml").replace("for: 1m", "for: 1s")
    workspace.configure_http(http='token = "env:ALERTHOST_TOKEN"')
    with prometheuses.exporting("disk_used_ratio") as exporter:
        exporter.value = 0.99
        with run(workspace, ALERTHOST_TOKEN=TOKEN) as (_, url):
            text = configuration(url, token, exporter.target)
            with prometheuses.running(text, rules, tmp_path):
                fake.wait_for(lambda fake: len(fake.incidents) == 2, 60)
                wait_until(at_least(3, url), "repeats")
            assert len(fake.requests) == 2
            with prometheuses.running(text, rules, tmp_path):
                before = int(repeated(url))
                wait_until(at_least(before + 3, url), "repeats after a restart of Prometheus")
                assert len(fake.requests) == 2

        with Process(workspace, ALERTHOST_TOKEN=TOKEN) as process:
            url = process.listens()
            text = configuration(url, token, exporter.target)
            with prometheuses.running(text, rules, tmp_path):
                wait_until(at_least(3, url), "repeats after a restart of alerthost")
                assert [each.state for each in fake.incidents] == ["triggered"] * 2
                exporter.value = 0.5
                fake.wait_for(
                    lambda fake: [each.state for each in fake.incidents] == ["resolved"] * 2, 60
                )
                wait_until(at_least(6, url), "repeats of the resolved alert")

    actions = [body["event_action"] for body in workspace.bodies()]
    assert actions == ["trigger"] * 4 + ["resolve"] * 2  # two of them after the restart
    first = workspace.bodies()[0]
    assert first["payload"]["summary"] == f"Disk full on {exporter.target}"
    assert first["payload"]["severity"] == "critical"
    assert first["payload"]["class"] == "DiskFull"
