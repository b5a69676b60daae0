"""What a provider can show to people who have no account yet."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import attrs


@attrs.frozen
class Table:
    """A table for a person.

    Attributes:
        title: what it shows.
        columns: the heads.
        rows: one text for each column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Demo(abc.ABC):
    """A stand-in of the service, realistic alerts, and what the service made of them.

    A context manager: the stand-in runs inside, on loopback, and is gone afterwards.
    """

    @abc.abstractmethod
    def __enter__(self) -> Self:
        """Start the stand-in."""

    @abc.abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the stand-in."""

    @abc.abstractmethod
    def introduction(self) -> str:
        """Say in a line or two what is going to be shown, and where to look."""

    @abc.abstractmethod
    def configuration(self) -> Mapping[str, object]:
        """Return a host's configuration, in the shape of its TOML, that sends to the stand-in."""

    @abc.abstractmethod
    def alerts(self) -> Sequence[str]:
        """Return the alerts, each a JSON text."""

    @abc.abstractmethod
    def table(self) -> Table:
        """Show what an operator sees at the service now."""

    @abc.abstractmethod
    def next_steps(self) -> str:
        """Describe how to do the same with a real account."""
