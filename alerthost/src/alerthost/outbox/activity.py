"""The activity log: changes by operators, with the state before and after; never a secret."""

from __future__ import annotations

from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox.backend import UnitOfWork
from alerthost.store.tables import activity
from hostspec.text import clean_text, shorten

LONGEST_TEXT: Final = 500
"""Characters of a text that are kept."""


@attrs.frozen
class Actor:
    """An operator who changes something.

    Attributes:
        name: the role that they signed in with.
        source: such as a network address.
    """

    name: str
    source: str


@attrs.frozen
class Change:
    """A change.

    Attributes:
        verb: in the past, such as ``resolved``.
        subject: the changed object.
        before: its state before; empty if it was new.
        after: its state after; empty if it is gone.
    """

    verb: str
    subject: str
    before: str = ""
    after: str = ""


@attrs.frozen
class Activity:
    """A recorded change; `at` is in seconds of the epoch."""

    id: int
    at: float
    actor: Actor
    change: Change


def record(uow: UnitOfWork, actor: Actor | None, change: Change) -> None:
    """Record a change in the transaction that makes it; without an actor, record nothing.

    Texts are shortened.
    """
    if actor is None:
        return
    texts = {
        "actor": actor.name,
        "source": actor.source,
        "change": change.verb,
        "subject": change.subject,
        "before": change.before,
        "after": change.after,
    }
    kept = {name: shorten(clean_text(text), LONGEST_TEXT) for name, text in texts.items()}
    uow.connection.execute(_NEW, {"at": uow.now, **kept})


def build(row: sa.Row[Any]) -> Activity:
    """Return the recorded change of a row."""
    change = Change(row.change, row.subject, row.before, row.after)
    return Activity(row.id, row.at, Actor(row.actor, row.source), change)


TABLE: Final = activity

_NEW: Final = sa.insert(activity)

ENTRIES: Final = sa.select(activity).order_by(activity.c.id.desc()).limit(sa.bindparam("most"))
"""The newest entries."""


def entries_of(verb: str, prefix: str) -> sa.Select[Any]:
    """Select the newest entries of one verb about subjects with a prefix."""
    of_subject = activity.c.subject.startswith(prefix, autoescape=True)
    return ENTRIES.where(activity.c.change == verb, of_subject)


ENTRIES_BEFORE: Final = ENTRIES.where(activity.c.id < sa.bindparam("before"))
"""The newest entries before one."""
