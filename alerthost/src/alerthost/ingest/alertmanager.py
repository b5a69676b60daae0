"""Parse the webhook of Alertmanager (version 4), which Grafana and Mimir send too. Pure.

Each alert of a group becomes a submission of its own. The fields are documented at
https://prometheus.io/docs/alerting/latest/configuration/#webhook_config.

Labels name the source and the component of an alert. Prometheus renames a scraped label that
conflicts with one of its own to ``exported_NAME``: ``exported_pod`` is the pod that an exporter
reports on, ``pod`` the exporter's own. See ``honor_labels`` in
https://prometheus.io/docs/prometheus/latest/configuration/configuration/.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from alerthost.ingest.json_alerts import ParsedAlert, TooManyAlertsError
from hostspec.alert import Alert, Status
from hostspec.errors import Fault
from hostspec.normalisation import Repair

_SUMMARIES: Final = ("summary", "message", "title", "description")
"""Annotations with a summary, the preferred one first."""

_GROUPS: Final = ("cluster", "namespace")

_GRAFANA_ALERTS: Final = ("DatasourceError", "DatasourceNoData")
"""Grafana's own alerts, with one name for every rule whose query fails or finds nothing."""

_MOST_LABELS: Final = 10
"""Labels in a summary that is made of them."""

_LINKS: Final = (
    ("runbook_url", "Runbook"),
    ("dashboardURL", "Dashboard"),
    ("panelURL", "Panel"),
    ("silenceURL", "Silence"),
)
"""Annotations and fields that hold addresses, with the text of the link."""

_STATUSES: Final = (Status.FIRING.value, Status.RESOLVED.value)

_RELATIVE: Final = ("/", "?", "#", "./", "../")
"""Beginnings of relative addresses; other texts may be sentences."""

GO_ZERO_TIME: Final = "0001-01-01T00:00:00"
"""Go's zero time, which means that there is no time."""

# Labels of Prometheus, its operator, kube-state-metrics, cAdvisor and Grafana.

_PODS: Final = ("pod", "pod_name")
_WORKLOADS: Final = (
    *_PODS,
    "deployment",
    "statefulset",
    "daemonset",
    "job_name",
    "cronjob",
    "replicaset",
    "horizontalpodautoscaler",
    "persistentvolumeclaim",
    "ingress",
)
_MACHINES: Final = ("node", "nodename", "host", "hostname", "server", "vm")
_TARGETS: Final = ("target", "probe", "url")
_SERVICES: Final = ("service", "service_name", "app", "container", "name", "database", "queue")

_LOCATIONS: Final = ("namespace", "cluster")

_LONGEST_URL: Final = 4096
"""Characters of an address that is parsed; longer ones would fill `urllib.parse`'s cache."""

_ALL_NAMES: Final = ("instance", *_MACHINES, *_WORKLOADS, *_TARGETS, *_SERVICES, *_LOCATIONS)
_TARGET_NAMES: Final = (*_TARGETS, "instance", *_MACHINES)
_OBJECT_NAMES: Final = (*_WORKLOADS, *_MACHINES, *_TARGETS, *_LOCATIONS, "instance")
_COMPONENTS: Final = ("exported_container", "container", "name", "exported_service", "service")

_EXPORTERS: Final = ("kube-state-metrics", "cadvisor", "kubelet", "pushgateway", "blackbox", "snmp")
"""Parts of the names of exporters that report on other objects."""

_TARGET_EXPORTERS: Final = ("blackbox", "snmp")
"""Exporters whose documented relabelling makes ``instance`` the target."""

_EXPORTER_LABELS: Final = ("job", "service", "container", "app")


def parse_webhook(
    payload: object, *, scope: str = "", most: int | None = None
) -> tuple[ParsedAlert, ...]:
    """Parse each alert of a payload, in order.

    The result is a single faulty alert if the payload is not a webhook's.

    Args:
        payload: the parsed body.
        scope: of the alerts.
        most: limit of alerts in a group; None for no limit.

    Raises:
        TooManyAlertsError: the group has more alerts than `most`.
    """
    one = payload[0] if isinstance(payload, list) and payload else payload
    if isinstance(one, Mapping) and "key" in one and "alerts" not in one:
        reason = "an alert, not a group as Alertmanager posts it; post it to /alerts"
        return (ParsedAlert.faulty("", reason),)
    if not isinstance(payload, Mapping):
        return (ParsedAlert.faulty("", "not a JSON object, which Alertmanager posts"),)
    alerts = payload.get("alerts")
    if not isinstance(alerts, list):
        reason = "missing or not a list; Alertmanager and Grafana post a list"
        return (ParsedAlert.faulty("alerts", reason),)
    if most is not None and len(alerts) > most:
        raise TooManyAlertsError(most)
    return tuple(
        parse_alert(f"alerts[{number}]", alert, payload, scope)
        for number, alert in enumerate(alerts)
    )


def truncated_alerts(payload: object) -> int:
    """Return how many alerts Alertmanager left out of the group because of ``max_alerts``."""
    count = payload.get("truncatedAlerts") if isinstance(payload, Mapping) else None
    return count if isinstance(count, int) and count > 0 else 0


def parse_alert(
    location: str, alert: object, payload: Mapping[str, Any], scope: str
) -> ParsedAlert:
    """Parse one alert of a webhook, with what its group says."""
    if not isinstance(alert, Mapping):
        return ParsedAlert.faulty("", "not a JSON object", location)
    parser = _Parser(alert, payload)
    fields = parser.fields()
    if parser.faults:
        return ParsedAlert(location, None, tuple(parser.faults))
    return ParsedAlert(location, Alert(**fields, scope=scope, repairs=parser.repairs))


class _Parser:
    """Parses one alert, and collects its repairs and faults."""

    def __init__(self, alert: Mapping[str, Any], payload: Mapping[str, Any]) -> None:
        self.repairs: list[Repair] = []
        self.faults: list[Fault] = []
        self._alert = alert
        self._payload = payload
        self._labels = _object(alert.get("labels"))
        self._annotations = _object(alert.get("annotations"))

    def fields(self) -> dict[str, Any]:
        alert, labels = self._alert, self._labels
        status = self._status()
        urls = [_text(self._payload.get("externalURL")), _text(alert.get("generatorURL"))]
        return {
            "key": self._key(),
            "status": status,
            "summary": self._summary(),
            "severity": labels.get("severity"),
            "source": _source_of(labels, urls, _text(self._payload.get("receiver"))),
            "component": _component_of(labels),
            "group": _first_text(labels, _GROUPS),
            "class_": _text(labels.get("alertname")),
            "started_at": alert.get("startsAt"),
            "labels": alert.get("labels"),
            "details": dict(self._details(status)),
            "url": self._absolute(alert.get("generatorURL")),
            "links": list(self._links()),
            "images": [{"src": src} for src in (self._absolute(alert.get("imageURL")),) if src],
        }

    def _key(self) -> str:
        """Return the alert's name and the fingerprint of its labels."""
        fingerprint = _text(self._alert.get("fingerprint"))
        if not fingerprint:
            if not self._labels:
                reason = "missing, and the labels too; nothing identifies the alert"
                self.faults.append(Fault("fingerprint", reason))
                return ""
            text = json.dumps(self._labels, sort_keys=True, default=str)
            fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
            reason = "missing or not text; derived from the labels"
            self.repairs.append(Repair("fingerprint", reason))
        name = _text(self._labels.get("alertname"))
        return f"{name}/{fingerprint}" if name else fingerprint

    def _status(self) -> str:
        status, group_status = (
            _text(each.get("status")).casefold() for each in (self._alert, self._payload)
        )
        if status in _STATUSES:
            return status
        if group_status not in _STATUSES:
            known = " nor ".join(_STATUSES)
            reason = f"is neither {known}, and neither is that of the group"
            self.faults.append(Fault("status", reason))
            return Status.FIRING
        problem = "is unknown" if status else "missing"
        reason = f"{problem}; the group's status is used: {group_status}"
        self.repairs.append(Repair("status", reason))
        return group_status

    def _summary(self) -> str:
        name, rule = (_text(self._labels.get(label)) for label in ("alertname", "rulename"))
        if name in _GRAFANA_ALERTS and rule:
            parts = (name, rule, _text(self._annotations.get("Error")))
            summary = ": ".join(filter(None, parts))
        else:
            summary = _first_text(self._annotations, _SUMMARIES) or name or self._label_summary()
        return " ".join(summary.split())

    def _label_summary(self) -> str:
        labels = [
            f"{name}={text}"
            for name in sorted(self._labels)
            if (text := _text(self._labels[name])) and name != "severity"
        ]
        more = ["…"] if len(labels) > _MOST_LABELS else []
        return ", ".join(labels[:_MOST_LABELS] + more)

    def _absolute(self, url: object) -> object:
        """Resolve an address that is relative to ``externalURL``; return others unchanged."""
        base = _text(self._payload.get("externalURL"))
        if not isinstance(url, str) or not url.strip().startswith(_RELATIVE):
            return url
        if not base.startswith(("http://", "https://")) or len(base + url) > _LONGEST_URL:
            return url
        try:
            return urljoin(base, url.strip())
        except ValueError:  # the base is not a URL
            return url

    def _details(self, status: str) -> Iterator[tuple[str, Any]]:
        """Yield the details; annotations come last, so that none is overwritten."""
        alert = self._alert
        annotations = alert.get("annotations")
        if annotations is not None and not isinstance(annotations, Mapping):
            self.repairs.append(Repair("annotations", "not an object; kept in the details"))
            yield "annotations", annotations
        ended = alert.get("endsAt")
        if ended and status == Status.RESOLVED and not _text(ended).startswith(GO_ZERO_TIME):
            yield "ends_at", ended
        for name in ("values", "valueString"):  # Grafana's
            if alert.get(name):
                yield name, alert[name]
        if receiver := _text(self._payload.get("receiver")):
            yield "receiver", receiver
        yield from self._annotations.items()

    def _links(self) -> Iterator[dict[str, str]]:
        for name, text in _LINKS:
            href = _text(self._annotations.get(name)) or _text(self._alert.get(name))
            if href:
                yield {"href": str(self._absolute(href)), "text": text}
        if href := _text(self._payload.get("externalURL")):
            yield {"href": href, "text": "Alertmanager"}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _source_of(labels: Mapping[str, Any], urls: Iterable[str], receiver: str) -> str:
    """Return the name of the affected object; else the host of a URL, else the receiver."""
    exporter = _find_exporter(labels)
    if exporter is None:
        pods = _PODS if _is_pod_by_address(labels) else ()
        names: tuple[str, ...] = (*pods, *_ALL_NAMES)
    else:
        names = _TARGET_NAMES if exporter in _TARGET_EXPORTERS else _OBJECT_NAMES
        # the exporter's own pod, node and service are not the affected object
        labels = {name: text for name, text in labels.items() if not _exporter_kind(text)}
    exported = _first_text(labels, (f"exported_{name}" for name in names))
    return exported or _first_text(labels, names) or next(_hosts(urls), "") or receiver


def _component_of(labels: Mapping[str, Any]) -> str:
    """Return the responsible part of the source; never an exporter that reports on others."""
    if _find_exporter(labels) is None:
        return _first_text(labels, ("component", "job"))
    others = {name: text for name, text in labels.items() if not _exporter_kind(text)}
    return _first_text(others, ("component", *_COMPONENTS, "exported_job"))


def _first_text(values: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return the first value that is text and not blank, stripped."""
    texts = (values.get(name) for name in names)
    return next(filter(None, (text.strip() for text in texts if isinstance(text, str))), "")


def _find_exporter(labels: Mapping[str, Any]) -> str | None:
    named = (_exporter_kind(labels.get(name)) for name in _EXPORTER_LABELS)
    return next(filter(None, named), None)


def _exporter_kind(name: object) -> str | None:
    if not isinstance(name, str):
        return None
    plain = name.casefold().replace("_", "-")
    return next((part for part in _EXPORTERS if part in plain), None)


def _is_pod_by_address(labels: Mapping[str, Any]) -> bool:
    """Check whether ``instance`` is the IP address of a named pod, and the pod no exporter."""
    instance = _first_text(labels, ("instance",))
    if len(instance) > _LONGEST_URL or "exporter" in _first_text(labels, _PODS).casefold():
        return False
    try:
        ipaddress.ip_address(urlsplit(f"//{instance}").hostname or "")
    except ValueError:
        return False
    return True


def _hosts(urls: Iterable[str]) -> Iterator[str]:
    for url in urls:
        if len(url) > _LONGEST_URL:
            continue
        try:
            host = urlsplit(url).hostname
        except ValueError:
            continue
        if host:
            yield host
