"""Tells observers what became of deliveries: at least once, and outside of transactions."""

from __future__ import annotations

import json
import logging
from typing import Final

import sqlalchemy as sa

from hostspec.delivery.writer import Writer
from hostspec.hookspecs import Hooks
from hostspec.outcome import Receipt
from hostspec.store.database import Database
from hostspec.store.tables import receipts
from hostspec.values import from_json, to_json

_log = logging.getLogger("hostspec")

BATCH: Final = 100
"""Receipts that are told before they are crossed off."""


def note(connection: sa.Connection, hook: str, receipt: Receipt) -> None:
    """Note what observers are to be told, in the transaction in which it happened."""
    body = json.dumps(to_json(receipt))
    connection.execute(sa.insert(receipts).values(hook=hook, body=body))


def tell(database: Database, writer: Writer, hooks: Hooks) -> int:
    """Tell the observers what was noted; say how much.

    One that dies in between is told again; the receipt's id is the same then.
    """
    with database.read() as connection:
        rows = connection.execute(sa.select(receipts).order_by(receipts.c.id).limit(BATCH)).all()
    for row in rows:
        receipt = from_json(Receipt, json.loads(row.body))
        for answer in hooks.each(row.hook, receipt=receipt):
            if answer.failure:
                _log.error("plugin %s: %s failed: %s", answer.plugin, row.hook, answer.failure)
    told = [row.id for row in rows]
    if told:
        writer.run(
            lambda connection: connection.execute(
                sa.delete(receipts).where(receipts.c.id.in_(told))
            )
        )
    return len(told)
