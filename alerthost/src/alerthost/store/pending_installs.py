"""The install flows that began and did not end yet, for all processes on the store."""

from __future__ import annotations

import datetime as dt
import json
from typing import Final

import attrs
import sqlalchemy as sa

from alerthost.store.database import Database
from alerthost.store.tables import pending_installs
from hostspec.connect import PendingInstall
from hostspec.values import from_json, to_json


class PendingInstallStore:
    """Stores pending installs; every method raises StoreError if the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, pending: PendingInstall) -> None:
        """Store a pending install, and delete the expired ones."""
        row = {
            "state": pending.state,
            "expires_at": pending.expires_at,
            "body": json.dumps(to_json(pending)),
            "used": False,
        }
        with self._database.begin() as connection:
            now = dt.datetime.now(dt.UTC)
            connection.execute(
                sa.delete(pending_installs).where(pending_installs.c.expires_at < now)
            )
            connection.execute(sa.insert(pending_installs), row)

    def take(self, state: str) -> PendingInstall | None:
        """Return the pending install of a state, or None; from the second call on as used."""
        this = pending_installs.c.state == state
        with self._database.begin() as connection:
            body = connection.execute(sa.select(pending_installs.c.body).where(this)).scalar()
            if body is None:
                return None
            first = connection.execute(_USE.where(this)).rowcount == 1
        return attrs.evolve(from_json(PendingInstall, json.loads(body)), used=not first)


_USE: Final = sa.update(pending_installs).where(~pending_installs.c.used).values(used=True)
