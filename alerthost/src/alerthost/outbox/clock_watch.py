"""Notices when the clock jumped, or when no process worked on the store: nothing is due then."""

from __future__ import annotations

import logging
from typing import Final

import sqlalchemy as sa

from alerthost.outbox import due, heartbeat_store
from alerthost.outbox.group_commit import log_afterwards
from alerthost.store.tables import clock, incidents

_log = logging.getLogger("hostspec")

DAY: Final = 86_400.0
"""Seconds."""

UNWATCHED: Final = 30.0
"""Seconds between two rounds of maintenance after which nothing could be reported in between: the
process did not run, or the clock jumped."""

MARK: Final = 10.0
"""Seconds after which a round is recorded."""


def watch(connection: sa.Connection, now: float) -> float:
    """Record that a process works on the store; return for how many seconds no day is missing.

    Due times are moved by the time in which no process worked, or by which the clock jumped;
    heartbeats get their whole time again, as one may have been sent meanwhile. After more than a
    day, or if the clock was set back, open incidents count as updated now: their
    recorded time may be that of a wrong clock.
    """
    row = connection.execute(sa.select(clock)).first()
    if row is None:
        connection.execute(sa.insert(clock).values(id=1, seen_at=now, steady_since=now))
        return 0.0
    gap = now - row.seen_at
    if abs(gap) <= UNWATCHED:
        if abs(gap) >= MARK:
            connection.execute(sa.update(clock).values(seen_at=now))
        return now - float(row.steady_since)
    moved = due.postpone(connection, now, gap)
    awaited = heartbeat_store.postpone(connection, now)
    if moved or awaited:
        log_afterwards(
            _log,
            logging.WARNING,
            "the clock jumped by %+.0f s, or no process worked on the store: the due times of %s"
            " alerts are moved by as much, and %s heartbeats get their whole time again",
            gap,
            moved,
            awaited,
        )
    if -UNWATCHED <= gap <= DAY:
        connection.execute(sa.update(clock).values(seen_at=now))
        return now - float(row.steady_since)
    log_afterwards(
        _log,
        logging.WARNING,
        "the clock jumped by %+.1f days, or no process worked on the store: open incidents and"
        " the history are kept as if they were of now",
        gap / DAY,
    )
    connection.execute(sa.update(clock).values(seen_at=now, steady_since=now))
    connection.execute(sa.update(incidents).where(incidents.c.active).values(changed_at=now))
    return 0.0
