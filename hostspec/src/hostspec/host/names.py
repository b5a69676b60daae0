"""What people call the places that deliveries go to: account and service, not ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hostspec.host.destinations import NoDestinationsError, destinations_of
from hostspec.incident import Place
from hostspec.kernel.plugins import Plugins
from hostspec.provider import Installation


class Names:
    """Names places as they are called now.

    Args:
        plugins: whose providers know the names.
        installations: the accounts.
    """

    def __init__(self, plugins: Plugins, installations: Iterable[Installation[Any]]) -> None:
        self._plugins = plugins
        self._installations = {each.name: each for each in installations}
        self._services: dict[str, Mapping[str, str]] = {}

    def of(self, place: Place) -> str:
        """Give account and service of a place; the service's id where nobody knows its name."""
        service = self._below(place.installation).get(place.destination, place.destination)
        return f"{place.installation}/{service}"

    def _below(self, name: str) -> Mapping[str, str]:
        if name not in self._services:
            self._services[name] = self._ask(name)
        return self._services[name]

    def _ask(self, name: str) -> Mapping[str, str]:
        installation = self._installations.get(name)
        if installation is None:
            return {}
        provider = self._plugins.providers[installation.provider]
        try:
            destinations = destinations_of(provider, installation)
        except NoDestinationsError:
            return {}  # a name is not worth a page
        return {each.id: each.name for each in destinations}
