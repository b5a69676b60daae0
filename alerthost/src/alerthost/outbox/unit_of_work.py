"""A unit of work: one transaction, the time that it records, and the actions that send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs
import sqlalchemy as sa

from hostspec.action import AnyAction
from hostspec.delivery import IncidentRef

Actions: TypeAlias = Mapping[str, AnyAction]
"""The actions that send, by name."""


@attrs.frozen
class UnitOfWork:
    """Everything that functions which change deliveries in one transaction share.

    Attributes:
        connection: of the transaction.
        now: the time that changes are recorded with, in seconds of the epoch.
        actions: by name, with their capabilities.
    """

    connection: sa.Connection
    now: float
    actions: Actions

    def may_repeat(self, ref: IncidentRef) -> bool:
        """Check that a delivery which may have arrived may be sent again."""
        action = self.actions.get(ref.action)
        return action is None or action.capabilities.idempotent

    def is_record(self, ref: IncidentRef) -> bool:
        """Check that deliveries to an incident are records, which open nothing."""
        action = self.actions.get(ref.action)
        return action is not None and action.capabilities.record
