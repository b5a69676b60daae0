"""Alembic's history of the database; versions are only ever added."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import sqlalchemy as sa

VERSION_TABLE: Final = "hostspec_version"
"""Alembic's table of the version, named so that it does not meet another program's."""

FOLDER: Final = Path(__file__).parent

_VERSION: Final = sa.table(VERSION_TABLE, sa.column("version_num")).c.version_num
_migrating: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar("migrating", default=False)


def found_version(connection: sa.Connection) -> str | None:
    """Return the version of a database; None for an empty one."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(sa.select(_VERSION)).scalar()


@functools.cache
def versions() -> tuple[str, ...]:
    """Return every version of the schema in order, from the names of the files."""
    return tuple(sorted(path.name[:4] for path in FOLDER.glob("versions/[0-9]*.py")))


def upgrade(connection: sa.Connection) -> None:
    """Bring a database to the newest version."""
    # slow to import, and most databases need no migration
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    with _quiet():
        command.upgrade(config, "head")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Alembic's progress out of the log of the program that embeds the store."""
    token = _migrating.set(True)
    try:
        yield
    finally:
        _migrating.reset(token)


def _is_wanted(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not _migrating.get()


for _name in ("alembic.runtime.migration", "alembic.runtime.plugins"):
    logging.getLogger(_name).addFilter(_is_wanted)
