"""The configuration of ``alerthost``: its tables, and the host that is built from them.

The installations in the store stand beside those of the file; what is read here is pure, but
for `load`, which reads the store.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import operator
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs

from alerthost.config import http_table, store
from alerthost.config.document import ConfigFile, ConfigurationError, absolute_files
from alerthost.config.http_table import HttpTable
from alerthost.config.matchers import Matcher, parse_matchers
from alerthost.config.store import Stored, StoreTable
from hostspec.alert import Alert
from hostspec.errors import Fault
from hostspec.inprocess.host import Host
from hostspec.plugins import Rule, RuleAction
from hostspec.plugins.loading import survey
from hostspec.plugins.registry import Plugins, PluginState
from hostspec.provider import Installation
from hostspec.settings import SettingsError, secrets, setting
from hostspec.structuring import structure
from hostspec.text import unknown_name

if TYPE_CHECKING:
    from alerthost.store.installations import StoredInstallation

_T = TypeVar("_T")
_N = TypeVar("_N", bound="InstallationTable | RuleTable")


def _blank(text: str) -> str | None:
    return None if text.strip() else "is blank"


def account_name_fault(name: str) -> str | None:
    """Return why an account cannot have a name; None where it can."""
    if "/" in name:
        return "has a /, which separates an account from its service; use another character"
    return _blank(name)


@attrs.frozen(kw_only=True)
class PluginsTable:
    """The table ``[plugins]``."""

    enabled: tuple[str, ...] = setting("Enabled", help="Names of plugins to load.", default=())


@attrs.frozen(kw_only=True)
class InstallationTable:
    """A table ``[[installations]]``."""

    provider: str = setting("Provider", help="Which service it connects to.")
    name: str = setting("Name", help="What rules call it.", check=account_name_fault)
    settings: Mapping[str, Any] = setting(
        "Settings", help="What the provider needs to know.", default={}
    )


@attrs.frozen(kw_only=True)
class RuleTable:
    """A table ``[[rules]]``."""

    name: str = setting("Name", help="Names the rule in what people read.", check=_blank)
    match: tuple[Any, ...] = setting("Match", help="Matchers; all must match.", default=())
    actions: tuple[Mapping[str, Any], ...] = setting(
        "Actions",
        help="What to do: each names an action (use) and an installation, and sets the action.",
        least_items=1,
    )


@attrs.frozen
class Matching:
    """Decides whether an alert matches: all of the matchers must."""

    matchers: tuple[Matcher, ...]

    def __call__(self, alert: Alert) -> bool:
        """Check whether the alert matches."""
        return all(matcher.matches(alert) for matcher in self.matchers)


@attrs.frozen(eq=False)
class Configuration:
    """What a file came to.

    Attributes:
        plugins: the enabled ones, loaded.
        installations: in the file's order, then those of the store.
        rules: their ``matches`` are `Matching`.
    """

    plugins: Plugins
    installations: tuple[Installation[Any], ...]
    rules: tuple[Rule, ...]

    def host(self) -> Host:
        """Make the host."""
        return Host(self.plugins, self.rules)

    def notes(self) -> Sequence[str]:
        """Return what the providers say of their installations together."""
        return notes(self.plugins, self.installations)


def notes(plugins: Plugins, installations: Iterable[Installation[Any]]) -> Sequence[str]:
    """Return what the providers say of their installations together."""
    installed = tuple(installations)
    return [
        note
        for name, provider in sorted(plugins.providers.items())
        for note in provider.notes([each for each in installed if each.provider == name])
    ]


def plugin_tables(raw: object) -> tuple[object, Mapping[str, object]]:
    """Split the table ``[plugins]`` into its own settings and those of the plugins, by name."""
    if not isinstance(raw, Mapping):
        return raw, {}
    tables = {name: each for name, each in raw.items() if isinstance(each, Mapping)}
    return {name: each for name, each in raw.items() if name not in tables}, tables


def plugins_of(source: ConfigFile) -> Plugins:
    """Load the plugins that a file enables, whatever else is wrong in it.

    Raises:
        ConfigurationError: the table ``[plugins]`` itself is wrong.
    """
    own, tables = plugin_tables(absolute_files(source.document.get("plugins", {}), source.folder))
    listed = _with_list(own)
    if listed is not own:
        source.refuse([_no_list(own).below("plugins")])
    try:
        return survey(structure(PluginsTable, own).enabled, settings=tables)
    except SettingsError as error:
        source.refuse(fault.below("plugins") for fault in error.faults)


def _with_list(own: Any) -> Any:
    """Return the table ``[plugins]`` with a list in place of the name of one plugin."""
    if isinstance(own, Mapping) and isinstance(own.get("enabled"), str):
        return {**own, "enabled": [own["enabled"]]}
    return own


def _no_list(own: Any) -> Fault:
    remedy = json.dumps([own["enabled"]], ensure_ascii=False)
    return Fault("enabled", f"must be a list, not text; use enabled = {remedy}")


def plugin_faults(plugins: Plugins) -> Iterator[Fault]:
    """Yield the faults of a file's plugins, each with its path."""
    for info in plugins.infos:
        if info.faults:
            yield from (fault.below(f"plugins.{info.name}") for fault in info.faults)
        elif info.state is PluginState.FAILED:
            yield Fault("plugins.enabled", f"plugin {info.name!r} {info.reason}")


def load(
    source: ConfigFile,
    *,
    ready: bool = False,
    listening: bool = False,
    own: Mapping[str, object] | None = None,
) -> Configuration:
    """Build the configuration that a file and its store say; `ready` and `own` as in `build`.

    Args:
        source: the file.
        ready: see `build`.
        listening: what is needed to listen must be there too: the token.
        own: see `build`.

    Raises:
        ConfigurationError: with every fault, each with its place and, where known, its line.
    """
    stored = store.read(source)
    here = attrs.evolve(
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
        document = {**source.document, **tables}
        loaded = build(document, here, ready=ready, own=own)
    except ConfigurationError as error:
        faults = [*placed(source, stored, error.faults), *token]
        raise ConfigurationError(faults) from None
    if token:
        raise ConfigurationError(token)
    return loaded


def placed(source: ConfigFile, stored: Stored, faults: Iterable[Fault]) -> Iterable[Fault]:
    """Tell the faults that `build` found with their places, as people call them."""
    for fault in faults:
        found = _STORED.match(fault.path)
        if found:
            rest = Fault(fault.path[found.end() :], fault.reason)
            yield stored.placed(rest, int(found[1]))
        else:
            yield source.locate(fault)


def build(
    document: Mapping[str, Any],
    stored: Stored | None = None,
    *,
    ready: bool = False,
    own: Mapping[str, object] | None = None,
) -> Configuration:
    """Build a configuration from a document in the shape of the file.

    Args:
        document: the tables.
        stored: the installations in the store; the path of their faults begins ``stored[n]``.
        ready: everything must be there that sending needs: each secret, which is read once,
            and a rule at least, for a host without any would be silent at night.
        own: plugins of the program itself, by name, beside those that are enabled.

    Raises:
        ConfigurationError: with every fault, its path as in the document.
    """
    building = _Building(own or {})
    configuration = building.run(document, stored or Stored())
    if ready:
        building.refuse_unready(document)
    building.refuse_distrusted(stored or Stored(), strict=ready)
    if building.faults:
        raise ConfigurationError(building.faults)
    return configuration


class _Building:
    """One configuration while it is built; its faults gather here."""

    def __init__(self, own: Mapping[str, object]) -> None:
        self.faults: list[Fault] = []
        self._own = own
        self._plugins = survey((), own=own)
        self._incomplete = False
        self._mistaken = False
        self._names: tuple[str, ...] = ()
        self._installations: dict[str, Installation[Any]] = {}
        self._installed: dict[str, Installation[Any]] = {}

    def run(self, document: Mapping[str, Any], stored: Stored) -> Configuration:
        self._refuse_unknown_tables(document)
        self._read("store", StoreTable, document.get("store", {}))
        self._read("http", HttpTable, document.get("http", {}))
        self._load(document.get("plugins", {}))
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
            for place, installation in installations.items():
                if installation.name == kept.name:
                    reason = f"{kept.name!r} is in the store too; rename or remove one of both"
                    self._fault(f"installations[{place}].name", reason)
        built = tuple(self._rule(f"rules[{index}]", rule) for index, rule in rules.items())
        return Configuration(self._plugins, tuple(self._installations.values()), built)

    def refuse_unready(self, document: Mapping[str, Any]) -> None:
        """Find what stands in the way of sending now."""
        for path, installation in self._installed.items():
            provider = self._plugins.providers[installation.provider]
            self.faults += [
                fault.below(f"{path}.settings") for fault in provider.check(installation)
            ]
        if not document.get("rules"):
            self._fault("rules", "there is none, so that no alert would page anyone")

    def refuse_distrusted(self, stored: Stored, *, strict: bool) -> None:
        """Find stored installations that another program changed, where nothing else is wrong."""
        for index, kept in enumerate(stored.installations):
            path = f"stored[{index}]"
            if any(fault.path.startswith(f"{path}.") for fault in self.faults):
                continue
            if reason := kept.distrust(strict=strict):
                self._fault(f"{path}.settings", reason)

    def _fault(self, path: str, reason: str) -> None:
        self.faults.append(Fault(path, reason))

    def _refuse_unknown_tables(self, document: Mapping[str, Any]) -> None:
        tables = ("plugins", "installations", "rules", "store", "http")
        for name in document:
            if name not in tables:
                self._mistaken = True
                self._fault(name, unknown_name(name, tables))

    def _read(self, path: str, kind: type[_T], raw: object) -> _T | None:
        """Read a table; what is wrong in it is told, and the rest is read all the same."""
        try:
            return structure(kind, raw)
        except SettingsError as error:
            self.faults += [fault.below(path) for fault in error.faults]
            if not isinstance(raw, Mapping):
                return None
            wrong = {_KEY.split(fault.path, maxsplit=1)[0] for fault in error.faults}
            right = {name: value for name, value in raw.items() if name not in wrong}
        try:
            return structure(kind, right)
        except SettingsError:
            return None

    def _read_all(self, table: str, kind: type[_N], document: Mapping[str, Any]) -> dict[int, _N]:
        """Read an array of tables: those that can be read, by index; their names are unique."""
        raws = document.get(table, [])
        if not isinstance(raws, list):
            self._fault(table, f"must be an array of tables: [[{table}]]")
            return {}
        found = {n: self._read(f"{table}[{n}]", kind, raw) for n, raw in enumerate(raws)}
        read = {index: each for index, each in found.items() if each is not None}
        counted = Counter(each.name for each in read.values())
        for index, each in read.items():
            if counted[each.name] > 1:
                self._fault(f"{table}[{index}].name", f"{each.name!r} is there twice")
        return read

    def _load(self, raw: object) -> None:
        settings, tables = plugin_tables(raw)
        listed = _with_list(settings)
        table = self._read("plugins", PluginsTable, listed)
        is_faulty = any(fault.path.startswith("plugins.enabled") for fault in self.faults)
        if listed is not settings:
            self.faults.append(_no_list(settings).below("plugins"))
        if table is not None:
            self._plugins = survey(table.enabled, own=self._own, settings=tables)
        failed = tuple(plugin_faults(self._plugins))
        self.faults += failed
        # what such a plugin would have offered is not unknown
        self._incomplete = table is None or is_faulty or bool(failed)

    def _install(self, path: str, table: InstallationTable | StoredInstallation) -> None:
        if table.provider in self._plugins.providers:
            try:
                self._installations[table.name] = self._plugins.installation(
                    table.provider, table.name, table.settings
                )
            except SettingsError as error:
                self.faults += [fault.below(f"{path}.settings") for fault in error.faults]
                self._install_rest(table, error.faults)
            else:
                self._installed[path] = self._installations[table.name]
        elif not self._incomplete:
            reason = self._unknown(table.provider, self._plugins.providers, "provider")
            self._fault(f"{path}.provider", reason)

    def _install_rest(
        self, table: InstallationTable | StoredInstallation, faults: Iterable[Fault]
    ) -> None:
        """Make an installation without its faulty settings, so that rules are checked as well."""
        paths = [fault.path for fault in faults]
        for settings in _mended(table.settings, paths):
            with contextlib.suppress(SettingsError):
                self._installations[table.name] = self._mended_installation(table, settings)
                return

    def _mended_installation(
        self, table: InstallationTable | StoredInstallation, settings: Mapping[str, Any]
    ) -> Installation[Any]:
        """Make an installation of mended settings; missing secrets get a reference.

        Raises:
            SettingsError: more is missing, or wrong.
        """
        make = functools.partial(self._plugins.installation, table.provider, table.name)
        try:
            return make(settings)
        except SettingsError as error:
            missing = [fault.path for fault in error.faults]
            found = make(_with_secrets(settings, missing))
            secret = [path for path, _ in secrets(found.settings)]
            if not all(any(each.startswith(path) for each in secret) for path in missing):
                raise
            return found

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
        if name and name not in self._names and not (self._mistaken and not self._names):
            self._fault(f"{path}.installation", unknown_name(name, self._names))
        action = self._plugins.actions.get(use)
        installation = self._installations.get(name)
        if action is None:
            if use and not self._incomplete:
                self._fault(f"{path}.use", self._unknown(use, self._plugins.actions, "action"))
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

    def _unknown(self, name: str, known: Iterable[str], kind: str) -> str:
        return not_offered(name, known, kind, self._plugins)


def not_offered(name: str, known: Iterable[str], kind: str, plugins: Plugins) -> str:
    """State that no enabled plugin offers something, and what a person may have meant."""
    known = tuple(known)
    if known:
        return unknown_name(name, known)
    disabled = [info.name for info in plugins.infos if info.state is PluginState.DISABLED]
    installed = f"; installed are {', '.join(disabled)}" if disabled else ""
    return f"no enabled plugin offers the {kind} {name!r}{installed}"


def _mended(settings: Mapping[str, Any], paths: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield settings without what is faulty, from the least that is left out to the most."""
    yield settings
    yield _without(settings, paths)
    if all(_is_text(settings, path) for path in paths if "[" in path):
        # an entry whose name is missing or misspelt may be the one that a rule names
        yield _without(settings, [_ENTRY.sub(r"\1", path) for path in paths])
    yield _without(settings, [_KEY.split(path, maxsplit=1)[0] for path in paths])


def _with_secrets(settings: Mapping[str, Any], paths: Iterable[str]) -> Mapping[str, Any]:
    """Return settings with a reference, which every secret may be, at each of some paths."""
    copied: Any = copy.deepcopy(dict(settings))
    for path in paths:
        *above, last = _steps(path) or [""]
        with contextlib.suppress(LookupError, TypeError):  # no secret is there, nor a table
            functools.reduce(operator.getitem, above, copied)[last] = "env:FAULTY"
    return cast("Mapping[str, Any]", copied)


def _without(settings: Mapping[str, Any], paths: Iterable[str]) -> Mapping[str, Any]:
    """Return settings without the values at some paths."""
    copied: Any = copy.deepcopy(dict(settings))
    for path in sorted(set(paths), key=_order, reverse=True):  # entries of a list from its end
        *above, last = _steps(path) or [""]
        with contextlib.suppress(LookupError, TypeError):
            del functools.reduce(operator.getitem, above, copied)[last]
    return cast("Mapping[str, Any]", copied)


def _is_text(settings: Mapping[str, Any], path: str) -> bool:
    try:
        return isinstance(functools.reduce(operator.getitem, _steps(path), settings), str)
    except (LookupError, TypeError):
        return False


def _order(path: str) -> list[tuple[int, str]]:
    return [(step, "") if isinstance(step, int) else (-1, step) for step in _steps(path)]


def _steps(path: str) -> list[Any]:
    return [int(n) if n else name for n, name in _STEP.findall(path)]


_REFERENCES: Final = ("use", "installation")
_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_ENTRY: Final = re.compile(r"(.*\]).*")
_KEY: Final = re.compile(r"[.\[]")
_STORED: Final = re.compile(r"stored\[(\d+)\]\.?")
