"""``alerthost run``: the long-running service."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Final

import click

from alerthost.cli.options import command, with_config
from alerthost.cli.output import printable
from alerthost.config.document import refuse

_POLL: Final = 1.0
"""Seconds between two checks for signals."""


@command(
    "Receive alerts over HTTP and deliver them.",
    example="alerthost run --config /etc/alerthost/alerthost.toml",
)
@with_config
@click.option("--no-http", is_flag=True, help="Only deliver; receive no alerts over HTTP.")
@click.option("--no-workers", is_flag=True, help="Only receive; other processes deliver.")
@click.option("--debug", is_flag=True, help="Log the traceback of each plugin failure.")
def run(path: Path, *, no_http: bool, no_workers: bool, debug: bool) -> None:
    """Receive alerts over HTTP and deliver them, until stopped.

    Each alert is on disk before its request is answered, and is retried until it is delivered.
    SIGTERM or Ctrl-C finishes deliveries in flight within 10 s; a second one exits at once.
    SIGHUP reloads the configuration. Logs to standard error.
    """
    if no_http and no_workers:
        refuse("--no-http", "cannot be combined with --no-workers: nothing would be left to do")
    if not hasattr(signal, "SIGHUP"):
        refuse("", "alerthost run does not work on Windows; run it on Linux, macOS or WSL")
    from alerthost.http.delivery_log import log_in_background  # noqa: PLC0415 -- slow to import

    signals = _SignalQueue()
    logger = logging.getLogger("hostspec")
    with log_in_background(_log_handler()):
        logger.setLevel(logging.DEBUG if debug else logging.INFO)
        from alerthost.cli.server import Server  # noqa: PLC0415 -- slow to import

        server = Server(path, listens=not no_http, works=not no_workers)
        while signals.next() == signal.SIGHUP:
            threading.Thread(target=server.reload, name="hostspec reload", daemon=True).start()
        logger.info("stopping: finishing deliveries in flight")
        server.stop()
    os._exit(0)  # a plugin's thread may hang; the next start reclaims its deliveries


class _SignalQueue:
    """Queues SIGTERM, SIGINT and SIGHUP; the second one of the first two ends the process."""

    def __init__(self) -> None:
        self._received: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stopping = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._receive)

    def next(self) -> int:
        """Wait for the next signal."""
        while True:
            # a signal received just before the wait would not end it, so poll
            with contextlib.suppress(queue.Empty):
                return self._received.get(timeout=_POLL)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            if self._stopping:
                os._exit(1)
            self._stopping = True
        self._received.put(number)


class _OneLine(logging.Formatter):
    """Keeps each message on one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's name
        return printable(super().formatMessage(record))


def _log_handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(
        _OneLine("%(asctime)s %(levelname)-7s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z")
    )
    logging.raiseExceptions = False  # a log that cannot be written must not end the process
    return handler
