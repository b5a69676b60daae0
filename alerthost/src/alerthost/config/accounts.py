"""The accounts at hand: the installations of the file and of the store, and changes of the latter.

A change is judged before it is stored, and stored whole or not at all. What somebody else changes
meanwhile is kept: the change is made again upon what is there then.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs

from alerthost.config import configuration
from alerthost.config.document import ConfigFile, ConfigurationError, absolute_files, refuse
from alerthost.config.store import Store, Stored, opened
from alerthost.store.errors import StoreError
from alerthost.store.sealing import GET_A_KEY, Sealed, seal
from hostspec.connect.install_flow import Connected
from hostspec.errors import Fault, FaultsError
from hostspec.plugins.registry import Plugins
from hostspec.provider import Installation, Provider
from hostspec.secret import REFERENCE_FORMS, Secret
from hostspec.settings import SettingsError, secrets
from hostspec.text import unknown_name

if TYPE_CHECKING:
    from alerthost.store.installations import StoredInstallation

Change: TypeAlias = Callable[[Any], Any]
"""Makes new settings of an installation's settings, or raises FaultsError."""


@attrs.frozen
class Account:
    """An installation, wherever it is.

    Attributes:
        name: of the installation.
        provider: the provider's name.
        place: where it is, as people call it.
        installation: None where it has faults.
        faults: of its settings, or that nobody offers its provider.
        stored: as the store has it; None for one that the file declares.
    """

    name: str
    provider: str
    place: str
    installation: Installation[Any] | None
    faults: tuple[Fault, ...] = ()
    stored: StoredInstallation | None = None

    @property
    def complaints(self) -> tuple[Fault, ...]:
        """The faults, with their place."""
        where = f"{self.place}: installation {self.name!r}"
        return tuple(Fault(f"{where}: {fault.path}", fault.reason) for fault in self.faults)


@attrs.frozen
class Consequences:
    """What a change does to the rules.

    Attributes:
        wrong: the faults that the configuration would have, with their places.
        different: what rules would do that do something else then.
    """

    wrong: tuple[str, ...]
    different: tuple[str, ...]


class Accounts:
    """The accounts of a configuration, whatever is wrong with its rules.

    Args:
        source: the file.
        store: its store, open.

    Raises:
        ConfigurationError: an enabled plugin cannot be used.
    """

    def __init__(self, source: ConfigFile, store: Store) -> None:
        self.source = source
        self.store = store
        self.plugins = _plugins(source)

    def all(self) -> tuple[Account, ...]:
        """Return them, those of the file first.

        Raises:
            StoreError: the store cannot be read.
        """
        return (*self._declared(), *map(self._stored, self.store.read().installations))

    def installations(self) -> tuple[Installation[Any], ...]:
        """Return the installations that have no faults."""
        return tuple(each.installation for each in self.all() if each.installation)

    def find(self, name: str) -> Account:
        """Find an account.

        Raises:
            ConfigurationError: there is none of that name.
        """
        found = {account.name: account for account in self.all()}
        if name not in found:
            refuse("", f"the account {unknown_name(name, found)}")
        return found[name]

    def usable(self, name: str) -> tuple[Account, Installation[Any]]:
        """Find an account, and its installation.

        Raises:
            ConfigurationError: there is none of that name, or it has faults.
        """
        account = self.find(name)
        if account.installation is None:
            raise ConfigurationError(account.complaints)
        return account, account.installation

    def stored(self, name: str) -> StoredInstallation:
        """Find an account that can be changed here: one in the store.

        Raises:
            ConfigurationError: there is none of that name, or the file declares it.
        """
        account = self.find(name)
        if account.stored is None:
            reason = f"the account {name!r} is declared in {account.place}; edit it there"
            refuse("", reason)
        return account.stored

    def provider(self, name: str) -> Provider[Any]:
        """Find a provider.

        Raises:
            ConfigurationError: no enabled plugin offers it.
        """
        if name not in self.plugins.providers:
            refuse("", self._unknown_provider(name))
        return self.plugins.providers[name]

    def name_fault(self, name: str) -> str | None:
        """Describe why a new account cannot have a name."""
        if fault := configuration.account_name_fault(name):
            return f"the name {fault}"
        taken = next((account for account in self.all() if account.name == name), None)
        if taken is None:
            return None
        return (
            f"there is an account {name!r} already ({taken.place}); give this one another name, "
            f"or see `alerthost services {name}` and `alerthost disconnect {name}`"
        )

    def judge(
        self, provider: str, name: str, raw: object, *, before: Installation[Any] | None = None
    ) -> Sequence[Fault]:
        """Describe what is wrong with the settings of an installation that would be stored.

        Args:
            provider: the provider's name.
            name: of the installation.
            raw: the settings, or as a file would hold them.
            before: what was wrong with this one does not count.
        """
        offered = self.plugins.providers[provider]
        try:
            installation = offered.installation(name, absolute_files(raw, self.source.folder))
        except SettingsError as error:
            return error.faults
        faults = list(offered.check(installation))
        if before:
            faults = _beyond(faults, offered.check(before))
        if self.store.key is None:
            faults += _unsealed(installation.settings)
        return faults

    def add(self, installation: Installation[Any]) -> None:
        """Store a new installation.

        Raises:
            ConfigurationError: something is wrong with it, or its name is taken.
            StoreError: it cannot be stored.
        """
        if fault := self.name_fault(installation.name):
            refuse("", fault)
        self._refuse(self.judge(installation.provider, installation.name, installation.settings))
        self.store.installations.add(installation)

    def connect(self, make: Callable[[], Connected[Any]], name: str = "") -> Connected[Any]:
        """Store an account that was connected: a new one, or more of one that is there.

        Args:
            make: connects it, beside what is there then; called again, as in `change`.
            name: for a new one; empty for the one that the provider gives.

        Returns:
            what was stored.

        Raises:
            ConfigurationError: something is wrong with it, or the file declares it.
            StoreError: it cannot be stored.
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
                self.stored(installation.name)  # which says where it is declared
            self._refuse(
                self.judge(installation.provider, installation.name, installation.settings)
            )
            if self._replaced(before[installation.name], installation):
                return connected

    def check_key(self) -> None:
        """See that secrets can be sealed, before somebody goes to fetch some.

        Raises:
            StoreError: they cannot.
        """
        seal(Secret("to see that it can be"), self.store.key, "")

    def changed(self, name: str, change: Change) -> Installation[Any]:
        """Return an account as a change would leave it; stores nothing.

        Raises:
            ConfigurationError: the change will not do.
        """
        _, before = self.usable(name)
        try:
            settings = change(before.settings)
        except FaultsError as error:
            raise ConfigurationError(error.faults) from None
        self._refuse(self.judge(before.provider, name, settings, before=before))
        return attrs.evolve(before, settings=settings)

    def change(self, name: str, change: Change) -> None:
        """Change an account in the store; again, upon what somebody else stored meanwhile.

        Raises:
            ConfigurationError: the change will not do, or the file declares the account.
            StoreError: it cannot be stored.
        """
        self.put(name, lambda: self.changed(name, change))

    def put(self, name: str, make: Callable[[], Installation[Any]]) -> None:
        """Put what `make` gives in an account's place; `make` is called again, as in `change`.

        Raises:
            ConfigurationError: the file declares the account.
            StoreError: it cannot be stored.
        """
        while True:
            before = self.stored(name)  # then what `make` reads is as new, or newer
            if self._replaced(before, make()):
                return

    def _replaced(self, before: StoredInstallation, after: Installation[Any]) -> bool:
        """Put an account in another's place; say whether it was still as it was read."""
        try:
            self.store.installations.replace(before, after)
        except StoreError:
            if self.stored(before.name).version == before.version:
                raise
            return False
        return True

    def consequences(self, name: str, after: Installation[Any] | None) -> Consequences:
        """Describe what a change of one account does to the rules.

        Args:
            name: of the account.
            after: as it would be; None where it would be gone.
        """
        stored = self.store.read()
        kept = [each for each in stored.installations if each.name != name or after]
        changed = [
            attrs.evolve(each, settings=cast("Mapping[str, Any]", after.settings))
            if after and each.name == name
            else each
            for each in kept
        ]
        faults_before, rules_before = self._read(stored)
        faults, rules = self._read(Stored(stored.place, tuple(changed)))
        return Consequences(
            tuple(str(fault) for fault in faults if fault not in faults_before),
            tuple(rule for rule in rules if rules_before and rule not in rules_before),
        )

    def notes(self) -> Sequence[str]:
        """Return what the providers say of their installations together."""
        return configuration.notes(self.plugins, self.installations())

    def _read(self, stored: Stored) -> tuple[list[Fault], list[str]]:
        """Read the configuration with such a store: its faults, or what its rules do."""
        try:
            built = configuration.build(self.source.document, stored)
        except ConfigurationError as error:
            return list(configuration.placed(self.source, stored, error.faults)), []
        return [], [
            f"rule {rule.name!r}: {each.action.describe(each.settings, each.installation)}"
            for rule in built.rules
            for each in rule.actions
        ]

    def _refuse(self, faults: Iterable[Fault]) -> None:
        found = list(faults)
        if found:
            raise ConfigurationError(found)

    def _declared(self) -> Iterable[Account]:
        entries = self.source.document.get("installations")
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            table = entry if isinstance(entry, Mapping) else {}
            name, provider = table.get("name"), table.get("provider")
            if isinstance(name, str) and isinstance(provider, str):
                place = self.source.location_of(f"installations[{index}]")
                yield self._account(name, provider, place, table.get("settings", {}))

    def _stored(self, stored: StoredInstallation) -> Account:
        account = self._account(stored.name, stored.provider, self.store.place, stored.settings)
        if account.installation and (reason := stored.distrust()):
            account = attrs.evolve(account, installation=None, faults=(Fault("settings", reason),))
        return attrs.evolve(account, stored=stored)

    def _account(self, name: str, provider: str, place: str, settings: object) -> Account:
        if provider not in self.plugins.providers:
            fault = Fault("provider", self._unknown_provider(provider))
            return Account(name, provider, place, None, (fault,))
        try:
            here = absolute_files(settings, self.source.folder)
            installation = self.plugins.installation(provider, name, here)
        except SettingsError as error:
            faults = tuple(fault.below("settings") for fault in error.faults)
            return Account(name, provider, place, None, faults)
        return Account(name, provider, place, installation)

    def _unknown_provider(self, name: str) -> str:
        return configuration.not_offered(name, self.plugins.providers, "provider", self.plugins)


@contextlib.contextmanager
def at_hand(path: Path) -> Iterator[Accounts]:
    """Open the accounts of a configuration file.

    Raises:
        ConfigurationError: the file cannot be read, or an enabled plugin cannot be used.
        StoreError: the store cannot be used.
    """
    source = ConfigFile.read(path)
    with opened(source) as store:
        yield Accounts(source, store)


def _plugins(source: ConfigFile) -> Plugins:
    plugins = configuration.plugins_of(source)
    faults = tuple(configuration.plugin_faults(plugins))
    if faults:
        source.refuse(faults)
    return plugins


def _beyond(faults: Iterable[Fault], before: Iterable[Fault]) -> list[Fault]:
    """Leave out the faults that were there before; at another path perhaps, for rows move."""
    known = Counter(fault.reason for fault in before)
    found = list(faults)
    known.subtract(fault.reason for fault in found)
    return [fault for fault in found if known[fault.reason] < 0]


def _unsealed(settings: object) -> Iterable[Fault]:
    for path, secret in secrets(settings):
        if secret.reference is None and not isinstance(secret, Sealed):
            reason = (
                f"a secret is stored only sealed: {GET_A_KEY}; or give the secret by reference "
                f"({REFERENCE_FORMS})"
            )
            yield Fault(path, reason)
