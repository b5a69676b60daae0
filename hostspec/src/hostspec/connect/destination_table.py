"""The destination table: an installation's destinations as rows that an operator edits."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

S = TypeVar("S")
"""The attrs class of an installation's settings."""


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

        Args:
            settings: the installation's settings.
            destination: the id or name of the destination.
            secret: the new secret, or a reference to it.

        Raises:
            FaultsError: the destination is unknown, or the secret is invalid.
        """

    @abc.abstractmethod
    def retire(self, settings: S, destination: str) -> S:
        """Return the settings with only the newest secret of a destination: ends a rotation.

        Raises:
            FaultsError: the destination is unknown.
        """
