"""Shares compiled statements between all databases of a process, as in a program."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_create_engine = sa.create_engine
_compiled: LRUCache[Any, Any] = LRUCache(2000)


def share(patch: pytest.MonkeyPatch) -> None:
    """Compile each statement once, though each test makes a database or several.

    SQLAlchemy looks a statement up by its dialect, which each database has its own of.
    """
    for dialect in (PGDialect_psycopg, SQLiteDialect_pysqlite):
        patch.setattr(dialect, "__eq__", lambda one, other: type(one) is type(other))
        patch.setattr(dialect, "__hash__", lambda dialect: hash(type(dialect)))
    patch.setattr(sa, "create_engine", _engine)


def _engine(*arguments: Any, **options: Any) -> sa.Engine:
    engine = _create_engine(*arguments, **options)
    engine._compiled_cache = _compiled
    return engine
