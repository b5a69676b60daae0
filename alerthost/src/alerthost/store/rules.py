"""The repository of rules in the database, which add to those of the configuration file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from alerthost.store.columns import read_json
from alerthost.store.database import Database
from alerthost.store.errors import StoreError
from alerthost.store.tables import rules


class RuleConflictError(StoreError):
    """A rule was changed or removed since it was read, or its name is taken."""


@attrs.frozen
class StoredRule:
    """A rule as it was read; changing it fails if the row was changed since.

    Attributes:
        id: stays the same when it is renamed or moved.
        is_enabled: whether it is switched on.
        body: the table ``[[rules]]`` without its name, unless another program changed it.
        version: increases with every change.
    """

    id: int
    name: str
    is_enabled: bool
    body: Any
    version: int

    @property
    def table(self) -> dict[str, Any] | None:
        """The rule as a table ``[[rules]]`` of the configuration file; None if it is no table."""
        if not isinstance(self.body, dict):
            return None
        return {"name": "", **self.body} | {"name": self.name}


class Rules:
    """The stored rules, in the order in which they apply.

    Every method raises StoreError if the database fails, and those that change a rule raise
    RuleConflictError if it was changed since it was read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> tuple[StoredRule, ...]:
        """Return all rules in their order."""
        if not self._database.exists:
            return ()
        with self._database.read() as connection:
            return tuple(map(_stored, connection.execute(_ALL)))

    def add(self, name: str, body: Mapping[str, Any]) -> None:
        """Add a rule after all others, switched on.

        Raises:
            RuleConflictError: the name is taken.
        """
        last = sa.select(sa.func.coalesce(sa.func.max(rules.c.position), 0)).scalar_subquery()
        values = {"name": name, "body": json.dumps(body), "position": last + 1}
        self._write(sa.insert(rules).values(**values, enabled=True, version=1), name)

    def replace(self, stored: StoredRule, name: str, body: Mapping[str, Any]) -> None:
        """Replace a rule that was read; the name may change.

        Raises:
            RuleConflictError: the name is taken.
        """
        self._write(_changing(stored).values(name=name, body=json.dumps(body)), name, stored)

    def switch(self, stored: StoredRule, *, is_enabled: bool) -> None:
        """Switch a rule on or off."""
        self._write(_changing(stored).values(enabled=is_enabled), stored.name, stored)

    def remove(self, stored: StoredRule) -> None:
        """Remove a rule."""
        self._write(sa.delete(rules).where(*_unchanged(stored)), stored.name, stored)

    def move(self, stored: StoredRule, *, up: bool) -> None:
        """Exchange a rule with the one before it (`up`) or after it, if there is one."""
        with self._database.begin() as connection:
            order = connection.execute(sa.select(rules.c.id).order_by(*_ORDER)).scalars().all()
            _expect_one(connection.execute(_changing(stored)), stored)
            at = order.index(stored.id)
            other = at - 1 if up else at + 1
            if not 0 <= other < len(order):
                return
            moved = list(order)
            moved[at], moved[other] = moved[other], moved[at]
            for position, number in enumerate(moved, 1):
                connection.execute(
                    sa.update(rules).where(rules.c.id == number).values(position=position)
                )

    def _write(
        self, statement: sa.UpdateBase, name: str, changed: StoredRule | None = None
    ) -> None:
        try:
            with self._database.begin() as connection:
                result = connection.execute(statement)
                if changed is not None:
                    _expect_one(result, changed)
        except IntegrityError:
            message = f"the store has a rule {name!r} already; choose another name"
            raise RuleConflictError(message) from None


_ORDER: Final = (rules.c.position, rules.c.id)
_ALL: Final = sa.select(rules).order_by(*_ORDER)


def _stored(row: sa.Row[Any]) -> StoredRule:
    return StoredRule(row.id, row.name, row.enabled, read_json(row.body), row.version)


def _unchanged(stored: StoredRule) -> tuple[sa.ColumnElement[bool], ...]:
    return rules.c.id == stored.id, rules.c.version == stored.version


def _changing(stored: StoredRule) -> sa.Update:
    return sa.update(rules).where(*_unchanged(stored)).values(version=stored.version + 1)


def _expect_one(result: sa.CursorResult[Any], stored: StoredRule) -> None:
    if not result.rowcount:
        message = f"rule {stored.name!r} was changed or removed meanwhile; look at it again"
        raise RuleConflictError(message)
