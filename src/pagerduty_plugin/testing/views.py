"""Show incidents, change events and requests: a page at ``/``, and JSON at the read API."""

from __future__ import annotations

import collections
import json
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from pagerduty_plugin.testing import responses
from pagerduty_plugin.testing.responses import escape

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

    from pagerduty_plugin.testing.account import Account, Change, Incident, State
    from pagerduty_plugin.testing.backend import Request

# in the order of the page
_STATES: Final[tuple[State, ...]] = ("triggered", "acknowledged", "resolved")
_STYLE: Final = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1b1f24; --soft: #59636e;
  --line: #d8dde3; --link: #0a5ccf; --triggered: #b42318; --acknowledged: #8a5300;
  --resolved: #1a7038; --critical: #b42318; --error: #b54708; --warning: #8a5300;
  --info: #1d5fbf; }
@media (prefers-color-scheme: dark) { :root { --page: #111418; --card: #1a1e24; --text: #e8ebef;
  --soft: #a0a9b4; --line: #313842; --link: #7ab0ff; --triggered: #ff8a80;
  --acknowledged: #f2b84b; --resolved: #6fd08c; --critical: #ff8a80; --error: #ffa36b;
  --warning: #f2b84b; --info: #8ab8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; background: var(--page);
  color: var(--text); font: 1rem/1.45 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.15rem; }
p { margin: .25rem 0; }
.soft { color: var(--soft); }
.small { font-size: .875rem; }
.counts { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; margin: 1rem 0 1.25rem; padding: 0;
  list-style: none; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .7rem .9rem; text-align: left; vertical-align: top; }
th { color: var(--soft); font-size: .8125rem; font-weight: 600; white-space: nowrap; }
tbody tr { border-top: 1px solid var(--line); }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
th.number { text-align: right; }
td.what { min-width: 18rem; overflow-wrap: anywhere; }
time { white-space: nowrap; font-variant-numeric: tabular-nums; }
code { font: .8125rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
a { color: var(--link); }
.badge { display: inline-block; padding: .1rem .55rem; border: 1px solid currentColor;
  border-radius: 1rem; font-size: .8125rem; font-weight: 600; white-space: nowrap; }
.triggered { color: var(--triggered); } .acknowledged { color: var(--acknowledged); }
.resolved { color: var(--resolved); }
.critical { color: var(--critical); } .error { color: var(--error); }
.warning { color: var(--warning); } .info { color: var(--info); }
.severity { font-weight: 600; }
.empty { padding: 2.5rem 1rem; text-align: center; }
.summary { display: -webkit-box; overflow: hidden; -webkit-box-orient: vertical;
  -webkit-line-clamp: 4; }
tr:hover .summary { -webkit-line-clamp: none; }
@media (max-width: 48rem) {
  table, tbody, tr, td { display: block; }
  thead { position: absolute; left: -100rem; }
  tbody tr { padding: .6rem 0; }
  td { padding: .12rem .9rem; }
  td.number { text-align: left; }
  td[data-label]::before { content: attr(data-label) " "; color: var(--soft);
    font-size: .875rem; }
}
"""


def show_page(account: Account) -> responses.Response:
    """Answer ``GET /``: every incident and change event, with masked integration keys."""
    content = (
        f'<p class="soft">Fake PagerDuty, region {escape(account.region)}. '
        "No notifications are sent.</p>\n"
        f"{_counts(account.incidents)}{_incidents(account.incidents)}{_changes(account.changes)}"
    )
    refresh = '<meta http-equiv="refresh" content="5">'
    shown = responses.page("Incidents", _STYLE, content, head=refresh)
    return attrs.evolve(shown, body=account.mask(shown.body.decode()).encode())


def show_incidents(account: Account) -> responses.Response:
    """Answer ``GET /incidents``: every incident in the order of opening."""
    return _json(account, "incidents", map(_incident_json, account.incidents))


def show_changes(account: Account) -> responses.Response:
    """Answer ``GET /changes``: every change event in the order of arrival."""
    return _json(account, "changes", map(_change_json, account.changes))


def show_requests(account: Account, requests: Iterable[Request]) -> responses.Response:
    """Answer ``GET /requests``: every request in the order of arrival."""
    return _json(account, "requests", (_request_json(account, each) for each in requests))


def _counts(incidents: list[Incident]) -> str:
    counted = collections.Counter(incident.state for incident in incidents)
    items = "".join(
        f'<li class="{state}"><strong>{counted[state]}</strong> {state}</li>' for state in _STATES
    )
    return f'<ul class="counts">{items}</ul>\n'


def _incidents(incidents: list[Incident]) -> str:
    if not incidents:
        return (
            '<div class="scroll"><p class="empty soft">No incidents yet. Send a trigger to '
            "<code>/v2/enqueue</code>.</p></div>\n"
        )
    ordered = sorted(incidents, key=lambda one: (_STATES.index(one.state), -one.number))
    rows = "".join(map(_incident, ordered))
    return (
        '<div class="scroll"><table><thead><tr><th class="number" scope="col">#</th>'
        '<th scope="col">State</th><th scope="col">Severity</th><th scope="col">Summary</th>'
        '<th scope="col">Service</th><th class="number" scope="col">Events</th>'
        '<th scope="col">Opened, last event (UTC)</th></tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>\n"
    )


def _incident(incident: Incident) -> str:
    return (
        f'<tr id="incident-{incident.number}">'
        f'<td class="number soft" data-label="#">{incident.number}</td>'
        f'<td><span class="badge {incident.state}">{incident.state}</span></td>'
        f'<td class="severity {incident.severity}">{incident.severity}</td>'
        f'<td class="what"><div class="summary">{escape(incident.summary)}</div>'
        f"{_context(incident)}</td>"
        f'<td data-label="Service">{escape(incident.service)}</td>'
        f'<td class="number" data-label="Events">{incident.events}</td>'
        f'<td class="small">{_time(incident.opened_at)}<br>{_time(incident.updated_at)}</td>'
        "</tr>\n"
    )


def _context(incident: Incident) -> str:
    """Render the first trigger's context; PagerDuty, too, keeps the details of the first."""
    event = cast("dict[str, Any]", incident.log[0])
    links = [_link(link["href"], link.get("text")) for link in event.get("links", ())]
    links += [
        _link(image.get("href") or image["src"], image.get("alt") or "image")
        for image in event.get("images", ())
    ]
    if "client" in event or "client_url" in event:
        client = event.get("client") or event["client_url"]
        links.append(f"from {_link(event.get('client_url', ''), client)}")
    source = escape(event["payload"]["source"])
    more = f'<p class="small">{" · ".join(links)}</p>' if links else ""
    return f'<p class="soft small">{source} · <code>{escape(incident.dedup_key)}</code></p>{more}'


def _link(target: str, text: str | None) -> str:
    shown = escape(text or target)
    if not target.startswith(("https://", "http://")):
        return shown
    return f'<a href="{escape(target)}" rel="noreferrer">{shown}</a>'


def _changes(changes: list[Change]) -> str:
    if not changes:
        return ""
    rows = "".join(
        f'<tr><td class="what">{escape(change.summary)}</td>'
        f"<td>{escape(change.service)}</td>"
        f'<td class="small">{_time(change.received_at)}</td></tr>\n'
        for change in reversed(changes)
    )
    return (
        '<h2>Change events</h2>\n<div class="scroll"><table><thead><tr><th scope="col">Summary'
        '</th><th scope="col">Service</th><th scope="col">Received (UTC)</th></tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>\n"
    )


def _time(moment: dt.datetime) -> str:
    return f'<time datetime="{moment.isoformat()}">{moment:%Y-%m-%d %H:%M:%S}</time>'


def _json(account: Account, name: str, entries: Iterable[dict[str, object]]) -> responses.Response:
    document = json.dumps({"region": account.region, name: list(entries)}, indent=2)
    return responses.Response(200, account.mask(document).encode(), responses.JSON)


def _incident_json(incident: Incident) -> dict[str, object]:
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


def _change_json(change: Change) -> dict[str, object]:
    return {
        "service": change.service,
        "summary": change.summary,
        "received_at": change.received_at.isoformat(),
        "event": change.event,
    }


def _request_json(account: Account, request: Request) -> dict[str, object]:
    return {
        "number": request.number,
        "connection": request.connection,
        "method": request.method,
        "path": request.path,
        "headers": [_header(*header) for header in request.headers],
        # masked before JSON quotes it, which could hide a malformed key from the mask
        "body": account.mask(request.body.decode(errors="backslashreplace")),
        "arrived_at": request.arrived_at.isoformat(),
        "status": request.status,
        "misbehaviour": request.misbehaviour,
    }


def _header(name: str, value: str) -> list[str]:
    """Return a header; mask tokens, which may be real ones sent by mistake."""
    return [name, f"…{value[-4:]}" if name.lower() == "authorization" else value]
