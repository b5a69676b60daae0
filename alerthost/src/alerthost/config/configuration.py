"""The configuration: its installations and rules, built from the file and the store."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from alerthost.config import store
from alerthost.config.document import ConfigFile, ConfigurationError
from alerthost.config.heartbeats import build_heartbeat
from alerthost.config.partial_settings import install_partially, read_partially
from alerthost.config.plugins import not_offered, plugin_faults, survey_plugins
from alerthost.config.rules import FaultyRule, RuleBuilder
from alerthost.config.store import Stored
from alerthost.config.tables import (
    DeliveryTable,
    HeartbeatTable,
    HttpTable,
    InstallationTable,
    PluginsTable,
    RuleTable,
    SpoolTable,
    StoreTable,
)
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat
from hostspec.errors import Fault
from hostspec.plugins import Rule
from hostspec.plugins.registry import Plugins, PluginState
from hostspec.provider import Installation
from hostspec.secret import SecretUnavailableError
from hostspec.settings import SettingsError
from hostspec.text import unknown_name

if TYPE_CHECKING:
    from alerthost.store.installations import StoredInstallation

_T = TypeVar("_T")
_N = TypeVar("_N", bound="InstallationTable | RuleTable | HeartbeatTable")

TABLES: Final[Mapping[str, type]] = {
    "plugins": PluginsTable,
    "installations": InstallationTable,
    "rules": RuleTable,
    "heartbeats": HeartbeatTable,
    "store": StoreTable,
    "http": HttpTable,
    "delivery": DeliveryTable,
    "spool": SpoolTable,
}
"""The tables of the file, by name."""

_Locate = Callable[[Fault], Fault]
"""Returns a fault of one installation with its location."""


@attrs.frozen(eq=False)
class Configuration:
    """A valid configuration.

    Attributes:
        plugins: the enabled ones, loaded.
        installations: of the file in its order, then those of the store.
        rules: of the file, then those of the store that are switched on; their ``matches`` are
            `Matching`.
        stored: the contents of the store that it was built from.
        from_store: the number of rules that are of the store.
        faulty_rules: the rules of the store that are switched on and have faults.
        heartbeats: the expected ones.
    """

    plugins: Plugins
    installations: tuple[Installation[Any], ...]
    rules: tuple[Rule, ...]
    stored: Stored = attrs.field(factory=Stored)
    from_store: int = 0
    faulty_rules: tuple[FaultyRule, ...] = ()
    heartbeats: tuple[ExpectedHeartbeat, ...] = ()

    @property
    def declared_rules(self) -> Sequence[Rule]:
        """The rules of the file."""
        return self.rules[: len(self.rules) - self.from_store]

    def notes(self) -> Sequence[str]:
        """Return notes about the installations and the heartbeats, for the operator."""
        return [
            *self._heartbeat_notes(),
            *self._provider_notes(),
        ]

    def _heartbeat_notes(self) -> Iterator[str]:
        for each in self.heartbeats:
            alert = each.missed(None, 0.0)
            if not any(rule.matches(alert) for rule in self.rules):
                yield (
                    f"heartbeat {each.key!r}: no rule matches its alert, so a missed one pages no "
                    f"one; add a rule with match = ['class=\"heartbeat\"']"
                )

    def _provider_notes(self) -> Sequence[str]:
        """Return the providers' notes about their installations, each provider's all at once."""
        return [
            note
            for name, provider in sorted(self.plugins.providers.items())
            for note in provider.notes(
                [each for each in self.installations if each.provider == name]
            )
        ]

    def rule_faults(self) -> list[Fault]:
        """Return the faults of the store's rules, each with its location and its consequence."""
        return [
            Fault(": ".join(filter(None, (where, fault.path))), reason)
            for rule in self.faulty_rules
            for where in (f"{self.stored.location}: rule {rule.name!r}",)
            for fault in rule.faults
            for reason in (f"{fault.reason}; {rule.consequence}",)
        ]


def load(
    source: ConfigFile, *, ready: bool = False, needs_rule: bool = False, listening: bool = False
) -> Configuration:
    """Build the configuration of a file and its store.

    Args:
        source: the file.
        ready: see `build`.
        needs_rule: see `build`.
        listening: the token must be readable too.

    Raises:
        ConfigurationError: with all faults, each with its location.
    """
    token = _token_faults(source) if listening else ()
    try:
        loaded = build(source, store.read(source), ready=ready, needs_rule=needs_rule)
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
    source: ConfigFile,
    stored: Stored | None = None,
    *,
    ready: bool = False,
    needs_rule: bool = False,
) -> Configuration:
    """Build a configuration from a file and the contents of a store.

    A faulty rule of the store is no error: its account may have been removed, and the other rules
    have to go on (`Configuration.faulty_rules`).

    Args:
        source: the file.
        stored: the contents of the store.
        ready: check everything that sending needs: each secret is read once.
        needs_rule: there must be a rule, as without any no alert pages anyone.

    Raises:
        ConfigurationError: with all faults, each with its location.
    """
    builder = _Builder(source, stored or Stored(), ready=ready)
    configuration = builder.build(needs_rule=needs_rule)
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

    def build(self, *, needs_rule: bool) -> Configuration:
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
        heartbeats = self._read_all("heartbeats", HeartbeatTable)
        expected = tuple(self._heartbeat(path, table) for path, table in heartbeats.items())
        declared = [self._declared_rule(path, table) for path, table in rules.items()]
        enabled = [each for each in self._stored.rules if each.is_enabled]
        if needs_rule and not self._document.get("rules") and not enabled:
            self._fault("rules", "none are defined, so no alert would page anyone")
        names = {table.name for table in rules.values()}
        built = [self._rules.build_stored(each, names) for each in enabled]
        kept = [rule for rule, _ in built if rule]
        return Configuration(
            self._plugins,
            tuple(self._installations.values()),
            (*declared, *kept),
            self._stored,
            len(kept),
            tuple(faulty for _, faulty in built if faulty),
            expected,
        )

    @functools.cached_property
    def _rules(self) -> RuleBuilder:
        is_complete = self._names or not self._has_unknown_table
        return RuleBuilder(
            self._plugins,
            self._installations,
            self._names if is_complete else None,
            reports_unknown_actions=not self._plugins_failed,
        )

    def _declared_rule(self, path: str, table: RuleTable) -> Rule:
        rule, faults = self._rules.build_table(table)
        self._report(faults, below=path)
        return rule

    def _heartbeat(self, path: str, table: HeartbeatTable) -> ExpectedHeartbeat:
        heartbeat, faults = build_heartbeat(table)
        self._report(faults, below=path)
        return heartbeat

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
                setting = "key" if isinstance(table, HeartbeatTable) else "name"
                self._fault(f"{path}.{setting}", f"{table.name!r} is defined twice")
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

    def _not_offered(self, name: str, known: Iterable[str], kind: str) -> str:
        return not_offered(name, known, kind, self._plugins)
