"""Connections to a PostgreSQL server."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event

from alerthost.store.errors import StoreError
from alerthost.store.tables import STATE

POOL_SIZE: Final = 16
"""Connections to the server per process; a thread that needs another one waits."""

MIGRATION_LOCK: Final = int.from_bytes(b"hostspec")
"""The advisory lock that processes hold while they migrate a database."""

_CLIENT_SETTINGS: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""Limits after which a connection to a dead server fails; the system's defaults are hours."""

_SERVER_SETTINGS: Final = (
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3;"
    " SET tcp_user_timeout = 15000; SET idle_in_transaction_session_timeout = 10000"
)
"""Limits after which the server ends the session of a frozen process, which may hold locks."""


def create_engine(url: sa.URL, pool_size: int = POOL_SIZE, max_overflow: int = 0) -> sa.Engine:
    """Return an engine with a pool of connections.

    Args:
        url: of the database.
        pool_size: connections that are kept.
        max_overflow: further connections; -1 for no limit. Waiting for one is faster than opening
            one.

    Raises:
        StoreError: the URL is malformed, or psycopg is not installed.
    """
    if "@" in (url.host or ""):
        message = "[store] url has an @ in its password; write it as %40"
        raise StoreError(message)
    settings = {name: value for name, value in _CLIENT_SETTINGS.items() if name not in url.query}
    try:
        engine = sa.create_engine(
            url,
            connect_args=settings,
            hide_parameters=True,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_use_lifo=True,  # a connection that was just used has prepared the statements
            pool_pre_ping=True,  # the server may have restarted
        )
    except ImportError:
        message = "[store] url needs psycopg (pip install 'alerthost[postgresql]')"
        raise StoreError(message) from None
    event.listen(engine, "connect", set_up_session)
    return engine


def set_up_session(connection: Any, _record: object) -> None:
    """Set the server's limits for a session; prepare no statements behind a pooler."""
    with connection.cursor() as cursor:
        cursor.execute(_SERVER_SETTINGS)
        (process,) = cursor.execute("SELECT pg_backend_pid()").fetchone()
    connection.commit()
    if process != connection.info.backend_pid:
        # the pooler may run the next transaction in a session without the prepared statements
        connection.prepare_threshold = None


def lock_migrations(connection: sa.Connection) -> None:
    """Wait for other processes that migrate the database, until the transaction ends."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))


def lock_tables(connection: sa.Connection) -> None:
    """Exclude all other writers until the transaction ends."""
    names = ", ".join(table.name for table in STATE)
    connection.execute(sa.text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
