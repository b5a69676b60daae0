"""Decides by labels whom PagerDuty wakes at night, and gives them a runbook.

- ``owner`` names the service that is told, where the installation has it.
- ``quiet="yes"`` wakes nobody, unless it is critical.
- ``tier="gold"`` is critical whatever the alert says.
- ``cluster`` makes one incident of all that happens in a cluster.
- ``runbook`` is the page that says what to do.
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
    """Raise what happens to gold customers."""
    return "critical" if alert.labels.get("tier") == "gold" else None


@hookimpl
def pagerduty_dedup_key(alert: Alert) -> str | None:
    """Make one incident of all that happens in a cluster."""
    cluster = alert.labels.get("cluster")
    return f"{quote(alert.scope, safe='')}/cluster/{cluster}" if cluster else None


@hookimpl
def pagerduty_services(alert: Alert, services: Sequence[str]) -> Sequence[str] | Suppress | None:
    """Tell the owner; wake nobody in quiet hours."""
    if alert.labels.get("quiet") == "yes" and alert.severity != "critical":
        return Suppress("quiet hours; it is not critical")
    owner = alert.labels.get("owner")
    return [owner] if owner in services else None


@hookimpl
def pagerduty_enrich(alert: Alert, severity: str, services: Sequence[str], rule: str) -> Enrich:
    """Say who is told and why, and what to do."""
    runbook = alert.labels.get("runbook")
    return Enrich(
        details={"night-watch": {"told": services, "as": severity, "for": rule}},
        links=[Link(f"{RUNBOOKS}/{runbook}", "Runbook")] if runbook else (),
        images=[Image(f"{GRAPHS}/{alert.source}.png", alt="Load")] if alert.source else (),
    )
