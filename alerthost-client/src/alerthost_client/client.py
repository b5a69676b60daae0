"""The client: hand an alert over, and go on."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alerthost_client.alert import ClientError, DroppedError, encode, shown
from alerthost_client.limited_log import LimitedLog
from alerthost_client.memory import MemoryQueue

if TYPE_CHECKING:
    from alerthost_client.batch import Outcome
    from alerthost_client.spool import Spool
    from alerthost_client.worker import Stats

URL = "http://127.0.0.1:9095"
"""Where ``alerthost run`` listens by default."""


class Client:
    """Hands alerts over to ``alerthost run``: a background thread posts them, in order.

    Safe to use from several threads, in forked children and in signal handlers. `fire`, `resolve`
    and `send` do not wait for the network, unless ``wait`` is given, and log their errors.

    Args:
        url: of alerthost.
        token: that alerthost asks for.
        token_file: a file with the token, read at each attempt.
        spool: a folder; an alert is on disk before `send` returns, and any process that uses the
            folder posts it. Without one, alerts are queued in memory.
        source: of alerts that have none; the name of this machine by default.
        most: the limit of alerts in memory; beyond it new ones are dropped.
        flush_within: seconds that the end of the process may take to post the queue.
        raise_errors: raise ClientError instead of logging it.

    Attributes:
        spool: its folder; None without one.

    Raises:
        ClientError: the URL is invalid, both tokens are given, or the spool cannot be used.
    """

    def __init__(  # noqa: PLR0913 -- each is one setting
        self,
        url: str = URL,
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        spool: str | os.PathLike[str] | None = None,
        source: str | None = None,
        most: int = 10_000,
        flush_within: float = 5.0,
        raise_errors: bool = False,
    ) -> None:
        # not at the top: http.client takes longer to import than all the rest
        from alerthost_client.transport import Transport, node  # noqa: PLC0415
        from alerthost_client.worker import Worker  # noqa: PLC0415

        if token is not None and token_file is not None:
            message = "token, token_file: only one of them can be used"
            raise ClientError(message)

        def read_token() -> str | None:
            if token_file is None:
                return token
            return Path(token_file).read_text(encoding="utf-8", errors="replace").strip()

        self._source = source or node()
        self._raise_errors = raise_errors
        self._log = LimitedLog()
        transport = Transport(url, read_token)
        self.spool = None if spool is None else Path(spool).resolve()
        folder = None if self.spool is None else _open_spool(self.spool)
        self._worker = Worker(transport, MemoryQueue(most), folder, self._log, flush_within)
        if folder is not None:
            self._worker.wake()  # posts what an earlier process left

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> Client:
        """Make a client from ALERTHOST_URL, ALERTHOST_SPOOL and ALERTHOST_TOKEN or _TOKEN_FILE.

        Args:
            environ: has the variables; blank ones count as missing.
            options: arguments of `Client`; they precede the variables.
        """
        names = {"url", "spool"}
        if not options.keys() & {"token", "token_file"}:
            names |= {"token", "token_file"}
        for name in names:
            value = environ.get(f"ALERTHOST_{name.upper()}", "").strip()
            if value:
                options.setdefault(name, value)
        return cls(**options)

    def fire(
        self,
        key: str,
        summary: str = "",
        *,
        severity: str = "error",
        source: str | None = None,
        wait: float | None = None,
        **fields: Any,
    ) -> bool:
        """Report that a problem fires, from now on unless ``started_at`` is given.

        Args:
            key: identifies the problem, until it is resolved.
            summary: one line for the responder.
            severity: ``critical``, ``error``, ``warning``, ``info`` or ``debug``.
            source: the affected host, device or URL.
            wait: see `send`.
            fields: further fields of the alert, such as ``labels`` or ``details``.

        Returns:
            As `send` does.
        """
        alert = {
            "key": key,
            "summary": summary,
            "severity": severity,
            "source": source or self._source,
            "started_at": datetime.now(timezone.utc).isoformat(),
        }
        return self.send({**alert, **fields}, wait=wait)

    def resolve(self, key: str, *, wait: float | None = None, **fields: Any) -> bool:
        """Report that a problem is over; if it was fired with a ``scope``, give the same one.

        Returns:
            As `send` does.
        """
        return self.send({"key": key, "status": "resolved", **fields}, wait=wait)

    def send(self, alert: Mapping[str, Any], *, wait: float | None = None) -> bool:
        """Hand over an alert with the fields of JSON, such as ``key``, ``status``, ``class``.

        Args:
            alert: needs a ``key``.
            wait: seconds to wait until alerthost has accepted it. After them it stays queued.

        Returns:
            Whether it is queued; with ``wait``, whether it is accepted.

        Raises:
            ClientError: it is not, and the client has ``raise_errors``.
        """
        try:
            self._send(alert, wait)
        except Exception as error:
            known = isinstance(error, ClientError)
            if self._raise_errors:
                raise error if known else ClientError(shown(error)) from error
            text = str(error) if known else "not handed over"
            text = f"alert {_key_of(alert)}: {text}"
            cause = type(error).__name__
            self._log.write(logging.ERROR, cause, text, None if known else error)
            return False
        return True

    def flush(self, seconds: float) -> bool:
        """Wait until no alert of this process is pending; return whether that is so."""
        return self._worker.flush(seconds)

    @property
    def stats(self) -> Stats:
        """The counts of this process's alerts."""
        return self._worker.stats

    def close(self) -> None:
        """Flush within ``flush_within``, and stop; alerts left in memory are lost, and logged."""
        self._worker.close()

    def __enter__(self) -> Client:  # noqa: PYI034 -- Self is in no library of 3.9
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, alert: Mapping[str, Any], wait: float | None) -> None:
        outcome = self._queue(alert)
        if wait is None:
            return
        reason = self._worker.wait(outcome, wait)
        if reason is None:
            message = f"not accepted within {wait:g} s; it is posted later"
            raise ClientError(message)
        if reason:
            raise ClientError(reason)

    def _queue(self, alert: Mapping[str, Any]) -> Outcome:
        try:
            return self._worker.append(encode(alert))
        except DroppedError:
            self._worker.count(dropped=1)
            raise
        except Exception:
            self._worker.count(rejected=1)
            raise


def _open_spool(folder: Path) -> Spool:
    try:
        from alerthost_client.spool import Spool  # noqa: PLC0415 -- Windows has no fcntl

        return Spool(folder)
    except ImportError:
        message = "spool: does not work on Windows"
        raise ClientError(message) from None
    except OSError as error:
        message = f"spool: {folder} cannot be used: {error.strerror}"
        raise ClientError(message) from error


def _key_of(alert: Mapping[str, Any]) -> str:
    """Return the key for a log line, whatever was passed as the alert."""
    try:
        return shown(alert["key"])
    except Exception:  # noqa: BLE001 -- it may be no mapping
        return shown(alert)
