"""The store of a configuration: the table ``[store]``, and the installations in the database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from alerthost.config.document import ConfigFile, absolute_files
from alerthost.store.errors import StoreError
from hostspec.errors import Fault
from hostspec.secret import REFERENCE_FORMS, Secret
from hostspec.settings import SettingsError, setting
from hostspec.structuring import structure

if TYPE_CHECKING:
    from alerthost.store.database import Database
    from alerthost.store.installations import Installations, StoredInstallation

_SQLITE: Final = "sqlite:///"


def reference_fault(secret: Secret) -> str | None:
    """Return the fault of a secret that is not given by reference."""
    if secret.reference is None:
        return f"must not be written here; use a reference: {REFERENCE_FORMS}"
    return None


@attrs.frozen(kw_only=True)
class StoreTable:
    """The table ``[store]``."""

    url: str = setting(
        "URL",
        help="The database: sqlite:///FILE, relative to this file, or postgresql://…",
        default="sqlite:///alerthost.db",
    )
    key: Secret | None = setting(
        "Key",
        help="The key that seals the secrets in the database, by reference; file:PATH is relative "
        "to this file. Create one with the command new-key.",
        default=None,
        check=reference_fault,
    )
    keep_days: int = setting(
        "Kept",
        help="Days for which finished deliveries and resolved incidents are kept.",
        default=30,
        minimum=1,
        maximum=3650,
    )


@attrs.frozen
class Stored:
    """The installations that were read from a store.

    Attributes:
        location: the store's name in messages.
        installations: in the order in which they were added.
    """

    location: str = ""
    installations: tuple[StoredInstallation, ...] = ()

    def locate(self, fault: Fault, index: int) -> Fault:
        """Return a fault of an installation with its location."""
        location = f"{self.location}: installation {self.installations[index].name!r}"
        return Fault(f"{location}: {fault.path}" if fault.path else location, fault.reason)


@attrs.frozen
class Store:
    """An open store.

    Attributes:
        location: its name in messages.
        key: that seals secrets, by reference; None if the table has no key.
        installations: reads and changes them.
    """

    location: str
    key: Secret | None
    installations: Installations

    def read(self) -> Stored:
        """Read the installations.

        Raises:
            StoreError: the store cannot be read.
        """
        return Stored(self.location, self.installations.all())


def database_of(source: ConfigFile) -> Database:
    """Return the database of a file; it is created by the first write.

    Raises:
        ConfigurationError: the table has faults.
        StoreError: the URL is not supported.
    """
    from alerthost.store.database import Database  # noqa: PLC0415 -- slow imports

    return Database(table_of(source).url, source.folder)


def table_of(source: ConfigFile) -> StoreTable:
    """Return the table.

    Raises:
        ConfigurationError: it has faults.
    """
    try:
        return structure(StoreTable, source.document.get("store", {}))
    except SettingsError as error:
        source.refuse(fault.below("store") for fault in error.faults)


@contextlib.contextmanager
def open_store(source: ConfigFile) -> Iterator[Store]:
    """Open the store of a file; it is created by the first write.

    Raises:
        ConfigurationError: the table has faults.
        StoreError: the database cannot be used.
    """
    table = table_of(source)
    from alerthost.store.installations import Installations  # noqa: PLC0415 -- slow imports

    key = absolute_files(table.key, source.folder)
    with database_of(source) as database:
        name = table.url if database.file else database.name
        yield Store(f"store {name}", key, Installations(database, key))


def read(source: ConfigFile) -> Stored:
    """Read the installations of the store; none if it does not exist, or its table has faults.

    Raises:
        ConfigurationError: the store cannot be read.
    """
    try:
        table = structure(StoreTable, source.document.get("store", {}))
    except SettingsError:
        return Stored()  # `build` reports the faults
    file = table.url.removeprefix(_SQLITE)
    if file != table.url and file and not (source.folder / file).exists():
        return Stored()  # without the slow imports
    try:
        with open_store(source) as store:
            return store.read()
    except StoreError as error:
        source.refuse([Fault("store", str(error))])


def names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of all installations of a document, including faulty ones."""
    entries = document.get("installations")
    listed = entries if isinstance(entries, list) else []
    named = (entry.get("name") for entry in listed if isinstance(entry, Mapping))
    return tuple(name for name in named if isinstance(name, str))
