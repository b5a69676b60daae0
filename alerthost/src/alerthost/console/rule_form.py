"""The form of a rule: its fields from the declarations, a preview while it is edited, and saving.

Every button of the form posts all of it, and nothing is stored before *Save*.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from alerthost.config.configuration import Configuration
from alerthost.config.partial_settings import read_partially
from alerthost.config.plugins import NoDestinationsError, destinations_of
from alerthost.config.rules import REFERENCES
from alerthost.config.tables import RuleTable
from alerthost.console import rule_preview, rules, whole_forms
from alerthost.console.forms import CHOICE, Field
from alerthost.console.rules import as_text, builder_of, rules_of
from alerthost.console.view import Html, Redirect, View, contains, number_of
from alerthost.console.whole_forms import SEVERAL
from alerthost.outbox.activity import Change
from alerthost.store.rules import RuleConflictError, StoredRule
from hostspec.action import AnyAction
from hostspec.errors import Fault
from hostspec.plugins import Rule
from hostspec.provider import Destination
from hostspec.secret import REFERENCE_FORMS
from hostspec.settings import secrets

_USE, _INSTALLATION = REFERENCES

_Table = Mapping[str, Any]

_FILTERED = 20
"""Choices of a field above which they can be filtered."""


@attrs.frozen
class ActionForm:
    """The part of the form for one action.

    Attributes:
        path: of its table.
        use: its name.
        label: its title.
        fields: the account, then the settings.
    """

    path: str
    use: str
    label: str
    fields: tuple[Field, ...]


def show(view: View) -> Html:
    """Show the form of a rule, or of a new one."""
    if view.number:
        stored = rules.find(view, view.number)
        found = rules.faulty(view, stored)
        return _form(view, _editable(stored), stored.version, found.faults if found else ())
    choices = _choices(view.configuration)
    actions = [dict(zip(REFERENCES, choices[0][0], strict=True))] if choices else []
    return _form(view, {"actions": actions}, 0)


def _editable(stored: StoredRule) -> _Table:
    """Return a stored rule as the form edits it, with the actions that can be read as such."""
    table = stored.table or {"name": stored.name}
    given = table.get("actions")
    actions = given if isinstance(given, list) else []
    return {**table, "actions": [each if isinstance(each, Mapping) else {} for each in actions]}


def answer(view: View) -> Html | Redirect:
    """Save the rule of the form, show its preview, or add or remove an action."""
    table = _read(view.configuration, view.fields)
    version = number_of(view.fields.get("version", ""))
    button = view.fields.get("do", "")
    actions = table["actions"]
    if button == "save":
        return _save(view, table, version)
    if button == "add":
        chosen = _chosen(view)
        actions += [dict(zip(REFERENCES, chosen, strict=True))] if chosen else []
    elif button.startswith("remove "):
        index = number_of(button.removeprefix("remove "))
        del actions[index : index + 1]
    return _form(view, table, version, _check(view, table)[1] if button == "preview" else ())


def _save(view: View, table: _Table, version: int) -> Html | Redirect:
    stored = rules.find(view, view.number) if view.number else None
    rule, faults = _check(view, table)
    if faults or rule is None:
        return _form(view, table, version, faults, 422)
    body = {name: value for name, value in table.items() if name != "name"}
    try:
        if stored is None:
            rules_of(view).add(rule.name, body)
            change = Change("created", f"rule {rule.name}", "", as_text(body))
        else:
            rules_of(view).replace(attrs.evolve(stored, version=version), rule.name, body)
            change = Change("changed", f"rule {rule.name}", *_differences(stored, table))
    except RuleConflictError as error:
        return _form(view, table, version, [Fault("", str(error))], 409)
    return rules.applied(view, change, "saved")


def _check(view: View, table: _Table) -> tuple[Rule | None, list[Fault]]:
    """Build the rule of the form; return its faults too, also those of names and secrets."""
    rule, faults = _build(view, table)
    taken = {each.name: "the file" for each in view.configuration.declared_rules}
    others = [each for each in rules_of(view).all() if each.id != view.number]
    taken |= {each.name: "the store" for each in others}
    if place := taken.get(table.get("name", "")):
        faults.append(Fault("name", f"is the name of another rule, in {place}; choose another"))
    if rule and not faults:
        faults += _literal_secrets(rule)
    return rule, faults


def _build(view: View, table: _Table) -> tuple[Rule | None, list[Fault]]:
    """Build a rule as the configuration does, also one without a name or an action yet."""
    _, missing = read_partially(RuleTable, table)
    actions = table["actions"]
    rule, found = builder_of(view).build({"name": "-", **table, "actions": actions or [{}]})
    faults = [each for each in found if actions or not each.path.startswith("actions[")]
    return rule, list(dict.fromkeys((*missing, *faults)))


def _literal_secrets(rule: Rule) -> Iterator[Fault]:
    for index, action in enumerate(rule.actions):
        for path, secret in secrets(action.settings):
            if secret.reference is None:
                reason = f"must not be stored in a rule; use a reference: {REFERENCE_FORMS}"
                yield Fault(path, reason).below(f"actions[{index}]")


def _differences(stored: StoredRule, after: _Table) -> tuple[str, str]:
    before = stored.table
    if before is None:
        return as_text(stored.body), as_text(after)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    one, other = (
        as_text({name: table[name] for name in names if name in table}) for table in (before, after)
    )
    return one, other


def _form(
    view: View,
    table: _Table,
    version: int,
    faults: Sequence[Fault] = (),
    status: int = 200,
) -> Html:
    configuration = view.configuration
    fields = list(whole_forms.fields_of(RuleTable, table, faults))
    actions = [
        _action_form(view, index, action, faults) for index, action in enumerate(table["actions"])
    ]
    everywhere = [*fields, *(field for action in actions for field in action.fields)]
    rule, found = _build(view, table)
    stored = rules.find(view, view.number) if view.number else None
    faulty = rules.faulty(view, stored) if stored else None
    values = {
        "number": view.number,
        "version": version,
        "stored": stored,
        "consequence": faulty.consequence if faulty else "",
        "fields": fields,
        "actions": actions,
        "choices": [(json.dumps(chosen), label) for chosen, label in _choices(configuration)],
        "faults": whole_forms.other_faults(everywhere, faults),
        "preview": rule_preview.preview_of(view, rule, found),
    }
    return Html("rule.html", values, status)


def _action_form(view: View, index: int, table: _Table, faults: Sequence[Fault]) -> ActionForm:
    configuration = view.configuration
    path = f"actions[{index}]"
    texts = (table.get(key) for key in REFERENCES)
    use, given = (text if isinstance(text, str) else "" for text in texts)
    action = configuration.plugins.actions.get(use)
    names = _installations(configuration, action)
    account = Field(
        name=f"{path}.{_INSTALLATION}",
        kind=CHOICE,
        label="Account",
        help="Preview shows the services of another account.",
        value=given,
        is_required=True,
        choices=tuple(dict.fromkeys((*names, given))),
        faults=tuple(each.reason for each in faults if each.path == f"{path}.{_INSTALLATION}"),
    )
    if action is None:
        return ActionForm(path, use, use or "Unknown action", (account,))
    destinations = _destinations(configuration, given)
    below = whole_forms.fields_of(action.settings, table, faults, path, destinations)
    fields = (account, *(_filtered(view, each) for each in below))
    return ActionForm(path, action.name, action.label, fields)


def _filtered(view: View, field: Field) -> Field:
    """Return a field of many choices with those that contain its text; ticked ones stay."""
    if field.kind != SEVERAL or len(field.choices) <= _FILTERED:
        return field
    text = view.fields.get(f"filter {field.name}", "").strip()
    shown = (
        choice
        for choice in field.choices
        if choice in field.chosen or contains(text, field.titles[choice])
    )
    return attrs.evolve(field, choices=tuple(shown), text=text)


def _read(configuration: Configuration, form: Mapping[str, str]) -> dict[str, Any]:
    """Return the table of the rule in a form."""
    table = whole_forms.read(RuleTable, form)
    table["actions"] = actions = list[dict[str, Any]]()
    while (use := form.get(f"actions[{len(actions)}].{_USE}")) is not None:
        path = f"actions[{len(actions)}]"
        given = form.get(f"{path}.{_INSTALLATION}", "")
        account = {_INSTALLATION: given} if given else {}
        action = configuration.plugins.actions.get(use)
        settings: dict[str, Any] = {}
        if action is not None:
            destinations = _destinations(configuration, given)
            settings = whole_forms.read(action.settings, form, path, destinations)
        actions.append({_USE: use, **account, **settings})
    return table


def _destinations(configuration: Configuration, name: str) -> Sequence[Destination] | None:
    """Return the destinations of an installation; None if it has none, or they are unknown."""
    for installation in configuration.installations:
        if installation.name == name:
            provider = configuration.plugins.providers[installation.provider]
            try:
                return destinations_of(provider, installation) or None
            except NoDestinationsError:
                return None
    return None


def _installations(configuration: Configuration, action: AnyAction | None) -> Sequence[str]:
    return [
        each.name
        for each in configuration.installations
        if action is not None and each.provider == action.provider
    ]


def _choices(configuration: Configuration) -> list[tuple[tuple[str, str], str]]:
    """Return each action with each account that it can use, those that open incidents first."""
    actions = sorted(
        configuration.plugins.actions.values(),
        key=lambda each: (each.capabilities.record, each.name),
    )
    return [
        ((action.name, name), f"{action.label} ({name})")
        for action in actions
        for name in _installations(configuration, action)
    ]


def _chosen(view: View) -> tuple[str, str] | None:
    """Return the action and the account that the form asks for; None if they are gone."""
    choices = {json.dumps(chosen): chosen for chosen, _ in _choices(view.configuration)}
    return choices.get(view.fields.get("more", ""))
