"""The tables of the database, as the newest migration leaves them."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

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
    """A time as text in UTC: the same in every database, and ordered as text."""

    impl = sa.String(_LENGTH)
    cache_ok = True

    def process_bind_param(
        self,
        value: dt.datetime | None,
        dialect: Dialect,  # noqa: ARG002 -- SQLAlchemy's signature
    ) -> str | None:
        """Write a time; it knows its zone."""
        return (
            None if value is None else value.astimezone(dt.UTC).isoformat(timespec="microseconds")
        )

    def process_result_value(
        self,
        value: Any | None,
        dialect: Dialect,  # noqa: ARG002 -- SQLAlchemy's signature
    ) -> dt.datetime | None:
        """Read a time; it is in UTC."""
        return None if value is None else dt.datetime.fromisoformat(value)


installations: Final = sa.Table(
    "installations",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,  # an id of something removed is never given again
)
