"""A real vmalert posts its alerts to ``alerthost run``, without an Alertmanager."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import posting
import pytest
import vmalerts
from exporters import Exporter, exporting
from programs import Program
from restarted import Restarted, restarted
from serving import TOKEN

from alerthost.ingest.alertmanager_api import fingerprint

pytestmark = pytest.mark.proof


@attrs.frozen
class Scraped:
    """A VictoriaMetrics that scrapes a full disk, and an alerthost with a token."""

    folder: Path
    exporter: Exporter
    store: str
    alerthost: Restarted

    @property
    def token(self) -> Path:
        """The file with vmalert's token."""
        return self.folder / "token"

    @property
    def key(self) -> str:
        """The key of the alert; vmalert adds the label of the group."""
        labels = {
            "alertname": "DiskFull",
            "alertgroup": "disks",
            "instance": self.exporter.target,
            "job": "node",
            "severity": "critical",
            "team": "data",
        }
        return f"DiskFull/{fingerprint(labels)}"

    def vmalert(self) -> Program:
        """Run the command of the page."""
        (self.folder / "rules.yml").write_text(posting.rules(), encoding="utf-8")
        changes = {
            "http://127.0.0.1:8428": self.store,
            "http://127.0.0.1:9095": self.alerthost.url,
            "/etc/alerthost/token": str(self.token),
        }
        return vmalerts.vmalert(posting.documented("vmalert ", changes), self.folder)


@pytest.fixture
def scraped(tmp_path: Path) -> Iterator[Scraped]:
    """Return the programs around a vmalert."""
    http = 'token = "env:ALERTHOST_TOKEN"'
    with (
        exporting("disk_used_ratio", 0.99) as exporter,
        vmalerts.storing(exporter.scraping, tmp_path) as store,
        restarted(tmp_path, http, ALERTHOST_TOKEN=TOKEN) as alerthost,
    ):
        yield Scraped(tmp_path, exporter, store, alerthost)


def test_alert_of_vmalert_fires_through_restarts_and_is_resolved(scraped: Scraped) -> None:
    alerthost, fake = scraped.alerthost, scraped.alerthost.workspace.fake
    scraped.token.write_text(TOKEN, encoding="utf-8")
    with scraped.vmalert() as vmalert:
        alerthost.wait_for(firing={scraped.key})
        posting.wait_for_repeats(alerthost.url)
        assert len(fake.requests) == 2  # one for each service
        alerthost.kill()
        vmalert.wait_for("failed to send alerts")
        alerthost.start()
        alerthost.process.listens()
        posting.wait_for_repeats(alerthost.url)
    with scraped.vmalert() as vmalert:
        vmalert.wait_for("restored to state")
        posting.wait_for_repeats(alerthost.url)
        alerthost.wait_for(firing={scraped.key})
        scraped.exporter.value = 0.5
        alerthost.wait_for(firing=set())
        posting.wait_for_repeats(alerthost.url)

    assert [each.dedup_key for each in fake.incidents] == [scraped.key] * 2
    for incident in fake.incidents:
        actions = [event["event_action"] for event in incident.log]
        assert actions == ["trigger", "trigger", "resolve"]  # the second after the restart
    first = alerthost.workspace.bodies()[0]
    target = scraped.exporter.target
    assert first["payload"]["summary"] == f"Disk full on {target}"
    assert (first["payload"]["source"], first["payload"]["severity"]) == (target, "critical")
    assert first["payload"]["class"] == "DiskFull"
    assert first["client_url"].startswith("https://vmalert.example.com/vmalert/")


def test_wrong_token_of_vmalert_is_reported_until_it_is_mended(scraped: Scraped) -> None:
    scraped.token.write_text("wrong", encoding="utf-8")
    with scraped.vmalert() as vmalert:
        assert "wrong token" in vmalert.wait_for("invalid SC 401")
        scraped.alerthost.process.wait_for("401: wrong token")
        scraped.token.write_text(TOKEN, encoding="utf-8")
        scraped.alerthost.wait_for(firing={scraped.key})
