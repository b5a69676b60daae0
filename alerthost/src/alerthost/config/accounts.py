"""The accounts: the installations of the file and of the store, and changes of the stored ones.

A change is validated before it is stored, and stored as a whole or not at all. If another process
changes the account meanwhile, the change is applied again to the new settings.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from alerthost.config.configuration import Configuration, build
from alerthost.config.document import ConfigFile, ConfigurationError, absolute_files, refuse
from alerthost.config.explanation import describe_action
from alerthost.config.plugins import load_plugins, not_offered, plugin_faults
from alerthost.config.store import Store, Stored, locate, open_store
from alerthost.config.tables import account_name_fault
from alerthost.store.errors import StoreError
from alerthost.store.sealing import GET_A_KEY, Sealed, seal
from hostspec.connect import Connected
from hostspec.delivery import Incident
from hostspec.errors import Fault, FaultsError
from hostspec.plugins.isolation import can_follow_up
from hostspec.plugins.registry import Plugins
from hostspec.provider import Installation, Provider
from hostspec.secret import REFERENCE_FORMS, Secret
from hostspec.settings import SettingsError, secrets
from hostspec.text import unknown_name

if TYPE_CHECKING:
    from alerthost.store.installations import StoredInstallation

Change: TypeAlias = Callable[[Any], Any]
"""Returns new settings for the settings of an installation, or raises FaultsError."""


@attrs.frozen
class Account:
    """An installation of the file or the store.

    Attributes:
        location: the file or the store, for messages.
        installation: None if it has faults.
        faults: of its settings, or an unknown provider; with their locations.
        stored: its row in the store; None if the file declares it.
    """

    name: str
    provider: str
    location: str
    installation: Installation[Any] | None
    faults: tuple[Fault, ...] = ()
    stored: StoredInstallation | None = None


def cuts_off(
    plugins: Plugins,
    incident: Incident,
    before: Installation[Any],
    after: Installation[Any] | None,
) -> bool:
    """Check whether an incident can be followed up before a change of its account only.

    The account is removed if `after` is None.
    """
    action = plugins.actions.get(incident.ref.action)
    if action is None or not can_follow_up(action, incident, before):
        return False
    return after is None or not can_follow_up(action, incident, after)


@attrs.frozen
class Consequences:
    """The effect of a change on the rules: new faults, and actions that change."""

    faults: tuple[str, ...]
    changes: tuple[str, ...]


class Accounts:
    """The accounts of a configuration, even if its rules have faults.

    Its methods raise ConfigurationError for a wrong name, change or plugin, and StoreError if the
    store fails.
    """

    def __init__(self, source: ConfigFile, store: Store) -> None:
        self.source = source
        self.store = store
        self.plugins = load_plugins(source)
        if faults := tuple(plugin_faults(self.plugins)):
            source.refuse(faults)

    def all(self) -> tuple[Account, ...]:
        """Return all accounts, those of the file first."""
        return (*self._declared(), *map(self._stored, self.store.read().installations))

    def installations(self) -> tuple[Installation[Any], ...]:
        """Return the installations without faults."""
        return tuple(each.installation for each in self.all() if each.installation)

    def find(self, name: str) -> Account:
        """Return an account."""
        found = {account.name: account for account in self.all()}
        if name not in found:
            refuse("", f"the account {unknown_name(name, found)}")
        return found[name]

    def find_valid(self, name: str) -> Installation[Any]:
        """Return the installation of an account."""
        account = self.find(name)
        if account.installation is None:
            raise ConfigurationError(account.faults)
        return account.installation

    def find_stored(self, name: str) -> StoredInstallation:
        """Return the stored installation of an account, which can be changed here."""
        account = self.find(name)
        if account.stored is None:
            reason = f"the account {name!r} is declared in {account.location}; edit it there"
            refuse("", reason)
        return account.stored

    def provider(self, name: str) -> Provider[Any]:
        """Return a provider."""
        if name not in self.plugins.providers:
            refuse("", self._unknown_provider(name))
        return self.plugins.providers[name]

    def name_fault(self, name: str) -> str | None:
        """Return why a new account cannot have a name; None if it can."""
        if fault := account_name_fault(name):
            return f"the name {fault}"
        taken = next((account for account in self.all() if account.name == name), None)
        if taken is None:
            return None
        return (
            f"account {name!r} already exists ({taken.location}); use another name, "
            f"or see `alerthost services {name}` and `alerthost disconnect {name}`"
        )

    def check(
        self, provider: str, name: str, raw: object, *, before: Installation[Any] | None = None
    ) -> Sequence[Fault]:
        """Return the faults of settings, structured or raw, that would be stored.

        The faults of the installation before a change are not reported again.
        """
        offered = self.plugins.providers[provider]
        try:
            installation = offered.installation(name, absolute_files(raw, self.source.folder))
        except SettingsError as error:
            return error.faults
        faults = list(offered.check(installation))
        if before:
            faults = _new_faults(faults, offered.check(before))
        if self.store.key is None:
            faults += _unsealed_secrets(installation.settings)
        return faults

    def add(self, installation: Installation[Any]) -> None:
        """Store a new installation."""
        if fault := self.name_fault(installation.name):
            refuse("", fault)
        self._require_valid(installation)
        self.store.installations.add(installation)

    def connect(self, make: Callable[[], Connected[Any]], name: str = "") -> Connected[Any]:
        """Store a connected account: a new one, or one that was connected again; return it.

        Args:
            make: connects it, given the current accounts; called again, as in `change`.
            name: for a new account; empty for the provider's name for it.
        """
        while True:
            before = {each.name: each for each in self.store.read().installations}
            connected = make()
            installation = connected.installation
            if not connected.again:
                installation = attrs.evolve(installation, name=name or installation.name)
                self.add(installation)
                return attrs.evolve(connected, installation=installation)
            if installation.name not in before:
                self.find_stored(installation.name)  # raises with the location of the account
            self._require_valid(installation)
            if self._replace(before[installation.name], installation):
                return connected

    def check_key(self) -> None:
        """Check that secrets can be sealed, before the operator creates any."""
        seal(Secret("to see that it can be"), self.store.key, "")

    def changed(self, name: str, change: Change) -> Installation[Any]:
        """Return an account with a change applied, without storing it."""
        before = self.find_valid(name)
        try:
            settings = change(before.settings)
        except FaultsError as error:
            raise ConfigurationError(error.faults) from None
        after = attrs.evolve(before, settings=settings)
        self._require_valid(after, before)
        return after

    def change(self, name: str, change: Change) -> None:
        """Change a stored account; again if another process changed it meanwhile."""
        while True:
            before = self.find_stored(name)  # first: then `changed` reads it or a newer version
            if self._replace(before, self.changed(name, change)):
                return

    def consequences(self, name: str, after: Installation[Any] | None) -> Consequences:
        """Return the effect on the rules if an account is changed, or removed (None)."""
        stored = self.store.read()
        changed = [
            attrs.evolve(each, settings=cast("Mapping[str, Any]", after.settings))
            if after and each.name == name
            else each
            for each in stored.installations
            if each.name != name or after
        ]
        faults_before, rules_before = self._build(stored)
        faults, rules = self._build(attrs.evolve(stored, installations=tuple(changed)))
        return Consequences(
            tuple(fault for fault in faults if fault not in faults_before),
            tuple(rule for rule in rules if rules_before and rule not in rules_before),
        )

    def notes(self) -> Sequence[str]:
        """Return the providers' notes about their installations."""
        return Configuration(self.plugins, self.installations(), ()).notes()

    def _replace(self, before: StoredInstallation, after: Installation[Any]) -> bool:
        """Replace a stored account; return False if another process changed it meanwhile."""
        try:
            self.store.installations.replace(before, after)
        except StoreError:
            if self.find_stored(before.name).version == before.version:
                raise
            return False
        return True

    def _build(self, stored: Stored) -> tuple[Sequence[str], Sequence[str]]:
        """Build the configuration with a store; return its faults, or its rules' actions."""
        try:
            built = build(self.source, stored)
        except ConfigurationError as error:
            return [str(fault) for fault in error.faults], []
        return [str(fault) for fault in built.rule_faults()], [
            f"rule {rule.name!r}: {describe_action(each)}"
            for rule in built.rules
            for each in rule.actions
        ]

    def _require_valid(
        self, installation: Installation[Any], before: Installation[Any] | None = None
    ) -> None:
        provider, settings = installation.provider, installation.settings
        if faults := self.check(provider, installation.name, settings, before=before):
            raise ConfigurationError(faults)

    def _declared(self) -> Iterator[Account]:
        for path, table in self.source.installations:
            if isinstance(provider := table.get("provider"), str):
                location, settings = self.source.location_of(path), table.get("settings", {})
                yield self._account(table["name"], provider, location, settings)

    def _stored(self, stored: StoredInstallation) -> Account:
        found = self._account(stored.name, stored.provider, self.store.location, stored.settings)
        installation, faults = found.installation, found.faults
        if installation and (reason := stored.distrust_reason()):
            installation = None
            faults = (locate(found.location, found.name, Fault("settings", reason)),)
        return attrs.evolve(found, installation=installation, faults=faults, stored=stored)

    def _account(self, name: str, provider: str, location: str, settings: object) -> Account:
        installation, faults = None, [Fault("provider", self._unknown_provider(provider))]
        if provider in self.plugins.providers:
            try:
                installation, faults = self.plugins.installation(provider, name, settings), []
            except SettingsError as error:
                faults = [fault.below("settings") for fault in error.faults]
        located = tuple(locate(location, name, fault) for fault in faults)
        return Account(name, provider, location, installation, located)

    def _unknown_provider(self, name: str) -> str:
        return not_offered(name, self.plugins.providers, "provider", self.plugins)


@contextlib.contextmanager
def open_accounts(path: Path) -> Iterator[Accounts]:
    """Open the accounts of a configuration file; errors are those of `Accounts`."""
    source = ConfigFile.read(path)
    with open_store(source) as store:
        yield Accounts(source, store)


def _new_faults(faults: Iterable[Fault], before: Iterable[Fault]) -> list[Fault]:
    """Return the faults that were not there before, at any path: rows may have moved."""
    known = Counter(fault.reason for fault in before)
    found = list(faults)
    known.subtract(fault.reason for fault in found)
    return [fault for fault in found if known[fault.reason] < 0]


def _unsealed_secrets(settings: object) -> Iterable[Fault]:
    for path, secret in secrets(settings):
        if secret.reference is None and not isinstance(secret, Sealed):
            reason = (
                f"secrets are stored only sealed: {GET_A_KEY}; or give the secret by reference "
                f"({REFERENCE_FORMS})"
            )
            yield Fault(path, reason)
