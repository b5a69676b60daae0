"""Keeps house: tells what is late, forgets what never ends, and prunes what is over."""

from __future__ import annotations

import logging
from typing import Final, cast

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend, delivery_store, incident_store, notifier
from alerthost.outbox.group_commit import log_afterwards
from alerthost.outbox.retry_policy import DeliveryState
from alerthost.outbox.serialisation import chunks
from alerthost.outbox.unit_of_work import UnitOfWork
from alerthost.store.tables import alerts, clock, deliveries, holders, incidents, submissions
from hostspec.delivery import Operation

_log = logging.getLogger("hostspec")

DAY: Final = 86_400.0
"""Seconds."""

STEP: Final = 60.0
"""Seconds by which a clock may be set back without having jumped."""


@attrs.frozen
class Patience:
    """How long things are waited for, and kept; all in seconds.

    Attributes:
        late: a delivery that has waited so long is told to the observers, once.
        forget: an incident that nothing was said about for so long is forgotten here.
        keep: what is over for so long is removed.
    """

    late: float = attrs.field(default=300.0, validator=attrs.validators.gt(0))
    forget: float = attrs.field(default=90 * DAY, validator=attrs.validators.gt(0))
    keep: float = attrs.field(default=30 * DAY, validator=attrs.validators.gt(0))


def tell_late(connection: sa.Connection, before: float, worker_id: str, most: int) -> int:
    """Note for the observers what has waited since before a moment; say how many deliveries."""
    found = connection.execute(_LATE, {"before": before, "most": most}).all()
    for numbers in chunks(found):
        those = deliveries.c.id.in_(numbers)
        rows = connection.execute(sa.select(deliveries).where(those)).all()
        for row in sorted(rows, key=lambda row: row.accepted_at):
            notifier.note(connection, notifier.DELAYED, delivery_store.receipt_of(row), worker_id)
        connection.execute(sa.update(deliveries).where(those).values(late_reported=True))
    return len(found)


def steady_for(connection: sa.Connection, now: float) -> float:
    """Return for how many seconds the clock has been steady: nothing is forgotten after a jump.

    After a jump, or a day in which nothing worked on the store, open incidents count as mentioned
    now: their recorded time may be that of a wrong clock.
    """
    row = connection.execute(sa.select(clock)).first()
    if row is None:
        connection.execute(sa.insert(clock).values(id=1, seen_at=now, steady_since=now))
        return 0.0
    gap = now - row.seen_at
    if -STEP <= gap <= DAY:
        if gap > STEP:
            connection.execute(sa.update(clock).values(seen_at=now))
        return now - float(row.steady_since)
    _log.warning(
        "the clock jumped by %+.1f days, or nothing worked on the store: open incidents and the"
        " history are kept as if they were of now",
        gap / DAY,
    )
    connection.execute(sa.update(clock).values(seen_at=now, steady_since=now))
    connection.execute(sa.update(incidents).where(incidents.c.active).values(changed_at=now))
    return 0.0


def put_right(connection: sa.Connection, now: float, most: int) -> int:
    """Set deliveries of a clock that was ahead as accepted now; return how many.

    They would go behind everything else until that time has come.
    """
    rows = connection.execute(_AHEAD, {"now": now, "most": most}).all()
    for row in rows:
        early = row.accepted_at - now
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.id == row.id, deliveries.c.accepted_at == row.accepted_at)
            .values(accepted_at=now, urgency=deliveries.c.urgency - early)
        )
    return len(rows)


def forget(uow: UnitOfWork, before: float, most: int) -> int:
    """End incidents that nothing was said about since before a moment; say how many."""
    silent = {"before": before, "most": most}
    rows = uow.connection.execute(_SILENT, silent).all()
    if rows and backend.lock(uow.connection, [incident_store.ref_of(row) for row in rows]):
        locked = {row.id for row in rows}
        rows = [row for row in uow.connection.execute(_SILENT, silent) if row.id in locked]
    for row in rows:
        log_afterwards(
            _log,
            logging.WARNING,
            "the incident %s at %s/%s is forgotten: it never resolved, and nothing was said of it"
            " for long",
            row.correlation_key,
            row.installation,
            row.destination,
        )
        incident_store.close_incident(uow, row.id)
    return len(rows)


def prune(connection: sa.Connection, before: float, most: int) -> int:
    """Remove some of what was over before a moment; say how many rows."""
    gone = 0
    for table, which in (
        (deliveries, _FINISHED),
        (incidents, _ENDED),
        (submissions, _PLANNED),
        (alerts, _QUIET),
    ):
        found = which.limit(most)
        numbers = connection.execute(found, {"before": before}).scalars().all()
        if numbers:
            # again all of the condition: somebody else may have taken it up meanwhile
            still = cast("sa.ColumnElement[bool]", which.whereclause)
            over = sa.delete(table).where(table.c.id.in_(numbers), still)
            connection.execute(over, {"before": before})
            gone += len(numbers)
    return gone


_BEFORE: Final[sa.BindParameter[float]] = sa.bindparam("before", type_=sa.Double())
_LATE: Final = (
    sa.select(deliveries.c.id, sa.func.length(deliveries.c.body).label("size"))
    .where(
        deliveries.c.finished_at.is_(None),
        ~deliveries.c.late_reported,
        deliveries.c.accepted_at < _BEFORE,
    )
    .order_by(deliveries.c.accepted_at)
    .limit(sa.bindparam("most"))
)
_AHEAD: Final = (
    sa.select(deliveries.c.id, deliveries.c.accepted_at)
    .where(
        deliveries.c.finished_at.is_(None),
        ~deliveries.c.late_reported,
        deliveries.c.accepted_at > sa.bindparam("now", type_=sa.Double()),
    )
    .order_by(deliveries.c.accepted_at)
    .limit(sa.bindparam("most"))
)
_WAITS: Final = (
    sa.select(deliveries.c.id)
    .where(deliveries.c.incident_id == incidents.c.id, delivery_store.IS_QUEUED)
    .exists()
)
_SILENT: Final = (
    sa.select(incidents)
    .where(incidents.c.active, incidents.c.changed_at < _BEFORE, ~_WAITS)
    .order_by(incidents.c.changed_at)
    .limit(sa.bindparam("most"))
)
_later: Final = deliveries.alias("later")
_OPENS_ANEW: Final = sa.and_(
    deliveries.c.operation == Operation.TRIGGER,
    sa.select(incidents.c.id)
    .where(incidents.c.id == deliveries.c.incident_id, incidents.c.active)
    .exists(),
    ~sa.select(_later.c.id)
    .where(
        _later.c.incident_id == deliveries.c.incident_id,
        _later.c.operation == Operation.TRIGGER,
        _later.c.id > deliveries.c.id,
    )
    .exists(),
)
"""What an open incident opens with again, where its key is not held any more."""
_FINISHED: Final = sa.select(deliveries.c.id).where(
    deliveries.c.state.in_([state for state in DeliveryState if state is not DeliveryState.QUEUED]),
    deliveries.c.finished_at < _BEFORE,
    ~_OPENS_ANEW,
)
_ENDED: Final = sa.select(incidents.c.id).where(
    ~incidents.c.active, incidents.c.changed_at < _BEFORE, ~_WAITS
)
_PLANNED: Final = sa.select(submissions.c.id).where(submissions.c.planned_at < _BEFORE)
_HOLDS: Final = sa.select(holders.c.incident_id).where(holders.c.digest == alerts.c.digest).exists()
_QUIET: Final = sa.select(alerts.c.id).where(alerts.c.seen_at < _BEFORE, ~_HOLDS)
