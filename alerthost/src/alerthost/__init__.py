"""The reference host: a durable delivery engine, and the command ``alerthost`` around it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alerthost.outbox.engine import Engine

__all__ = ["open"]


def open(path: str | os.PathLike[str], *, works: bool = True) -> Engine:  # noqa: A001 -- as in `tarfile`
    """Return the engine of a configuration file (``alerthost.toml``), not started yet.

    It has the accounts and rules of the file, and those of its store. The tables http and spool
    are left alone. Close ``engine.database`` when the engine has stopped.

    Args:
        path: of the file.
        works: the engine will send, so the secrets are checked, each is read once. If not, other
            processes send what this one accepts, and no secret is read.

    Raises:
        FaultsError: the file has faults, all of them at once.
        StoreError: the database is not supported.
    """
    from alerthost.config.opening import open_engine  # noqa: PLC0415 -- slow imports

    return open_engine(Path(path), works=works)
