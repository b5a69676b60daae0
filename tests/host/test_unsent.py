"""Alerts without a delivery are counted by ``run``, and listed by ``deliveries``."""

from __future__ import annotations

import json
import logging
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from serving import Start, measured_when, post
from workspace import Workspace, line

from alerthost.cli import deliveries
from hostspec import Alert, Suppression
from pagerduty_plugin.trigger import Trigger


@pytest.fixture(autouse=True)
def extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the plugin suppress "mute", and fail to plan "broken"."""
    plan = Trigger.plan

    def planned(trigger: Trigger, alert: Alert, *rest: Any, **options: Any) -> Any:
        if alert.key == "mute":
            return [Suppression(trigger.name, "acme", "quiet hours", "night-shift", ("Pages",))]
        if alert.key == "broken":
            raise RuntimeError
        return plan(trigger, alert, *rest, **options)

    monkeypatch.setattr(Trigger, "plan", planned)


OUTDATED = ("--state", "outdated")


def alert(key: str, **fields: object) -> dict[str, object]:
    return {"key": key, "severity": "critical", "labels": {"team": "data"}, **fields}


def listed(workspace: Workspace, *options: str) -> list[dict[str, Any]]:
    run = workspace.alerthost("deliveries", "--json", *options)
    assert (run.returncode, run.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(run.stdout)
    return found


def test_alerts_without_delivery_are_counted_and_listed(
    start: Start, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    running = start()
    keys = ("stray", "mute", "broken")
    posted = post(running.url, [alert("stray", labels={}), alert("mute"), alert("broken")])
    names = [each["id"] for each in posted.json["submissions"]]
    running._app.backend.engine.wait(names, 60)

    counts = {
        ("alerthost_unmatched_total",): 1.0,
        ("alerthost_suppressed_total", "night-shift"): 1.0,
        ("alerthost_failed_total", "failed"): 1.0,
    }
    found = measured_when(running.url, lambda found: counts.items() <= found.items())
    assert counts.items() <= found.items()
    assert found["alerthost_plugin_failures_total", "plan", "pagerduty.trigger"] >= 1
    for key in keys:
        assert len([text for text in caplog.messages if text.startswith(f"alert {key}: ")]) == 1

    for state, key in zip(("unmatched", "suppressed", "failed"), keys, strict=True):
        [shown] = listed(workspace, "--state", state)
        assert (shown["id"], shown["submission_id"]) == (None, names[keys.index(key)])
        assert (shown["state"], shown["alert"]) == (state, {"scope": "", "key": key})
        assert shown["accepted_at"].endswith("+00:00")
    assert shown["reason"].startswith("rule 'Pages': the action pagerduty.trigger could not plan")
    assert [each["state"] for each in listed(workspace)] == ["failed"]


def test_outdated_alerts_are_logged_counted_and_listed(
    start: Start, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    """One repeats an ended episode; the other is a resolve with an outdated `updated_at`."""
    running = start()
    started = "2026-11-23T03:14:00Z"
    reported = [
        alert("late", started_at=started),
        alert("late", started_at=started, status="resolved"),
        alert("late", started_at=started),
        alert("old", updated_at="2026-11-23T04:00:00Z"),
        alert("old", updated_at="2026-11-23T03:00:00Z", status="resolved"),
    ]
    for each in reported:
        [named] = post(running.url, each).json["submissions"]
        running._app.backend.engine.wait([named["id"]], 60)

    found = measured_when(running.url, lambda found: found["alerthost_outdated_total",] >= 2)
    assert found["alerthost_outdated_total",] == 2
    past = "a repeat of an episode that has ended: it started at the same time, nothing is sent"
    older = "older than the known state: 2026-11-23T04:00:00+00:00 is the newest, nothing is sent"
    assert f"alert late: outdated: {past}" in caplog.messages
    shown = [(each["alert"]["key"], each["reason"]) for each in listed(workspace, *OUTDATED)]
    assert shown == [("old", older), ("late", past)]


def test_resolves_without_an_open_incident_are_logged_counted_and_listed(
    start: Start, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    """The first resolve of an alert is one of an unknown alert, unless it fired before."""
    caplog.set_level(logging.INFO, "hostspec.planning")
    running = start()
    counted = "alerthost_no_incident_total"
    before = dict.fromkeys(((counted, "known"), (counted, "unknown")), 0.0)
    found = measured_when(running.url, lambda found: before.items() <= found.items())
    assert before.items() <= found.items()

    updates = [alert(key, status="resolved") for key in ("job", "job", "disk", "job")]
    updates.insert(2, alert("disk"))
    updates.insert(3, alert("disk", status="resolved"))
    posted = post(running.url, updates)
    names = [each["id"] for each in posted.json["submissions"]]
    running._app.backend.engine.wait(names, 60)

    counts = {(counted, "known"): 3.0, (counted, "unknown"): 1.0}
    found = measured_when(running.url, lambda found: counts.items() <= found.items())
    assert counts.items() <= found.items()
    assert {each.json()["dedup_key"] for each in workspace.fake.requests} == {"disk"}
    known, unknown = "no open incident", "no open incident, and the alert is not known here"
    logged = [text for name, _, text in caplog.record_tuples if name == "hostspec.planning"]
    assert logged == [f"alert job: nothing is sent: {each}" for each in (unknown, known)]
    shown = [
        (each["alert"]["key"], each["reason"])
        for each in listed(workspace, "--state", "no incident")
    ]
    assert shown == [("job", known), ("disk", known), ("job", known), ("job", unknown)]
    assert listed(workspace, "--state", "unmatched") == []


def test_alerts_without_a_delivery_are_shown_in_the_table(workspace: Workspace) -> None:
    workspace.alerthost("send", given=line("cpu") + line("mute") + line("stray", labels={}))
    run = workspace.alerthost(
        "deliveries", "--state", "unmatched", "--state", "suppressed", "--state", "delivered"
    )
    shown = re.sub(r" \d+ s ", " N s ", run.stdout)
    rows = [" ".join(text.split()) for text in shown.splitlines()]
    assert "unmatched stray N s no rule matches, nothing is sent" in rows
    suppressed = "pagerduty.trigger acme: suppressed by night-shift: quiet hours"
    assert f"suppressed mute N s {suppressed}" in rows
    assert any(row.startswith("1 delivered trigger acme/checkout cpu") for row in rows)


@pytest.mark.parametrize(
    ("options", "shown"), [((), " unmatched "), (("--json",), '"state": "unmatched"')]
)
def test_deliveries_watches_alerts_without_a_delivery(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], shown: str
) -> None:
    workspace.alerthost("send", given=line("stray", labels={}))
    looks = iter([None])

    def pause(_: float) -> None:
        if next(looks, "over"):
            raise KeyboardInterrupt

    monkeypatch.setattr(deliveries, "time", SimpleNamespace(sleep=pause, time=time.time))
    run = workspace.alerthost("deliveries", "--watch", "--state", "unmatched", *options)
    assert (run.returncode, run.stderr) == (0, "")
    assert (run.stdout.count(shown), run.stdout.count("\n")) == (1, 1)


def test_failed_alert_can_be_discarded(workspace: Workspace) -> None:
    workspace.alerthost("send", given=line("broken") + line("mute"))
    [failed] = listed(workspace)
    [mute] = listed(workspace, "--state", "suppressed")
    name, other = failed["submission_id"], mute["submission_id"]

    run = workspace.alerthost("discard", name)
    assert run.stdout == f"discarded submission {name}, which was failed\n"
    assert (run.returncode, listed(workspace)) == (0, [])
    [discarded] = listed(workspace, "--state", "discarded")
    assert (discarded["submission_id"], discarded["reason"]) == (name, failed["reason"])

    for wrong, reason in (
        (name, f"the submission {name} is neither failed nor dead"),
        (other, f"the submission {other} is neither failed nor dead"),
        ("none", "there is no submission none"),
    ):
        run = workspace.alerthost("discard", wrong)
        assert (run.returncode, run.stderr) == (1, f"{reason}\n")
