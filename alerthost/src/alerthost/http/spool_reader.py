"""Accept the alerts that clients on this machine left in a spool."""

from __future__ import annotations

from pathlib import Path

from alerthost.config.tables import HttpTable
from alerthost_client.limited_log import LimitedLog
from alerthost_client.memory import MemoryQueue
from alerthost_client.spool import Spool
from alerthost_client.transport import Transport
from alerthost_client.worker import Worker
from hostspec.secret import SecretUnavailableError


class SpoolReader:
    """Posts the alerts of a spool to the address of this process, as their client would.

    So they pass the same checks, and are accepted once, whichever process posts them.

    Args:
        folder: the spool; it is made if it does not exist.
        url: on which this process listens.
        table: has the token.

    Raises:
        OSError: the folder cannot be made or used.
    """

    def __init__(self, folder: Path, url: str, table: HttpTable) -> None:
        def read_token() -> str | None:
            try:
                return table.token.reveal() if table.token else None
            except SecretUnavailableError as error:
                raise OSError(str(error)) from None

        self._worker = Worker(
            Transport(url, read_token),
            MemoryQueue(0),  # no alert comes from this process
            Spool(folder),
            LimitedLog(),
            flush_within=0.0,
        )

    def start(self) -> None:
        """Begin to post, in a thread."""
        self._worker.wake()

    def close(self) -> None:
        """Stop after the request in flight; the alerts that are left stay in the spool."""
        self._worker.close()
