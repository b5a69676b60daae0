"""Makes alerts of what Alertmanager's webhook (version 4) says; Grafana and Mimir speak it too.

Each alert of a group is a statement of its own. Pure: nothing is asked, and no clock is read.
The fields are those of https://prometheus.io/docs/alerting/latest/configuration/#webhook_config.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urljoin

from alerthost.http.alert_source import LONGEST_URL, component_of, first, source_of
from alerthost.http.json_alerts import Submission
from alerthost.http.parsing import TooManyAlertsError
from hostspec.alert import Alert, Status
from hostspec.errors import Fault
from hostspec.normalisation import Repair

_SUMMARIES: Final = ("summary", "message", "title", "description")
"""Annotations that may say it in one line; the first one speaks."""

_GROUPS: Final = ("cluster", "namespace")

_OF_GRAFANA: Final = ("DatasourceError", "DatasourceNoData")
"""Grafana's own alerts, the same name for every rule whose query fails or finds nothing."""

_MOST_LABELS: Final = 10
"""Labels that a summary is made of."""

_LINKS: Final = (
    ("runbook_url", "Runbook"),
    ("dashboardURL", "Dashboard"),
    ("panelURL", "Panel"),
    ("silenceURL", "Silence"),
)
"""Where addresses may stand, among the annotations and beside them, and what they are called."""

_STATUSES: Final = (Status.FIRING.value, Status.RESOLVED.value)

_RELATIVE: Final = ("/", "?", "#", "./", "../")
"""How a relative address begins that is no sentence."""

_NEVER: Final = "0001-01-01T00:00:00"
"""How Go writes a time that is not there."""


def read(payload: object, *, scope: str = "", most: int | None = None) -> tuple[Submission, ...]:
    """Make a statement of each alert in a payload.

    Args:
        payload: the object that the body gave.
        scope: of the alerts.
        most: how many alerts a group may have; None for any number.

    Returns:
        the statements, in order; one that is faulty for a payload that is none.

    Raises:
        TooManyAlertsError: the group has more.
    """
    one = payload[0] if isinstance(payload, list) and payload else payload
    if isinstance(one, Mapping) and "key" in one and "alerts" not in one:
        return (_faulty("", "an alert, not a group as Alertmanager posts it; post it to /alerts"),)
    if not isinstance(payload, Mapping):
        return (_faulty("", "not a JSON object, which Alertmanager posts"),)
    alerts = payload.get("alerts")
    if not isinstance(alerts, list):
        reason = "missing, or no list; Alertmanager and Grafana post one"
        return (_faulty("alerts", reason),)
    if most is not None and len(alerts) > most:
        raise TooManyAlertsError.of(most)
    return tuple(
        _statement(f"alerts[{number}]", alert, payload, scope)
        for number, alert in enumerate(alerts)
    )


def truncated(payload: object) -> int:
    """Return how many alerts of the group were left out because of ``max_alerts``."""
    count = payload.get("truncatedAlerts") if isinstance(payload, Mapping) else None
    return count if isinstance(count, int) and count > 0 else 0


def _faulty(path: str, reason: str, place: str = "") -> Submission:
    return Submission(place, None, (Fault(path, reason),))


def _statement(place: str, alert: object, payload: Mapping[str, Any], scope: str) -> Submission:
    if not isinstance(alert, Mapping):
        return _faulty("", "not a JSON object", place)
    reading = _Reading(alert, payload)
    fields = reading.fields()
    if reading.faults:
        return Submission(place, None, tuple(reading.faults))
    return Submission(place, Alert(**fields, scope=scope, repairs=reading.repairs))


class _Reading:
    """One alert while it is read; its repairs and faults gather here."""

    def __init__(self, alert: Mapping[str, Any], payload: Mapping[str, Any]) -> None:
        self.repairs: list[Repair] = []
        self.faults: list[Fault] = []
        self._alert = alert
        self._payload = payload
        self._labels = _object(alert.get("labels"))
        self._annotations = _object(alert.get("annotations"))

    def fields(self) -> dict[str, Any]:
        """Return the arguments of the alert."""
        alert, labels = self._alert, self._labels
        status = self._status()
        urls = [_text(self._payload.get("externalURL")), _text(alert.get("generatorURL"))]
        return {
            "key": self._key(),
            "status": status,
            "summary": self._summary(),
            "severity": labels.get("severity"),
            "source": source_of(labels, urls, _text(self._payload.get("receiver"))),
            "component": component_of(labels),
            "group": first(labels, _GROUPS),
            "class_": _text(labels.get("alertname")),
            "started_at": alert.get("startsAt"),
            "labels": alert.get("labels"),
            "details": dict(self._details(status)),
            "url": self._absolute(alert.get("generatorURL")),
            "links": list(self._links()),
            "images": [{"src": src} for src in (self._absolute(alert.get("imageURL")),) if src],
        }

    def _key(self) -> str:
        """Name the problem by its fingerprint, which is of its labels; and by their name."""
        fingerprint = _text(self._alert.get("fingerprint"))
        if not fingerprint:
            if not self._labels:
                reason = "missing, and so are the labels; nothing names the problem"
                self.faults.append(Fault("fingerprint", reason))
                return ""
            fingerprint = _digest(self._labels)
            reason = "missing, or no text; the labels name the problem"
            self.repairs.append(Repair("fingerprint", reason))
        name = _text(self._labels.get("alertname"))
        return f"{name}/{fingerprint}" if name else fingerprint

    def _status(self) -> str:
        said = self._alert.get("status")
        status = _word(said)
        if status in _STATUSES:
            return status
        of_group = _word(self._payload.get("status"))
        if of_group not in _STATUSES:
            known = " nor ".join(_STATUSES)
            reason = f"is neither {known}, and neither is that of the group"
            self.faults.append(Fault("status", reason))
            return Status.FIRING
        what = "is unknown" if status else "missing"
        self.repairs.append(Repair("status", f"{what}; that of the group is taken: {of_group}"))
        return of_group

    def _summary(self) -> str:
        name, rule = (_text(self._labels.get(label)) for label in ("alertname", "rulename"))
        if name in _OF_GRAFANA and rule:
            said = ": ".join(filter(None, (name, rule, _text(self._annotations.get("Error")))))
        else:
            said = first(self._annotations, _SUMMARIES) or name or self._of_labels()
        return " ".join(said.split())

    def _of_labels(self) -> str:
        """Return the labels as text: the summary of an alert without a name."""
        labels = [
            f"{name}={text}"
            for name in sorted(self._labels)
            if (text := _text(self._labels[name])) and name != "severity"
        ]
        more = ["…"] if len(labels) > _MOST_LABELS else []
        return ", ".join(labels[:_MOST_LABELS] + more)

    def _absolute(self, url: object) -> object:
        """Resolve an address that is relative to ``externalURL``; leave any other as it is."""
        base = _text(self._payload.get("externalURL"))
        if not isinstance(url, str) or not url.strip().startswith(_RELATIVE):
            return url
        if not base.startswith(("http://", "https://")) or len(base + url) > LONGEST_URL:
            return url
        try:
            return urljoin(base, url.strip())
        except ValueError:  # the base is no URL
            return url

    def _details(self, status: str) -> Iterator[tuple[str, Any]]:
        """Return what else a person may want to know; annotations by their names, come what may."""
        alert, payload = self._alert, self._payload
        annotations = alert.get("annotations")
        if annotations is not None and not isinstance(annotations, Mapping):
            self.repairs.append(Repair("annotations", "no object; kept in the details"))
            yield "annotations", annotations
        if status == Status.RESOLVED and (ended := _moment(alert.get("endsAt"))):
            yield "ends_at", ended
        for name in ("values", "valueString"):  # Grafana's
            if alert.get(name):
                yield name, alert[name]
        if receiver := _text(payload.get("receiver")):
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


def _word(value: object) -> str:
    return _text(value).casefold()


def _moment(value: object) -> object:
    return None if isinstance(value, str) and value.startswith(_NEVER) else value


def _digest(labels: Mapping[str, Any]) -> str:
    """Name labels: the same for the same labels, in whatever order."""
    text = json.dumps(labels, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
