"""Connecting an account by an API token: its services are listed, and the operator chooses.

The settings, with the token, go to the browser and back as a seal that only this store's key opens,
for one session and one hour: nothing is stored, and any process on the store can go on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from alerthost.config.accounts import Accounts
from alerthost.console import accounts as pages
from alerthost.console.view import Html, Redirect, View, contains
from alerthost.store.sealing import Sealed, seal
from hostspec.connect import Discovery, FoundState
from hostspec.errors import Fault, FaultsError
from hostspec.secret import Secret, SecretUnavailableError
from hostspec.structuring import structure

VALID_FOR: Final = 3600.0
"""Seconds in which the services have to be chosen."""

_CHOSEN: Final = "service."
"""The beginning of the name of each service's field."""


def find(view: View, accounts: Accounts, provider: str, raw: Mapping[str, Any]) -> Html:
    """List the services that a token finds, to choose from.

    Raises:
        DiscoveryError: the provider cannot be reached, or its answer is invalid.
    """
    discovery = _discovery(accounts, provider)
    settings = structure(discovery.settings, raw)
    accounts.check_key()
    text = json.dumps({"until": view.now + VALID_FOR, "settings": raw})
    sealed = seal(Secret(text), accounts.store.key, _context(view, provider)).token
    return _list(view, accounts, discovery, settings, sealed)


def connect(view: View, accounts: Accounts, provider: str) -> Html | Redirect:
    """Connect the chosen services.

    Raises:
        FaultsError: the list of services is too old, or of another session.
        DiscoveryError: nothing could be connected.
    """
    discovery = _discovery(accounts, provider)
    sealed = view.fields.get("sealed", "")
    settings = structure(discovery.settings, _opened(view, accounts, provider, sealed))
    if view.fields.get("do") == "filter":
        return _list(view, accounts, discovery, settings, sealed)
    chosen = [name.removeprefix(_CHOSEN) for name in view.fields if name.startswith(_CHOSEN)]
    if not chosen:
        return _list(view, accounts, discovery, settings, sealed, fault="choose a service")
    connected = accounts.connect(
        lambda: discovery.connect(chosen, settings, accounts.installations())
    )
    return pages.connected(view, view.actor, connected)


def _discovery(accounts: Accounts, provider: str) -> Discovery[Any, Any]:
    discovery = accounts.provider(provider).discovery()
    assert discovery is not None  # noqa: S101 -- it is one of the ways that the page offers
    return discovery


def _list(  # noqa: PLR0913 -- what the form holds
    view: View,
    accounts: Accounts,
    discovery: Discovery[Any, Any],
    settings: Any,
    sealed: str,
    *,
    fault: str = "",
) -> Html:
    """List the services with the text of the form; those that are chosen stay so."""
    text = view.fields.get("text", "").strip()
    is_new = "sealed" not in view.fields
    rows = [
        (name, each, each.state is FoundState.READY if is_new else name in view.fields)
        for each in discovery.find(settings)
        for name in (f"{_CHOSEN}{each.id}",)
    ]
    shown = [row for row in rows if contains(text, row[1].name)]
    values = {
        "provider": discovery.provider,
        "label": accounts.provider(discovery.provider).label,
        "rows": shown,
        "others": [row[0] for row in rows if row[2] and row not in shown],
        "count": len(rows),
        "text": text,
        "may_choose": any(each.state is not FoundState.UNUSABLE for _, each, _ in rows),
        "sealed": sealed,
        "fault": fault,
    }
    return Html("choose.html", values, 422 if fault else 200)


def _context(view: View, provider: str) -> str:
    return f"services of {provider} for {view.session.csrf}"


def _opened(view: View, accounts: Accounts, provider: str, sealed: str) -> Mapping[str, Any]:
    """Return the settings that `find` sealed."""
    try:
        text = Sealed(sealed, accounts.store.key, _context(view, provider)).reveal()
    except SecretUnavailableError:
        until, settings = 0.0, {}
    else:
        until, settings = json.loads(text).values()
    if view.now > until:
        raise FaultsError([Fault("", "the list of services is too old; enter the token again")])
    return settings
