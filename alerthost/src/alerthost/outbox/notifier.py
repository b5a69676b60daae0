"""Records receipts of deliveries, and calls the observers with them: at least once each."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Self, TypeAlias

import attrs
import sqlalchemy as sa

from alerthost.outbox import delivery_store
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.group_commit import Resources
from alerthost.outbox.retry_policy import DeliveryState
from alerthost.outbox.serialisation import chunks, load_delivery
from alerthost.store.tables import receipts
from hostspec.delivery import Outcome, OutcomeKind, Receipt
from hostspec.errors import describe_error
from hostspec.values import from_json, to_json

_log = logging.getLogger("hostspec")

DELIVERED: Final = "hostspec_delivered"
DELAYED: Final = "hostspec_delayed"
UNDELIVERED: Final = "hostspec_undelivered"
SUPERSEDED: Final = "hostspec_superseded"

NOBODY: Final = "0" * 32
"""The worker of receipts that any process may report."""

BATCH: Final = 100
"""Receipts that are reported before they are removed."""


@attrs.frozen
class Reported:
    """A delivery as its receipt reports it.

    Attributes:
        body: the delivery as it is stored.
    """

    uid: str
    body: str
    attempts: int
    outcome: Outcome | None = None
    reason: str = ""

    @classmethod
    def of_row(cls, row: sa.Row[Any], reason: str = "") -> Self:
        """Return a delivery with the outcome of its last attempt."""
        last = Outcome(OutcomeKind(row.outcome), row.reason) if row.outcome else None
        return cls(row.uid, row.body, row.attempts, last, reason)


def record(
    connection: sa.Connection, hook: str, reported: Sequence[Reported], worker_id: str = NOBODY
) -> None:
    """Record receipts, in the transaction that they are about.

    Their worker notifies the observers; for `NOBODY`, any process does.
    """
    rows = [
        {
            "hook": hook,
            "worker_id": worker_id,
            "uid": each.uid,
            "delivery": each.body,
            "outcome": None if each.outcome is None else json.dumps(to_json(each.outcome)),
            "attempts": each.attempts,
            "reason": each.reason,
        }
        for each in reported
    ]
    if rows:
        connection.execute(_NOTE, rows)


def give_up(
    uow: UnitOfWork,
    row: sa.Row[Any],
    state: DeliveryState,
    outcome: Outcome,
    worker_id: str,
    **changes: Any,
) -> None:
    """End a delivery with an outcome of its last attempt, and record its receipt."""
    result = {"outcome": outcome.kind, "reason": outcome.reason, **changes}
    delivery_store.finish(uow, row.id, state, **result)
    given_up = Reported(row.uid, row.body, row.attempts, outcome)
    record(uow.connection, UNDELIVERED, [given_up], worker_id)


def end_unsent(
    uow: UnitOfWork, number: int, state: DeliveryState, reason: str, *, hook: str = SUPERSEDED
) -> None:
    """End a queued delivery without sending it, and record its receipt."""
    row = delivery_store.find_row(uow.connection, number)
    assert row is not None  # noqa: S101 -- only queued deliveries are ended here
    delivery_store.finish(uow, number, state, reason=reason)
    record(uow.connection, hook, [Reported.of_row(row, reason)])


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


class Notifier:
    """Calls the observers with recorded receipts: at least once each, outside of transactions.

    Args:
        observe: the host's own observer: it is called first, and has no deadline.
    """

    def __init__(self, resources: Resources, observe: Observe) -> None:
        self._database = resources.database
        self._writer = resources.writer
        self._hooks = resources.plugins.hooks
        self._observe = observe

    def notify(self, worker_id: str, enough: Callable[[], bool]) -> None:
        """Call the observers with the receipts of a process, and with those of no process.

        A process that dies in between leaves them to the next one; a receipt's id is the same
        then.

        Args:
            worker_id: of this process.
            enough: returns True once the rest is to be left to the next process.
        """
        self.adopt(worker_id)
        while self._notify_batch(worker_id, enough):
            pass

    def adopt(self, worker_id: str) -> None:
        """Assign the receipts of no process to a process."""
        with self._database.read() as connection:
            found = connection.execute(_NOTED, {"name": NOBODY}).first()
        if found is not None:
            self._writer.run(lambda writing: reassign(writing, [NOBODY], worker_id))

    def _notify_batch(self, worker_id: str, enough: Callable[[], bool]) -> int:
        with self._database.read() as connection:
            found = connection.execute(_NOTED, {"name": worker_id}).all()
        return sum(self._notify_chunk(numbers, enough) for numbers in chunks(found))

    def _notify_chunk(self, numbers: Sequence[int], enough: Callable[[], bool]) -> int:
        """Call the observers with some receipts, and remove these; return how many."""
        with self._database.read() as connection:
            rows = connection.execute(_BODIES, {"numbers": numbers}).all()
        done = []
        for row in rows:
            if enough():
                break
            done.append(row.id)
            try:
                receipt = _receipt_of(row)
                self._observe(row.hook, receipt)
                self._hooks.each(row.hook, receipt=receipt)
            except Exception as error:  # noqa: BLE001 -- one receipt never costs the others
                _log.error("receipt %s cannot be reported: it %s", row.id, describe_error(error))
        if done:
            notified = sa.delete(receipts).where(receipts.c.id.in_(done))
            self._writer.run(lambda connection: connection.execute(notified))
        return len(done)


def _receipt_of(row: sa.Row[Any]) -> Receipt:
    outcome = from_json(Outcome, json.loads(row.outcome)) if row.outcome else None
    return Receipt(row.uid, load_delivery(row.delivery), outcome, row.attempts, row.reason)


def workers_with_receipts(connection: sa.Connection) -> tuple[str, ...]:
    """Return the worker ids that receipts are recorded for."""
    return tuple(connection.execute(sa.select(receipts.c.worker_id).distinct()).scalars())


def reassign(connection: sa.Connection, gone: Sequence[str], worker_id: str) -> None:
    """Assign the receipts of dead processes to a process."""
    connection.execute(
        sa.update(receipts).where(receipts.c.worker_id.in_(gone)).values(worker_id=worker_id)
    )


_NOTE: Final = sa.insert(receipts)
_NOTED: Final = (
    sa.select(receipts.c.id, sa.func.length(receipts.c.delivery).label("size"))
    .where(receipts.c.worker_id == sa.bindparam("name"))
    .order_by(receipts.c.id)
    .limit(BATCH)
)
_BODIES: Final = (
    sa.select(receipts)
    .where(receipts.c.id.in_(sa.bindparam("numbers", expanding=True)))
    .order_by(receipts.c.id)
)
