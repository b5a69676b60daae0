"""The table ``[plugins]``: the enabled plugins, and the settings of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from alerthost.config.document import ConfigFile, absolute_files
from hostspec.errors import Fault
from hostspec.plugins.loading import survey
from hostspec.plugins.registry import Plugins, PluginState
from hostspec.settings import SettingsError, setting
from hostspec.structuring import structure
from hostspec.text import unknown_name


@attrs.frozen(kw_only=True)
class PluginsTable:
    """The table ``[plugins]``."""

    enabled: tuple[str, ...] = setting("Enabled", help="Names of plugins to load.", default=())


def split_table(raw: object) -> tuple[object, Mapping[str, object], list[Fault]]:
    """Split the table ``[plugins]`` into its own settings, and those of each plugin.

    Returns:
        the table's own settings, the plugins' settings by name, and the fault of a plugin's name
        in place of a list.
    """
    if not isinstance(raw, Mapping):
        return raw, {}, []
    tables = {name: each for name, each in raw.items() if isinstance(each, Mapping)}
    own: dict[str, Any] = {name: each for name, each in raw.items() if name not in tables}
    faults = []
    if isinstance(own.get("enabled"), str):
        own["enabled"] = [own["enabled"]]
        remedy = json.dumps(own["enabled"], ensure_ascii=False)
        reason = f"must be a list, not text; use enabled = {remedy}"
        faults = [Fault("plugins.enabled", reason)]
    return own, tables, faults


def load_plugins(source: ConfigFile) -> Plugins:
    """Load the plugins that a file enables, whatever other faults it has.

    Raises:
        ConfigurationError: the table ``[plugins]`` itself has faults.
    """
    raw = absolute_files(source.document.get("plugins", {}), source.folder)
    own, tables, faults = split_table(raw)
    if faults:
        source.refuse(faults)
    try:
        return survey(structure(PluginsTable, own).enabled, settings=tables)
    except SettingsError as error:
        source.refuse(fault.below("plugins") for fault in error.faults)


def plugin_faults(plugins: Plugins) -> Iterator[Fault]:
    """Yield the faults of the enabled plugins, each with its path in the document."""
    for info in plugins.infos:
        if info.faults:
            yield from (fault.below(f"plugins.{info.name}") for fault in info.faults)
        elif info.state is PluginState.FAILED:
            yield Fault("plugins.enabled", f"plugin {info.name!r} {info.reason}")


def not_offered(name: str, known: Iterable[str], kind: str, plugins: Plugins) -> str:
    """Return the error for an unknown provider or action, with a suggestion."""
    known = tuple(known)
    if known:
        return unknown_name(name, known)
    disabled = [info.name for info in plugins.infos if info.state is PluginState.DISABLED]
    installed = f"; installed are {', '.join(disabled)}" if disabled else ""
    return f"no enabled plugin offers the {kind} {name!r}{installed}"
