"""The pages *Accounts*: the list, one account, and disconnecting it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import attrs

from alerthost.config.accounts import Account, Accounts, Consequences, cuts_off
from alerthost.config.plugins import NoDestinationsError, destinations_of
from alerthost.config.service_removal import REMOVED
from alerthost.console.rendering import link
from alerthost.console.view import Html, Redirect, View
from alerthost.outbox.activity import Actor, Change
from hostspec.connect import Connected
from hostspec.provider import Destination, DestinationTable, Installation
from hostspec.settings import info_of, key_of

DEEDS = {
    "disconnected": "The account is disconnected. Nothing changed at its provider.",
    "connected": "The account is connected. Rules can name it now.",
    "skipped": "The account is connected. Some services were skipped; Activity has the reasons.",
    "saved": "The change is saved, and in use.",
    "unused": "The change is saved. It is not in use yet: the configuration has a fault, which "
    "alerthost has logged.",
}
"""Confirmations of a change, by the parameter `done`."""

_REMOVED_SHOWN = 100

_SHOWN = 100
"""Services of an account that its page shows."""

_NAMED = 8
"""Services of an account that the list names."""


@attrs.frozen
class Effect:
    """The effect of a change of an account.

    Attributes:
        rules: faults of rules that the change would cause, and actions that it would change.
        incidents: number of open incidents that could not be followed up any more.
    """

    rules: Consequences
    incidents: int

    @property
    def is_harmful(self) -> bool:
        """Whether rules would break, or incidents could not be closed."""
        return bool(self.incidents or self.rules.faults)


@attrs.frozen
class RemovedService:
    """A service that is not in its account any more.

    Attributes:
        id: of its destination.
        name: the last one; its id where that is not known.
        since: in seconds of the epoch; None if it is not recorded, as of an account of the file.
        open: number of its open incidents.
        orphaned: number of its orphaned incidents.
    """

    id: str
    name: str
    since: float | None
    open: int = 0
    orphaned: int = 0


def show_list(view: View) -> Html:
    """List the accounts of the file and of the store."""
    with view.open_accounts() as accounts:
        found = [(each, *_destinations(accounts, each)) for each in accounts.all()]
        providers = sorted(accounts.plugins.providers.items())
        notes = accounts.notes()
    values = {
        "rows": [
            (account, reason or _names(destinations)) for account, destinations, reason in found
        ],
        "providers": [(name, provider.label) for name, provider in providers],
        "notes": notes,
        "done": DEEDS.get(view.query.get("done", ""), ""),
    }
    return Html("accounts.html", values)


def _names(destinations: Sequence[Destination]) -> str:
    named = [each.name for each in destinations[:_NAMED]]
    more = len(destinations) - len(named)
    return ", ".join([*named, *([f"and {more:,} more"] if more else [])])


def _destinations(accounts: Accounts, account: Account) -> tuple[Sequence[Destination], str]:
    """Return the services of an account, and why they are not known."""
    if account.installation is None:
        return (), ""
    try:
        return destinations_of(accounts.provider(account.provider), account.installation), ""
    except NoDestinationsError as error:
        return (), str(error)


def show(view: View) -> Html:
    """Show one account with its services."""
    with view.open_accounts() as accounts:
        account = accounts.find(view.account)
        installation, stored = account.installation, account.stored is not None
        table = accounts.provider(account.provider).table() if installation else None
        columns, rows = _table(table, installation)
        destinations, reason = _destinations(accounts, account)
        effect = effect_of(view, accounts, account, None) if stored else None
    count = len(rows) or len(destinations)
    rows = [each for each in rows if view.finds(*each[1])]
    found = [each for each in destinations if view.finds(each.name, each.id)]
    values = {
        "account": account,
        "columns": columns,
        "rows": rows[:_SHOWN],
        "destinations": found[:_SHOWN],
        "count": count,
        "shown": min(_SHOWN, len(rows if table else found)),
        "text": view.text,
        "reason": reason,
        "removed": [] if reason or not installation else _removed(view, destinations),
        "may_edit": stored and table is not None,
        "effect": effect,
        "done": DEEDS.get(view.query.get("done", ""), ""),
    }
    return Html("account.html", values)


def _removed(view: View, destinations: Sequence[Destination]) -> list[RemovedService]:
    """Return the services that were removed, without those that are back."""
    present = {each.id for each in destinations}
    unclosed = view.admin.lists.unclosed(view.account)
    found: dict[str, RemovedService] = {}
    for each in view.admin.lists.changes(REMOVED, f"{view.account}/", _REMOVED_SHOWN):
        with contextlib.suppress(ValueError):  # of a very long row, only a part is kept
            number = json.loads(each.change.before)["id"]
            name = each.change.subject.removeprefix(f"{view.account}/")
            counts = unclosed.get(number, ())
            found.setdefault(number, RemovedService(number, name, each.at, *counts))
    for number, counts in unclosed.items():
        found.setdefault(number, RemovedService(number, number, None, *counts))
    return [each for each in found.values() if each.id not in present]


def _table(
    table: DestinationTable[Any] | None, installation: Installation[Any] | None
) -> tuple[Sequence[str], Sequence[tuple[str, Sequence[str]]]]:
    """Return the columns of a table of services, and its rows, each with its id."""
    if table is None or installation is None:
        return (), ()
    attrs.resolve_types(table.row)
    fields = attrs.fields(table.row)
    rows = [
        (row["id"], [_cell(row.get(key_of(field), "")) for field in fields])
        for row in table.rows(installation.settings)
    ]
    return [info_of(field).label for field in fields], rows


def _cell(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def effect_of(
    view: View, accounts: Accounts, account: Account, after: Installation[Any] | None
) -> Effect:
    """Return the effect of a change of an account; None for its removal."""
    before = account.installation
    incidents = 0
    if before is not None:
        most = view.admin.count_open(account.name)
        rows = view.admin.incidents(installation=account.name, most=most)
        incidents = sum(cuts_off(accounts.plugins, row.incident, before, after) for row in rows)
    return Effect(accounts.consequences(account.name, after), incidents)


def disconnect(view: View) -> Redirect:
    """Remove an account from the store."""
    with view.open_accounts() as accounts:
        stored = accounts.find_stored(view.account)
        accounts.store.installations.remove(stored)
    view.admin.record(view.actor, Change("disconnected", f"account {view.account}", "connected"))
    done = "disconnected" if view.reload() else "unused"
    return Redirect(link("/accounts", done=done))


def applied(
    view: View, account: str, actor: Actor, change: Change, done: str = "saved"
) -> Redirect:
    """Record a change of an account, and use it from now on."""
    view.admin.record(actor, change)
    return used(view, account, done)


def used(view: View, account: str, done: str = "saved") -> Redirect:
    """Use a change of an account from now on, and show the account."""
    return Redirect(link(f"/account/{account}", done=done if view.reload() else "unused"))


def connected(view: View, actor: Actor, made: Connected[Any]) -> Redirect:
    """Record a connected account, and use it from now on."""
    installation = made.installation
    skipped = [f"skipped {each.name} ({each.kind}): {each.reason}" for each in made.skipped]
    after = "; ".join((installation.provider, *made.notes, *skipped))
    verb = "connected again" if made.again else "connected"
    change = Change(verb, f"account {installation.name}", "", after)
    done = "skipped" if skipped else "connected"
    return applied(view, installation.name, actor, change, done=done)
