"""The provider: a service that plugins connect to, and one connected account of it."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import attrs

from hostspec.errors import Fault
from hostspec.secret import SecretUnavailableError
from hostspec.settings import secrets
from hostspec.structuring import structure

if TYPE_CHECKING:
    from hostspec.connect.destination_table import DestinationTable
    from hostspec.connect.discovery import Discovery
    from hostspec.connect.install_flow import InstallFlow
    from hostspec.demo import Demo

S = TypeVar("S")
"""An attrs class of settings: of an installation in a provider, of an action in an action."""


@attrs.frozen
class Installation(Generic[S]):
    """One connected account of a provider, with its settings.

    Attributes:
        provider: the provider's name.
        name: its own name, unique in a host.
        settings: an instance of the provider's ``settings`` class.
    """

    provider: str
    name: str
    settings: S


@attrs.frozen
class Destination:
    """Where things go inside an installation (for PagerDuty: a service).

    Attributes:
        id: names it for good, even when it is renamed.
        name: what people call it.
        url: where a person looks at it at the provider; empty where that is not known.
    """

    id: str
    name: str
    url: str = ""


class Provider(abc.ABC, Generic[S]):
    """A service a plugin connects to. Registered with ``hostspec_providers``.

    Class attributes:
        name: unique among all plugins; lower case.
        label: what people call it.
        settings: the attrs class of an installation's settings (`hostspec.settings`).
    """

    name: ClassVar[str]
    label: ClassVar[str]
    settings: type[S]

    @abc.abstractmethod
    def destinations(self, installation: Installation[S]) -> Sequence[Destination]:
        """Say where things can go inside this installation; no I/O."""

    def installation(self, name: str, raw: object) -> Installation[S]:
        """Make an installation of what a file, a form, a program or a store gave.

        Raises:
            SettingsError: with every fault of the settings.
        """
        return Installation(self.name, name, structure(self.settings, raw))

    def check(self, installation: Installation[S]) -> Sequence[Fault]:
        """Describe what stands in the way of sending through this installation now.

        Reads every secret once, so that a missing one is found by day; sends nothing.
        """
        faults = []
        for path, secret in secrets(installation.settings):
            try:
                secret.reveal()
            except SecretUnavailableError as error:
                faults.append(Fault(path, str(error)))
        return faults

    def notes(self, installations: Sequence[Installation[S]]) -> Sequence[str]:  # noqa: ARG002
        """Describe what a person should know of several installations together, a sentence each.

        What concerns one alone is for `check`. Secrets may be read; sends nothing.

        Args:
            installations: all that a host has of this provider.
        """
        return ()

    def table(self) -> DestinationTable[S] | None:
        """Offer to edit the destinations of an installation; None where there are none to edit."""
        return None

    def install_flow(self) -> InstallFlow[Any, S] | None:
        """Offer to connect an account in a browser; None where it is done by hand."""
        return None

    def discovery(self) -> Discovery[Any, S] | None:
        """Offer to connect an account by asking for what it holds; None where that cannot be."""
        return None

    def demo(self) -> Demo | None:
        """Offer a stand-in of the service to show people how it works; None for none."""
        return None
