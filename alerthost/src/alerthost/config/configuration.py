"""The configuration: its tables, and the installations and rules that are built from them.

The installations of the store are used beside those of the file. `load` reads the store; the rest
is pure.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from alerthost.config import http_table, store
from alerthost.config.document import ConfigFile, ConfigurationError, absolute_files
from alerthost.config.http_table import HttpTable
from alerthost.config.matchers import Matcher, Matching, parse_matchers
from alerthost.config.partial_settings import first_key, install_partially
from alerthost.config.plugins import PluginsTable, not_offered, plugin_faults, split_table
from alerthost.config.store import Stored, StoreTable
from hostspec.errors import Fault
from hostspec.inprocess.host import Host
from hostspec.plugins import Rule, RuleAction
from hostspec.plugins.loading import survey
from hostspec.plugins.registry import Plugins
from hostspec.provider import Installation
from hostspec.settings import SettingsError, setting
from hostspec.structuring import structure
from hostspec.text import unknown_name

if TYPE_CHECKING:
    from alerthost.store.installations import StoredInstallation

_T = TypeVar("_T")
_N = TypeVar("_N", bound="InstallationTable | RuleTable")

_TABLES: Final = ("plugins", "installations", "rules", "store", "http")
_REFERENCES: Final = ("use", "installation")
_STORED: Final = re.compile(r"stored\[(\d+)\]\.?")


def _blank(text: str) -> str | None:
    return None if text.strip() else "is blank"


def account_name_fault(name: str) -> str | None:
    """Return why a text cannot be the name of an account; None if it can."""
    if "/" in name:
        return "has a /, which separates an account from its service; use another character"
    return _blank(name)


@attrs.frozen(kw_only=True)
class InstallationTable:
    """A table ``[[installations]]``."""

    provider: str = setting("Provider", help="The provider's name.")
    name: str = setting("Name", help="The name that rules use for it.", check=account_name_fault)
    settings: Mapping[str, Any] = setting(
        "Settings", help="The settings of the provider.", default={}
    )


@attrs.frozen(kw_only=True)
class RuleTable:
    """A table ``[[rules]]``."""

    name: str = setting("Name", help="The rule's name in logs and commands.", check=_blank)
    match: tuple[Any, ...] = setting("Match", help="Matchers; all must match.", default=())
    actions: tuple[Mapping[str, Any], ...] = setting(
        "Actions",
        help="The actions: each names an action (use) and an installation, and has its settings.",
        least_items=1,
    )


@attrs.frozen(eq=False)
class Configuration:
    """A valid configuration.

    Attributes:
        plugins: the enabled ones, loaded.
        installations: of the file in its order, then those of the store.
        rules: their ``matches`` are `Matching`.
    """

    plugins: Plugins
    installations: tuple[Installation[Any], ...]
    rules: tuple[Rule, ...]

    def host(self) -> Host:
        """Build the host."""
        return Host(self.plugins, self.rules)

    def notes(self) -> Sequence[str]:
        """Return the providers' notes about their installations."""
        return notes(self.plugins, self.installations)


def notes(plugins: Plugins, installations: Iterable[Installation[Any]]) -> Sequence[str]:
    """Return the providers' notes about their installations, each provider's all at once."""
    installed = tuple(installations)
    return [
        note
        for name, provider in sorted(plugins.providers.items())
        for note in provider.notes([each for each in installed if each.provider == name])
    ]


def load(
    source: ConfigFile,
    *,
    ready: bool = False,
    listening: bool = False,
    own: Mapping[str, object] | None = None,
) -> Configuration:
    """Build the configuration of a file and its store.

    Args:
        source: the file.
        ready: see `build`.
        listening: the token must be readable too.
        own: see `build`.

    Raises:
        ConfigurationError: with all faults, each with its location.
    """
    stored = store.read(source)
    local = attrs.evolve(
        stored,
        installations=tuple(
            attrs.evolve(each, settings=absolute_files(each.settings, source.folder))
            for each in stored.installations
        ),
    )
    tables = {
        name: absolute_files(source.document[name], source.folder)
        for name in ("plugins", "installations")
        if name in source.document
    }
    token = http_table.token_faults(source) if listening else ()
    try:
        loaded = build({**source.document, **tables}, local, ready=ready, own=own)
    except ConfigurationError as error:
        faults = [*locate_faults(source, stored, error.faults), *token]
        raise ConfigurationError(faults) from None
    if token:
        raise ConfigurationError(token)
    return loaded


def locate_faults(source: ConfigFile, stored: Stored, faults: Iterable[Fault]) -> Iterable[Fault]:
    """Yield faults found by `build` with their locations in the file or the store."""
    for fault in faults:
        if found := _STORED.match(fault.path):
            rest = Fault(fault.path[found.end() :], fault.reason)
            yield stored.locate(rest, int(found[1]))
        else:
            yield source.locate(fault)


def build(
    document: Mapping[str, Any],
    stored: Stored | None = None,
    *,
    ready: bool = False,
    own: Mapping[str, object] | None = None,
) -> Configuration:
    """Build a configuration from a document in the format of the file.

    Args:
        document: the tables.
        stored: the installations of the store; the paths of their faults begin with ``stored[n]``.
        ready: everything that sending needs is checked: each secret is read once, and there must
            be a rule, as a host without any would be silent at night.
        own: plugins of the program itself, by name, beside the enabled ones.

    Raises:
        ConfigurationError: with all faults; their paths are those of the document.
    """
    builder = _Builder(own or {})
    stored = stored or Stored()
    configuration = builder.build(document, stored)
    if ready:
        builder.check_readiness(document)
    builder.check_seals(stored, strict=ready)
    if builder.faults:
        raise ConfigurationError(builder.faults)
    return configuration


class _Builder:
    """Builds one configuration, and collects its faults."""

    def __init__(self, own: Mapping[str, object]) -> None:
        self.faults: list[Fault] = []
        self._own = own
        self._plugins = survey((), own=own)
        self._plugins_failed = False
        self._has_unknown_table = False
        self._names: tuple[str, ...] = ()
        self._installations: dict[str, Installation[Any]] = {}
        self._valid: dict[str, Installation[Any]] = {}  # by path, those without faults

    def build(self, document: Mapping[str, Any], stored: Stored) -> Configuration:
        for name in document:
            if name not in _TABLES:
                self._has_unknown_table = True
                self._fault(name, unknown_name(name, _TABLES))
        self._read("store", StoreTable, document.get("store", {}))
        self._read("http", HttpTable, document.get("http", {}))
        self._load_plugins(document.get("plugins", {}))
        installations = self._read_all("installations", InstallationTable, document)
        rules = self._read_all("rules", RuleTable, document)
        declared = store.names(document)
        self._names = (*dict.fromkeys([*declared, *(each.name for each in stored.installations)]),)
        for index, installation in installations.items():
            self._install(f"installations[{index}]", installation)
        for index, kept in enumerate(stored.installations):
            if kept.name not in declared:
                self._install(f"stored[{index}]", kept)
                continue
            self._fault(f"stored[{index}].name", f"{kept.name!r} is declared in the file too")
            for number, installation in installations.items():
                if installation.name == kept.name:
                    reason = f"{kept.name!r} is in the store too; rename or remove one of them"
                    self._fault(f"installations[{number}].name", reason)
        built = tuple(self._rule(f"rules[{index}]", rule) for index, rule in rules.items())
        return Configuration(self._plugins, tuple(self._installations.values()), built)

    def check_readiness(self, document: Mapping[str, Any]) -> None:
        for path, installation in self._valid.items():
            provider = self._plugins.providers[installation.provider]
            faults = provider.check(installation)
            self.faults += [fault.below(f"{path}.settings") for fault in faults]
        if not document.get("rules"):
            self._fault("rules", "none are defined, so no alert would page anyone")

    def check_seals(self, stored: Stored, *, strict: bool) -> None:
        """Find stored installations that another program changed, unless they have faults."""
        for index, kept in enumerate(stored.installations):
            path = f"stored[{index}]"
            if any(fault.path.startswith(f"{path}.") for fault in self.faults):
                continue
            if reason := kept.distrust_reason(strict=strict):
                self._fault(f"{path}.settings", reason)

    def _fault(self, path: str, reason: str) -> None:
        self.faults.append(Fault(path, reason))

    def _read(self, path: str, kind: type[_T], raw: object) -> _T | None:
        """Read a table without its faulty keys; None if that is not possible."""
        try:
            return structure(kind, raw)
        except SettingsError as error:
            self.faults += [fault.below(path) for fault in error.faults]
            if not isinstance(raw, Mapping):
                return None
            faulty = {first_key(fault.path) for fault in error.faults}
        try:
            return structure(kind, {name: raw[name] for name in raw if name not in faulty})
        except SettingsError:
            return None

    def _read_all(self, table: str, kind: type[_N], document: Mapping[str, Any]) -> dict[int, _N]:
        """Read the readable tables of an array, by index; check that their names are unique."""
        raws = document.get(table, [])
        if not isinstance(raws, list):
            self._fault(table, f"must be an array of tables: [[{table}]]")
            return {}
        found = {n: self._read(f"{table}[{n}]", kind, raw) for n, raw in enumerate(raws)}
        read = {index: each for index, each in found.items() if each is not None}
        counted = Counter(each.name for each in read.values())
        for index, each in read.items():
            if counted[each.name] > 1:
                self._fault(f"{table}[{index}].name", f"{each.name!r} is defined twice")
        return read

    def _load_plugins(self, raw: object) -> None:
        settings, tables, faults = split_table(raw)
        table = self._read("plugins", PluginsTable, settings)
        is_faulty = any(fault.path.startswith("plugins.enabled") for fault in self.faults)
        self.faults += faults
        if table is not None:
            self._plugins = survey(table.enabled, own=self._own, settings=tables)
        failed = tuple(plugin_faults(self._plugins))
        self.faults += failed
        # providers and actions of a plugin that failed are not reported as unknown
        self._plugins_failed = table is None or is_faulty or bool(failed)

    def _install(self, path: str, table: InstallationTable | StoredInstallation) -> None:
        if table.provider not in self._plugins.providers:
            if not self._plugins_failed:
                reason = self._not_offered(table.provider, self._plugins.providers, "provider")
                self._fault(f"{path}.provider", reason)
            return
        install = functools.partial(self._plugins.installation, table.provider, table.name)
        try:
            self._installations[table.name] = self._valid[path] = install(table.settings)
        except SettingsError as error:
            self.faults += [fault.below(f"{path}.settings") for fault in error.faults]
            if partial := install_partially(install, table.settings, error.faults):
                self._installations[table.name] = partial

    def _rule(self, path: str, table: RuleTable) -> Rule:
        matchers: list[Matcher] = []
        for index, text in enumerate(table.match):
            try:
                matchers += parse_matchers(structure(str, text))
            except SettingsError as error:
                self.faults += [fault.below(f"{path}.match[{index}]") for fault in error.faults]
            except ValueError as error:
                self._fault(f"{path}.match[{index}]", str(error))
        actions: list[RuleAction] = []
        for index, action in enumerate(table.actions):
            actions += self._rule_action(f"{path}.actions[{index}]", action)
        return Rule(table.name, tuple(actions), Matching(tuple(matchers)))

    def _rule_action(self, path: str, table: Mapping[str, Any]) -> Iterable[RuleAction]:
        settings = {name: value for name, value in table.items() if name not in _REFERENCES}
        use = self._reference(path, "use", table)
        name = self._reference(path, "installation", table)
        if name and name not in self._names and not (self._has_unknown_table and not self._names):
            self._fault(f"{path}.installation", unknown_name(name, self._names))
        action = self._plugins.actions.get(use)
        installation = self._installations.get(name)
        if action is None:
            if use and not self._plugins_failed:
                reason = self._not_offered(use, self._plugins.actions, "action")
                self._fault(f"{path}.use", reason)
        elif installation is None:
            self._read(path, action.settings, settings)
        else:
            try:
                yield self._plugins.rule_action(use, installation, settings)
            except SettingsError as error:
                self.faults += [fault.below(path) for fault in error.faults]

    def _reference(self, path: str, key: str, table: Mapping[str, Any]) -> str:
        name = table.get(key)
        if isinstance(name, str) and name:
            return name
        self._fault(f"{path}.{key}", "missing; it is required" if name is None else "must be text")
        return ""

    def _not_offered(self, name: str, known: Iterable[str], kind: str) -> str:
        return not_offered(name, known, kind, self._plugins)
