"""The configuration: its installations and rules, built from the file and the store."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from alerthost.config import store
from alerthost.config.document import ConfigFile, ConfigurationError
from alerthost.config.matchers import Matcher, Matching, parse_matchers
from alerthost.config.partial_settings import install_partially, read_partially
from alerthost.config.plugins import not_offered, plugin_faults, survey_plugins
from alerthost.config.store import Stored
from alerthost.config.tables import (
    DeliveryTable,
    HttpTable,
    InstallationTable,
    PluginsTable,
    RuleTable,
    SpoolTable,
    StoreTable,
)
from hostspec.errors import Fault
from hostspec.plugins import Rule, RuleAction
from hostspec.plugins.registry import Plugins, PluginState
from hostspec.provider import Installation
from hostspec.secret import SecretUnavailableError
from hostspec.settings import SettingsError
from hostspec.structuring import structure
from hostspec.text import unknown_name

if TYPE_CHECKING:
    from alerthost.store.installations import StoredInstallation

_T = TypeVar("_T")
_N = TypeVar("_N", bound="InstallationTable | RuleTable")

TABLES: Final[Mapping[str, type]] = {
    "plugins": PluginsTable,
    "installations": InstallationTable,
    "rules": RuleTable,
    "store": StoreTable,
    "http": HttpTable,
    "delivery": DeliveryTable,
    "spool": SpoolTable,
}
"""The tables of the file, by name."""

_REFERENCES: Final = ("use", "installation")

_Locate = Callable[[Fault], Fault]
"""Returns a fault of one installation with its location."""


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

    def notes(self) -> Sequence[str]:
        """Return the providers' notes about their installations, each provider's all at once."""
        return [
            note
            for name, provider in sorted(self.plugins.providers.items())
            for note in provider.notes(
                [each for each in self.installations if each.provider == name]
            )
        ]


def load(source: ConfigFile, *, ready: bool = False, listening: bool = False) -> Configuration:
    """Build the configuration of a file and its store.

    Args:
        source: the file.
        ready: see `build`.
        listening: the token must be readable too.

    Raises:
        ConfigurationError: with all faults, each with its location.
    """
    token = _token_faults(source) if listening else ()
    try:
        loaded = build(source, store.read(source), ready=ready)
    except ConfigurationError as error:
        raise ConfigurationError((*error.faults, *token)) from None
    if token:
        raise ConfigurationError(token)
    return loaded


def _token_faults(source: ConfigFile) -> Sequence[Fault]:
    """Return the faults of tokens that cannot be read; none if the table has other faults."""
    try:
        table = source.table("http", HttpTable)
    except ConfigurationError:
        return ()
    faults: list[Fault] = []
    for name, token in (("token", table.token), ("viewer_token", table.viewer_token)):
        try:
            if token is not None:
                token.reveal()
        except SecretUnavailableError as error:
            faults.append(source.locate(Fault(f"http.{name}", str(error))))
    return faults


def build(
    source: ConfigFile, stored: Stored | None = None, *, ready: bool = False
) -> Configuration:
    """Build a configuration from a file and the installations of a store.

    With `ready`, everything that sending needs is checked: each secret is read once, and there
    must be a rule, as a host without any would be silent at night.

    Raises:
        ConfigurationError: with all faults, each with its location.
    """
    builder = _Builder(source, stored or Stored(), ready=ready)
    configuration = builder.build()
    if builder.faults:
        raise ConfigurationError(builder.faults)
    return configuration


class _Builder:
    """Builds one configuration, and collects its faults."""

    def __init__(self, source: ConfigFile, stored: Stored, *, ready: bool) -> None:
        self.faults: list[Fault] = []
        self._source = source
        self._document = source.document
        self._stored = stored
        self._ready = ready
        self._declared = {table["name"]: path for path, table in source.installations}
        self._names = {*self._declared, *(each.name for each in stored.installations)}
        self._has_unknown_table = not TABLES.keys() >= self._document.keys()
        self._plugins: Plugins
        self._plugins_failed = False
        self._installations: dict[str, Installation[Any]] = {}

    def build(self) -> Configuration:
        for name in self._document:
            if name not in TABLES:
                self._fault(name, unknown_name(name, TABLES))
        self._read("store", StoreTable, self._document.get("store", {}))
        self._read("http", HttpTable, self._document.get("http", {}))
        self._read("delivery", DeliveryTable, self._document.get("delivery", {}))
        self._read("spool", SpoolTable, self._document.get("spool", {}))
        self._load_plugins()
        installations = self._read_all("installations", InstallationTable)
        rules = self._read_all("rules", RuleTable)
        for path, table in installations.items():
            self._install(functools.partial(self._locate_declared, path), table)
        for each in self._stored.installations:
            self._install_stored(each)
        built = tuple(self._rule(path, rule) for path, rule in rules.items())
        if self._ready and not self._document.get("rules"):
            self._fault("rules", "none are defined, so no alert would page anyone")
        return Configuration(self._plugins, tuple(self._installations.values()), built)

    def _fault(self, path: str, reason: str) -> None:
        self._report([Fault(path, reason)])

    def _report(self, faults: Iterable[Fault], below: str = "") -> None:
        located = (fault.below(below) if below else fault for fault in faults)
        self.faults += map(self._source.locate, located)

    def _read(self, path: str, kind: type[_T], raw: object) -> _T | None:
        table, faults = read_partially(kind, raw)
        self._report(faults, below=path)
        return table

    def _read_all(self, name: str, kind: type[_N]) -> dict[str, _N]:
        """Read the readable tables of an array, by path; check that their names are unique."""
        raws = self._document.get(name, [])
        if not isinstance(raws, list):
            self._fault(name, f"must be an array of tables: [[{name}]]")
            return {}
        read: dict[str, _N] = {}
        for index, raw in enumerate(raws):
            path = f"{name}[{index}]"
            if table := self._read(path, kind, raw):
                read[path] = table
        counted = Counter(table.name for table in read.values())
        for path, table in read.items():
            if counted[table.name] > 1:
                self._fault(f"{path}.name", f"{table.name!r} is defined twice")
        return read

    def _load_plugins(self) -> None:
        self._plugins, faults = survey_plugins(self._document.get("plugins", {}))
        failed = tuple(plugin_faults(self._plugins))
        self._report((*faults, *failed))
        # providers and actions of a plugin that failed are not reported as unknown
        active = any(info.state is PluginState.ACTIVE for info in self._plugins.infos)
        self._plugins_failed = bool(failed or (faults and not active))

    def _locate_declared(self, path: str, fault: Fault) -> Fault:
        return self._source.locate(fault.below(path))

    def _install_stored(self, stored: StoredInstallation) -> None:
        locate = functools.partial(store.locate, self._stored.location, stored.name)
        if stored.name in self._declared:
            self.faults.append(
                locate(Fault("name", f"{stored.name!r} is declared in the file too"))
            )
            reason = f"{stored.name!r} is in the store too; rename or remove one of them"
            self._fault(f"{self._declared[stored.name]}.name", reason)
            return
        count = len(self.faults)
        self._install(locate, stored)
        if len(self.faults) == count and (reason := stored.distrust_reason(strict=self._ready)):
            self.faults.append(locate(Fault("settings", reason)))

    def _install(self, locate: _Locate, table: InstallationTable | StoredInstallation) -> None:
        provider = self._plugins.providers.get(table.provider)
        if provider is None:
            if not self._plugins_failed:
                reason = self._not_offered(table.provider, self._plugins.providers, "provider")
                self.faults.append(locate(Fault("provider", reason)))
            return
        install = functools.partial(self._plugins.installation, table.provider, table.name)
        installation: Installation[Any] | None
        try:
            installation = install(table.settings)
            faults = provider.check(installation) if self._ready else ()
        except SettingsError as error:
            faults = error.faults
            installation = install_partially(install, table.settings, faults)
        self.faults += [locate(fault.below("settings")) for fault in faults]
        if installation:
            self._installations[table.name] = installation

    def _rule(self, path: str, table: RuleTable) -> Rule:
        matchers: list[Matcher] = []
        for index, text in enumerate(table.match):
            try:
                matchers += parse_matchers(structure(str, text))
            except SettingsError as error:
                self._report(error.faults, below=f"{path}.match[{index}]")
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
            _, faults = read_partially(action.settings, settings)
            self._report(faults, below=path)
        else:
            try:
                yield self._plugins.rule_action(use, installation, settings)
            except SettingsError as error:
                self._report(error.faults, below=path)

    def _reference(self, path: str, key: str, table: Mapping[str, Any]) -> str:
        name = table.get(key)
        if isinstance(name, str) and name:
            return name
        self._fault(f"{path}.{key}", "missing; it is required" if name is None else "must be text")
        return ""

    def _not_offered(self, name: str, known: Iterable[str], kind: str) -> str:
        return not_offered(name, known, kind, self._plugins)
