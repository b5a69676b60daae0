"""What templates may say of an alert, and the error of those that cannot say it. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

from hostspec import Alert, Json

STEADY_NAMES: Final = frozenset(
    {
        "key",
        "scope",
        "source",
        "component",
        "group",
        "class",
        "labels",
        "rule",
        "service",
        "installation",
    }
)
"""What stays the same from trigger to resolve, which have to find the same dedup key."""

NAMES: Final = STEADY_NAMES | {
    "status",
    "severity",
    "summary",
    "url",
    "details",
    "started_at",
    "updated_at",
}
"""What a template may say of an alert."""


class TemplateError(Exception):
    """A template does not work, or makes no text of this alert; why, without any value."""


def names_of(alert: Alert, *, rule: str, service: str, installation: str) -> Mapping[str, Json]:
    """Give the values of `NAMES` for an alert.

    Args:
        alert: the alert; its times become text in ISO 8601, in UTC, or None.
        rule: the name of the rule that matched.
        service: the name of the service that is told.
        installation: the name of the installation.
    """
    return {
        "key": alert.key,
        "scope": alert.scope,
        "status": str(alert.status),
        "severity": str(alert.severity),
        "summary": alert.summary,
        "source": alert.source,
        "component": alert.component,
        "group": alert.group,
        "class": alert.class_,
        "url": alert.url,
        "labels": alert.labels,
        "details": alert.details,
        "started_at": _moment(alert.started_at),
        "updated_at": _moment(alert.updated_at),
        "rule": rule,
        "service": service,
        "installation": installation,
    }


def _moment(moment: dt.datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
