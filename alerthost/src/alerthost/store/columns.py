"""The kinds of columns of the tables, and the names of their constraints."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from hostspec.alert import parse_json

metadata: Final = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_LENGTH: Final = len("2026-11-23T08:41:00.123456+00:00")


class UtcTime(sa.TypeDecorator[dt.datetime]):
    """A time as text in UTC, equal in every database, and in the order of the text."""

    impl = sa.String(_LENGTH)
    cache_ok = True

    def process_bind_param(
        self,
        value: dt.datetime | None,
        dialect: Dialect,  # noqa: ARG002 -- SQLAlchemy's signature
    ) -> str | None:
        """Return the text of an aware time."""
        return (
            None if value is None else value.astimezone(dt.UTC).isoformat(timespec="microseconds")
        )

    def process_result_value(
        self,
        value: Any | None,
        dialect: Dialect,  # noqa: ARG002 -- SQLAlchemy's signature
    ) -> dt.datetime | None:
        """Return the time, in UTC."""
        return None if value is None else dt.datetime.fromisoformat(value)


Moment: Final = sa.Double
"""A time in seconds since the epoch, for the delivery engine."""

Number: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""An id of 64 bits, which every integer of SQLite has."""

Digest: Final = sa.String(32)
"""A hash of an incident reference or an alert identity, which are too long for an index."""


def read_json(text: str) -> Any:
    """Read a column of JSON; return the text itself if another program wrote other text.

    JSON that is nested too deeply for its readers counts as other text.
    """
    try:
        content = json.loads(text)
        return content if content == parse_json(text) else text
    except (ValueError, RecursionError):
        return text
