"""What people call the lanes of a configuration: account and service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import attrs

from hostspec.host.configuration import Configuration
from hostspec.host.destinations import NoDestinationsError, destinations_of
from hostspec.incident import Place


@attrs.frozen
class Lanes:
    """The names of lanes; one that is not known any more goes by what it was.

    Attributes:
        providers: by installation.
        names: of destinations, by installation and id.
    """

    providers: Mapping[str, str] = attrs.field(factory=dict)
    names: Mapping[tuple[str, str], str] = attrs.field(factory=dict)

    @classmethod
    def of(cls, configuration: Configuration) -> Self:
        """Learn the names that a configuration has."""
        providers = {each.name: each.provider for each in configuration.installations}
        names: dict[tuple[str, str], str] = {}
        for installation in configuration.installations:
            provider = configuration.plugins.providers[installation.provider]
            try:
                found = destinations_of(provider, installation)
            except NoDestinationsError:
                continue
            names |= {(installation.name, each.id): each.name for each in found}
        return cls(providers, names)

    def provider_of(self, place: Place) -> str:
        """Give the provider; nothing where the installation is gone."""
        return self.providers.get(place.installation, "")

    def name_of(self, place: Place) -> str:
        """Give ``installation/destination``, as the destination is called now."""
        known = self.names.get((place.installation, place.destination), place.destination)
        return f"{place.installation}/{known}"
