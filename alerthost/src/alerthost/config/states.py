"""The states of deliveries and incidents, as an operator sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerthost.outbox.retry_policy import DeliveryState
from hostspec.delivery import IncidentState

if TYPE_CHECKING:
    from alerthost.config.configuration import Configuration
    from alerthost.outbox.admin_rows import DeliveryRow, IncidentRow

BLOCKED: Final = "blocked"
"""A queued delivery that waits until the operator fixes its lane."""


def delivery_state(row: DeliveryRow) -> str:
    """Return the state of a delivery."""
    if row.sending:
        return "in flight"
    return BLOCKED if row.blocked else str(row.state)


def delivery_reason(row: DeliveryRow) -> str:
    """Return why a delivery is in its state; empty for a delivered one."""
    if row.state is DeliveryState.DELIVERED:
        return ""  # the provider's answer is of no interest
    return row.lane_reason if row.blocked else row.reason


def incident_state(row: IncidentRow, configuration: Configuration) -> str:
    """Return the state of an incident that is open, orphaned or being resolved."""
    ref = row.incident.ref
    if row.orphaned:
        return "orphaned"
    if missing(configuration, ref.action, ref.installation):
        return "cut off"
    if not row.incident.holders:
        return "resolving"
    if not row.trigger_delivered or row.incident.state is IncidentState.RESOLVED:
        return "not sent yet"
    return str(row.incident.state)


def missing(configuration: Configuration, action: str, installation: str) -> str:
    """Describe the missing action or account of an incident; empty if both are there."""
    found = []
    if action not in configuration.plugins.actions:
        found.append(f"the action {action} (no enabled plugin offers it)")
    if installation not in (each.name for each in configuration.installations):
        found.append(f"the account {installation}")
    return " and ".join(found)
