"""The contender: a queue on SQLAlchemy Core in a SQLite file, one message in each transaction."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

_metadata = sa.MetaData()
_queue = sa.Table(
    "queue",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("claimed_at", sa.Double),
)
_INSERT = sa.insert(_queue)
_NEXT = sa.select(sa.func.min(_queue.c.id)).where(_queue.c.claimed_at.is_(None)).scalar_subquery()
_CLAIM = (
    sa.update(_queue)
    .where(_queue.c.id == _NEXT)
    .values(claimed_at=sa.bindparam("now"))
    .returning(_queue.c.id, _queue.c.body)
)
_DELETE = sa.delete(_queue).where(_queue.c.id == sa.bindparam("number"))


class BareQueue:
    """A queue in a file, as durable as the engine's store: write-ahead log, synchronous FULL."""

    def __init__(self, folder: str) -> None:
        self._engine = sa.create_engine(f"sqlite:///{Path(folder, 'bare.db')}")
        event.listen(self._engine, "connect", _make_durable)
        _metadata.create_all(self._engine)

    def accept(self, body: object) -> None:
        with self._engine.begin() as connection:
            connection.execute(_INSERT, {"body": json.dumps(body)})

    def drain(self, send: Callable[[Any], object]) -> None:
        """Claim, send and delete each message."""
        while True:
            with self._engine.begin() as connection:
                row = connection.execute(_CLAIM, {"now": time.time()}).one_or_none()
            if row is None:
                return
            send(json.loads(row.body))
            with self._engine.begin() as connection:
                connection.execute(_DELETE, {"number": row.id})

    def close(self) -> None:
        self._engine.dispose()


def _make_durable(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
