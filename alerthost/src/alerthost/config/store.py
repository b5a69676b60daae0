"""The store of a configuration: its database, its contents, and the engine on it.

The functions raise ConfigurationError if the table ``[store]`` has faults, and StoreError if the
database is not supported or fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from alerthost.config.document import ConfigFile, ConfigurationError, absolute_files
from alerthost.config.tables import DeliveryTable, StoreTable
from alerthost.store.errors import StoreError
from hostspec.errors import Fault
from hostspec.secret import Secret

if TYPE_CHECKING:
    from alerthost.config.configuration import Configuration
    from alerthost.outbox.dispatcher import Watch
    from alerthost.outbox.engine import Engine
    from alerthost.outbox.planner import WatchPlanned
    from alerthost.store.database import Database
    from alerthost.store.installations import Installations, StoredInstallation
    from alerthost.store.pending_installs import PendingInstallStore
    from alerthost.store.revision import Revision
    from alerthost.store.rules import Rules, StoredRule
    from hostspec.delivery import Receipt

_SQLITE: Final = "sqlite:///"


def locate(location: str, name: str, fault: Fault) -> Fault:
    """Return a fault of an installation with its location."""
    return Fault(f"{location}: installation {name!r}: {fault.path}", fault.reason)


@attrs.frozen
class Stored:
    """The contents of a store that belong to the configuration.

    Attributes:
        location: the store's name in messages.
        installations: in the order in which they were added.
        rules: in their order, also those that are switched off.
    """

    location: str = ""
    installations: tuple[StoredInstallation, ...] = ()
    rules: tuple[StoredRule, ...] = ()

    @property
    def revision(self) -> Revision:
        """The revision of the store when it was read, as `read_revision` returns it."""
        return tuple(
            tuple(sorted((each.id, each.version) for each in rows))
            for rows in (self.installations, self.rules)
        )


@attrs.frozen
class Store:
    """An open store.

    Attributes:
        location: its name in messages.
        key: that seals secrets, by reference; None if the table has no key.
        installations: reads and changes them.
        rules: likewise.
        pending: the install flows that began.
        folder: that references to files start from.
        database: that it is in.
    """

    location: str
    key: Secret | None
    installations: Installations
    rules: Rules
    pending: PendingInstallStore
    folder: Path
    database: Database

    def read(self) -> Stored:
        """Read the installations and rules."""
        stored = (
            attrs.evolve(each, settings=absolute_files(each.settings, self.folder))
            for each in self.installations.all()
        )
        return Stored(self.location, tuple(stored), self.rules.all())


def database_of(source: ConfigFile) -> Database:
    """Return the database of a file; it is created by the first write."""
    from alerthost.store.database import Database  # noqa: PLC0415 -- slow imports

    return Database(source.table("store", StoreTable).url, source.folder)


@contextlib.contextmanager
def open_store(source: ConfigFile) -> Iterator[Store]:
    """Open the store of a file; it is created by the first write."""
    table = source.table("store", StoreTable)
    from alerthost.store.installations import Installations  # noqa: PLC0415 -- slow imports
    from alerthost.store.pending_installs import PendingInstallStore  # noqa: PLC0415 -- likewise
    from alerthost.store.rules import Rules  # noqa: PLC0415 -- likewise

    with database_of(source) as database:
        name = table.url if database.file else database.name
        installations = Installations(database, table.key)
        pending = PendingInstallStore(database)
        rules = Rules(database)
        yield Store(
            f"store {name}", table.key, installations, rules, pending, source.folder, database
        )


def read(source: ConfigFile) -> Stored:
    """Read the contents of the store; none if it does not exist, or its table has faults.

    All errors are ConfigurationErrors.
    """
    try:
        url = source.table("store", StoreTable).url
    except ConfigurationError:
        return Stored()  # `configuration.build` reports the faults
    file = url.removeprefix(_SQLITE)
    if file != url and file and not (source.folder / file).exists():
        return Stored()  # without the slow imports
    try:
        with open_store(source) as store:
            return store.read()
    except StoreError as error:
        source.refuse([Fault("store", str(error))])


def _ignore(*_: object) -> None:
    pass


def build_engine(
    source: ConfigFile,
    loaded: Configuration,
    *,
    watch: Watch | None = _ignore,
    watch_planned: WatchPlanned | None = _ignore,
    observe: Callable[[str, Receipt], None] | None = _ignore,
) -> Engine:
    """Build the engine of a configuration; the caller closes its ``database``.

    It gets all installations, as it follows up incidents of installations that no rule names any
    more. Building it starts no thread and creates no file. The callbacks are those of `Engine`.
    """
    from alerthost.outbox.clock_watch import DAY  # noqa: PLC0415 -- slow imports
    from alerthost.outbox.engine import Engine  # noqa: PLC0415 -- slow imports
    from alerthost.outbox.maintenance import Patience  # noqa: PLC0415 -- slow imports

    return Engine(
        database_of(source),
        loaded.plugins,
        loaded.rules,
        installations=loaded.installations,
        workers=source.table("delivery", DeliveryTable).workers,
        patience=Patience(keep=source.table("store", StoreTable).keep_days * DAY),
        watch=watch,
        watch_planned=watch_planned,
        observe=observe,
        heartbeats=loaded.heartbeats,
    )


@contextlib.contextmanager
def open_engine(source: ConfigFile, loaded: Configuration) -> Iterator[Engine]:
    """Build the engine of a configuration and close its database at the end; it is not started."""
    engine = build_engine(source, loaded)
    with engine.database:
        yield engine
