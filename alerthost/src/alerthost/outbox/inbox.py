"""The inbox: accepted submissions, and the pending ones among them."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend, serialisation
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.coalescing import HEAD_START
from alerthost.outbox.serialisation import digest
from alerthost.outbox.submission import Note, Submission, new_id
from alerthost.store.tables import PENDING, submissions
from hostspec.alert import Alert, Identity, Severity, Status
from hostspec.values import from_json, members, to_json

BATCH: Final = 100
"""Most submissions planned at once: an urgent one waits for a whole batch, and a small one costs
more for each submission."""

MOST_KEYS: Final = 8
"""Most fairness keys that one batch serves, each with a query."""

_COLUMNS: Final = (
    "submission_id, scope, key, body, accepted_at, digest, scope_digest, urgency, size,"
    " fairness_key, lifetime"
)

_ACCEPT: Final = sa.text(
    f"INSERT INTO submissions ({_COLUMNS}, replays, cause)"  # noqa: S608 -- names of columns
    " VALUES (:submission_id, :scope, :key, :body, :accepted_at, :digest, :scope_digest, :urgency,"
    " :size, :fairness_key, :lifetime, :replays, :cause) ON CONFLICT (submission_id) DO NOTHING"
).bindparams(sa.bindparam("lifetime", type_=sa.Double()))

_ACCEPT_AGAIN: Final = sa.text(
    "INSERT INTO submissions (submission_id, scope, key, body, accepted_at, digest, scope_digest,"
    " urgency, size, fairness_key, cause) SELECT :submission_id, scope, key, body, :now, digest,"
    " scope_digest, urgency - accepted_at + :now, size, fairness_key, :cause"
    " FROM submissions WHERE id = :row"
).bindparams(sa.bindparam("now", type_=sa.Double()))

_ACCEPT_FREE: Final = sa.text(
    "WITH given AS MATERIALIZED ("  # noqa: S608 -- names of columns
    " SELECT * FROM json_to_recordset(CAST(:given AS json)) AS given("
    " submission_id text, scope text, key text, body text, accepted_at double precision,"
    " digest text, scope_digest text, urgency double precision, size bigint, fairness_key text,"
    " lifetime double precision, every bigint, number bigint)"
    "), free AS MATERIALIZED ("
    " SELECT every, number FROM (SELECT DISTINCT every, number FROM given) AS locks"
    " WHERE pg_try_advisory_xact_lock_shared(every) AND pg_try_advisory_xact_lock(number)"
    "), written AS ("
    f" INSERT INTO submissions ({_COLUMNS}) SELECT {_COLUMNS} FROM given"
    " WHERE number IN (SELECT number FROM free)"
    " ON CONFLICT (submission_id) DO NOTHING"
    ") SELECT every, number FROM free"
)

_body: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), default=members, check_circular=False
).encode

Lane = tuple[str, str]
"""The installation and the destination of deliveries."""

Row = dict[str, str | int | float | None]
"""A submission as it is written."""


def build_rows(
    alerts: Iterable[tuple[str, Alert]],
    accepted_at: float,
    lanes_of: Callable[[Alert], Iterable[Lane]] | None = None,
) -> Sequence[Row]:
    """Build the rows of submissions, before the transaction begins.

    Args:
        alerts: with the ids of their submissions.
        accepted_at: in seconds of the epoch.
        lanes_of: returns the lanes of an alert, for fair turns; None if none are needed.
    """
    return [
        _build_row(
            submission_id, alert, accepted_at, frozenset(lanes_of(alert) if lanes_of else ())
        )
        for submission_id, alert in alerts
    ]


def _build_row(
    submission_id: str, alert: Alert, accepted_at: float, lanes: frozenset[Lane] = frozenset()
) -> Row:
    """Build the row of a submission; its severity gives it a head start in urgency."""
    body = _body(alert)
    return {
        "submission_id": submission_id,
        "scope": alert.scope,
        "key": alert.key,
        "body": body,
        "accepted_at": accepted_at,
        "digest": digest(alert.identity),
        "scope_digest": _fairness_key(alert.scope),
        "fairness_key": _fairness_key(alert.scope, lanes),
        "urgency": accepted_at - HEAD_START[alert.severity],
        "size": len(body.encode()),
        "lifetime": None,
        "replays": None,
        "cause": "",
    }


@functools.lru_cache(maxsize=256)
def _fairness_key(scope: str, lanes: frozenset[Lane] = frozenset()) -> str:
    """Return the key of all alerts of a scope to some lanes, or to any; many have the same."""
    return digest(Identity(scope, json.dumps(sorted(lanes)) if lanes else ""))


def accept(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Insert submissions; those that exist already stay unchanged.

    Their alerts are locked first, so that their rows are in the order of the commits.
    """
    if rows:
        backend.lock(connection, map(identity_of, rows))
        connection.execute(_ACCEPT, rows if len(rows) > 1 else rows[0])


def accept_unlocked(connection: sa.Connection, rows: Sequence[Row]) -> Sequence[bool]:
    """Insert the submissions whose alerts are not locked (PostgreSQL, one round trip).

    Args:
        connection: of the transaction.
        rows: of different callers, so that their order does not matter.

    Returns:
        for each, whether it is inserted or existed already.
    """
    locks = [backend.numbers_of(identity_of(row)) for row in rows]
    given = [
        {**row, "every": every, "number": number}
        for row, (every, number) in zip(rows, locks, strict=True)
    ]
    free = {tuple(lock) for lock in connection.execute(_ACCEPT_FREE, {"given": _body(given)})}
    return [lock in free for lock in locks]


def identity_of(row: Row) -> Identity:
    """Return the alert of a submission's row."""
    return Identity(str(row["scope"]), str(row["key"]))


def replay(connection: sa.Connection, alert: Alert, delivery: int, now: float) -> str:
    """Accept the last state of an alert again, urgently, so that a delivery is planned again."""
    submission_id = new_id()
    urgent: Row = {"replays": delivery, "urgency": now - HEAD_START[Severity.CRITICAL]}
    accept(connection, [_build_row(submission_id, alert, now) | urgent])
    return submission_id


@attrs.define
class RoundRobin:
    """Serves fairness keys (scopes and destinations) in turn.

    Attributes:
        last: the key served last.
    """

    last: str = ""

    def next(self, connection: sa.Connection, most: int) -> Sequence[str]:
        """Return the keys to serve next, wrapping around."""
        found: Sequence[str] = ()
        for after in (self.last, ""):
            which = {"after": after, "most": most - len(found)}
            more = connection.execute(_FAIRNESS_KEYS, which).scalars()
            found = tuple(dict.fromkeys((*found, *more)))
            if len(found) == most:
                break
        self.last = found[-1] if found else ""
        return found


def find_pending(connection: sa.Connection, most: int, turns: RoundRobin) -> tuple[Submission, ...]:
    """Return pending submissions, in the order in which to plan them.

    This is the order of acceptance if all fit into one batch. Otherwise one half of the batch are
    the most urgent ones; for the other half scopes and destinations take turns, each with its most
    urgent ones. Each submission brings along all earlier ones about the same alert, so that their
    order is kept. The bodies of a batch have at most `CHUNK_BYTES` bytes.
    """
    urgent = connection.execute(_PENDING, {"most": most}).all()
    if len(urgent) < most and sum(row.size for row in urgent) <= serialisation.CHUNK_BYTES:
        return _fitting(connection, sorted(urgent, key=lambda row: row.id))
    of_alert: dict[str, dict[int, Any]] = {}
    for row in _alternating(urgent, _in_turn(connection, most // 2, turns)):
        of_alert.setdefault(row.digest, {})[row.id] = row
    chosen = (
        row
        for found in of_alert.values()
        for row in _with_earlier(connection, [*found.values()], most)
    )
    return _fitting(connection, itertools.islice(chosen, most))


def _in_turn(connection: sa.Connection, most: int, turns: RoundRobin) -> Iterable[Any]:
    """Return the most urgent submissions of each of the next fairness keys, alternating."""
    served = turns.next(connection, min(most, MOST_KEYS))
    share = most // max(1, len(served))
    return _alternating(
        *(
            connection.execute(_PENDING_OF_KEY, {"fairness_key": each, "most": share})
            for each in served
        )
    )


def _alternating(*rows: Iterable[Any]) -> Iterator[Any]:
    for several in itertools.zip_longest(*rows):
        yield from (each for each in several if each is not None)


def is_behind(connection: sa.Connection) -> bool:
    """Return whether more submissions are pending than fit into one batch."""
    return connection.execute(_BEHIND, {"batch": BATCH}).first() is not None


def _with_earlier(connection: sa.Connection, found: Sequence[Any], most: int) -> Sequence[Any]:
    """Add the earlier pending submissions about the same alert; often there are no others."""
    if [row.id for row in found] == [found[0].first]:
        return found
    which = {"digest": found[0].digest, "last": max(row.id for row in found), "most": most}
    return connection.execute(_OF_ALERT, which).all()


def _fitting(connection: sa.Connection, rows: Iterable[Any]) -> tuple[Submission, ...]:
    """Load submissions up to `CHUNK_BYTES`, at least one."""
    return load(connection, next(serialisation.chunks(rows), []))


def load(connection: sa.Connection, numbers: Sequence[int]) -> tuple[Submission, ...]:
    """Return submissions by their rows, in the given order."""
    found = {
        row.id: Submission(
            row.id,
            row.submission_id,
            Identity(row.scope, row.key),
            row.body,
            row.accepted_at,
            row.replays,
            row.lifetime,
            row.cause,
        )
        for row in connection.execute(_BODIES, {"numbers": numbers})
    }
    return tuple(found[number] for number in numbers)


def has_pending(connection: sa.Connection) -> bool:
    """Check that at least one submission is pending."""
    return connection.execute(_PENDING, {"most": 1}).first() is not None


def accept_own(uow: UnitOfWork, alert: Alert, cause: str) -> None:
    """Accept a submission of the engine itself, about an alert that is locked."""
    uow.connection.execute(_ACCEPT, _build_row(new_id(), alert, uow.now) | {"cause": cause})


def accept_again(uow: UnitOfWork, row: int, cause: str) -> None:
    """Accept a submission again, about an alert that is locked; its text is not read."""
    values = {"submission_id": new_id(), "now": uow.now, "cause": cause, "row": row}
    uow.connection.execute(_ACCEPT_AGAIN, values)


def find_last_firing(connection: sa.Connection, identity: Identity) -> Alert | None:
    """Return the newest firing state of an alert, or None."""
    rows = connection.execute(
        sa.select(submissions.c.id)
        .where(submissions.c.scope == identity.scope, submissions.c.key == identity.key)
        .order_by(submissions.c.id.desc())
    )
    for number in rows.scalars().all():  # bodies may be large: read one at a time
        (found,) = load(connection, [number])
        alert = found.alert()
        if alert.status is Status.FIRING:
            return alert
    return None


def still_pending(connection: sa.Connection, numbers: Sequence[int]) -> frozenset[int]:
    """Return the pending submissions among those given by row."""
    return frozenset(connection.execute(_STILL, {"numbers": numbers}).scalars())


def record_planned(uow: UnitOfWork, notes: Mapping[int, Note]) -> None:
    """Record that submissions, given by their rows, are planned."""
    rows = [
        {
            "number": number,
            "now": uow.now,
            "text": _note_text(note),
            "outcome": note.outcome or "",
        }
        for number, note in notes.items()
    ]
    if rows:
        uow.connection.execute(_PLANNED, rows)


@functools.lru_cache(maxsize=128)
def _note_text(note: Note) -> str:
    """Return the stored text of a note; most are equal."""
    return json.dumps(to_json(note))


def read_note(text: str | None) -> Note | None:
    """Return a stored note; None before the submission is planned."""
    return None if text is None else from_json(Note, json.loads(text))


_earlier: Final = submissions.alias("earlier")
_FIRST: Final = (
    sa.select(sa.func.min(_earlier.c.id))
    .where(_earlier.c.planned_at.is_(None), _earlier.c.digest == submissions.c.digest)
    .scalar_subquery()
)
_PENDING: Final = (
    sa.select(submissions.c.id, submissions.c.digest, submissions.c.size, _FIRST.label("first"))
    .where(PENDING)
    .order_by(submissions.c.urgency, submissions.c.id)
    .limit(sa.bindparam("most"))
)
_PENDING_OF_KEY: Final = _PENDING.where(submissions.c.fairness_key == sa.bindparam("fairness_key"))
_FAIRNESS_KEYS: Final = sa.text(
    "WITH RECURSIVE keys(fairness_key) AS ("
    " SELECT min(fairness_key) FROM submissions WHERE planned_at IS NULL AND fairness_key > :after"
    " UNION ALL"
    " SELECT (SELECT min(submissions.fairness_key) FROM submissions"
    "  WHERE planned_at IS NULL AND submissions.fairness_key > keys.fairness_key)"
    " FROM keys WHERE fairness_key IS NOT NULL"
    ") SELECT fairness_key FROM keys WHERE fairness_key IS NOT NULL LIMIT :most"
)
"""Distinct fairness keys in order, without a scan of the submissions between them."""

_BEHIND: Final = (
    sa.select(submissions.c.id)
    .where(PENDING)
    .order_by(submissions.c.urgency, submissions.c.id)
    .limit(1)
    .offset(sa.bindparam("batch"))
)
_OF_ALERT: Final = (
    sa.select(submissions.c.id, submissions.c.size)
    .where(
        PENDING,
        submissions.c.digest == sa.bindparam("digest"),
        submissions.c.id <= sa.bindparam("last"),
    )
    .order_by(submissions.c.id)
    .limit(sa.bindparam("most"))
)
_BODIES: Final = sa.select(submissions).where(
    submissions.c.id.in_(sa.bindparam("numbers", expanding=True))
)
_STILL: Final = sa.select(submissions.c.id).where(
    PENDING, submissions.c.id.in_(sa.bindparam("numbers", expanding=True))
)
_PLANNED: Final = (
    sa.update(submissions)
    .where(submissions.c.id == sa.bindparam("number"))
    .values(
        planned_at=sa.bindparam("now"), note=sa.bindparam("text"), outcome=sa.bindparam("outcome")
    )
)
