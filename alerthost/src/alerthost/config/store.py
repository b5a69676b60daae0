"""The store of a configuration: where it is, and the installations that are in it."""

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

_DEFAULT_URL: Final = "sqlite:///alerthost.db"
_SQLITE: Final = "sqlite:///"


def reference_fault(key: Secret) -> str | None:
    """Refuse a secret that is given as itself where only references have a place."""
    if key.reference is None:
        return f"is not written down here; give a reference: {REFERENCE_FORMS}"
    return None


@attrs.frozen(kw_only=True)
class StoreTable:
    """The table ``[store]``."""

    url: str = setting(
        "URL",
        help="The database: sqlite:///FILE, relative to this file, or postgresql://…",
        default=_DEFAULT_URL,
    )
    key: Secret | None = setting(
        "Key",
        help="Seals the secrets in the database, by reference; file:PATH is relative to this "
        "file. The command new-key makes one.",
        default=None,
        check=reference_fault,
    )
    keep_days: int = setting(
        "Kept",
        help="Days for which what was delivered, given up or resolved is kept.",
        default=30,
        minimum=1,
        maximum=3650,
    )


@attrs.frozen
class Stored:
    """The installations in a store, as they were read.

    Attributes:
        place: the store, as people call it.
        installations: in the order in which they were added.
    """

    place: str = ""
    installations: tuple[StoredInstallation, ...] = ()

    def placed(self, fault: Fault, index: int) -> Fault:
        """Tell a fault of one of them with its place."""
        place = f"{self.place}: installation {self.installations[index].name!r}"
        return Fault(f"{place}: {fault.path}" if fault.path else place, fault.reason)


@attrs.frozen
class Store:
    """A store that is open.

    Attributes:
        place: as people call it.
        key: where the key is; None for none.
        installations: reads and changes them.
    """

    place: str
    key: Secret | None
    installations: Installations

    def read(self) -> Stored:
        """Read the installations.

        Raises:
            StoreError: it cannot be read.
        """
        return Stored(self.place, self.installations.all())


def database_of(source: ConfigFile) -> Database:
    """Return the database that a file names; nothing is made before something is written.

    Raises:
        ConfigurationError: the table is wrong.
        StoreError: the database cannot be.
    """
    from alerthost.store.database import Database  # noqa: PLC0415 -- libraries that take their time

    return Database(table_of(source).url, source.folder)


def table_of(source: ConfigFile) -> StoreTable:
    """Read the table.

    Raises:
        ConfigurationError: it is wrong.
    """
    try:
        return structure(StoreTable, source.document.get("store", {}))
    except SettingsError as error:
        source.refuse(fault.below("store") for fault in error.faults)


@contextlib.contextmanager
def opened(source: ConfigFile) -> Iterator[Store]:
    """Open the store that a file names; nothing is made before something is written.

    Raises:
        ConfigurationError: the table is wrong.
        StoreError: the database cannot be used.
    """
    table = table_of(source)
    from alerthost.store.installations import Installations  # noqa: PLC0415 -- as above

    key = absolute_files(table.key, source.folder)
    with database_of(source) as database:
        place = table.url if database.file else database.name
        yield Store(f"store {place}", key, Installations(database, key))


def read(source: ConfigFile) -> Stored:
    """Read the installations in the store that a file names; none where there is no store yet.

    A faulty table is none as well, for whoever reads the rest of the file tells its faults.

    Raises:
        ConfigurationError: the store cannot be read.
    """
    try:
        table = structure(StoreTable, source.document.get("store", {}))
    except SettingsError:
        return Stored()
    file = table.url.removeprefix(_SQLITE)
    if file != table.url and file and not (source.folder / file).exists():
        return Stored()  # without the libraries, for most have no store
    try:
        with opened(source) as store:
            return store.read()
    except StoreError as error:
        source.refuse([Fault("store", str(error))])


def names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of all installations a document declares, those with faults too."""
    entries = document.get("installations")
    listed = entries if isinstance(entries, list) else []
    named = (entry.get("name") for entry in listed if isinstance(entry, Mapping))
    return tuple(name for name in named if isinstance(name, str))
