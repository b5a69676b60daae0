"""Tells observers what became of deliveries: at least once, and outside of transactions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import sqlalchemy as sa

from alerthost.outbox import delivery_store, incident_store
from alerthost.outbox.coalescing import QueuedDelivery
from alerthost.outbox.group_commit import Writer
from alerthost.outbox.retry_policy import DeliveryState
from alerthost.outbox.serialisation import chunks
from alerthost.outbox.unit_of_work import UnitOfWork
from alerthost.store.database import Database
from alerthost.store.tables import deliveries, receipts
from hostspec.delivery import Receipt
from hostspec.errors import describe_error
from hostspec.hookspecs import Hooks
from hostspec.values import from_json, to_json

_log = logging.getLogger("hostspec")

DELIVERED: Final = "hostspec_delivered"
DELAYED: Final = "hostspec_delayed"
UNDELIVERED: Final = "hostspec_undelivered"
SPARED: Final = "hostspec_superseded"

NOBODY: Final = "0" * 32
"""The worker of receipts that any process may report."""

BATCH: Final = 100
"""Receipts that are told before they are crossed off."""


def note(connection: sa.Connection, hook: str, receipt: Receipt, worker_id: str) -> None:
    """Note what observers are to be told, in the transaction in which it happened.

    Args:
        connection: of the transaction.
        hook: its name.
        receipt: what is told.
        worker_id: the worker that notifies the observers, or `NOBODY`.
    """
    body = json.dumps(to_json(receipt))
    connection.execute(_NOTE, {"hook": hook, "body": body, "worker_id": worker_id})


def drop(
    uow: UnitOfWork, number: int, state: DeliveryState, reason: str, *, hook: str = SPARED
) -> None:
    """End a delivery that waits, without sending it, and note that for the observers.

    Args:
        uow: the transaction.
        number: the delivery's row.
        state: its last.
        reason: why, for a person.
        hook: its name.
    """
    row = uow.connection.execute(_DELIVERY, {"number": number}).one()
    delivery_store.finish(uow, number, state, reason=reason)
    note(uow.connection, hook, delivery_store.receipt_of(row, reason), NOBODY)


def coalesce_new(
    uow: UnitOfWork,
    stored: incident_store.StoredIncident,
    new: Sequence[tuple[QueuedDelivery, str]],
    reason: str,
) -> None:
    """Write deliveries down that others speak for from the start, and note that for observers.

    Args:
        uow: the transaction.
        stored: their incident.
        new: the deliveries, with the ids of their submissions.
        reason: why, for the operator.
    """
    rows = delivery_store.insert_coalesced(uow, stored, new, reason)
    ended = [
        Receipt(str(row["uid"]), each.delivery, None, attempts=0, reason=reason)
        for row, (each, _) in zip(rows, new, strict=True)
    ]
    bodies = (json.dumps(to_json(receipt)) for receipt in ended)
    uow.connection.execute(
        _NOTE, [{"hook": SPARED, "body": body, "worker_id": NOBODY} for body in bodies]
    )


_DELIVERY: Final = sa.select(deliveries).where(deliveries.c.id == sa.bindparam("number"))


Observe: TypeAlias = Callable[[str, Receipt], None]
"""The host's own observer: is called with a hook's name and a receipt, at least once for each."""


def log_receipt(hook: str, receipt: Receipt) -> None:
    """Log an undelivered receipt; the observer of a host that has none of its own."""
    ref, outcome = receipt.delivery.ref, receipt.outcome
    what = f"{receipt.delivery.operation} to {ref.installation}/{ref.destination}"
    why = receipt.reason or (f"{outcome.kind}: {outcome.reason}" if outcome else "not tried yet")
    if hook == UNDELIVERED:
        _log.error("alert %s: %s was not delivered: %s", receipt.delivery.alert.key, what, why)
    elif hook == DELAYED:
        _log.warning("alert %s: %s is late: %s", receipt.delivery.alert.key, what, why)


def tell(  # noqa: PLR0913 -- one argument for each party
    database: Database,
    writer: Writer,
    hooks: Hooks,
    *,
    observe: Observe,
    worker_id: str,
    enough: Callable[[], bool],
) -> int:
    """Call the observers with receipts that a process recorded; return how many.

    A process that dies in between calls them again; the receipt's id is the same then. The
    host's own observer is no plugin: it is called first, and has no deadline.
    """
    with database.read() as connection:
        found = connection.execute(_NOTED, {"name": worker_id}).all()
    return sum(
        _tell(database, writer, hooks, observe, numbers, enough) for numbers in chunks(found)
    )


def _tell(  # noqa: PLR0913, PLR0917 -- one argument for each party
    database: Database,
    writer: Writer,
    hooks: Hooks,
    observe: Observe,
    numbers: Sequence[int],
    enough: Callable[[], bool],
) -> int:
    """Call the observers with some receipts, and cross these off."""
    with database.read() as connection:
        rows = connection.execute(_BODIES, {"numbers": numbers}).all()
    done = []
    for row in rows:
        if enough():
            break
        done.append(row.id)
        try:
            receipt = from_json(Receipt, json.loads(row.body))
            observe(row.hook, receipt)
            hooks.each(row.hook, receipt=receipt)
        except Exception as error:  # noqa: BLE001 -- one receipt never costs the others
            _log.error("receipt %s cannot be told: it %s", row.id, describe_error(error))
    if done:
        crossed = sa.delete(receipts).where(receipts.c.id.in_(done))
        writer.run(lambda connection: connection.execute(crossed))
    return len(done)


def adopt(database: Database, writer: Writer, worker_id: str) -> None:
    """Let a process tell what nobody in particular is to tell."""
    with database.read() as connection:
        found = connection.execute(_NOTED, {"name": NOBODY}).first()
    if found is not None:
        writer.run(lambda connection: hand_over(connection, [NOBODY], worker_id))


def tellers(connection: sa.Connection) -> tuple[str, ...]:
    """Return the processes that have something to tell."""
    return tuple(connection.execute(sa.select(receipts.c.worker_id).distinct()).scalars())


def hand_over(connection: sa.Connection, gone: Sequence[str], worker_id: str) -> None:
    """Let a process tell what others noted that are gone."""
    connection.execute(
        sa.update(receipts).where(receipts.c.worker_id.in_(gone)).values(worker_id=worker_id)
    )


_NOTE: Final = sa.insert(receipts)
_NOTED: Final = (
    sa.select(receipts.c.id, sa.func.length(receipts.c.body).label("size"))
    .where(receipts.c.worker_id == sa.bindparam("name"))
    .order_by(receipts.c.id)
    .limit(BATCH)
)
_BODIES: Final = (
    sa.select(receipts)
    .where(receipts.c.id.in_(sa.bindparam("numbers", expanding=True)))
    .order_by(receipts.c.id)
)
