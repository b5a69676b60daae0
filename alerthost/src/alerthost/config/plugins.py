"""The plugins that a configuration enables, and the destinations that their providers list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import attrs

from alerthost.config.document import ConfigFile
from alerthost.config.partial_settings import read_partially
from alerthost.config.tables import PluginsTable
from hostspec.action import AnyAction
from hostspec.delivery import IncidentRef
from hostspec.errors import Fault, describe_error
from hostspec.plugins.loading import survey
from hostspec.plugins.registry import Plugins, PluginState
from hostspec.provider import Destination, Installation, Provider
from hostspec.text import unknown_name

if TYPE_CHECKING:
    from alerthost.config.configuration import Configuration


class NoDestinationsError(Exception):
    """A provider cannot list its destinations; the message has none of the plugin's own words."""


def load_plugins(source: ConfigFile) -> Plugins:
    """Load the plugins that a file enables, whatever other faults it has.

    Raises:
        ConfigurationError: the table ``[plugins]`` itself has faults.
    """
    plugins, faults = survey_plugins(source.document.get("plugins", {}))
    if faults:
        source.refuse(faults)
    return plugins


def survey_plugins(raw: object) -> tuple[Plugins, list[Fault]]:
    """Load the plugins of a table ``[plugins]``; return them, and the faults of the table itself.

    The table has the names of the enabled plugins, and a table of settings for each.
    """
    own, tables, faults = raw, dict[str, object](), list[Fault]()
    if isinstance(raw, Mapping):
        tables = {name: each for name, each in raw.items() if isinstance(each, Mapping)}
        own = {name: each for name, each in raw.items() if name not in tables}
        if isinstance(raw.get("enabled"), str):
            own["enabled"] = [raw["enabled"]]
            remedy = json.dumps(own["enabled"], ensure_ascii=False)
            reason = f"must be a list, not text; use enabled = {remedy}"
            faults = [Fault("enabled", reason)]
    table, unreadable = read_partially(PluginsTable, own)
    plugins = survey(table.enabled, settings=tables) if table else survey(())
    return plugins, [fault.below("plugins") for fault in (*unreadable, *faults)]


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


def destinations_of(
    provider: Provider[Any], installation: Installation[Any]
) -> tuple[Destination, ...]:
    """Return the destinations of an installation.

    Raises:
        NoDestinationsError: the provider raised, or returned anything else.
    """
    try:
        returned: tuple[object, ...] = tuple(provider.destinations(installation))
    except BaseException as error:  # noqa: BLE001 -- a plugin that exits must not end the command
        reason = describe_error(error)
        message = f"provider {provider.name} cannot list its destinations: it {reason}"
        raise NoDestinationsError(message) from None
    destinations = tuple(each for each in returned if isinstance(each, Destination))
    if len(destinations) < len(returned):
        message = f"provider {provider.name} lists an object that is not a Destination"
        raise NoDestinationsError(message)
    return destinations


def action_for(
    plugins: Plugins, installation: Installation[Any], destination: Destination
) -> tuple[AnyAction, Any] | None:
    """Return an action with settings for one destination alone, one that resolves if possible.

    None if no action can be limited to one destination.
    """
    found = [
        (action, settings)
        for _, action in sorted(plugins.actions.items())
        if action.provider == installation.provider
        and (settings := action.settings_for(destination)) is not None
    ]
    return max(found, key=lambda each: each[0].capabilities.resolve, default=None)


@attrs.frozen
class LaneNames:
    """Readable names of lanes, which are of an installation and a destination.

    Attributes:
        providers: by installation.
        names: of destinations, by installation and id.
        links: to destinations, likewise.
    """

    providers: Mapping[str, str] = attrs.field(factory=dict)
    names: Mapping[tuple[str, str], str] = attrs.field(factory=dict)
    links: Mapping[tuple[str, str], str] = attrs.field(factory=dict)

    @classmethod
    def of(cls, configuration: Configuration) -> Self:
        """Build the names of a configuration's lanes."""
        providers = {each.name: each.provider for each in configuration.installations}
        names: dict[tuple[str, str], str] = {}
        links: dict[tuple[str, str], str] = {}
        for installation in configuration.installations:
            provider = configuration.plugins.providers[installation.provider]
            try:
                found = destinations_of(provider, installation)
            except NoDestinationsError:
                continue
            names |= {(installation.name, each.id): each.name for each in found}
            links |= {(installation.name, each.id): each.url for each in found if each.url}
        return cls(providers, names, links)

    def provider_of(self, ref: IncidentRef) -> str:
        """Return the provider; empty if the installation is gone."""
        return self.providers.get(ref.installation, "")

    def name_of(self, ref: IncidentRef) -> str:
        """Return ``installation/destination`` with the destination's current name, else its id."""
        name = self.names.get((ref.installation, ref.destination), ref.destination)
        return f"{ref.installation}/{name}"

    def link_of(self, ref: IncidentRef) -> str:
        """Return the destination's web page; empty if none is known."""
        return self.links.get((ref.installation, ref.destination), "")
