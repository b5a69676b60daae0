"""The attempts of deliveries in the console: each with its outcome, its duration and its body."""

from __future__ import annotations

import json
import re

import pytest
from browsing import Browser, Page
from serving import Start, post
from waiting import wait_until
from workspace import CHECKOUT, Workspace

from alerthost.cli.server import Server
from alerthost.outbox import attempts, retry_policy
from pagerduty_plugin.testing.misbehaviour import failing

ONE_SERVICE = ('["checkout", "platform"]', '["checkout"]')


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    monkeypatch.setattr(retry_policy, "FIRST_RETRY", 0.01)


def opened(running: Server, path: str, text: str) -> Page:
    """Post an alert, and open a page until it has a text."""
    alert = {"key": "db-1/disk", "severity": "critical", "labels": {"team": "data"}}
    assert post(running.url, [alert]).status == 202
    browser = Browser(running.url)
    wait_until(lambda: text in browser.open(path).text, f"{text} on {path}")
    return browser.page


def test_delivery_shows_the_exact_body_of_each_attempt(start: Start, workspace: Workspace) -> None:
    workspace.fake.misbehave(failing(), times=1)
    page = opened(start(ONE_SERVICE), "/console/deliveries/1", "Attempt 2 delivered")
    items = page.html.select("ol.timeline > li")
    texts = [" ".join(each.get_text(" ").split()) for each in items]
    assert re.match(r"Attempt 1 faulted \d+ \w+ ago , in \d+\.\d\d s 500: Internal", texts[0])
    assert re.match(r"Attempt 2 delivered \d+ \w+ ago , in \d+\.\d\d s ", texts[1])
    shown = [json.loads(each.get_text()) for each in page.html.select("ol.timeline pre")]
    for body, sent in zip(shown, workspace.bodies(), strict=True):
        assert body.pop("routing_key") != sent.pop("routing_key")
        assert body == sent
    assert shown[1]["payload"]["custom_details"]["_delivery"] == {"attempts": 2}
    assert CHECKOUT not in page.text


def test_delivery_that_is_retried_shows_its_next_message(
    start: Start, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "FIRST_RETRY", 3600.0)
    monkeypatch.setattr(retry_policy, "LONGEST_RETRY", 3600.0)
    workspace.fake.misbehave(failing(), times=1)
    page = opened(start(ONE_SERVICE), "/console/deliveries/1", "Next message")
    after = json.loads(page.html.select("section[aria-labelledby=message] pre")[0].get_text())
    assert after["payload"]["custom_details"]["_delivery"] == {"attempts": 2}


def test_timeline_of_an_incident_shows_the_attempts(
    start: Start, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST", 1)
    monkeypatch.setattr(attempts, "LAST", 3)
    workspace.fake.misbehave(failing(), times=5)
    running = start(ONE_SERVICE)
    page = opened(running, "/console/incidents/1", "Attempt 6 delivered")
    (many,) = page.html.select("details:has(.attempts)")
    texts = [" ".join(each.get_text(" ").split()) for each in many.select("summary, li")]
    assert texts[0] == "6 attempts"
    assert texts[1].startswith("Attempt 1 faulted")
    assert texts[1].endswith("500: Internal Server Error")
    assert texts[2] == "2 attempts in between are not kept"
    assert [each.split(" in ")[0].split()[:3] for each in texts[3:]] == [
        ["Attempt", "4", "faulted"],
        ["Attempt", "5", "faulted"],
        ["Attempt", "6", "delivered"],
    ]
    delivery = Browser(running.url).open(str(many.select("li a")[-1]["href"]).partition("#")[0])
    assert "2 attempts in between are not kept" in delivery.text


def test_message_that_did_not_change_is_shown_once(start: Start, workspace: Workspace) -> None:
    running = start(ONE_SERVICE)
    opened(running, "/console/deliveries/1", "Attempt 1 delivered")
    workspace.fake.misbehave(failing(), times=1)
    resolved = {"key": "db-1/disk", "status": "resolved"}
    assert post(running.url, [resolved]).status == 202
    browser = Browser(running.url)
    path = "/console/deliveries/2"
    wait_until(lambda: "Attempt 2 delivered" in browser.open(path).text, "it is resolved")
    assert "The same message as before." in browser.page.text
    assert len(browser.page.html.select("pre")) == 1
