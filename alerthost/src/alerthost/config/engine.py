"""The engine of a configuration: its rules and installations, with its store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from alerthost.config import store
from alerthost.config.configuration import Configuration
from alerthost.config.document import ConfigFile

if TYPE_CHECKING:
    from alerthost.outbox.dispatcher import Watch
    from alerthost.outbox.engine import Engine
    from alerthost.outbox.planner import WatchPlanned
    from hostspec.delivery import Receipt


def _ignore(*_: object) -> None:
    pass


def build_engine(
    source: ConfigFile,
    loaded: Configuration,
    *,
    watch: Watch = _ignore,
    watch_planned: WatchPlanned = _ignore,
    observe: Callable[[str, Receipt], None] = _ignore,
) -> Engine:
    """Build the engine of a configuration; the caller closes its ``database``.

    It gets all installations, as it follows up incidents of installations that no rule names any
    more. Building it starts no thread and creates no file.

    Args:
        source: names the store.
        loaded: the configuration.
        watch: called with each attempt.
        watch_planned: called with each planned submission.
        observe: called with each receipt, and the name of the hook for it.

    Raises:
        ConfigurationError: the table ``[store]`` has faults.
        StoreError: the URL of the database is not supported.
    """
    from alerthost.outbox.engine import Engine  # noqa: PLC0415 -- slow imports
    from alerthost.outbox.maintenance import DAY, Patience  # noqa: PLC0415 -- slow imports

    return Engine(
        store.database_of(source),
        loaded.plugins,
        loaded.rules,
        installations=loaded.installations,
        patience=Patience(keep=store.table_of(source).keep_days * DAY),
        watch=watch,
        watch_planned=watch_planned,
        observe=observe,
    )


@contextlib.contextmanager
def open_engine(source: ConfigFile, loaded: Configuration) -> Iterator[Engine]:
    """Build the engine of a configuration and close its database at the end; it is not started.

    Raises:
        ConfigurationError: the table ``[store]`` has faults.
        StoreError: the URL of the database is not supported.
    """
    engine = build_engine(source, loaded)
    with engine.database:
        yield engine
