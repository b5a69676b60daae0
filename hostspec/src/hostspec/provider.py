"""The provider: a service that plugins connect to, its accounts, destinations and demo."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import attrs

from hostspec.errors import Fault
from hostspec.secret import SecretUnavailableError
from hostspec.settings import secrets
from hostspec.structuring import structure

if TYPE_CHECKING:
    from hostspec.connect import Discovery, InstallFlow

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


class DestinationTable(abc.ABC, Generic[S]):
    """Edits the destinations of an installation. Pure: the host stores the returned settings.

    A row is a JSON object with ``id``, ``name`` and the fields of ``row``. Secrets are masked; a
    mask in an edited row means the same secret as before.

    Class attributes:
        row: the attrs class of a new row (`hostspec.settings`), without its id.
    """

    row: type

    @abc.abstractmethod
    def rows(self, settings: S) -> Sequence[Mapping[str, Any]]:
        """Return the table."""

    @abc.abstractmethod
    def save(self, settings: S, table: object) -> S:
        """Return the settings with an edited table: all of it, or none.

        A row with an id edits that destination, a row without one adds a destination, and a
        destination without a row is deleted.

        Raises:
            FaultsError: every fault, with row and field as its path (``[1].name``).
        """

    @abc.abstractmethod
    def rotate(self, settings: S, destination: str, secret: str) -> S:
        """Return the settings with a new secret for a destination, beside the old until `retire`.

        The destination is given by id or name; the secret may be a reference.

        Raises:
            FaultsError: the destination is unknown, or the secret is invalid.
        """

    @abc.abstractmethod
    def retire(self, settings: S, destination: str) -> S:
        """Return the settings with only the newest secret of a destination: ends a rotation.

        Raises:
            FaultsError: the destination is unknown.
        """


@attrs.frozen
class Table:
    """A table to print, with one text for each column of a row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Demo(abc.ABC):
    """A fake of the service, with realistic alerts and a table of the resulting incidents.

    A context manager: the fake runs inside the block, on loopback.
    """

    @abc.abstractmethod
    def __enter__(self) -> Self:
        """Start the fake."""

    @abc.abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the fake."""

    @abc.abstractmethod
    def introduction(self) -> str:
        """Return an introduction of a line or two, with the address to look at."""

    @abc.abstractmethod
    def configuration(self) -> Mapping[str, object]:
        """Return a host's configuration, in the shape of its TOML, that sends to the fake."""

    @abc.abstractmethod
    def alerts(self) -> Sequence[str]:
        """Return the alerts, each a JSON text."""

    def disturb(self) -> None:  # noqa: B027 -- a demo may go without
        """Make some of the next attempts fail, as a service does now and then."""

    @abc.abstractmethod
    def table(self) -> Table:
        """Return the operator's view of the service now."""

    @abc.abstractmethod
    def next_steps(self) -> str:
        """Return instructions to do the same with a real account."""


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
        Override it to import, too, what only sending needs: the first page then waits for none.
        """
        faults = []
        for path, secret in secrets(installation.settings):
            try:
                secret.reveal()
            except SecretUnavailableError as error:
                faults.append(Fault(path, str(error)))
        return faults

    def notes(self, installations: Sequence[Installation[S]]) -> Sequence[str]:
        """Return remarks on several installations together, a sentence each.

        They are all installations of this provider; the faults of a single one belong to `check`.
        May read secrets; sends nothing.
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
