"""A real Prometheus posts its alerts to ``alerthost run``, without an Alertmanager."""

from __future__ import annotations

from pathlib import Path

import posting
import prometheuses
import pytest
from exporters import Exporter, exporting
from serving import TOKEN, Process, run
from workspace import Workspace

pytestmark = pytest.mark.proof


def configuration(url: str, token: Path, exporter: Exporter) -> str:
    """Return the documented configuration with the addresses of the test."""
    changes = {
        "127.0.0.1:9095": url.removeprefix("http://"),
        "/etc/alerthost/token": str(token),
    }
    documented = posting.documented("# prometheus.yml\n", changes)
    return f"{documented}global: {{evaluation_interval: 1s}}\n{exporter.scraping}"


def test_alert_of_prometheus_fires_through_restarts_and_is_resolved(
    workspace: Workspace, tmp_path: Path
) -> None:
    fake = workspace.fake
    token = tmp_path / "token"
    token.write_text(TOKEN, encoding="utf-8")
    rules = posting.rules()
    workspace.configure_http(http='token = "env:ALERTHOST_TOKEN"')
    with exporting("disk_used_ratio", 0.99) as exporter:
        with run(workspace, ALERTHOST_TOKEN=TOKEN) as (_, url):
            text = configuration(url, token, exporter)
            with prometheuses.running(text, rules, tmp_path):
                fake.wait_for(lambda fake: len(fake.incidents) == 2, 60)
                posting.wait_for_repeats(url)
            assert len(fake.requests) == 2
            with prometheuses.running(text, rules, tmp_path):
                posting.wait_for_repeats(url)
                assert len(fake.requests) == 2

        with Process(workspace, ALERTHOST_TOKEN=TOKEN) as process:
            url = process.listens()
            text = configuration(url, token, exporter)
            with prometheuses.running(text, rules, tmp_path):
                posting.wait_for_repeats(url)
                assert [each.state for each in fake.incidents] == ["triggered"] * 2
                exporter.value = 0.5
                fake.wait_for(
                    lambda fake: [each.state for each in fake.incidents] == ["resolved"] * 2, 60
                )
                posting.wait_for_repeats(url)

    actions = [body["event_action"] for body in workspace.bodies()]
    assert actions == ["trigger"] * 4 + ["resolve"] * 2  # two of them after the restart
    first = workspace.bodies()[0]
    assert first["payload"]["summary"] == f"Disk full on {exporter.target}"
    assert first["payload"]["severity"] == "critical"
    assert first["payload"]["class"] == "DiskFull"
