"""The page *Rules*: those of the file and of the store; order, switch and delete the latter."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any, Final

import attrs

from alerthost.config.document import refuse
from alerthost.config.explanation import describe_action
from alerthost.config.matchers import matchers_of
from alerthost.config.rules import FaultyRule, RuleBuilder
from alerthost.console.rendering import link
from alerthost.console.view import Html, Redirect, View, existing, number_of
from alerthost.outbox.activity import Change
from alerthost.store.rules import RuleConflictError, Rules, StoredRule
from hostspec.plugins import Rule

DEEDS: Final = {
    "saved": "The rule is saved, and in force.",
    "deleted": "The rule is deleted. Incidents that it opened are resolved as usual.",
    "on": "The rule is switched on, and in force.",
    "off": "The rule is switched off. Incidents that it opened are resolved as usual.",
    "moved": "The order is changed.",
    "unused": "The change is saved. It is not in force yet, as the configuration has a fault.",
}
"""Confirmations of a change, by the parameter `done`."""


@attrs.frozen
class Row:
    """A rule as the page shows it.

    Attributes:
        stored: its row in the store; None for a rule of the file.
        state: in force, in part, not in force, not in force yet, or off.
        matchers: as text, also faulty ones; none if it matches every alert. None if unknown.
        actions: a sentence about each.
        faults: why it is not, or not wholly, in force.
    """

    name: str
    stored: StoredRule | None
    state: str
    matchers: tuple[str, ...] | None
    actions: tuple[str, ...]
    faults: tuple[str, ...] = ()


def rules_of(view: View) -> Rules:
    """Return the repository of the stored rules."""
    return Rules(view.engine.database)


def builder_of(view: View) -> RuleBuilder:
    """Return a builder of rules, with the plugins and installations in use."""
    installations = {each.name: each for each in view.configuration.installations}
    return RuleBuilder(view.configuration.plugins, installations, tuple(installations))


def find(view: View, number: int) -> StoredRule:
    """Return a stored rule; raise a Rejection if it does not exist."""
    found = next((each for each in rules_of(view).all() if each.id == number), None)
    return existing(found, "rule", number)


def faulty(view: View, stored: StoredRule) -> FaultyRule | None:
    """Return the faults of a stored rule; None if it has none."""
    return builder_of(view).build_stored(stored, _declared_names(view))[1]


def _declared_names(view: View) -> Collection[str]:
    return {rule.name for rule in view.configuration.declared_rules}


def show_list(view: View) -> Html:
    """List the rules of the file, then those of the store, each in their order."""
    declared = view.configuration.declared_rules
    used = {each.id: each for each in view.configuration.stored.rules}
    builder, names = builder_of(view), _declared_names(view)
    values = {
        "declared": list(map(_declared_row, declared)),
        "stored": [
            _stored_row(each, builder, names, is_used=used.get(each.id) == each)
            for each in rules_of(view).all()
        ],
        "errors": view.reload_errors,
        "done": DEEDS.get(view.query.get("done", ""), ""),
    }
    return Html("rules.html", values)


def _declared_row(rule: Rule) -> Row:
    return Row(rule.name, None, "in force", tuple(map(str, matchers_of(rule))), _actions(rule))


def _stored_row(
    stored: StoredRule, builder: RuleBuilder, names: Collection[str], *, is_used: bool
) -> Row:
    rule, _ = builder.build(stored.table)
    _, found = builder.build_stored(stored, names)
    if not stored.is_enabled:
        state = "off"
    elif found:
        state = "in part" if found.is_in_force else "not in force"
    else:
        state = "in force" if is_used else "not in force yet"
    return Row(
        stored.name,
        stored,
        state,
        _matchers(stored),
        _actions(rule) if rule else (),
        tuple(map(str, found.faults)) if found else (),
    )


def _matchers(stored: StoredRule) -> tuple[str, ...] | None:
    """Return the matchers as they are stored: a faulty one is no part of the rule."""
    match = (stored.table or {"match": None}).get("match", [])
    return tuple(map(str, match)) if isinstance(match, list) else None


def _actions(rule: Rule) -> tuple[str, ...]:
    return tuple(map(describe_action, rule.actions))


def switch(view: View) -> Redirect:
    """Switch a rule on or off."""
    is_on = bool(view.fields.get("on"))
    states = ("off", "on") if is_on else ("on", "off")

    def change(rules: Rules, stored: StoredRule) -> Change:
        rules.switch(stored, is_enabled=is_on)
        return Change(f"switched {states[1]}", f"rule {stored.name}", *states)

    return _change(view, change, states[1])


def move(view: View) -> Redirect:
    """Move a rule up or down by one."""

    def change(rules: Rules, stored: StoredRule) -> Change:
        before = _position(rules, stored)
        rules.move(stored, up=view.fields.get("to") == "up")
        return Change("moved", f"rule {stored.name}", before, _position(rules, stored))

    return _change(view, change, "moved")


def _position(rules: Rules, stored: StoredRule) -> str:
    return f"position {[each.id for each in rules.all()].index(stored.id) + 1}"


def delete(view: View) -> Redirect:
    """Delete a rule."""

    def change(rules: Rules, stored: StoredRule) -> Change:
        rules.remove(stored)
        return Change("deleted", f"rule {stored.name}", as_text(stored.body))

    return _change(view, change, "deleted")


def _change(view: View, change: Callable[[Rules, StoredRule], Change], done: str) -> Redirect:
    """Change the rule of the path, as the form saw it; raise ConfigurationError if it differs."""
    stored = attrs.evolve(
        find(view, view.number), version=number_of(view.fields.get("version", ""))
    )
    try:
        changed = change(rules_of(view), stored)
    except RuleConflictError as error:
        refuse("", str(error))
    return applied(view, changed, done)


def applied(view: View, change: Change, done: str) -> Redirect:
    """Record a change of a rule, and put it in force."""
    view.admin.record(view.actor, change)
    return Redirect(link("/rules", done=done if view.reload() else "unused"))


def as_text(body: Any) -> str:
    """Return the body of a rule, or a part of it, for the activity log."""
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
