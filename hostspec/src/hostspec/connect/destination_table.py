"""The destination table: an installation's destinations as rows that a person edits."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

S = TypeVar("S")
"""The attrs class of an installation's settings."""


class DestinationTable(abc.ABC, Generic[S]):
    """Edits the destinations of an installation. Pure: what it returns is for the host to store.

    A row is a JSON object with ``id``, ``name`` and what else the provider needs to know, as
    ``row`` declares it. Secrets go out masked; a mask that comes back stands for the secret it
    was made of.

    Class attributes:
        row: the attrs class of a new row (`hostspec.settings`), without its id.
    """

    row: type

    @abc.abstractmethod
    def rows(self, settings: S) -> Sequence[Mapping[str, Any]]:
        """Return the table."""

    @abc.abstractmethod
    def save(self, settings: S, table: object) -> S:
        """Take an edited table; all of it or nothing.

        A row with an id edits that destination, a row without one makes a destination, and a
        destination without a row is deleted.

        Raises:
            FaultsError: with every fault; its path is the row and the field (``[1].name``).
        """

    @abc.abstractmethod
    def rotate(self, settings: S, destination: str, secret: str) -> S:
        """Return a destination a new secret beside the old one, until `retire`.

        Args:
            settings: the installation's, before.
            destination: its id or name.
            secret: the new one, or a reference to it.

        Raises:
            FaultsError: the destination is unknown, or the secret will not do.
        """

    @abc.abstractmethod
    def retire(self, settings: S, destination: str) -> S:
        """End a rotation: keep a destination's newest secret only.

        Raises:
            FaultsError: the destination is unknown.
        """
