"""What people call the lanes of a configuration: account and service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import attrs

from alerthost.config.configuration import Configuration
from alerthost.config.destinations import NoDestinationsError, destinations_of
from hostspec.delivery import IncidentRef


@attrs.frozen
class Lanes:
    """The names of lanes; one that is not known any more goes by what it was.

    Attributes:
        providers: by installation.
        names: of destinations, by installation and id.
        links: to destinations that a person can look at, likewise.
    """

    providers: Mapping[str, str] = attrs.field(factory=dict)
    names: Mapping[tuple[str, str], str] = attrs.field(factory=dict)
    links: Mapping[tuple[str, str], str] = attrs.field(factory=dict)

    @classmethod
    def of(cls, configuration: Configuration) -> Self:
        """Learn the names that a configuration has."""
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
        """Return the provider; nothing where the installation is gone."""
        return self.providers.get(ref.installation, "")

    def name_of(self, ref: IncidentRef) -> str:
        """Return ``installation/destination``, as the destination is called now."""
        known = self.names.get((ref.installation, ref.destination), ref.destination)
        return f"{ref.installation}/{known}"

    def link_of(self, ref: IncidentRef) -> str:
        """Return where a person sees what is open there; nothing where nobody knows."""
        return self.links.get((ref.installation, ref.destination), "")
