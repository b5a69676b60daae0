"""The provider: a service that plugins connect to, its accounts and their destinations."""

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
"""The attrs class of an installation's settings."""


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
    """A receiver inside an installation (for PagerDuty: a service).

    Attributes:
        id: its permanent id, which survives a change of its name.
        name: its name, for operators.
        url: its page at the provider; empty if unknown.
    """

    id: str
    name: str
    url: str = ""


class Provider(abc.ABC, Generic[S]):
    """A service that a plugin connects to. Registered with ``hostspec_providers``.

    A simple provider implements `destinations`; everything else has a default.

    Class attributes:
        name: unique among all plugins; lower case.
        label: its name, for operators.
        settings: the attrs class of an installation's settings (`hostspec.settings`).
    """

    name: ClassVar[str]
    label: ClassVar[str]
    settings: type[S]

    @abc.abstractmethod
    def destinations(self, installation: Installation[S]) -> Sequence[Destination]:
        """Return the destinations of an installation; no I/O."""

    def installation(self, name: str, raw: object) -> Installation[S]:
        """Build an installation from plain data: of a file, a form, a program or a store.

        Raises:
            SettingsError: with every fault of the settings.
        """
        return Installation(self.name, name, structure(self.settings, raw))

    def check(self, installation: Installation[S]) -> Sequence[Fault]:
        """Return the faults that prevent sending through this installation now.

        Reads every secret once, so that a missing one is found before an alert; sends nothing.
        """
        faults = []
        for path, secret in secrets(installation.settings):
            try:
                secret.reveal()
            except SecretUnavailableError as error:
                faults.append(Fault(path, str(error)))
        return faults

    def notes(self, installations: Sequence[Installation[S]]) -> Sequence[str]:  # noqa: ARG002
        """Return remarks on several installations together, a sentence each.

        Faults of a single installation belong to `check`. May read secrets; sends nothing.

        Args:
            installations: all installations of this provider.
        """
        return ()

    def table(self) -> DestinationTable[S] | None:
        """Return the editor of an installation's destinations, if they can be edited."""
        return None

    def install_flow(self) -> InstallFlow[Any, S] | None:
        """Return the flow that connects an account in a browser, if the provider has one."""
        return None

    def discovery(self) -> Discovery[Any, S] | None:
        """Return the discovery that connects an account through an API, if there is one."""
        return None

    def demo(self) -> Demo | None:
        """Return a demo of the service, if there is one."""
        return None
