"""The read API: incidents, change events and requests as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pagerduty_plugin.testing import answers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pagerduty_plugin.testing.account import Account, Change, Incident
    from pagerduty_plugin.testing.log import Request


def show_incidents(account: Account) -> answers.Answer:
    """Answer ``GET /incidents``: every incident in the order in which they opened."""
    return _show(account, "incidents", map(_incident, account.incidents))


def show_changes(account: Account) -> answers.Answer:
    """Answer ``GET /changes``: every change event in the order in which they were taken."""
    return _show(account, "changes", map(_change, account.changes))


def show_requests(account: Account, requests: Iterable[Request]) -> answers.Answer:
    """Answer ``GET /requests``: every request in the order of arrival."""
    return _show(account, "requests", (_request(account, request) for request in requests))


def _show(account: Account, name: str, entries: Iterable[dict[str, object]]) -> answers.Answer:
    document = json.dumps({"region": account.region, name: list(entries)}, indent=2)
    return answers.Answer(200, account.mask(document).encode(), answers.JSON)


def _incident(incident: Incident) -> dict[str, object]:
    return {
        "number": incident.number,
        "service": incident.service,
        "dedup_key": incident.dedup_key,
        "state": incident.state,
        "severity": incident.severity,
        "summary": incident.summary,
        "opened_at": incident.opened_at.isoformat(),
        "updated_at": incident.updated_at.isoformat(),
        "events": incident.events,
        "notifications": incident.notifications,
        "log": list(incident.log),
    }


def _change(change: Change) -> dict[str, object]:
    return {
        "service": change.service,
        "summary": change.summary,
        "received_at": change.received_at.isoformat(),
        "event": change.event,
    }


def _request(account: Account, request: Request) -> dict[str, object]:
    return {
        "number": request.number,
        "connection": request.connection,
        "method": request.method,
        "path": request.path,
        "headers": [_header(*header) for header in request.headers],
        # Masked before it is quoted as JSON, which would hide a key of odd form from the mask.
        "body": account.mask(request.body.decode(errors="backslashreplace")),
        "arrived_at": request.arrived_at.isoformat(),
        "status": request.status,
        "misbehaviour": request.misbehaviour,
    }


def _header(name: str, value: str) -> list[str]:
    """Return a header; of a token, which may be a real one sent here by mistake, only the end."""
    return [name, f"…{value[-4:]}" if name.lower() == "authorization" else value]
