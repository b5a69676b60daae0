"""Orphaned incidents: the key that opened them is not configured any more.

Nothing is sent to them under another key. When the key is back they are resolved, unless another
incident is open at their place: that one ends first.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from alerthost.outbox import backend, enqueue, inbox, repository
from alerthost.outbox.coalescing import Waiting
from alerthost.outbox.retry_policy import DeliveryState
from alerthost.store.tables import deliveries, incidents
from hostspec.alert import Alert
from hostspec.alert_fields import Identity, Status
from hostspec.crashes import describe_error
from hostspec.delivery import Delivery, Operation

_log = logging.getLogger("hostspec")

MOST: Final = 200
"""Orphaned incidents that are looked at together."""

SENT_AGAIN: Final = "sent again: the key that opened the incident is back, or was asked for"
"""Why a delivery that was given up is not listed any more, for the operator."""


def find(connection: sa.Connection, after: int = 0) -> tuple[repository.StoredIncident, ...]:
    """Return some orphaned incidents with nothing else open at their place, by their rows."""
    rows = connection.execute(_FREE, {"after": after, "most": MOST})
    return tuple(repository.stored_of(row) for row in rows)


def resolving(
    connection: sa.Connection, actions: enqueue.Actions, stored: repository.StoredIncident
) -> Delivery | None:
    """Return the resolve of an orphaned incident; None where its action cannot close it."""
    planned = repository.newest(connection, stored.id, Operation.RESOLVE)
    if planned is not None:
        return planned
    action = actions.get(stored.incident.ref.action)
    if action is None or Operation.RESOLVE not in stored.incident.follow_ups:
        return None
    opening = repository.newest(connection, stored.id, Operation.TRIGGER)
    alert = opening.alert if opening else Identity("", stored.incident.ref.correlation_key)
    over = Alert(alert.key, scope=alert.scope, status=Status.RESOLVED)
    try:
        return action.follow_up(stored.incident, over)
    except Exception as error:  # noqa: BLE001 -- one incident never costs the others
        _log.error("the action %s %s", action.name, describe_error(error))
        return None


def send(
    connection: sa.Connection, stored: repository.StoredIncident, delivery: Delivery, now: float
) -> str:
    """Queue a delivery to an orphaned incident; if its key is still gone, it is orphaned again.

    Returns:
        the id of the statement that the delivery goes by.
    """
    submission_id = inbox.new_id()
    given_up = sa.select(deliveries.c.id).where(
        deliveries.c.incident_id == stored.id, deliveries.c.state == DeliveryState.STRANDED
    )
    for number in connection.execute(given_up).scalars().all():
        repository.finish(connection, number, DeliveryState.COLLAPSED, now, reason=SENT_AGAIN)
    repository.release_all(connection, stored.id)
    repository.update_incident(connection, stored.id, now, orphaned=False)
    line = [Waiting(delivery, accepted_at=now)]
    repository.write_line(connection, stored, line, submission_id, now, reason=SENT_AGAIN)
    return submission_id


def recover(
    connection: sa.Connection,
    *,
    actions: enqueue.Actions,
    back: Sequence[repository.StoredIncident],
    now: float,
) -> Sequence[str]:
    """Queue the resolves of orphaned incidents whose keys are back; return their statement ids."""
    queued = []
    backend.lock(connection, [each.incident.ref for each in back])
    for stored in back:
        row = connection.execute(sa.select(incidents).where(incidents.c.id == stored.id)).first()
        if row is None or not row.orphaned:
            continue
        if repository.incident_at(connection, stored.incident.ref):
            continue
        delivery = resolving(connection, actions, stored)
        if delivery is not None:
            queued.append(send(connection, stored, delivery, now))
    return queued


_other: Final = incidents.alias("other")
_FREE: Final = (
    sa.select(incidents)
    .where(
        incidents.c.orphaned,
        incidents.c.id > sa.bindparam("after"),
        ~sa.select(_other.c.id)
        .where(_other.c.active, _other.c.digest == incidents.c.digest)
        .exists(),
    )
    .order_by(incidents.c.id)
    .limit(sa.bindparam("most"))
)
