"""The fake's web pages: the incidents at ``/`` with its JSON read API, and the install page.

The install page is that of the Simple Install Flow in PagerDuty's guide "Events Integration
Functionality": the browser comes with ``app_id``, ``redirect_url`` and ``version=2``, and leaves
for the redirect URL with ``config`` added to its query. The texts for an unknown app or redirect
URL are those that users have published; their statuses, and all that PagerDuty does not document,
are the fake's own.
"""

from __future__ import annotations

import collections
import datetime as dt
import html
import json
import urllib.parse
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import attrs

from pagerduty_plugin.testing.account import Account, Change, Incident, identifier
from pagerduty_plugin.testing.responses import HTML, JSON, Response

if TYPE_CHECKING:
    from pagerduty_plugin.testing.backend import Request

INSTALL_PATH: Final = "/install/integration"
_VERSION: Final = "2"

# in the order of the page
_STATES: Final = ("triggered", "acknowledged", "resolved")
_INCIDENT: Final = (
    "number service dedup_key state severity summary opened_at updated_at events notifications log"
)
_CHANGE: Final = "service summary received_at event"
_REQUEST: Final = "number connection method path headers body arrived_at status misbehaviour"

_HEADERS: Final = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("Cache-Control", "no-store"),
)

# Unicode's pictures of control characters; those of C1 have none and share one sign.
_PICTURES: Final = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)


@attrs.frozen(kw_only=True)
class App:
    """An app that can be installed on the account.

    Attributes:
        app_id: Its id.
        redirect_urls: Its allowed redirect URLs; query and fragment are ignored.
        subdomain: The subdomain of the account.
        account: The name of the account.
        name_member: The member of ``config`` with that name; PagerDuty's guide has ``Name``,
            PagerDuty sends ``name``.
        others: Types and names of further entries, such as ``("team_rule_set", "Ops")``.
        renews: Whether each installation creates a new integration key for a service; otherwise
            the newest one is used.
    """

    app_id: str
    redirect_urls: tuple[str, ...]
    subdomain: str = "acme"
    account: str = "Acme"
    name_member: str = "name"
    others: tuple[tuple[str, str], ...] = ()
    renews: bool = True


def show(path: str, account: Account, requests: Iterable[Request]) -> Response:
    """Answer a request to the page ``/`` or to the JSON read API, with masked integration keys."""
    match path:
        case "/":
            return _show_incidents(account)
        case "/incidents":
            entries = [_members(each, _INCIDENT) for each in account.incidents]
        case "/changes":
            entries = [_members(each, _CHANGE) for each in account.changes]
        case "/requests":
            entries = [_request(account, each) for each in requests]
        case _:
            return Response(404, b"Not found")
    members = {"region": account.region, path.removeprefix("/"): entries}
    document = json.dumps(members, indent=2, default=dt.datetime.isoformat)
    return Response(200, account.mask(document).encode(), JSON)


def install(
    account: Account, apps: Mapping[str, App], method: str, query: str, body: bytes
) -> Response:
    """Answer a request to the install page, or its form."""
    if method not in {"GET", "POST"}:
        return Response(405, headers=(("Allow", "GET, POST"),))
    params = urllib.parse.parse_qs(query if method == "GET" else body.decode("latin-1"))
    app = _app(apps, params)
    if isinstance(app, Response):
        return app
    return _select(account, app, params) if method == "GET" else _grant(account, app, params)


def _show_incidents(account: Account) -> Response:
    content = (
        f'<p class="soft">Fake PagerDuty, region {escape(account.region)}. '
        "No notifications are sent.</p>\n"
        f"{_counts(account.incidents)}{_incidents(account.incidents)}{_changes(account.changes)}"
    )
    refresh = '<meta http-equiv="refresh" content="5">'
    shown = _page("Incidents", content, head=refresh)
    return attrs.evolve(shown, body=account.mask(shown.body.decode()).encode())


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
    event = incident.log[0]
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


def _select(account: Account, app: App, params: Mapping[str, Sequence[str]]) -> Response:
    """Return a form to select services of the account."""
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(params[name][0])}">'
        for name in ("app_id", "redirect_url", "version")
    )
    boxes = "".join(
        f'<label><input type="checkbox" name="service" value="{escape(name)}"> '
        f"{escape(name)}</label>"
        for name in account.services
    )
    return _page(
        f"Install on {app.account}",
        f'<form method="post" action="{INSTALL_PATH}">{hidden}<fieldset><legend>Services</legend>'
        f"{boxes or 'This account has no service yet.'}</fieldset>"
        "<button>Connect</button></form>",
    )


def _grant(account: Account, app: App, params: Mapping[str, Sequence[str]]) -> Response:
    """Redirect the browser, with an integration key for each selected service."""
    selected = params.get("service", [])
    if not selected or not account.services.keys() >= set(selected):
        return _refusal(400, "Select at least one of this account's services.")
    services = [(name, _key(account, app, name)) for name in selected]
    entries = [_entry("service", name, key) for name, key in services]
    entries += [_entry(kind, name, f"R{uuid.uuid4().hex[1:]}") for kind, name in app.others]
    config = {
        "account": {"subdomain": app.subdomain, app.name_member: app.account},
        "integration_keys": entries,
    }
    location = _with_config(params["redirect_url"][0], json.dumps(config))
    return Response(302, headers=(("Location", location), *_HEADERS))


def _app(apps: Mapping[str, App], params: Mapping[str, Sequence[str]]) -> App | Response:
    """Return the requested app, or the response that refuses it."""
    app = apps.get(params.get("app_id", [""])[0])
    if app is None:
        return _refusal(404, "App not found.")
    redirect_url = params.get("redirect_url", [""])[0]
    if _bare(redirect_url) not in map(_bare, app.redirect_urls):
        return _refusal(
            400, "The supplied redirect URL does not match a redirect URL configured by this app."
        )
    if not redirect_url.isprintable():
        return _refusal(400, "The supplied redirect URL has an invalid character.")
    if params.get("version") != [_VERSION]:
        return _refusal(400, f"This page supports version {_VERSION} only.")
    return app


def _bare(url: str) -> str:
    return url.partition("#")[0].partition("?")[0]


def _key(account: Account, app: App, service: str) -> str:
    kept = None if app.renews else account.latest_key(service)
    return kept or account.add_integration(service).key


def _entry(kind: str, name: str, key: str) -> dict[str, str]:
    service_id = identifier(name if kind == "service" else f"{kind} {name}")
    return {"integration_key": key, "name": name, "id": service_id, "type": kind}


def _with_config(url: str, config: str) -> str:
    parts = urllib.parse.urlsplit(url)
    added = urllib.parse.urlencode({"config": config})
    query = f"{parts.query}&{added}" if parts.query else added
    return urllib.parse.urlunsplit(parts._replace(query=query))


def _refusal(status: int, reason: str) -> Response:
    content = f"<p>{escape(reason)}</p>"
    return _page("This app cannot be installed", content, status=status)


def _members(value: object, names: str) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names.split()}


def _request(account: Account, request: Request) -> dict[str, Any]:
    return {
        **_members(request, _REQUEST),
        # tokens may be real ones sent by mistake
        "headers": [
            (name, f"…{value[-4:]}" if name.lower() == "authorization" else value)
            for name, value in request.headers
        ],
        # masked before JSON quotes it, which could hide a malformed key from the mask
        "body": account.mask(request.body.decode(errors="backslashreplace")),
    }


def escape(text: str) -> str:
    """Render a text as content or attribute value of HTML, with visible control characters."""
    return html.escape(text.translate(_PICTURES))


def _page(title: str, content: str, *, status: int = 200, head: str = "") -> Response:
    style = (files("pagerduty_plugin.testing") / "pages.css").read_text(encoding="utf-8")
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{head}'
        f"<title>{escape(title)} · fake PagerDuty</title><style>\n{style}</style></head><body>"
        f"<h1>{escape(title)}</h1>\n{content}\n</body></html>\n"
    )
    return Response(status, text.encode(), HTML, _HEADERS)
