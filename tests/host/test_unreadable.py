"""Deliveries and alerts whose stored text is damaged: they are listed, and hide no other."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import Any

import pytest
from browsing import Browser
from serving import Start, post
from waiting import wait_until
from workspace import Workspace

from alerthost.cli.server import Server

ALERTS: list[dict[str, Any]] = [
    {"key": key, "summary": f"{key} is full", "severity": "error", "labels": {"team": "data"}}
    for key in ("good", "bad")
]
ONE_SERVICE = ('["checkout", "platform"]', '["checkout"]')


def damage(workspace: Workspace, statement: str) -> None:
    """Change the store behind the back of the host."""
    with contextlib.closing(sqlite3.connect(workspace.folder / "alerthost.db")) as database:
        database.execute(statement)
        database.commit()


def damage_delivery(workspace: Workspace) -> None:
    """Damage the text of the delivery of the second alert."""
    damage(workspace, "UPDATE deliveries SET body = '[]' WHERE body LIKE '%\"bad\"%'")


@pytest.fixture
def unsent(start: Start, workspace: Workspace) -> Server:
    """Accept and plan both alerts, send nothing, and damage one of the deliveries."""
    server = start(ONE_SERVICE, works=False)
    post(server.url, ALERTS)
    server._app.backend.engine._dispatcher.plan_ahead()
    damage_delivery(workspace)
    return server


@pytest.fixture
def dead(unsent: Server, start: Start, workspace: Workspace) -> Server:
    """Send the other delivery; the damaged one is dead-lettered."""
    unsent.stop()
    server = start(ONE_SERVICE)
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 1, 30)
    browser = Browser(server.url)
    wait_until(lambda: browser.open("/console/deliveries?state=dead").rows(), "it is dead")
    return server


@pytest.mark.usefixtures("unsent")
def test_command_lists_a_damaged_delivery_beside_the_others(workspace: Workspace) -> None:
    listed = json.loads(workspace.alerthost("deliveries", "--json").stdout)
    assert [(each["state"], each["correlation_key"], each["reason"]) for each in listed] == [
        ("queued", "bad", "it cannot be read"),
        ("queued", "good", ""),
    ]
    assert [each["service"] for each in listed] == ["acme/checkout"] * 2
    run = workspace.alerthost("discard", "2")
    assert run.returncode == 1
    assert "the delivery 2 cannot be read, so it is never sent" in run.stderr


def test_pages_show_a_damaged_delivery_beside_the_others(unsent: Server) -> None:
    browser = Browser(unsent.url)
    rows = browser.open("/console/deliveries").rows()
    assert [row[:4] for row in rows] == [
        ["2 trigger", "bad it cannot be read", "queued", "acme/checkout"],
        ["1 trigger", "good", "queued", "acme/checkout"],
    ]
    for path in ("/console/deliveries/2", "/console/incidents/2"):
        page = browser.open(path)
        assert page.status == 200
        assert "it cannot be read" in page.text
        assert "The exact message cannot be shown: its stored text cannot be read." in page.text
        assert "This is the plan of it" not in page.text
        assert not page.html.select("pre")
        assert "Discard" not in page.buttons()
    assert [row[1] for row in browser.open("/console/alerts").rows()] == [
        "bad is full bad",
        "good is full good",
    ]


def test_dead_damaged_delivery_is_discarded_and_never_replayed(
    dead: Server, workspace: Workspace
) -> None:
    (listed,) = json.loads(workspace.alerthost("deliveries", "--state", "dead", "--json").stdout)
    assert listed["reason"].startswith("it cannot be read: it failed at ")
    run = workspace.alerthost("replay", "2")
    assert run.returncode == 1
    assert "the delivery 2 cannot be read, so it is never sent" in run.stdout + run.stderr

    browser = Browser(dead.url)
    browser.open("/console/deliveries/all?operation=replay&state=dead")
    browser.send("Replay 1")
    wait_until(lambda: "0 done, 1 refused" in browser.open("/console/activity").text, "it ends")
    assert browser.open("/console/deliveries/2").buttons() == ["Discard"]
    assert "It is discarded, and never sent." in browser.send("Discard").text
    assert len(workspace.fake.incidents) == 1


def test_damaged_alert_is_listed_beside_the_others(start: Start, workspace: Workspace) -> None:
    server = start(ONE_SERVICE, works=False)
    post(server.url, ALERTS)
    damage(workspace, "UPDATE submissions SET body = '[]' WHERE key = 'bad'")
    rows = Browser(server.url).open("/console/alerts").rows()
    assert [row[1] for row in rows] == ["it cannot be read bad", "good is full good"]
