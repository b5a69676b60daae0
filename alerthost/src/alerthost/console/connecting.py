"""Connecting an account: by hand, at the provider in the browser, or by an API token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from alerthost.config.accounts import Accounts
from alerthost.config.document import ConfigurationError, refuse
from alerthost.console import accounts as pages
from alerthost.console import discovering, forms
from alerthost.console.rendering import PREFIX, link
from alerthost.console.view import Html, Redirect, View
from alerthost.http.responses import Rejection
from alerthost.outbox.activity import Actor, Change
from alerthost.store.errors import StoreError
from hostspec.connect import Connected, DiscoveryError, InstallError, PendingInstall
from hostspec.errors import Fault, FaultsError
from hostspec.provider import Provider
from hostspec.settings import SettingsError
from hostspec.structuring import structure

INSTALL, TOKEN, HAND = "install", "token", "hand"

CALLBACK: Final = "/accounts/installed"
"""The path to which a provider sends the browser back."""

WAYS: Final = {INSTALL: "In the browser", TOKEN: "By API token", HAND: "By hand"}

_FLOW: Final = Actor("install flow", "")


def show(view: View) -> Html:
    """Show the form of one way to connect an account."""
    return _form(view, view.query.get("provider", ""), view.query.get("way", ""), {}, [])


def connect(view: View) -> Html | Redirect:
    """Connect an account, or begin to."""
    provider, way = view.fields.get("provider", ""), view.fields.get("way", "")
    with view.open_accounts() as accounts:
        kinds = _kinds(accounts.provider(provider))
        way = way if way in kinds else HAND
        raw = forms.read(kinds[way], view.fields, "settings")
        try:
            if way == INSTALL:
                return _begin(view, accounts, provider, raw)
            if way == TOKEN:
                return discovering.find(view, accounts, provider, raw)
            return _by_hand(view, accounts, provider, raw)
        except SettingsError as error:
            faults = [each.below("settings") for each in error.faults]
        except FaultsError as error:
            faults = list(error.faults)
        except DiscoveryError as error:
            faults = [Fault("", str(error))]
    return _form(view, provider, way, raw, faults)


def connect_chosen(view: View) -> Html | Redirect:
    """Connect the services that were chosen from those that an API token found."""
    provider = view.fields.get("provider", "")
    with view.open_accounts() as accounts:
        if TOKEN not in _kinds(accounts.provider(provider)):
            refuse("", f"{provider} accounts cannot be connected by an API token")
        try:
            return discovering.connect(view, accounts, provider)
        except FaultsError as error:
            faults = list(error.faults)
        except DiscoveryError as error:
            faults = [Fault("", str(error))]
    return _form(view, provider, TOKEN, {}, faults)


def _kinds(provider: Provider[Any]) -> Mapping[str, type]:
    """Return the settings class of each way that a provider offers."""
    flow, discovery = provider.install_flow(), provider.discovery()
    return {
        **({INSTALL: flow.settings} if flow else {}),
        **({TOKEN: discovery.settings} if discovery else {}),
        HAND: provider.settings,
    }


def _form(
    view: View, provider: str, way: str, raw: Mapping[str, Any], faults: Sequence[Fault]
) -> Html:
    with view.open_accounts() as accounts:
        offered = accounts.provider(provider)
    kinds = _kinds(offered)
    way = way if way in kinds else next(iter(kinds))
    fields = forms.fields_of(kinds[way], raw, faults, "settings")
    values = {
        "provider": provider,
        "label": offered.label,
        "way": way,
        "ways": [(each, WAYS[each]) for each in kinds],
        "name": view.fields.get("name", ""),
        "name_faults": [fault.reason for fault in faults if fault.path == "name"],
        "fields": fields,
        "faults": forms.general_faults(fields, [each for each in faults if each.path != "name"]),
    }
    return Html("connect.html", values, 422 if faults else 200)


def _by_hand(view: View, accounts: Accounts, provider: str, raw: Mapping[str, Any]) -> Redirect:
    name = view.fields.get("name", "").strip()
    faults = [each.below("settings") for each in accounts.check(provider, name, raw)]
    if reason := accounts.name_fault(name):
        faults.append(Fault("name", reason))
    if faults:
        raise FaultsError(faults)
    accounts.add(accounts.plugins.installation(provider, name, raw))
    change = Change("connected", f"account {name}", "", provider)
    return pages.applied(view, name, view.actor, change, done="connected")


def _begin(view: View, accounts: Accounts, provider: str, raw: Mapping[str, Any]) -> Html:
    """Begin an install flow: the page has the address to continue at."""
    flow = accounts.provider(provider).install_flow()
    assert flow is not None  # noqa: S101 -- it is one of the ways
    settings = structure(flow.settings, raw)
    accounts.check_key()
    try:
        request = flow.begin(f"{view.origin}{PREFIX}{CALLBACK}", settings)
    except FaultsError as error:
        reason = f"{error.faults[0].reason}: set http.public_url"
        raise FaultsError([Fault(error.faults[0].path, reason)]) from None
    accounts.store.pending.keep(request.pending)
    label = accounts.provider(provider).label
    return Html("install.html", {"url": request.url, "label": label, "provider": provider})


def finish(view: View) -> Redirect:
    """Finish an install flow, when the provider sends the browser back.

    Raises:
        Rejection: no such flow began. Nothing is recorded, as anyone can open the address.
    """
    with view.open_accounts() as accounts:
        pending = accounts.store.pending.take(view.query.get("state", ""))
        if pending is None:
            if view.query:  # so that the browser's history has no secret of the query
                return Redirect(link(CALLBACK))
            reason = "the callback belongs to no install flow that was started here; begin again"
            raise Rejection(404, "install", reason)
        try:
            connected = _finish(view, accounts, pending)
        except (InstallError, ConfigurationError, StoreError) as error:
            change = Change("did not connect", "an account", "", str(error))
            view.admin.record(Actor(_FLOW.name, view.client), change)
            return Redirect(link("/activity"))
    actor = Actor(_FLOW.name, view.client)
    return pages.connected(view, actor, connected)


def _finish(view: View, accounts: Accounts, pending: PendingInstall) -> Connected[Any]:
    flow = accounts.provider(pending.provider).install_flow()
    if flow is None:
        refuse("", f"the provider {pending.provider} has no install flow")
    return accounts.connect(
        lambda: flow.finish(view.query, pending, installations=accounts.installations())
    )
