"""Parse the alerts that Prometheus and others post to Alertmanager's API. Pure.

The body is that of ``POST /api/v2/alerts``, described at
https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml; that of version 1 is the
same. An alert fires until its ``endsAt``. Keys and fields are those of Alertmanager's webhook, so
that an alert is the same one on either way.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import attrs

from alerthost.ingest.alertmanager import GO_ZERO_TIME, parse_alert
from alerthost.ingest.json_alerts import ParsedAlert, TooManyAlertsError
from hostspec.alert import FieldReader, Status
from hostspec.normalisation import Repair

_OFFSET: Final = 14_695_981_039_346_656_037
_PRIME: Final = 1_099_511_628_211
_SEPARATOR: Final = 255
_LONGEST_HASHED: Final = 65_536
"""Bytes of labels that are hashed like this: it is slow."""


def parse_posted(
    payload: object,
    *,
    now: dt.datetime,
    resolve_timeout: float,
    scope: str = "",
    most: int | None = None,
) -> tuple[ParsedAlert, ...]:
    """Parse each alert of a body, in order: firing with an expiry, or resolved.

    The result is a single faulty alert if the body is not a list.

    Args:
        payload: the parsed body.
        now: the present time, aware.
        resolve_timeout: seconds after which an alert without ``endsAt`` expires.
        scope: of the alerts.
        most: limit of alerts; None for no limit.

    Raises:
        TooManyAlertsError: the body has more alerts than `most`.
    """
    if not isinstance(payload, list):
        reason = "not a list, which Prometheus posts; post a webhook to /ingest/alertmanager"
        return (ParsedAlert.faulty("", reason),)
    if most is not None and len(payload) > most:
        raise TooManyAlertsError(most)
    later = now + dt.timedelta(seconds=resolve_timeout)
    return tuple(
        _parse(f"[{number}]", alert, now, later, scope) for number, alert in enumerate(payload)
    )


def _parse(
    location: str, alert: object, now: dt.datetime, later: dt.datetime, scope: str
) -> ParsedAlert:
    if not isinstance(alert, Mapping):
        return ParsedAlert.faulty("", "not a JSON object", location)
    labels = alert.get("labels")
    given = labels.items() if isinstance(labels, Mapping) else ()
    labels = {name: text for name, text in given if isinstance(text, str) and text}
    if not labels:
        reason = "missing or not an object of texts; they identify the alert"
        return ParsedAlert.faulty("labels", reason, location)
    reader, unreadable = FieldReader(), dict[str, Any]()
    end = alert.get("endsAt")
    is_unset = isinstance(end, str) and end.startswith(GO_ZERO_TIME)
    ends_at = None if is_unset else reader.moment("endsAt", end, unreadable)
    is_over = ends_at is not None and ends_at <= now
    as_in_webhook = {
        **alert,
        "status": Status.RESOLVED.value if is_over else Status.FIRING.value,
        "labels": labels,
        "fingerprint": fingerprint(labels),
    }
    parsed = parse_alert(location, as_in_webhook, {}, scope)
    repairs = list(reader.repairs)
    if left_out := len(given) - len(labels):
        repairs.append(Repair("labels", f"{left_out} empty or not text; dropped"))
    if repairs and parsed.alert is not None:
        repaired = attrs.evolve(
            parsed.alert,
            details={**parsed.alert.details, **unreadable},
            repairs=(*parsed.alert.repairs, *repairs),
        )
        parsed = attrs.evolve(parsed, alert=repaired)
    return parsed if is_over else attrs.evolve(parsed, expires_at=ends_at or later)


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return Alertmanager's fingerprint of labels: the FNV-1a hash of their sorted texts."""
    texts = [text.encode() for pair in sorted(labels.items()) for text in pair]
    if sum(map(len, texts)) > _LONGEST_HASHED:
        return hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16]
    value = _OFFSET
    for text in texts:
        for byte in (*text, _SEPARATOR):
            value = (value ^ byte) * _PRIME % 2**64
    return f"{value:016x}"
