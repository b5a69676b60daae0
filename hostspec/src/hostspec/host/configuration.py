"""The configuration of ``alerthost``: its tables, and the host that is built from them."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from hostspec.alert import Alert
from hostspec.faults import Fault, FaultsError
from hostspec.host.locate import line_of
from hostspec.host.matchers import Matcher, parse_matchers
from hostspec.kernel.host import Host
from hostspec.kernel.loading import Plugins, PluginState, survey, unknown
from hostspec.kernel.rules import Rule, RuleAction
from hostspec.provider import Installation
from hostspec.settings import SettingsError, setting, structure


def _blank(text: str) -> str | None:
    return None if text.strip() else "is blank"


@attrs.frozen(kw_only=True)
class PluginsTable:
    """The table ``[plugins]``."""

    enabled: tuple[str, ...] = setting("Enabled", help="Names of plugins to load.", default=())


@attrs.frozen(kw_only=True)
class InstallationTable:
    """A table ``[[installations]]``."""

    provider: str = setting("Provider", help="Which service it connects to.")
    name: str = setting("Name", help="What rules call it.", check=_blank)
    settings: Mapping[str, Any] = setting("Settings", help="The provider's.", default={})


@attrs.frozen(kw_only=True)
class RuleTable:
    """A table ``[[rules]]``."""

    name: str = setting("Name", help="Names the rule in what people read.", check=_blank)
    match: tuple[str, ...] = setting("Match", help="Matchers; all must match.", default=())
    actions: tuple[Mapping[str, Any], ...] = setting("Actions", least_items=1)


@attrs.frozen(kw_only=True)
class Document:
    """The whole file."""

    plugins: PluginsTable = setting("Plugins", default=attrs.Factory(PluginsTable))
    installations: tuple[InstallationTable, ...] = setting("Installations", default=())
    rules: tuple[RuleTable, ...] = setting("Rules", default=())


@attrs.frozen
class Matching:
    """Decides whether an alert matches: all of the matchers must."""

    matchers: tuple[Matcher, ...]

    def __call__(self, alert: Alert) -> bool:
        """Say whether the alert matches."""
        return all(matcher.matches(alert) for matcher in self.matchers)


@attrs.frozen(eq=False)
class Configuration:
    """What a file came to.

    Attributes:
        plugins: the enabled ones, loaded.
        installations: by name.
        rules: their ``matches`` are `Matching`.
    """

    plugins: Plugins
    installations: Mapping[str, Installation[Any]]
    rules: tuple[Rule, ...]

    def host(self) -> Host:
        """Make the host."""
        return Host(self.plugins, self.rules)

    def secret_faults(self) -> list[Fault]:
        """Read every secret once, and say which cannot be used."""
        return [
            fault.below(f"installation {name!r}, settings")
            for name, installation in self.installations.items()
            for fault in self.plugins.providers[installation.provider].check(installation)
        ]


class ConfigurationError(FaultsError):
    """A configuration that is refused; each fault's path is the place, as people call it."""


def read(path: Path) -> str:
    """Read a configuration file.

    Raises:
        ConfigurationError: it cannot be read, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        reason = "there is no such file; name one with --config"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 text: byte {error.start} is wrong"
    raise ConfigurationError([Fault(str(path), reason)])


def parse(text: str, name: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ConfigurationError: it is no TOML; the reason has line and column.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([Fault(name, f"is no TOML: {error}")]) from None


def enabled_plugins(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which plugins a document enables, whatever else is wrong in it."""
    try:
        return structure(PluginsTable, document.get("plugins", {})).enabled
    except SettingsError as error:
        raise ConfigurationError(fault.below("plugins") for fault in error.faults) from None


def load(path: Path) -> Configuration:
    """Load a configuration file.

    Raises:
        ConfigurationError: with every fault, each with its place and, where known, its line.
    """
    text = read(path)
    document = parse(text, str(path))
    try:
        return build(document)
    except ConfigurationError as error:
        raise ConfigurationError(
            _placed(fault, document, text, str(path)) for fault in error.faults
        ) from None


def build(document: Mapping[str, Any]) -> Configuration:
    """Build a configuration from a document in the shape of the file.

    Raises:
        ConfigurationError: with every fault, its path as in the document.
    """
    try:
        tables = structure(Document, document)
    except SettingsError as error:
        raise ConfigurationError(error.faults) from None
    building = _Building(tables)
    configuration = building.run()
    if building.faults:
        raise ConfigurationError(building.faults)
    return configuration


class _Building:
    """One configuration while it is built; its faults gather here."""

    def __init__(self, tables: Document) -> None:
        self.faults: list[Fault] = []
        self._tables = tables
        self._plugins = survey(tables.plugins.enabled)
        self._installations: dict[str, Installation[Any]] = {}

    def run(self) -> Configuration:
        failed = [info for info in self._plugins.infos if info.state is PluginState.FAILED]
        self.faults += [
            Fault("plugins.enabled", f"plugin {info.name!r} {info.reason}") for info in failed
        ]
        self._refuse_doubles("installations", (each.name for each in self._tables.installations))
        self._refuse_doubles("rules", (each.name for each in self._tables.rules))
        # what a plugin that failed would have offered is not unknown
        if not failed:
            self._install()
        rules = () if failed else tuple(self._rules())
        return Configuration(self._plugins, self._installations, rules)

    def _refuse_doubles(self, table: str, names: Iterable[str]) -> None:
        listed = list(names)
        counted = Counter(listed)
        self.faults += [
            Fault(f"{table}[{index}].name", f"{name!r} is there twice; names are unique")
            for index, name in enumerate(listed)
            if counted[name] > 1
        ]

    def _install(self) -> None:
        for index, table in enumerate(self._tables.installations):
            path = f"installations[{index}]"
            if table.provider not in self._plugins.providers:
                reason = _unknown(
                    table.provider, self._plugins.providers, self._plugins, "provider"
                )
                self.faults.append(Fault(f"{path}.provider", reason))
                continue
            try:
                self._installations[table.name] = self._plugins.installation(
                    table.provider, table.name, table.settings
                )
            except SettingsError as error:
                self.faults += [fault.below(f"{path}.settings") for fault in error.faults]

    def _rules(self) -> Iterable[Rule]:
        for index, table in enumerate(self._tables.rules):
            path = f"rules[{index}]"
            matchers: list[Matcher] = []
            for number, text in enumerate(table.match):
                try:
                    matchers += parse_matchers(text)
                except ValueError as error:
                    self.faults.append(Fault(f"{path}.match[{number}]", str(error)))
            actions: list[RuleAction] = []
            for number, action in enumerate(table.actions):
                actions += self._rule_action(f"{path}.actions[{number}]", action)
            yield Rule(table.name, tuple(actions), Matching(tuple(matchers)))

    def _rule_action(self, path: str, table: Mapping[str, Any]) -> Iterable[RuleAction]:
        settings = dict(table)
        found = True
        for key, known in (
            ("use", self._plugins.actions),
            ("installation", {each.name: each for each in self._tables.installations}),
        ):
            name = settings.pop(key, None)
            if not isinstance(name, str):
                reason = "missing; it is required" if name is None else "must be text"
            elif name not in known:
                reason = _unknown(name, known, self._plugins, "action" if key == "use" else key)
            else:
                continue
            self.faults.append(Fault(f"{path}.{key}", reason))
            found = False
        # an installation with faults of its own is not there, and was told already
        installation = self._installations.get(str(table.get("installation")))
        if not found or installation is None:
            return
        try:
            yield self._plugins.rule_action(table["use"], installation, settings)
        except SettingsError as error:
            self.faults += [fault.below(path) for fault in error.faults]


def _unknown(name: str, known: Iterable[str], plugins: Plugins, kind: str) -> str:
    known = list(known)
    if not known and kind != "installation":
        disabled = [info.name for info in plugins.infos if info.state is PluginState.DISABLED]
        installed = f"; installed are {', '.join(disabled)}" if disabled else ""
        return f"no enabled plugin offers the {kind} {name!r}{installed}"
    return unknown(name, known)


_TABLE = re.compile(r"(installations|rules)\[(\d+)\]\.?")


def _placed(fault: Fault, document: Mapping[str, Any], text: str, name: str) -> Fault:
    """Say where a fault is, as people call the place."""
    line = line_of(text, fault.path)
    places = [f"{name}, line {line}" if line else name]
    rest = fault.path
    table = _TABLE.match(rest)
    if table:
        kind, index = table[1], int(table[2])
        entry = document[kind][index] if isinstance(document[kind], list) else {}
        known = entry.get("name") if isinstance(entry, Mapping) else None
        places.append(f"{kind[:-1]} {known!r}" if known else f"{kind[:-1]} {index + 1}")
        rest = rest[table.end() :]
    if rest:
        places.append(rest)
    return Fault(": ".join(places), fault.reason)
