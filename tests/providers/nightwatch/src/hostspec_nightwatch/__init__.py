"""Chooses by labels which services PagerDuty notifies at night, and adds a runbook.

- ``owner`` names the service to notify, if the installation has it.
- ``quiet="yes"`` suppresses everything but critical alerts.
- ``tier="gold"`` makes every alert critical.
- ``cluster`` groups all alerts of a cluster into one incident.
- ``runbook`` is the URL of a runbook.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from hostspec import Alert, Image, Link, hookimpl
from pagerduty_plugin import Enrich, Suppress

RUNBOOKS: Final = "https://runbooks.example.com"
GRAPHS: Final = "https://graphs.example.com"


@hookimpl
def pagerduty_severity(alert: Alert) -> str | None:
    """Raise the severity for gold customers."""
    return "critical" if alert.labels.get("tier") == "gold" else None


@hookimpl
def pagerduty_dedup_key(alert: Alert) -> str | None:
    """Use one incident per cluster."""
    cluster = alert.labels.get("cluster")
    return f"{quote(alert.scope, safe='')}/cluster/{cluster}" if cluster else None


@hookimpl
def pagerduty_services(alert: Alert, services: Sequence[str]) -> Sequence[str] | Suppress | None:
    """Choose the owner's service; suppress in quiet hours."""
    if alert.labels.get("quiet") == "yes" and alert.severity != "critical":
        return Suppress("quiet hours; it is not critical")
    owner = alert.labels.get("owner")
    return [owner] if owner in services else None


@hookimpl
def pagerduty_enrich(alert: Alert, severity: str, services: Sequence[str], rule: str) -> Enrich:
    """Add services, rule and runbook."""
    runbook = alert.labels.get("runbook")
    return Enrich(
        details={"night-watch": {"notified": services, "as": severity, "for": rule}},
        links=[Link(f"{RUNBOOKS}/{runbook}", "Runbook")] if runbook else (),
        images=[Image(f"{GRAPHS}/{alert.source}.png", alt="Load")] if alert.source else (),
    )
