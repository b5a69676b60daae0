"""The pages of one service of an account: add, edit, rotate its key, and remove it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from alerthost.config.accounts import Accounts
from alerthost.config.document import ConfigurationError, refuse
from alerthost.config.service_removal import remove_service
from alerthost.console import accounts as pages
from alerthost.console import forms
from alerthost.console.rendering import link
from alerthost.console.view import Html, Redirect, View
from alerthost.outbox.activity import Change
from hostspec.errors import Fault
from hostspec.provider import DestinationTable, Installation

_Row = Mapping[str, Any]


@attrs.frozen
class _Services:
    """The services of a stored account, as rows with masked secrets."""

    accounts: Accounts
    installation: Installation[Any]
    table: DestinationTable[Any]

    @classmethod
    def of(cls, accounts: Accounts, name: str) -> _Services:
        accounts.find_stored(name)
        installation = accounts.find_valid(name)
        table = accounts.provider(installation.provider).table()
        if table is None:
            refuse("", f"a {installation.provider} account has no services to change")
        return cls(accounts, installation, table)

    def row(self, number: str) -> _Row:
        """Return a row by its id."""
        found = {row["id"]: row for row in self.table.rows(self.installation.settings)}
        if number not in found:
            refuse("", f"there is no service {number!r}")
        return found[number]

    def change(self, change: Callable[[Any], Any]) -> None:
        self.accounts.change(self.installation.name, change)


def show(view: View) -> Html:
    """Show the form of a service, or of a new one without an id."""
    return _form(view, view.query.get("id", ""), {}, [])


def _form(view: View, number: str, entered: _Row, faults: Sequence[Fault]) -> Html:
    with view.open_accounts() as accounts:
        found = _Services.of(accounts, view.account)
        row = found.row(number) if number else {}
        fields = forms.fields_of(found.table.row, {**row, **entered}, faults)
        has_secret = any(each.kind == forms.SECRET for each in fields)
        if number:  # its secret is changed by a rotation only
            fields = [each for each in fields if each.kind != forms.SECRET]
        effect, several = None, False
        if number:
            several = any(isinstance(value, list | tuple) for value in row.values())
            rows = [each for each in found.table.rows(found.installation.settings) if each != row]
            after = None
            if rows:
                settings = found.table.save(found.installation.settings, rows)
                after = attrs.evolve(found.installation, settings=settings)
                account = accounts.find(view.account)
                effect = pages.effect_of(view, accounts, account, after)
    values = {
        "account": view.account,
        "number": number,
        "name": row.get("name", ""),
        "fields": fields,
        "has_secret": has_secret,
        "is_rotating": several,
        "effect": effect,
        "incidents": link("/incidents", service=f"{view.account}/{number}"),
        "faults": forms.general_faults(fields, faults),
    }
    return Html("service.html", values, 422 if faults else 200)


def save(view: View) -> Html | Redirect:
    """Add or edit a service."""
    number = view.fields.get("id", "")
    with view.open_accounts() as accounts:
        found = _Services.of(accounts, view.account)
        entered = forms.read(found.table.row, view.fields)
        before = found.row(number) if number else {}
        try:
            found.change(_saving(found.table, number, entered))
        except ConfigurationError as error:
            return _form(view, number, entered, _within_row(error.faults))
    verb = "changed" if number else "added"
    name = str(entered.get("name", number))
    return _applied(view, verb, name, before)


def _saving(table: DestinationTable[Any], number: str, entered: _Row) -> Callable[[Any], Any]:
    def change(settings: Any) -> Any:
        rows = list(table.rows(settings))
        if number:
            return table.save(
                settings, [{**row, **entered} if row["id"] == number else row for row in rows]
            )
        return table.save(settings, [*rows, entered])

    return change


def rotate(view: View) -> Html | Redirect:
    """Add a new secret to a service, beside the old one."""
    number, secret = view.fields.get("id", ""), view.fields.get("secret", "").strip()
    with view.open_accounts() as accounts:
        found = _Services.of(accounts, view.account)
        before = found.row(number)
        try:
            found.change(lambda settings: found.table.rotate(settings, number, secret))
        except ConfigurationError as error:
            return _form(view, number, {}, _within_row(error.faults))
    return _applied(view, "rotated the key of", str(before["name"]), before)


def retire(view: View) -> Redirect:
    """Keep only the newest secret of a service."""
    number = view.fields.get("id", "")
    with view.open_accounts() as accounts:
        found = _Services.of(accounts, view.account)
        before = found.row(number)
        found.change(lambda settings: found.table.retire(settings, number))
    return _applied(view, "ended the rotation of", str(before["name"]), before)


def remove(view: View) -> Redirect:
    """Remove a service and its secret."""
    with view.open_accounts() as accounts:
        accounts.find_stored(view.account)
        remove_service(accounts, view.account, view.fields.get("id", ""), view.actor)
    return pages.used(view, view.account)


def _applied(view: View, verb: str, name: str, before: _Row) -> Redirect:
    """Record the change with the masked rows before and after it, and use it."""
    with view.open_accounts() as accounts:
        found = _Services.of(accounts, view.account)
        rows = found.table.rows(found.installation.settings)
    after = next((row for row in rows if row["name"] == name), {})
    texts = (json.dumps(row, ensure_ascii=False) if row else "" for row in (before, after))
    return pages.applied(
        view, view.account, view.actor, Change(verb, f"{view.account}/{name}", *texts)
    )


def _within_row(faults: Sequence[Fault]) -> list[Fault]:
    """Shorten the path of each fault to the field of its row."""
    shortened = [
        Fault(fault.path.rpartition("].")[2] if "]." in fault.path else fault.path, fault.reason)
        for fault in faults
    ]
    return list(dict.fromkeys(shortened))
