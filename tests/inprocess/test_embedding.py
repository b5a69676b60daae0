"""Ten lines embed PagerDuty in a program."""

from __future__ import annotations

import json

import pytest

import hostspec.plugins
from hostspec import Alert
from hostspec.inprocess import Host
from hostspec.plugins import Rule, load
from pagerduty_plugin.testing import FakePagerDuty

KEY = "0123456789abcdefghijABCDEFGHIJ01"


def test_ten_lines_send_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program differs only in the base URL, which is the fake's here."""
    monkeypatch.setenv("PD_CHECKOUT", KEY)

    with FakePagerDuty(services={"checkout": KEY}) as fake:
        plugins = load(["pagerduty"])
        acme = plugins.installation(
            "pagerduty",
            "acme",
            {
                "base_url": fake.url,
                "services": [{"name": "checkout", "integration_key": "env:PD_CHECKOUT"}],
            },
        )
        page = plugins.rule_action("pagerduty.trigger", acme, {"services": ["checkout"]})
        host = Host(plugins, [Rule("Pages", [page])])

        report = host.handle(Alert("db-1/disk", "Disk full on db-1", severity="critical"))
        assert report.delivered
        host.handle(Alert("db-1/disk", status="acknowledged"))
        host.handle(Alert("db-1/disk", status="resolved"))

        (incident,) = fake.incidents
        bodies = [json.loads(request.body) for request in fake.requests]

    assert (incident.service, incident.severity, incident.state) == (
        "checkout",
        "critical",
        "resolved",
    )
    assert [body["event_action"] for body in bodies] == ["trigger", "acknowledge", "resolve"]
    assert bodies[0]["payload"]["summary"] == "Disk full on db-1"
    assert {body["dedup_key"] for body in bodies} == {"db-1/disk"}


def test_no_part_of_a_host_shows_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake quotes the key in its response."""
    monkeypatch.setenv("PD_CHECKOUT", KEY)

    with FakePagerDuty(services={"other": KEY[::-1]}) as fake:
        plugins = load(["pagerduty"])
        acme = plugins.installation(
            "pagerduty",
            "acme",
            {"base_url": fake.url, "services": [{"name": "checkout", "integration_key": KEY}]},
        )
        page = plugins.rule_action("pagerduty.trigger", acme, {"services": ["checkout"]})
        host = Host(plugins, [Rule("Pages", [page])])
        report = host.handle(Alert("db-1/disk"))

    assert not report.delivered
    preview = host.preview(report.receipts[0].delivery)
    for printable in (report, acme, page, host.rules, preview):
        assert KEY not in repr(printable)


def test_names_of_plugins_package_exist() -> None:
    assert all(hasattr(hostspec.plugins, name) for name in hostspec.plugins.__all__)
