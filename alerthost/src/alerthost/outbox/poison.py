"""Finds the submissions that a process died of while it planned them.

Before a process plans, it marks its submissions; the mark goes with the written plans. A
mark of a process that is gone names the suspects. They are planned one at a time from then on,
and one that was planned alone at each of several deaths is dead-lettered.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Final

import attrs
import sqlalchemy as sa

from alerthost.outbox.heartbeat import Presence
from alerthost.store.tables import planners

MOST_TRIES: Final = 2
"""How often a submission is planned alone; two, for a process may be killed for any reason."""


@attrs.frozen
class Mark:
    """What a process is planning.

    Attributes:
        name: of the process.
        rows: of the submissions.
        attempts: how often the only one was planned alone, this time included; 0 for a batch.
    """

    name: str
    rows: tuple[int, ...]
    attempts: int


def find_abandoned(connection: sa.Connection, presence: Presence) -> Sequence[Mark]:
    """Return the marks of processes that are gone; submissions planned alone come first."""
    rows = connection.execute(_MARKS, {"name": presence.name}).all()
    gone = set(presence.gone([row.name for row in rows])) if rows else set()
    marks = [Mark(row.name, tuple(json.loads(row.submissions)), row.attempts) for row in rows]
    return sorted((each for each in marks if each.name in gone), key=lambda each: -each.attempts)


def mark(connection: sa.Connection, mark: Mark) -> None:
    """Write down what this process is about to plan."""
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
