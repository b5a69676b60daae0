"""The destinations of a configuration: what providers list, and the names of lanes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import attrs

from hostspec.delivery import IncidentRef
from hostspec.errors import describe_error
from hostspec.provider import Destination, Installation, Provider

if TYPE_CHECKING:
    from alerthost.config.configuration import Configuration


class NoDestinationsError(Exception):
    """A provider cannot list its destinations; the message has none of the plugin's own words."""


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


@attrs.frozen
class LaneNames:
    """Readable names of lanes: installation and destination.

    Attributes:
        providers: by installation.
        names: of destinations, by installation and id.
        links: to destinations, likewise; only those that have one.
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
