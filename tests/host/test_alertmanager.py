"""The webhook of Alertmanager, also of a real one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import alertmanagers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import TOKEN, Start, post, run
from workspace import Workspace

from alerthost.ingest import alertmanager
from hostspec import Alert, Link
from hostspec.values import to_json

# the example of Alertmanager's documentation, with values that it really sends
PAYLOAD: dict[str, Any] = {
    "version": "4",
    "groupKey": '{}:{alertname="DiskFull"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "alerthost",
    "groupLabels": {"alertname": "DiskFull"},
    "commonLabels": {"alertname": "DiskFull"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager.example:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {
                "alertname": "DiskFull",
                "instance": "db-1:9100",
                "job": "node",
                "cluster": "eu-1",
                "severity": "page",
            },
            "annotations": {
                "summary": "Disk full\non db-1",
                "description": "98 % used",
                "runbook_url": "https://wiki.example/disk",
            },
            "startsAt": "2026-11-23T03:14:00.123456789Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example:9090/graph?g0.expr=disk",
            "fingerprint": "3f8b2f2b7d5c1e90",
        }
    ],
}

NAMELESS = "missing or not text; derived from the labels"
UNTIMELY = '"soon" is not an ISO 8601 time; kept in the details'
LISTLESS = ": alerts: missing or not a list; Alertmanager and Grafana post a list"


def payload(**changes: Any) -> dict[str, Any]:
    """Return the payload with some fields of its alert changed, or left out (None)."""
    changed = copy.deepcopy(PAYLOAD)
    alert = changed["alerts"][0]
    for name, value in changes.items():
        if value is None:
            del alert[name]
        else:
            alert[name] = value
    return changed


def alert_of(content: object, **options: str) -> Alert:
    (parsed,) = alertmanager.parse_webhook(content, **options)
    assert parsed.alert, parsed.faults
    return parsed.alert


def repairs(alert: Alert) -> dict[str, str]:
    return {repair.field: repair.reason for repair in alert.repairs}


def faults(content: object) -> list[str]:
    return [
        f"{parsed.location}: {fault}"
        for parsed in alertmanager.parse_webhook(content)
        for fault in parsed.faults
    ]


def test_fields_of_an_alert() -> None:
    alert = alert_of(PAYLOAD)
    assert alert == Alert(
        "DiskFull/3f8b2f2b7d5c1e90",
        "Disk full on db-1",
        severity="critical",
        source="db-1:9100",
        component="node",
        group="eu-1",
        class_="DiskFull",
        started_at="2026-11-23T03:14:00.123456Z",
        labels=PAYLOAD["alerts"][0]["labels"],
        details={"receiver": "alerthost", **PAYLOAD["alerts"][0]["annotations"]},
        url="http://prometheus.example:9090/graph?g0.expr=disk",
        links=[
            Link("https://wiki.example/disk", "Runbook"),
            Link("http://alertmanager.example:9093", "Alertmanager"),
        ],
    )
    assert alert.repairs == ()


def test_resolved_alert_has_the_same_key_and_its_end() -> None:
    alert = alert_of(payload(status="resolved", endsAt="2026-11-23T04:00:00Z"))
    assert (alert.key, alert.status) == ("DiskFull/3f8b2f2b7d5c1e90", "resolved")
    assert alert.details["ends_at"] == "2026-11-23T04:00:00Z"
    # a resolve of one Prometheus must not outdate an alert that another one still fires
    assert alert.updated_at is None


def test_scope_separates_tenants() -> None:
    assert alert_of(PAYLOAD, scope="team-a").scope == "team-a"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fingerprint": None}, {"fingerprint": "missing or not text; derived from the labels"}),
        ({"fingerprint": 7}, {"fingerprint": "missing or not text; derived from the labels"}),
        ({"status": None}, {"status": "missing; the group's status is used: firing"}),
        ({"status": "on"}, {"status": "is unknown; the group's status is used: firing"}),
        ({"annotations": [1]}, {"annotations": "not an object; kept in the details"}),
        ({"labels": "a"}, {"labels": "text where an object belongs; kept in the details"}),
        ({"startsAt": "soon"}, {"started_at": UNTIMELY}),
        (
            {"startsAt": "0001-01-01T00:00:00Z"},
            {"started_at": '"0001-01-01T00:00:00Z" is a time that was never set; taken as missing'},
        ),
        ({"generatorURL": 7}, {"url": "a number became text"}),
    ],
)
def test_odd_values_are_repaired(changes: dict[str, Any], expected: dict[str, str]) -> None:
    assert expected.items() <= repairs(alert_of(payload(**changes))).items()


def test_missing_values_are_accepted() -> None:
    bare = {"alerts": [{"status": "firing", "labels": {"team": "data"}}]}
    alert = alert_of(bare)
    assert alert.summary == "team=data"
    assert alert == alert_of(copy.deepcopy(bare))
    assert alert.key != alert_of({"alerts": [{"status": "firing", "labels": {"team": "web"}}]}).key
    assert alert_of({"alerts": [{"status": "FIRING ", "fingerprint": "ab"}]}).key == "ab"


def test_key_does_not_depend_on_the_order_of_labels() -> None:
    labels = PAYLOAD["alerts"][0]["labels"]
    keys = {
        alert_of(payload(fingerprint=None, labels=each)).key
        for each in (labels, dict(reversed(labels.items())))
    }
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], [": not a JSON object, which Alertmanager posts"]),
        ({}, [LISTLESS]),
        ({"alerts": {}}, [LISTLESS]),
        ({"alerts": [7]}, ["alerts[0]: not a JSON object"]),
        (
            {"alerts": [PAYLOAD["alerts"][0], {"status": "on", "labels": {}}]},
            [
                "alerts[1]: status: is neither firing nor resolved, "
                "and neither is that of the group",
                "alerts[1]: fingerprint: missing, and the labels too; nothing identifies the alert",
            ],
        ),
    ],
)
def test_unreadable_payloads_are_faults(content: object, expected: list[str]) -> None:
    assert faults(content) == expected


def test_fields_of_grafana() -> None:
    content = payload(
        values={"B": 22.5},
        valueString="[ var='B' value=22.5 ]",
        dashboardURL="https://grafana.example/d/1",
        panelURL="https://grafana.example/d/1?viewPanel=2",
        silenceURL="https://grafana.example/silence/new",
        imageURL="https://grafana.example/1.png",
    )
    content["version"] = "1"
    alert = alert_of(content)
    assert to_json(alert)["details"]["values"] == {"B": 22.5}
    assert [link.text for link in alert.links] == [
        "Runbook",
        "Dashboard",
        "Panel",
        "Silence",
        "Alertmanager",
    ]
    assert [image.src for image in alert.images] == ["https://grafana.example/1.png"]


@pytest.mark.parametrize(
    ("count", "expected"), [(3, 3), (0, 0), (-1, 0), ("3", 0), (None, 0), ([], 0)]
)
def test_truncated_alerts_are_counted(count: object, expected: int) -> None:
    assert alertmanager.truncated_alerts({**PAYLOAD, "truncatedAlerts": count}) == expected
    assert alertmanager.truncated_alerts([]) == 0


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(sorted([*PAYLOAD["alerts"][0], "values", "imageURL"])), JSON_VALUES
    ),
    st.dictionaries(st.sampled_from(["status", "receiver", "externalURL"]), JSON_VALUES),
)
def test_any_payload_is_alerts_or_faults(alert: dict[str, Any], group: dict[str, Any]) -> None:
    for parsed in alertmanager.parse_webhook({**group, "alerts": [alert, PAYLOAD["alerts"][0]]}):
        assert (parsed.alert is None) == bool(parsed.faults)
        assert parsed.alert is None or parsed.alert.key.strip()


def test_posted_group_is_delivered(workspace: Workspace) -> None:
    workspace.configure_http((", 'team=\"data\"'", ""))
    with run(workspace) as (process, url):
        content = payload()
        content["truncatedAlerts"] = 2
        reply = post(url, content, "/ingest/alertmanager?scope=team-a")
        assert reply.status == 202
        assert [(each["scope"], each["key"]) for each in reply.json["submissions"]] == [
            ("team-a", "DiskFull/3f8b2f2b7d5c1e90")
        ]
        process.wait_for("Alertmanager left 2 alerts out of a group: raise its max_alerts")
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 30)
        assert post(url, "{", "/ingest/alertmanager").status == 400
        reply = post(url, {"alerts": [7]}, "/ingest/alertmanager")
        assert reply.json["faults"] == [
            {"location": "alerts[0]", "path": "", "reason": "not a JSON object"}
        ]
    assert {body["dedup_key"] for body in workspace.bodies()} == {
        "team-a/DiskFull/3f8b2f2b7d5c1e90"
    }


RUN_PAGE = Path(__file__).parents[2] / "docs" / "run.md"


def documented(url: str, token: Path) -> str:
    """Return the documented configuration of Alertmanager, without its waiting times."""
    page = RUN_PAGE.read_text(encoding="utf-8")
    text = page.partition("```yaml\n")[2].partition("```")[0]
    at_once = "  receiver: alerthost\n  group_wait: 10ms\n  group_interval: 10ms\n"
    for shown, here in (
        ("  receiver: alerthost\n", at_once),
        ("http://127.0.0.1:9095", url),
        ("/etc/alerthost/token", str(token)),
    ):
        assert shown in text
        text = text.replace(shown, here)
    return text


@pytest.mark.proof
def test_real_alertmanager_fires_and_resolves(workspace: Workspace, tmp_path: Path) -> None:
    workspace.configure_http((", 'team=\"data\"'", ""), http='token = "env:ALERTHOST_TOKEN"')
    token = tmp_path / "token"
    token.write_text(TOKEN, encoding="utf-8")
    with (
        run(workspace, ALERTHOST_TOKEN=TOKEN) as (_, url),
        alertmanagers.running(documented(url, token), tmp_path) as alertmanager_url,
    ):
        for instance in ("db-1", "db-2"):
            alertmanagers.post(alertmanager_url, fires=True, instance=instance, severity="critical")
        workspace.fake.wait_for(
            lambda fake: [each.state for each in fake.incidents] == ["triggered"] * 4, 60
        )
        alertmanagers.post(alertmanager_url, fires=False, instance="db-1", severity="critical")
        workspace.fake.wait_for(
            lambda fake: [each.state for each in fake.incidents].count("resolved") == 2, 60
        )

    resolved = {each.dedup_key for each in workspace.fake.incidents if each.state == "resolved"}
    assert len(resolved) == 1
    first = workspace.bodies()[0]["payload"]
    assert (first["summary"], first["severity"]) == ("Disk full on db-1", "critical")
    assert first["class"] == "DiskFull"


def test_late_peer_of_a_cluster_reopens_nothing(start: Start, workspace: Workspace) -> None:
    """The third post is that of a second Alertmanager, which still has the episode that ended."""
    alert = {
        "labels": {"alertname": "DemoAlert", "severity": "critical"},
        "startsAt": "2026-11-23T03:14:00Z",
        "fingerprint": "8a07",
    }
    url = start((", 'team=\"data\"'", "")).url
    fake = workspace.fake
    for status, sent in (("firing", 2), ("resolved", 4), ("firing", 4), ("resolved", 4)):
        content = {"version": "4", "alerts": [{**alert, "status": status}]}
        assert post(url, content, "/ingest/alertmanager").status == 202
        fake.wait_for(lambda fake, sent=sent: len(fake.requests) >= sent, 30)  # type: ignore[misc]
    post(
        url,
        {"version": "4", "alerts": [{**alert, "fingerprint": "8a08", "status": "firing"}]},
        "/ingest/alertmanager",
    )
    fake.wait_for(lambda fake: len(fake.incidents) >= 4, 30)

    late = [each for each in workspace.bodies() if each["dedup_key"] == "DemoAlert/8a07"]
    assert sorted(each["event_action"] for each in late) == ["resolve"] * 2 + ["trigger"] * 2
    assert [each.state for each in fake.incidents[:2]] == ["resolved"] * 2
    assert len(fake.incidents) == 4
