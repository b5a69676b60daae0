"""Source, component, summary and addresses of the alerts of Prometheus and Grafana."""

from __future__ import annotations

from typing import Any

import pytest
from serving import Start, post
from workspace import Workspace

from alerthost.ingest import alertmanager, json_alerts
from alerthost.ingest.json_alerts import ParsedAlert
from hostspec import Alert

EXTERNAL = "https://grafana.example.com/"
GENERATOR = "http://prom.example:9090/graph"


def read(labels: dict[str, Any], annotations: dict[str, Any] | None = None, **group: Any) -> Alert:
    """Parse a group of one alert with these labels."""
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": annotations or {},
        "startsAt": "2026-11-23T03:14:00Z",
        "generatorURL": GENERATOR,
        "fingerprint": "aaaa01",
        **group.pop("alert", {}),
    }
    payload = {"receiver": "team-x", "externalURL": EXTERNAL, "alerts": [alert], **group}
    (parsed,) = alertmanager.parse_webhook(payload)
    assert parsed.alert, parsed.faults
    return parsed.alert


ARGO = {"instance": "10.1.1.1:8082", "namespace": "argocd", "pod": "argocd-ctl-0"}
KUBE = {"job": "kube-state-metrics", "instance": "10.42.0.17:8080", "namespace": "shop"}
OPERATOR = {**KUBE, "service": "kube-state-metrics", "endpoint": "http"}
OWN_POD = {**OPERATOR, "pod": "prometheus-kube-state-metrics-5d9", "namespace": "monitoring"}


@pytest.mark.parametrize(
    ("labels", "source", "component"),
    [
        ({"instance": "db-1:9100", "job": "node"}, "db-1:9100", "node"),
        ({"node": "worker-1", "pod": "cart-7d9"}, "worker-1", ""),
        ({"server": "ni3"}, "ni3", ""),
        ({"cluster": "eu-1", "severity": "none"}, "eu-1", ""),
        ({"deployment": "cart", "service": "shop"}, "cart", ""),
        ({"app": "shop", "component": "basket", "job": "x"}, "shop", "basket"),
        ({"instance": "10.0.0.1:80", "exported_instance": "backup-3"}, "backup-3", ""),
        # a pod is named rather than its address, which the next pod will have
        ({"job": "argocd-metrics", "name": "web", **ARGO}, "argocd-ctl-0", "argocd-metrics"),
        ({"instance": "[fd00::7]:80", "pod_name": "cart-7d9", "node": "w-1"}, "cart-7d9", ""),
        ({"instance": "10.1.1.1", "namespace": "shop"}, "10.1.1.1", ""),
        ({"instance": "db-1:9100", "pod": "cart-7d9"}, "db-1:9100", ""),
        ({"instance": "[::", "pod": "cart-7d9"}, "[::", ""),
        ({"instance": "10.1.1.1:9100", "pod": "node-exporter-x7"}, "10.1.1.1:9100", ""),
        ({"instance": "x" * 5000, "pod": "cart-7d9"}, "x" * 5000, ""),
        # of exporters that report on others
        ({**OPERATOR, "component": "basket", "deployment": "cart"}, "cart", "basket"),
        ({**OPERATOR, "pod": "cart-7d9", "container": "app"}, "cart-7d9", "app"),
        ({**OPERATOR, "deployment": "cart"}, "cart", ""),
        ({**OPERATOR, "job_name": "nightly"}, "nightly", ""),
        ({**OPERATOR, "node": "worker-1"}, "worker-1", ""),
        ({**OWN_POD, "exported_pod": "cart-7d9", "exported_container": "app"}, "cart-7d9", "app"),
        ({**OWN_POD, "node": "worker-1"}, "worker-1", ""),
        ({**KUBE, "resourcequota": "cpu"}, "shop", ""),
        ({"job": "kubelet", "instance": "10.0.0.1:10250", "node": "w-2"}, "w-2", ""),
        ({"job": "cadvisor", "instance": "vm-1:8080", "name": "web"}, "vm-1:8080", "web"),
        ({"job": "pushgateway", "exported_job": "backup", "exported_instance": "a"}, "a", "backup"),
        ({"job": "blackbox-http", "instance": "https://shop.example"}, "https://shop.example", ""),
        ({"job": "snmp_exporter", "instance": "switch-3", "ifName": "eth0"}, "switch-3", ""),
        ({"job": "blackbox", "instance": "blackbox:9115", "target": "shop"}, "shop", ""),
    ],
)
def test_source_is_the_affected_object(labels: dict[str, Any], source: str, component: str) -> None:
    alert = read({"alertname": "A", **labels})
    assert alert.source == source
    assert alert.component == component


def test_source_falls_back_to_other_labels_and_addresses() -> None:
    bare = {"alertname": "DeadMansSwitch", "severity": "none"}
    assert read(bare).source == "grafana.example.com"
    assert read(bare, externalURL="").source == "prom.example"
    assert read(bare, externalURL="http://[").source == "prom.example"
    assert read(bare, externalURL=7, alert={"generatorURL": "?orgId=1"}).source == "team-x"
    assert read({"instance": 7, "host": " "}, externalURL=EXTERNAL).source == "grafana.example.com"


def test_own_alerts_of_grafana_name_their_rule() -> None:
    error = {"Error": "failed to execute query A:\nconnection refused", "summary": "Slow"}
    labels = {"alertname": "DatasourceError", "rulename": "Checkout latency high"}
    long = "DatasourceError: Checkout latency high: failed to execute query A: connection refused"
    assert read(labels, error).summary == long
    labels = {"alertname": "DatasourceNoData", "rulename": "Payments down"}
    assert read(labels).summary == "DatasourceNoData: Payments down"
    # a rule of one's own may have that label, and Grafana's alert may lack it
    assert read({"alertname": "A", "rulename": "b"}).summary == "A"
    assert read({"alertname": "DatasourceError"}, {"summary": "s"}).summary == "s"


def test_summary_of_an_alert_without_name_lists_its_labels() -> None:
    labels = {"team": "data", "severity": "page", "instance": "db-1:9100", "odd": 7}
    assert read(labels).summary == "instance=db-1:9100, team=data"
    many = {f"label{n:02}": "x" for n in range(12)}
    assert read(many).summary.endswith("label08=x, label09=x, …")
    assert read({}).summary == "aaaa01"


@pytest.mark.parametrize(
    ("url", "base", "right"),
    [
        ("?orgId=1", EXTERNAL, "https://grafana.example.com/?orgId=1"),
        ("/alerting/a/view", EXTERNAL, "https://grafana.example.com/alerting/a/view"),
        ("/graph", "http://am.example:9093/am", "http://am.example:9093/graph"),
        (GENERATOR, EXTERNAL, GENERATOR),
    ],
)
def test_relative_addresses_are_resolved(url: str, base: str, right: str) -> None:
    more = {"generatorURL": url, "imageURL": url, "panelURL": url}
    alert = read({"alertname": "A"}, {"runbook_url": url}, alert=more, externalURL=base)
    assert alert.url == right
    assert [link.href for link in alert.links] == [right, right, base]
    assert [image.src for image in alert.images] == [right]


@pytest.mark.parametrize("url", ["see the wiki page", "mailto:a@b.example", 7, None, ""])
def test_other_addresses_are_unchanged(url: Any) -> None:
    payload = {"externalURL": EXTERNAL}
    assert alertmanager._Parser({}, payload)._absolute(url) == url
    for base in ("", "ftp://x", "http://[", 7):
        assert alertmanager._Parser({}, {"externalURL": base})._absolute("/a") == "/a"


def test_grafana_alerts_reach_pagerduty(start: Start, workspace: Workspace) -> None:
    url = start((", 'team=\"data\"'", "")).url
    labels = {"alertname": "KubePodCrashLooping", **OPERATOR, "pod": "cart-7d9"}
    alert = {"status": "firing", "labels": labels, "generatorURL": "?orgId=1", "fingerprint": "a"}
    group = {"receiver": "x", "externalURL": EXTERNAL, "alerts": [alert]}

    assert post(url, group, "/ingest/grafana").status == 202
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 30)
    body = workspace.bodies()[0]
    assert body["payload"]["source"] == "cart-7d9"
    assert body["client_url"] == "https://grafana.example.com/?orgId=1"


def test_long_addresses_are_not_parsed() -> None:
    long = "/" + "x" * 5000
    alert = read({"alertname": "A"}, alert={"generatorURL": long}, externalURL=f"http://a{long}")
    assert (alert.url, alert.source) == (
        read({"a": "b"}, alert={"generatorURL": long}).url,
        "team-x",
    )


def fault(submissions: tuple[ParsedAlert, ...]) -> str:
    (parsed,) = submissions
    (found,) = parsed.faults
    return str(found)


def test_payload_of_the_other_endpoint_names_the_right_one() -> None:
    group = b'{"version": "4", "status": "firing", "alerts": [{"labels": {"a": "b"}}, 7]}'
    assert "post it to /ingest/alertmanager" in fault(json_alerts.parse_body(group))
    for content in ({"key": "a"}, [{"key": "a"}, {"key": "b"}]):
        assert "post it to /alerts" in fault(alertmanager.parse_webhook(content))
    for content in ([], [7, 8], {"evalMatches": []}, 7):
        assert "Alertmanager" in fault(alertmanager.parse_webhook(content))
