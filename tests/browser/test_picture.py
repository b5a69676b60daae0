"""The picture of the console in the documentation."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from chromium import Console
from playwright.sync_api import Browser

from pagerduty_plugin.testing.misbehaviour import failing

pytestmark = pytest.mark.proof

ALERTS = (
    ("db-1/disk", "critical", "Disk full on db-1: 98 % of /var/lib/postgresql used"),
    ("api/latency", "warning", "p99 latency of the checkout API above 2 s"),
    ("queue/mail", "error", "10,412 messages wait in the queue of mail"),
    ("cert/shop", "warning", "The certificate of shop.example expires in 6 days"),
)


def spread_over_the_last_hour(database: Path) -> None:
    """Spread ended deliveries over the last hour, as if the host had run for longer."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM incidents WHERE correlation_key LIKE 'load/%'")
        connection.execute(
            "UPDATE deliveries SET finished_at = finished_at - abs(id * id * 37 % 3500)"
            " WHERE state = 'delivered'"
        )


def test_picture_of_the_documentation_is_made(
    console: Console, browser: Browser, pictures: Path
) -> None:
    workspace = console.workspace
    console.post(
        *({"key": f"load/{n}", "status": s} for s in ("firing", "resolved") for n in range(40))
    )
    workspace.fake.wait_for(
        lambda fake: [each.state for each in fake.incidents].count("resolved") == 80, 60
    )
    for key, severity, summary in ALERTS:
        count = len(workspace.fake.incidents)
        console.post({"key": key, "severity": severity, "summary": summary})
        workspace.fake.wait_for(lambda fake, count=count: len(fake.incidents) == count + 2, 30)
    for key, before in (
        ("db-3/disk", lambda: workspace.fake.misbehave(failing(status=413), times=1)),
        (
            "db-2/disk",
            lambda: (workspace.folder / "pd_platform").write_text("b" * 32, encoding="utf-8"),
        ),
    ):
        before()
        count = len(workspace.fake.requests)
        console.post({"key": key, "severity": "critical", "summary": f"Trouble with {key}"})
        workspace.fake.wait_for(lambda fake, count=count: len(fake.requests) >= count + 2, 30)
    spread_over_the_last_hour(workspace.folder / "alerthost.db")
    with browser.new_context(
        viewport={"width": 1200, "height": 780}, color_scheme="light", device_scale_factor=1.5
    ) as context:
        page = context.new_page()
        console.sign_in(page)
        page.locator(".problem", has_text="is blocked").wait_for()
        page.screenshot(path=pictures / "console.png")
    assert (pictures / "console.png").stat().st_size > 20_000
