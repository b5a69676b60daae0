"""Choose the source and the component of an alert by its labels. Pure.

The names of labels are those that Prometheus, its operator, kube-state-metrics, cAdvisor and
Grafana use. Prometheus renames a label of the target that meets one of its own to
``exported_NAME``, so that ``exported_pod`` is the pod that an exporter reports, and ``pod`` the
exporter's (https://prometheus.io/docs/prometheus/latest/configuration/configuration/, under
``honor_labels``).
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

_PLACES: Final = ("namespace", "cluster")

LONGEST_URL: Final = 4096
"""Characters of an address that is taken apart; `urllib.parse` keeps those that it has seen."""

_ANYWHERE: Final = ("instance", *_MACHINES, *_WORKLOADS, *_TARGETS, *_SERVICES, *_PLACES)
_BESIDE_TARGETS: Final = (*_TARGETS, "instance", *_MACHINES)
_BESIDE_OTHERS: Final = (*_WORKLOADS, *_MACHINES, *_TARGETS, *_PLACES, "instance")
_COMPONENTS: Final = ("exported_container", "container", "name", "exported_service", "service")

_EXPORTERS: Final = (
    "kube-state-metrics",
    "cadvisor",
    "kubelet",
    "pushgateway",
    "blackbox",
    "snmp",
)
"""Parts of the names of exporters that report on others; their address says nothing of these."""

_TELLS_OF_TARGETS: Final = ("blackbox", "snmp")
"""Those of them whose ``instance`` is the target, by the relabelling that their pages show."""

_NAMES_OF_EXPORTERS: Final = ("job", "service", "container", "app")


def source_of(labels: Mapping[str, Any], urls: Iterable[str], receiver: str) -> str:
    """Return the name of the affected object.

    Args:
        labels: of the alert.
        urls: of the programs that reported it; a host is used where no label names the source.
        receiver: used where nothing else is known.
    """
    exporter = _exporter(labels)
    if exporter is None:
        pods = _PODS if _is_pod_by_address(labels) else ()
        names: tuple[str, ...] = (*pods, *_ANYWHERE)
    else:
        names = _BESIDE_TARGETS if exporter in _TELLS_OF_TARGETS else _BESIDE_OTHERS
        # the labels of its own pod, node and service are not those of the object that it reports
        labels = {name: text for name, text in labels.items() if not _is_exporter(text)}
    exported = first(labels, (f"exported_{name}" for name in names))
    return exported or first(labels, names) or next(_hosts(urls), "") or receiver


def component_of(labels: Mapping[str, Any]) -> str:
    """Return the part of the source that is responsible; empty where no label names it.

    An exporter that reports on others is never the component at fault.
    """
    if _exporter(labels) is None:
        return first(labels, ("component", "job"))
    others = {name: text for name, text in labels.items() if not _is_exporter(text)}
    return first(others, ("component", *_COMPONENTS, "exported_job"))


def first(values: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return the first value that is a text, without the blanks around it."""
    texts = (values.get(name) for name in names)
    return next(filter(None, (text.strip() for text in texts if isinstance(text, str))), "")


def _exporter(labels: Mapping[str, Any]) -> str | None:
    named = (_is_exporter(labels.get(name)) for name in _NAMES_OF_EXPORTERS)
    return next(filter(None, named), None)


def _is_exporter(name: object) -> str | None:
    if not isinstance(name, str):
        return None
    plain = name.casefold().replace("_", "-")
    return next((part for part in _EXPORTERS if part in plain), None)


def _is_pod_by_address(labels: Mapping[str, Any]) -> bool:
    """Check whether the instance is the IP address of a pod that has a name of its own.

    The pod of an exporter is not what its metrics are about: then the address says more.
    """
    instance = first(labels, ("instance",))
    if len(instance) > LONGEST_URL or "exporter" in first(labels, _PODS).casefold():
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
