"""Expiry, and rules that wait, from the request or the file to PagerDuty."""

from __future__ import annotations

import pytest
from browsing import Browser
from serving import Start, ask, measured, post
from workspace import Workspace, line

from alerthost.outbox import timing


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the least lifetime to zero."""
    monkeypatch.setattr(timing, "LEAST_LIFETIME", 0.0)


@pytest.mark.usefixtures("_at_once")
def test_an_alert_of_lines_accepted_one_by_one_expires(start: Start, workspace: Workspace) -> None:
    kind = {"Content-Type": "application/x-ndjson"}
    past = line(expires_at="2026-11-01T00:00:00Z")
    assert ask(start().url, "POST", "/alerts?partial=true", past, kind).json == {"accepted": 1}
    workspace.fake.wait_for(
        lambda fake: [each.state for each in fake.incidents] == ["resolved"] * 2, 60
    )


@pytest.mark.usefixtures("_at_once")
def test_a_posted_alert_expires(start: Start, workspace: Workspace) -> None:
    reply = post(start().url, line(expires_at="2026-11-01T00:00:00Z"))
    [submission] = reply.json["submissions"]
    repair = {"field": "expires_at", "reason": "is in the past; the alert expires in a minute"}
    assert submission["repairs"] == [repair]
    workspace.fake.wait_for(
        lambda fake: [each.state for each in fake.incidents] == ["resolved"] * 2, 60
    )


@pytest.mark.usefixtures("_at_once")
def test_a_sent_alert_expires_when_alerthost_runs(start: Start, workspace: Workspace) -> None:
    workspace.alerthost("send", given=line(expires_at="2026-11-01T00:00:00Z"))
    start()
    workspace.fake.wait_for(
        lambda fake: [each.state for each in fake.incidents] == ["resolved"] * 2, 60
    )


def test_a_rule_gives_its_alerts_a_lifetime(start: Start, workspace: Workspace) -> None:
    workspace.configure(('name = "Pages"\n', 'name = "Pages"\nexpire_after = "1h30m"\n'))
    run = workspace.alerthost("explain", given=line())
    assert "(data); the alert expires 1h30m after its last report\n" in run.stdout
    run = workspace.alerthost("explain", given=line(labels={}))
    assert "expires" not in run.stdout


def test_a_rule_waits_whether_an_alert_still_fires(start: Start, workspace: Workspace) -> None:
    changed = ('name = "Pages"\n', 'name = "Pages"\nfor = "1s"\nexpire_after = "1d"\n')
    url = start(changed).url
    run = workspace.alerthost("explain", given=line())
    times = "it waits 1s whether the alert still fires; the alert expires 1d after its last report"
    assert f"(data); {times}\n" in run.stdout
    post(url, line())
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 60)
    rows = Browser(url).open("/console/alerts").rows()
    assert [row[3] for row in rows] == ["planned", "waiting"]
    assert rows[0][1].endswith(" it still fires after the time that a rule waits")
    assert " whether it still fires: Pages" in rows[1][1]
    run = workspace.alerthost("deliveries", "--state", "waiting")
    assert "whether it still fires: Pages" in " ".join(run.stdout.split())
    assert measured(url)["alerthost_waiting_alerts",] == 0
