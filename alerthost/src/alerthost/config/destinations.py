"""Asks a provider where things can go inside an installation, whatever it answers."""

from __future__ import annotations

from typing import Any

from hostspec.errors import describe_error
from hostspec.provider import Destination, Installation, Provider


class NoDestinationsError(Exception):
    """A provider cannot say where things can go; the message says why, without its own words."""


def destinations_of(
    provider: Provider[Any], installation: Installation[Any]
) -> tuple[Destination, ...]:
    """Return where things can go inside an installation.

    Raises:
        NoDestinationsError: the provider raised, or gave something else.
    """
    try:
        given: tuple[object, ...] = tuple(provider.destinations(installation))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 -- a plugin that exits must not end the command
        message = (
            f"the provider {provider.name} cannot say where things go: it {describe_error(error)}"
        )
        raise NoDestinationsError(message) from None
    destinations = tuple(each for each in given if isinstance(each, Destination))
    if len(destinations) < len(given):
        message = f"the provider {provider.name} names what is no destination"
        raise NoDestinationsError(message)
    return destinations
