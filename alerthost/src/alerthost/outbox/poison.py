"""Finds poison submissions: those whose planning ended the process.

Before a process plans, it marks the submissions of the batch; it removes the mark when all of them
are planned. The marked submissions of a dead process are planned one at a time from then on. One
that was planned alone at each of several deaths is dead-lettered; on a server, once the last of
these processes is certainly gone. Until then nothing is planned, since it would end more processes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend
from alerthost.outbox.heartbeat import Presence
from alerthost.store.tables import planners

MOST_TRIES: Final = 2
"""Times that a submission is planned alone: two, since a process may be killed for any reason."""


@attrs.frozen
class Mark:
    """Submissions that a process is planning.

    Attributes:
        name: of the process.
        rows: of the submissions.
        attempts: times that the only submission was planned alone, including this time; 0 for a
            batch.
    """

    name: str
    rows: tuple[int, ...]
    attempts: int


def find_abandoned(connection: sa.Connection, presence: Presence) -> Sequence[Mark]:
    """Return the marks of processes that no longer plan; submissions planned alone come first.

    On a server, a process plans during its turn: the transaction that has the turn now sees only
    marks of processes that died meanwhile, or lost their connection.
    """
    rows = connection.execute(_MARKS, {"name": presence.name}).all()
    names = [row.name for row in rows]
    gone = set(names if backend.is_server(connection) else presence.gone(names))
    marks = [Mark(row.name, tuple(json.loads(row.submissions)), row.attempts) for row in rows]
    return sorted((each for each in marks if each.name in gone), key=lambda each: -each.attempts)


def write_mark(connection: sa.Connection, mark: Mark) -> None:
    """Mark submissions before this process plans them."""
    clear(connection, [mark.name])
    values = {"name": mark.name, "submissions": json.dumps(mark.rows), "attempts": mark.attempts}
    connection.execute(_MARK, values)


def clear(connection: sa.Connection, names: Collection[str]) -> None:
    """Remove the marks of processes."""
    connection.execute(_CLEAR, {"names": list(names)})


_MARKS: Final = sa.select(planners).where(planners.c.name != sa.bindparam("name"))
_MARK: Final = sa.insert(planners)
_CLEAR: Final = sa.delete(planners).where(
    planners.c.name.in_(sa.bindparam("names", expanding=True))
)
