"""A provider's demo, which needs no account."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import attrs


@attrs.frozen
class Table:
    """A table to print.

    Attributes:
        title: its title.
        columns: the column headings.
        rows: the rows, one text for each column.
    """

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

    @abc.abstractmethod
    def table(self) -> Table:
        """Return the operator's view of the service now."""

    @abc.abstractmethod
    def next_steps(self) -> str:
        """Return instructions to do the same with a real account."""
