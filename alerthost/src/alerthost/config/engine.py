"""The engine of a configuration: its rules and accounts, working on its store."""

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
    """Do nothing: commands show these receipts themselves."""


def build(
    source: ConfigFile,
    loaded: Configuration,
    *,
    watch: Watch = _ignore,
    watch_planned: WatchPlanned = _ignore,
    observe: Callable[[str, Receipt], None] = _ignore,
) -> Engine:
    """Make the engine of a configuration; whoever has it closes its ``database``.

    Every installation is given to it, for what was opened through one that no rule names any
    more is followed up as well. Nothing is made, and no thread started, before it is used.

    Args:
        source: names the store.
        loaded: what the engine works by.
        watch: is told of each attempt.
        watch_planned: is called with each planned submission.
        observe: is called with each receipt, and the name of the hook for it.

    Raises:
        ConfigurationError: the table ``[store]`` is wrong.
        StoreError: the database cannot be.
    """
    from alerthost.outbox.engine import Engine  # noqa: PLC0415 -- libraries that take their time
    from alerthost.outbox.maintenance import DAY, Patience  # noqa: PLC0415 -- as above

    database = store.database_of(source)
    return Engine(
        database,
        loaded.plugins,
        loaded.rules,
        installations=loaded.installations,
        patience=Patience(keep=store.table_of(source).keep_days * DAY),
        watch=watch,
        watch_planned=watch_planned,
        observe=observe,
    )


@contextlib.contextmanager
def opened(source: ConfigFile, loaded: Configuration) -> Iterator[Engine]:
    """Make the engine of a configuration for a while; it is neither started nor stopped.

    Raises:
        ConfigurationError: the table ``[store]`` is wrong.
        StoreError: the database cannot be.
    """
    engine = build(source, loaded)
    with engine.database:
        yield engine
