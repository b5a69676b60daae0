"""The page of an account's settings, apart from its services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alerthost.config.accounts import Accounts
from alerthost.config.document import ConfigurationError
from alerthost.console import accounts as pages
from alerthost.console import forms
from alerthost.console.view import Html, Redirect, View
from alerthost.outbox.activity import Change
from hostspec.errors import Fault
from hostspec.structuring import settings_to_json, structure


def show(view: View) -> Html:
    """Show the settings of a stored account."""
    with view.open_accounts() as accounts:
        accounts.find_stored(view.account)
        return _form(view, accounts, None, [], None)


def _form(
    view: View,
    accounts: Accounts,
    entered: Mapping[str, Any] | None,
    faults: Sequence[Fault],
    effect: pages.Effect | None,
) -> Html:
    settings = accounts.find_valid(view.account).settings
    shown = entered if entered is not None else _masked(settings)
    fields = _fields(type(settings), shown, faults)
    values = {
        "account": view.account,
        "fields": fields,
        "faults": forms.general_faults(fields, faults),
        "effect": effect,
    }
    return Html("account_settings.html", values, 422 if faults else 200)


def _fields(
    kind: type, values: Mapping[str, Any], faults: Sequence[Fault] = ()
) -> list[forms.Field]:
    """Return the fields of settings, without those of its services."""
    return [each for each in forms.fields_of(kind, values, faults) if "[" not in each.name]


def _masked(settings: Any) -> dict[str, Any]:
    return dict(settings_to_json(settings, write=lambda secret: secret.masked()))


def save(view: View) -> Html | Redirect:
    """Change the settings of an account; blank ones get their default.

    If open incidents could not be followed up any more, the form asks first.
    """
    with view.open_accounts() as accounts:
        before = accounts.find_valid(view.account)
        kind = type(before.settings)
        names = {each.name for each in _fields(kind, {})}
        entered = {
            name: value for name, value in forms.read(kind, view.fields).items() if name in names
        }
        change = _changing(kind, entered)
        try:
            account = accounts.find(view.account)
            after = accounts.changed(view.account, change)
            effect = pages.effect_of(view, accounts, account, after)
            if effect.is_harmful and not view.fields.get("confirmed"):
                return _form(view, accounts, entered, [], effect)
            accounts.change(view.account, change)
        except ConfigurationError as error:
            return _form(view, accounts, entered, error.faults, None)
    texts = _differences(_masked(before.settings), _masked(after.settings))
    changed = Change("changed", f"account {view.account}", *texts)
    return pages.applied(view, view.account, view.actor, changed)


def _changing(kind: type, entered: Mapping[str, Any]) -> Callable[[Any], Any]:
    def change(settings: Any) -> Any:
        kept = dict(settings_to_json(settings, write=lambda secret: secret))
        for field in _fields(kind, {}):
            if field.name in entered:
                kept[field.name] = entered[field.name]
            elif field.kind != forms.SECRET:  # a blank secret stays as it is
                kept.pop(field.name, None)
        return structure(kind, kept)

    return change


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, str]:
    """Return the settings that differ, before and after."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    one, other = (
        ", ".join(f"{name} = {settings[name]}" for name in names if name in settings)
        for settings in (before, after)
    )
    return one, other
