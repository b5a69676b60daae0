"""The revision of the stored configuration, by which processes notice each other's changes."""

from __future__ import annotations

from typing import Final, TypeAlias

import sqlalchemy as sa

from alerthost.store.database import Database
from alerthost.store.tables import installations, rules

Revision: TypeAlias = tuple[tuple[tuple[int, int], ...], ...]
"""The ids and versions of all installations, and those of all rules, by id.

No change leaves it as it was: a version only increases, and no id is used again.
"""

_READ: Final = tuple(
    sa.select(table.c.id, table.c.version).order_by(table.c.id) for table in (installations, rules)
)


def read_revision(database: Database) -> Revision:
    """Return the current revision.

    Raises:
        StoreError: the database fails.
    """
    with database.read() as connection:
        return tuple(
            tuple((row.id, row.version) for row in connection.execute(each)) for each in _READ
        )
