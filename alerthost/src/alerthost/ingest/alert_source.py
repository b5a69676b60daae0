"""Choose the source and the component of an alert by its labels. Pure.

The labels are those of Prometheus, its operator, kube-state-metrics, cAdvisor and Grafana.
Prometheus renames a scraped label that conflicts with one of its own to ``exported_NAME``:
``exported_pod`` is the pod that an exporter reports on, ``pod`` the exporter's own. See
``honor_labels`` in https://prometheus.io/docs/prometheus/latest/configuration/configuration/.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

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

LONGEST_URL: Final = 4096
"""Characters of an address that is parsed; longer ones would fill `urllib.parse`'s cache."""

_ALL_NAMES: Final = ("instance", *_MACHINES, *_WORKLOADS, *_TARGETS, *_SERVICES, *_LOCATIONS)
_TARGET_NAMES: Final = (*_TARGETS, "instance", *_MACHINES)
_OBJECT_NAMES: Final = (*_WORKLOADS, *_MACHINES, *_TARGETS, *_LOCATIONS, "instance")
_COMPONENTS: Final = ("exported_container", "container", "name", "exported_service", "service")

_EXPORTERS: Final = (
    "kube-state-metrics",
    "cadvisor",
    "kubelet",
    "pushgateway",
    "blackbox",
    "snmp",
)
"""Parts of the names of exporters that report on other objects."""

_TARGET_EXPORTERS: Final = ("blackbox", "snmp")
"""Exporters whose documented relabelling makes ``instance`` the target."""

_EXPORTER_LABELS: Final = ("job", "service", "container", "app")


def source_of(labels: Mapping[str, Any], urls: Iterable[str], receiver: str) -> str:
    """Return the name of the affected object.

    Args:
        labels: of the alert.
        urls: of the programs that reported it; the fallback if no label names the source.
        receiver: the last fallback.
    """
    exporter = _find_exporter(labels)
    if exporter is None:
        pods = _PODS if _is_pod_by_address(labels) else ()
        names: tuple[str, ...] = (*pods, *_ALL_NAMES)
    else:
        names = _TARGET_NAMES if exporter in _TARGET_EXPORTERS else _OBJECT_NAMES
        # the exporter's own pod, node and service are not the affected object
        labels = {name: text for name, text in labels.items() if not _exporter_kind(text)}
    exported = first_text(labels, (f"exported_{name}" for name in names))
    return exported or first_text(labels, names) or next(_hosts(urls), "") or receiver


def component_of(labels: Mapping[str, Any]) -> str:
    """Return the responsible part of the source; empty if no label names it.

    It is never an exporter that reports on other objects.
    """
    if _find_exporter(labels) is None:
        return first_text(labels, ("component", "job"))
    others = {name: text for name, text in labels.items() if not _exporter_kind(text)}
    return first_text(others, ("component", *_COMPONENTS, "exported_job"))


def first_text(values: Mapping[str, Any], names: Iterable[str]) -> str:
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
    instance = first_text(labels, ("instance",))
    if len(instance) > LONGEST_URL or "exporter" in first_text(labels, _PODS).casefold():
        return False
    try:
        ipaddress.ip_address(urlsplit(f"//{instance}").hostname or "")
    except ValueError:
        return False
    return True


def _hosts(urls: Iterable[str]) -> Iterator[str]:
    for url in urls:
        if len(url) > LONGEST_URL:
            continue
        try:
            host = urlsplit(url).hostname
        except ValueError:
            continue
        if host:
            yield host
