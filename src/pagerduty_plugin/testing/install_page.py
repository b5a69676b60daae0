"""The install page: select services for an app, and return to it with their keys.

The Simple Install Flow of PagerDuty's guide "Events Integration Functionality": the browser comes
with ``app_id``, ``redirect_url`` and ``version=2``, and leaves for the redirect URL with ``config``
added to its query. The texts for an unknown app or redirect URL are those that users have
published; their statuses, and all that PagerDuty does not document, are the fake's own.
"""

from __future__ import annotations

import json
import urllib.parse
import uuid
from typing import TYPE_CHECKING, Final

import attrs

from pagerduty_plugin.testing import responses, service_directory
from pagerduty_plugin.testing.responses import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pagerduty_plugin.testing.account import Account

PATH: Final = "/install/integration"
_VERSION: Final = "2"
_STYLE: Final = """
:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 2rem 1.25rem; max-width: 36rem;
  font: 1rem/1.5 system-ui, sans-serif; }
fieldset { margin: 1rem 0; padding: .75rem 1rem; border: 1px solid currentColor;
  border-radius: .6rem; }
label { display: block; padding: .25rem 0; }
button { padding: .5rem 1rem; font: inherit; }
"""


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


def show(account: Account, apps: Mapping[str, App], query: str) -> responses.Response:
    """Answer ``GET``: a form to select services of the account."""
    params = urllib.parse.parse_qs(query)
    app = _app(apps, params)
    if isinstance(app, responses.Response):
        return app
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(params[name][0])}">'
        for name in ("app_id", "redirect_url", "version")
    )
    boxes = "".join(
        f'<label><input type="checkbox" name="service" value="{escape(name)}"> '
        f"{escape(name)}</label>"
        for name in _names(account)
    )
    return responses.page(
        f"Install on {app.account}",
        _STYLE,
        f'<form method="post" action="{PATH}">{hidden}<fieldset><legend>Services</legend>'
        f"{boxes or 'This account has no service yet.'}</fieldset>"
        "<button>Connect</button></form>",
    )


def grant(account: Account, apps: Mapping[str, App], form: str) -> responses.Response:
    """Answer the form: redirect the browser, with an integration key for each selected service."""
    params = urllib.parse.parse_qs(form)
    app = _app(apps, params)
    if isinstance(app, responses.Response):
        return app
    selected = params.get("service", [])
    if not selected or not set(selected) <= set(_names(account)):
        return _refusal(400, "Select at least one of this account's services.")
    services = [(name, _key(account, app, name)) for name in selected]
    entries = [_entry("service", name, key) for name, key in services]
    entries += [_entry(kind, name, f"R{uuid.uuid4().hex[1:]}") for kind, name in app.others]
    config = {
        "account": {"subdomain": app.subdomain, app.name_member: app.account},
        "integration_keys": entries,
    }
    location = _with_config(params["redirect_url"][0], json.dumps(config))
    return responses.Response(302, headers=(("Location", location), *responses.HTML_HEADERS))


def _app(apps: Mapping[str, App], params: Mapping[str, Sequence[str]]) -> App | responses.Response:
    """Return the requested app, or the response that refuses it."""
    app = apps.get(params.get("app_id", [""])[0])
    if app is None:
        return _refusal(404, "App not found.")
    redirect_url = params.get("redirect_url", [""])[0]
    if _bare(redirect_url) not in map(_bare, app.redirect_urls):
        return _refusal(
            400,
            "The supplied redirect URL does not match a redirect URL configured by this app.",
        )
    if not redirect_url.isprintable():
        return _refusal(400, "The supplied redirect URL has an invalid character.")
    if params.get("version") != [_VERSION]:
        return _refusal(400, f"This page supports version {_VERSION} only.")
    return app


def _bare(url: str) -> str:
    return url.partition("#")[0].partition("?")[0]


def _names(account: Account) -> list[str]:
    return [service.name for service in account.directory.services]


def _key(account: Account, app: App, service: str) -> str:
    kept = None if app.renews else account.directory.latest_key(service)
    return kept or account.add_service(service)


def _entry(kind: str, name: str, key: str) -> dict[str, str]:
    identifier = service_directory.identifier(name if kind == "service" else f"{kind} {name}")
    return {"integration_key": key, "name": name, "id": identifier, "type": kind}


def _with_config(url: str, config: str) -> str:
    parts = urllib.parse.urlsplit(url)
    added = urllib.parse.urlencode({"config": config})
    query = f"{parts.query}&{added}" if parts.query else added
    return urllib.parse.urlunsplit(parts._replace(query=query))


def _refusal(status: int, reason: str) -> responses.Response:
    content = f"<p>{escape(reason)}</p>"
    return responses.page("This app cannot be installed", _STYLE, content, status=status)
