"""Builds rules from their tables: those of the file, those of the store, and that of a form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from alerthost.config.durations import parse_duration
from alerthost.config.matchers import Matcher, Matching, parse_matchers
from alerthost.config.partial_settings import read_partially
from alerthost.config.plugins import not_offered
from alerthost.config.tables import RuleTable
from alerthost.outbox.timing import TimedRule
from hostspec.errors import Fault
from hostspec.plugins import Rule, RuleAction
from hostspec.plugins.registry import Plugins
from hostspec.provider import Installation
from hostspec.settings import SettingsError
from hostspec.structuring import structure
from hostspec.text import unknown_name

if TYPE_CHECKING:
    from alerthost.store.rules import StoredRule

REFERENCES: Final = ("use", "installation")
"""The keys of an action that are no settings of it."""

_ACTIONS: Final = "actions"

_NO_TABLE: Final = (
    "another program changed it in the database, and it is no JSON table now; enter it again in "
    "the console, or delete it there"
)


@attrs.frozen
class FaultyRule:
    """A rule of the store that is switched on and has faults.

    Attributes:
        faults: with their paths in its table.
        is_in_force: whether its other actions are in force.
    """

    name: str
    faults: tuple[Fault, ...]
    is_in_force: bool

    @property
    def consequence(self) -> str:
        """What follows from its faults, for messages."""
        if self.is_in_force:
            return "only the other actions of the rule are in force"
        return "the rule is not in force"


@attrs.frozen(eq=False)
class RuleBuilder:
    """Builds rules, and collects their faults.

    Attributes:
        plugins: the loaded ones.
        installations: those that can be used, at least in part, by name.
        names: of all installations, or None for any name.
        reports_unknown_actions: whether to report actions that no plugin offers; not if a plugin
            that failed may offer them.
    """

    plugins: Plugins
    installations: Mapping[str, Installation[Any]]
    names: Collection[str] | None
    reports_unknown_actions: bool = True

    def build(self, raw: object) -> tuple[Rule | None, list[Fault]]:
        """Build a rule without its faulty parts; return its faults too, with paths in its table.

        Returns no rule if its table cannot be read.
        """
        table, faults = read_partially(RuleTable, raw)
        if table is None:
            return None, list(faults)
        rule, found = self.build_table(table)
        return rule, [*faults, *found]

    def build_stored(
        self, stored: StoredRule, names: Collection[str]
    ) -> tuple[Rule | None, FaultyRule | None]:
        """Build a rule of the store, given the names of the file's rules.

        With a fault of an action, the others are in force. With any other fault, such as one of a
        matcher, the rule is not in force: it would match more alerts than it should.
        """
        if stored.table is None:
            return None, FaultyRule(stored.name, (Fault("", _NO_TABLE),), is_in_force=False)
        rule, faults = self.build(stored.table)
        if stored.name in names:
            faults.append(Fault("name", "is the name of a rule of the file too; rename one"))
        in_actions = all(fault.path.startswith(_ACTIONS) for fault in faults)
        used = rule if rule and rule.actions and in_actions else None
        if not faults:
            return used, None
        return used, FaultyRule(stored.name, tuple(faults), is_in_force=used is not None)

    def build_table(self, table: RuleTable) -> tuple[Rule, list[Fault]]:
        """Build a rule of a valid table without the faulty matchers and actions."""
        faults: list[Fault] = []
        matchers: list[Matcher] = []
        for index, text in enumerate(table.match):
            path = f"match[{index}]"
            try:
                matchers += parse_matchers(structure(str, text))
            except SettingsError as error:
                faults += [fault.below(path) for fault in error.faults]
            except ValueError as error:
                faults.append(Fault(path, str(error)))
        actions: list[RuleAction] = []
        for index, action in enumerate(table.actions):
            found, unfit = self._action(action)
            actions += found
            faults += [fault.below(f"{_ACTIONS}[{index}]") for fault in unfit]
        rule = TimedRule(
            table.name,
            tuple(actions),
            Matching(tuple(matchers)),
            table.resolve_unknown,
            expire_after=parse_duration(table.expire_after) or None,
            wait=parse_duration(table.for_),
        )
        return rule, faults

    def _action(self, table: Mapping[str, Any]) -> tuple[Iterable[RuleAction], list[Fault]]:
        settings = {name: value for name, value in table.items() if name not in REFERENCES}
        faults: list[Fault] = []
        use, name = (_reference(key, table, faults) for key in REFERENCES)
        if name and self.names is not None and name not in self.names:
            faults.append(Fault("installation", unknown_name(name, self.names)))
        action = self.plugins.actions.get(use)
        installation = self.installations.get(name)
        if action is None:
            if use and self.reports_unknown_actions:
                reason = not_offered(use, self.plugins.actions, "action", self.plugins)
                faults.append(Fault("use", reason))
        elif installation is None:
            faults += read_partially(action.settings, settings)[1]
        else:
            try:
                return [self.plugins.rule_action(use, installation, settings)], faults
            except SettingsError as error:
                faults += error.faults
        return (), faults


def _reference(key: str, table: Mapping[str, Any], faults: list[Fault]) -> str:
    name = table.get(key)
    if isinstance(name, str) and name:
        return name
    faults.append(Fault(key, "missing; it is required" if name is None else "must be text"))
    return ""
