"""Opens a configuration file for a program that embeds the in-process host, or the engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from alerthost.config import configuration
from alerthost.config.document import ConfigFile, ConfigurationError
from alerthost.config.store import build_engine
from hostspec.errors import Fault
from hostspec.plugins import Rule
from hostspec.plugins.registry import Plugins

if TYPE_CHECKING:
    from alerthost.outbox.engine import Engine

_log = logging.getLogger("hostspec")

_OF_THE_ENGINE: Final = ("store", "delivery", "heartbeats")
_OF_THE_SERVER: Final = ("http", "spool")


def read_rules(path: Path) -> tuple[Plugins, Sequence[Rule]]:
    """Return the plugins and rules of a file, for the in-process host; its store is not read.

    Raises:
        ConfigurationError: with all faults.
    """
    source = _without(ConfigFile.read(path), _OF_THE_ENGINE + _OF_THE_SERVER)
    try:
        loaded = configuration.build(source, ready=True, needs_rule=True)
    except ConfigurationError as error:
        faults = error.faults
        if any(fault.path.endswith("].installation") for fault in faults):
            reason = "accounts of the store are not read here; alerthost.open reads them"
            faults = (*faults, Fault(str(path), reason))
        raise ConfigurationError(faults) from None
    return loaded.plugins, loaded.rules


def open_engine(path: Path, *, works: bool) -> Engine:
    """Return the engine of a file and its store; see `alerthost.open`."""
    source = _without(ConfigFile.read(path), _OF_THE_SERVER)
    loaded = configuration.load(source, ready=works)
    for fault in loaded.rule_faults():
        _log.error("%s", fault)
    return build_engine(source, loaded, watch=None, watch_planned=None, observe=None)


def _without(source: ConfigFile, tables: Sequence[str]) -> ConfigFile:
    document = {name: each for name, each in source.document.items() if name not in tables}
    return attrs.evolve(source, document=document)
