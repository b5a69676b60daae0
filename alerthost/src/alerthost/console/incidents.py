"""The pages *Incidents*: the list, and one incident with its timeline."""

from __future__ import annotations

from typing import Final

from alerthost.config.states import incident_state, missing
from alerthost.console.bodies import item_of
from alerthost.console.rendering import link
from alerthost.console.view import MOST, Html, Redirect, View, existing
from alerthost.outbox.admin_lists import IncidentFilter
from alerthost.outbox.admin_rows import IncidentRow
from hostspec.action import Capabilities
from hostspec.alert import Severity
from hostspec.delivery import IncidentState, Operation

STATES: Final = ("open", "orphaned", "ended")

DEEDS: Final = {
    "resolve": "The resolve is queued. The incident ends when the provider accepts it.",
    "forget": "The incident ended here; its provider has no resolve.",
    "acknowledge": "The acknowledge is queued.",
}
"""Confirmations of a change, by the parameter `done`."""

_TIMELINE: Final = 20
"""Deliveries that one page of a timeline shows."""


def show_list(view: View) -> Html:
    """List the incidents that are open, orphaned or ended."""
    state = view.query.get("state", "")
    state = state if state in STATES else STATES[0]
    severity = view.query.get("severity", "")
    which = IncidentFilter(
        active=state == "open",
        orphaned=state == "orphaned",
        service=view.service,
        severity=Severity(severity) if severity in set(Severity) else None,
        text=view.query.get("text", "").strip(),
    )
    page = view.admin.lists.incidents(which, view.after, MOST)
    query = {name: view.query.get(name, "") for name in ("service", "severity", "text")}
    values = {
        "state": state,
        "states": STATES,
        "query": query,
        "rows": [
            (row, state_of(row, view), view.lanes.name_of(row.incident.ref)) for row in page.rows
        ],
        "after": page.after,
        "is_filtered": any(query.values()) or view.after is not None,
        "severities": list(Severity),
        "services": view.service_choices,
    }
    return Html("incidents.html", values)


def show(view: View) -> Html:
    """Show one incident and its timeline."""
    row = existing(view.admin.lists.incident(view.number), "incident", view.number)
    history = view.admin.lists.history(row.id, view.after, _TIMELINE)
    incident = row.incident
    gone = missing(view.configuration, incident.ref.action, incident.ref.installation)
    action = view.configuration.plugins.actions.get(incident.ref.action)
    can = action.capabilities if action else Capabilities()
    values = {
        "row": row,
        "state": state_of(row, view),
        "service": view.lanes.name_of(incident.ref),
        "url": view.lanes.link_of(incident.ref),
        "items": [item_of(view, each, incident) for each in history.rows],
        "after": history.after,
        "gone": gone,
        "may_resolve": (row.open or row.orphaned) and not gone,
        "may_acknowledge": row.open
        and not gone
        and can.acknowledge
        and Operation.ACKNOWLEDGE in incident.follow_ups
        and incident.state is IncidentState.TRIGGERED,
        "resolves": can.resolve and Operation.RESOLVE in incident.follow_ups,
        "done": DEEDS.get(view.query.get("done", ""), ""),
    }
    return Html("incident.html", values)


def state_of(row: IncidentRow, view: View) -> str:
    """Return the state of an incident, ended ones included."""
    if row.open or row.orphaned:
        return incident_state(row, view.configuration)
    return "resolved" if row.incident.state is IncidentState.RESOLVED else "ended here"


def acknowledge(view: View) -> Redirect:
    """Acknowledge an incident by hand."""
    view.admin.acknowledge(view.number, by=view.actor)
    return Redirect(link(f"/incidents/{view.number}", done="acknowledge"))


def resolve(view: View) -> Redirect:
    """Resolve an incident by hand."""
    queued = view.admin.resolve(view.number, by=view.actor)
    return Redirect(link(f"/incidents/{view.number}", done="resolve" if queued else "forget"))
