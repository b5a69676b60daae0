"""The inbox: statements that were accepted, and those that are not planned yet."""

from __future__ import annotations

import json
import reprlib
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from hostspec.alert import Alert
from hostspec.delivery import sharing
from hostspec.incident import Suppression
from hostspec.normalise import clean_text
from hostspec.parts import Identity
from hostspec.store.tables import statements
from hostspec.values import from_json, to_json

LONGEST_ID: Final = 255
"""Characters of a statement's id, at the most: PostgreSQL's indexes take no longer ones."""

_ACCEPT: Final = sa.text(
    "INSERT INTO statements (statement_id, scope, key, body, accepted_at, replays)"
    " VALUES (:statement_id, :scope, :key, :body, :accepted_at, :replays)"
    " ON CONFLICT (statement_id) DO NOTHING"
)

_ACCEPT_FREE: Final = sa.text(
    "WITH given AS MATERIALIZED ("
    " SELECT * FROM json_to_recordset(CAST(:given AS json)) AS given("
    " statement_id text, scope text, key text, body text, accepted_at double precision,"
    " every bigint, number bigint)"
    "), free AS MATERIALIZED ("
    " SELECT every, number FROM (SELECT DISTINCT every, number FROM given) AS locks"
    " WHERE pg_try_advisory_xact_lock_shared(every) AND pg_try_advisory_xact_lock(number)"
    "), written AS ("
    " INSERT INTO statements (statement_id, scope, key, body, accepted_at)"
    " SELECT statement_id, scope, key, body, accepted_at FROM given"
    " WHERE number IN (SELECT number FROM free)"
    " ON CONFLICT (statement_id) DO NOTHING"
    ") SELECT every, number FROM free"
)

_body: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Row = dict[str, str | float | None]
"""A statement as it is written."""


@attrs.frozen
class Note:
    """What a statement came to, beside its deliveries.

    Attributes:
        remark: why nothing is sent, where nothing is: no rule matches, say.
        failures: what could not be planned, and why.
        suppressions: what is not sent because a plugin decided so.
    """

    remark: str = ""
    failures: tuple[str, ...] = ()
    suppressions: tuple[Suppression, ...] = ()


@attrs.frozen
class Statement:
    """A statement that was accepted.

    Attributes:
        row: its number; the order of the numbers of one alert is that of the commits.
        statement_id: names it; a second one of the same id is the same statement.
        identity: of its alert.
        body: the alert, as it is kept.
        accepted_at: when, in seconds of the epoch.
        replays: the row of the delivery that is to be planned anew; None for a statement of
            the host's.
    """

    row: int
    statement_id: str
    identity: Identity
    body: str
    accepted_at: float
    replays: int | None = None

    def alert(self) -> Alert:
        """Read what it says."""
        return from_json(Alert, json.loads(self.body))


def new_id() -> str:
    """Make the id of a statement that came without one."""
    return uuid.uuid4().hex


def check_ids(statement_ids: Iterable[object]) -> None:
    """Refuse names of statements that not every database can hold.

    Raises:
        ValueError: says which, and what would be right.
    """
    wrong = ", ".join(reprlib.repr(each) for each in statement_ids if not _is_id(each))
    if wrong:
        message = (
            f"statement ids that cannot be: {wrong}; right is a text of 1 to {LONGEST_ID}"
            " characters, without NUL or half of a surrogate pair"
        )
        raise ValueError(message)


def _is_id(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= LONGEST_ID and clean_text(name) == name


def rows_of(alerts: Iterable[tuple[str, Alert]], accepted_at: float) -> Sequence[Row]:
    """Make the rows of statements; outside of the transaction, for it takes its time."""
    return [
        {
            "statement_id": statement_id,
            "scope": alert.scope,
            "key": alert.key,
            "body": _body(to_json(alert)),
            "accepted_at": accepted_at,
            "replays": None,
        }
        for statement_id, alert in alerts
    ]


def accept(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Write statements down; those that are there already stay as they are.

    Their alerts are locked first: the order of their numbers is that of the commits.
    """
    if rows:
        sharing.lock(connection, {identity_of(row) for row in rows})
        connection.execute(_ACCEPT, rows if len(rows) > 1 else rows[0])


def accept_free(connection: sa.Connection, rows: Sequence[Row]) -> Sequence[bool]:
    """Write those statements down on a server whose alerts nobody else has locked.

    It is one round trip, and waits for no lock of an alert.

    Args:
        connection: of the transaction.
        rows: each of another caller, so that none has to come before another one.

    Returns:
        of each, whether it is written down, or was there already.
    """
    locks = [sharing.numbers_of(identity_of(row)) for row in rows]
    given = [
        {**row, "every": every, "number": number}
        for row, (every, number) in zip(rows, locks, strict=True)
    ]
    free = {tuple(lock) for lock in connection.execute(_ACCEPT_FREE, {"given": _body(given)})}
    return [lock in free for lock in locks]


def identity_of(row: Row) -> Identity:
    """Give the alert that a statement is about."""
    return Identity(str(row["scope"]), str(row["key"]))


def replay(connection: sa.Connection, alert: Identity, body: str, delivery: int, now: float) -> str:
    """Accept what an alert said last once more, so that a delivery of it is planned anew."""
    row: Row = {
        "statement_id": new_id(),
        "scope": alert.scope,
        "key": alert.key,
        "body": body,
        "accepted_at": now,
        "replays": delivery,
    }
    accept(connection, [row])
    return str(row["statement_id"])


def unplanned(connection: sa.Connection, most: int) -> tuple[Statement, ...]:
    """Give the oldest statements that are not planned yet, in order."""
    return tuple(_read(row) for row in connection.execute(_UNPLANNED, {"most": most}))


def is_any_unplanned(connection: sa.Connection) -> bool:
    """Say whether a statement is not planned yet."""
    return connection.execute(_UNPLANNED, {"most": 1}).first() is not None


def last_firing(connection: sa.Connection, alert: Identity) -> str | None:
    """Give what an alert said last as it was firing, of the statements that are kept."""
    said = connection.execute(
        sa.select(statements.c.body)
        .where(statements.c.scope == alert.scope, statements.c.key == alert.key)
        .order_by(statements.c.id.desc())
    )
    return next((row.body for row in said if json.loads(row.body)["status"] == "firing"), None)


def planned(connection: sa.Connection, statement: Statement, now: float, note: Note) -> bool:
    """Note that a statement is planned, and what is to be said of it.

    Returns:
        whether it was still to be planned.
    """
    values = {"number": statement.row, "now": now, "text": json.dumps(to_json(note))}
    return bool(connection.execute(_PLANNED, values).rowcount)


def read_note(text: str | None) -> Note | None:
    """Read what is to be said of a statement; None before it is planned."""
    return None if text is None else from_json(Note, json.loads(text))


UNPLANNED: Final = statements.c.planned_at.is_(None)
_UNPLANNED: Final = (
    sa.select(statements).where(UNPLANNED).order_by(statements.c.id).limit(sa.bindparam("most"))
)
_PLANNED: Final = (
    sa.update(statements)
    .where(statements.c.id == sa.bindparam("number"), UNPLANNED)
    .values(planned_at=sa.bindparam("now"), note=sa.bindparam("text"))
)


def _read(row: sa.Row[Any]) -> Statement:
    identity = Identity(row.scope, row.key)
    return Statement(row.id, row.statement_id, identity, row.body, row.accepted_at, row.replays)
