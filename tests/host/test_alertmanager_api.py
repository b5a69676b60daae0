"""Alertmanager's API, to which Prometheus and others post."""

from __future__ import annotations

import base64
import datetime as dt
import json
import urllib.request
from pathlib import Path
from typing import Any

import alertmanagers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import TOKEN, Start, ask, measured, post
from workspace import Workspace

from alerthost.ingest import alertmanager
from alerthost.ingest.alertmanager_api import fingerprint, parse_posted
from alerthost.ingest.json_alerts import ParsedAlert, TooManyAlertsError
from hostspec import Status

V2 = "/api/v2/alerts"

NOW = dt.datetime(2026, 11, 23, 3, 15, tzinfo=dt.UTC)
LABELS = {"alertname": "DiskFull", "instance": "db-1", "severity": "critical", "team": "data"}

ANY_TEAM = (", 'team=\"data\"'", "")


def posted(**changes: Any) -> dict[str, Any]:
    """Return an alert as Prometheus posts it, with some fields changed, or left out (None)."""
    alert = {
        "labels": LABELS,
        "annotations": {"summary": "Disk full on db-1"},
        "startsAt": "2026-11-23T03:14:00Z",
        "endsAt": "2026-11-23T03:19:00Z",
        "generatorURL": "http://prometheus.example:9090/graph?g0.expr=disk",
        **changes,
    }
    return {name: value for name, value in alert.items() if value is not None}


def parse(content: object, **options: Any) -> tuple[ParsedAlert, ...]:
    return parse_posted(content, now=NOW, resolve_timeout=300.0, **options)


def later(**ago: float) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(**ago)).isoformat()


def test_alert_fires_until_its_end() -> None:
    (parsed,) = parse([posted()], scope="team-a")
    assert parsed.alert
    alert = parsed.alert
    assert (alert.scope, alert.key) == ("team-a", f"DiskFull/{fingerprint(LABELS)}")
    assert (alert.status, alert.severity, alert.summary) == (
        Status.FIRING,
        "critical",
        "Disk full on db-1",
    )
    assert (alert.source, alert.class_, dict(alert.labels)) == ("db-1", "DiskFull", LABELS)
    assert alert.url == "http://prometheus.example:9090/graph?g0.expr=disk"
    assert alert.started_at == dt.datetime(2026, 11, 23, 3, 14, tzinfo=dt.UTC)
    assert parsed.expires_at == dt.datetime(2026, 11, 23, 3, 19, tzinfo=dt.UTC)
    assert alert.repairs == ()


@pytest.mark.parametrize("ends_at", ["2026-11-23T03:15:00Z", "2026-11-23T02:00:00Z"])
def test_alert_whose_end_is_past_is_resolved(ends_at: str) -> None:
    (parsed,) = parse([posted(endsAt=ends_at)])
    assert parsed.alert
    assert parsed.alert.status is Status.RESOLVED
    assert parsed.expires_at is None
    assert parsed.alert.details["ends_at"] == ends_at


@pytest.mark.parametrize("ends_at", [None, "", "0001-01-01T00:00:00Z", "soon"])
def test_alert_without_an_end_fires_for_the_resolve_timeout(ends_at: str | None) -> None:
    (parsed,) = parse([posted(endsAt=ends_at)])
    assert parsed.alert
    assert parsed.alert.status is Status.FIRING
    assert parsed.expires_at == NOW + dt.timedelta(minutes=5)
    repairs = {each.field: each.reason for each in parsed.alert.repairs}
    if ends_at == "soon":
        assert repairs == {"endsAt": '"soon" is not an ISO 8601 time; kept in the details'}
        assert parsed.alert.details["endsAt"] == "soon"
    else:
        assert repairs == {}


def test_labels_identify_an_alert_as_in_the_webhook() -> None:
    (parsed,) = parse([posted(labels={**LABELS, "empty": "", "number": 7})])
    webhook = {"status": "firing", "labels": LABELS, "fingerprint": fingerprint(LABELS)}
    (same,) = alertmanager.parse_webhook({"alerts": [webhook]})
    assert parsed.alert
    assert same.alert
    assert parsed.alert.identity == same.alert.identity
    assert [str(each.reason) for each in parsed.alert.repairs] == ["2 empty or not text; dropped"]


def test_fingerprint_is_that_of_alertmanager() -> None:
    """The test with a real Alertmanager shows that it is."""
    labels = {"alertname": "DiskFull", "instance": "db-1", "severity": "critical"}
    assert fingerprint({**labels, "text": "Größe 😀"}) == "f8188601c7728dac"
    assert len(fingerprint({"large": "x" * 100_000})) == 16
    assert fingerprint({"large": "x" * 100_000}) != fingerprint({"large": "x" * 100_001})


@pytest.mark.proof
def test_a_real_alertmanager_has_the_same_fingerprint(tmp_path: Path) -> None:
    quiet = "route: {receiver: x}\nreceivers: [{name: x}]\n"
    with alertmanagers.running(quiet, tmp_path) as url:
        alertmanagers.post(url, fires=True, severity="critical", text="Größe 😀")
        with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=60) as response:
            (found,) = json.load(response)
    assert found["fingerprint"] == fingerprint(found["labels"])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"alerts": []}, "not a list, which Prometheus posts; post a webhook to "),
        ([7], "[0]: not a JSON object"),
        ([{}], "[0]: labels: missing or not an object of texts; they identify the alert"),
        ([{"labels": []}], "[0]: labels: missing or not an object of texts"),
        ([{"labels": {"a": ""}}], "[0]: labels: missing or not an object of texts"),
    ],
)
def test_faults_are_reported(content: object, fault: str) -> None:
    (parsed,) = parse(content)
    place = f"{parsed.location}: " if parsed.location else ""
    assert f"{place}{parsed.faults[0]}".startswith(fault)


def test_number_of_alerts_is_limited() -> None:
    assert len(parse([posted()] * 2, most=2)) == 2
    with pytest.raises(TooManyAlertsError):
        parse([posted()] * 3, most=2)


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_any_list_is_parsed(content: object) -> None:
    alert = {"labels": content, "endsAt": content, "startsAt": content, "annotations": content}
    fields: list[object] = [content, alert, {**alert, "labels": {"a": "b", "c": content}}]
    assert all(each.alert or each.faults for each in parse(fields))


def test_posted_alert_opens_and_resolves_one_incident(start: Start, workspace: Workspace) -> None:
    url = start().url
    fake = workspace.fake
    firing = posted(endsAt=later(minutes=4), startsAt=later())

    reply = post(url, [firing], V2)
    assert (reply.status, reply.json) == (200, {"status": "success"})
    fake.wait_for(lambda fake: len(fake.incidents) == 2, 60)
    for number in range(5):
        assert post(url, [{**firing, "endsAt": later(minutes=5 + number)}], V2).status == 200
    over = {**firing, "endsAt": later()}
    assert post(url, [over], V2).status == 200
    fake.wait_for(lambda fake: [each.state for each in fake.incidents] == ["resolved"] * 2, 60)
    assert post(url, [over], "/api/v1/alerts").status == 200
    assert post(url, [], V2).status == 200

    actions = [body["event_action"] for body in workspace.bodies()]
    assert actions == ["trigger"] * 2 + ["resolve"] * 2
    found = measured(url)
    assert found["alerthost_accepted_total", V2] == 2
    assert found["alerthost_repeated_total", V2] == 5
    assert found["alerthost_repeated_total", "/api/v1/alerts"] == 1


def test_valid_alerts_are_accepted_beside_faulty_ones(start: Start, workspace: Workspace) -> None:
    url = start().url
    firing = posted(endsAt=later(minutes=4), startsAt=later())

    assert post(url, [firing, 7], V2).status == 200
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 60)
    assert measured(url)["alerthost_faulty_alerts_total", V2] == 1
    rejected = post(url, [7], V2)
    assert (rejected.status, rejected.json["faults"]) == (
        400,
        [{"location": "[0]", "path": "", "reason": "not a JSON object"}],
    )
    assert post(url, "{", V2).json["faults"][0]["reason"].startswith("not JSON: ")


def test_a_post_needs_the_token(start: Start) -> None:
    url = start(http='token = "env:ALERTHOST_TOKEN"').url
    basic = base64.b64encode(f"grafana:{TOKEN}".encode()).decode()

    for sent, problem in (({}, "no token"), ({"Authorization": "Bearer wrong"}, "wrong token")):
        rejected = post(url, [], V2, **sent)
        assert rejected.status == 401
        assert problem in rejected.body.decode()
    assert post(url, [], V2, Authorization=f"Bearer {TOKEN}").status == 200
    assert ask(url, "GET", "/api/v2/status").status == 401
    status = ask(url, "GET", "/api/v2/status", headers={"Authorization": f"Basic {basic}"})
    assert status.status == 200
    assert status.json["versionInfo"]["version"].startswith("alerthost ")
    assert status.json["cluster"] == {"status": "disabled"}
    assert ask(url, "GET", V2).status == 405


def test_name_that_vmalert_gives_twice_is_one_label(start: Start, workspace: Workspace) -> None:
    """It writes its JSON by a template, with nanoseconds."""
    url = start().url
    text = (
        '[{"startsAt":"2026-11-23T03:14:00.854899916Z","generatorURL": "http://vm:8880/vmalert/",'
        '"endsAt":"ENDS.854899916Z","labels": {"alertname":"DiskFull","alertgroup":"disks",'
        '"alertname":"DiskFull","instance":"db-1","severity":"critical","team":"data"},'
        '"annotations": {"summary":"Disk full on db-1"}}]'
    )
    now = dt.datetime.now(dt.UTC)
    for minutes, state in ((4, "triggered"), (-1, "resolved")):
        ends = f"{now + dt.timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S}"
        assert post(url, text.replace("ENDS", ends), V2).status == 200
        workspace.fake.wait_for(
            lambda fake, state=state: [each.state for each in fake.incidents] == [state] * 2,  # type: ignore[misc]
            60,
        )

    first = workspace.bodies()[0]
    assert first["dedup_key"] == f"DiskFull/{fingerprint({**LABELS, 'alertgroup': 'disks'})}"
    assert first["client_url"] == "http://vm:8880/vmalert/"


def test_resolve_timeout_is_a_duration(workspace: Workspace) -> None:
    for timeout, reason in (
        ("", "is empty; use for example 5m"),
        ("30s", "is too short; the least is 1m"),
        ("soon", "is not a duration; use for example 90s, 5m or 1h30m"),
    ):
        workspace.configure_http(http=f'resolve_timeout = "{timeout}"')
        checked = workspace.alerthost("check")
        assert checked.returncode == 2
        assert f"http.resolve_timeout: {reason}" in checked.stderr
