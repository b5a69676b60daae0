"""The command that runs until it is told to stop."""

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

from alerthost.cli.commands import example, speaks_plainly, with_config
from alerthost.cli.screen import printable
from alerthost.config.document import refuse

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks for a signal."""


class _Plain(logging.Formatter):
    """One line for each message, whatever is in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's name
        return printable(super().formatMessage(record))


class _Signals:
    """Keeps the signals that came, in their order; the second one that ends does so at once."""

    def __init__(self) -> None:
        self._came: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._is_ending = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)

    def next(self) -> int:
        """Wait for the next one."""
        while True:
            # one that comes just before the wait begins would not end it
            with contextlib.suppress(queue.Empty):
                return self._came.get(timeout=_LOOK_EVERY)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            if self._is_ending:
                os._exit(1)
            self._is_ending = True
        self._came.put(number)


@click.command(short_help="Take alerts over HTTP, and deliver them.")
@with_config
@click.option("--no-http", is_flag=True, help="Only deliver what others take.")
@click.option("--no-workers", is_flag=True, help="Only take alerts, which others deliver.")
@click.option("--debug", is_flag=True, help="Log the traceback of each plugin that fails, too.")
@speaks_plainly
@example("alerthost run --config /etc/alerthost/alerthost.toml")
def run(path: Path, *, no_http: bool, no_workers: bool, debug: bool) -> None:
    """Take alerts over HTTP and deliver them, until it is told to stop.

    An alert is on the disk before it is answered for, and is tried until it is delivered.
    SIGTERM or Ctrl-C finishes what is being sent, within 10 s; a second one ends at once.
    SIGHUP reads the configuration again. Logs to standard error.
    """
    if no_http and no_workers:
        refuse("--no-http", "leaves nothing to do beside --no-workers")
    if not hasattr(signal, "SIGHUP"):
        refuse("", "alerthost run does not work on Windows; run it on Linux, macOS or WSL")
    from alerthost.http.delivery_log import log_in_background  # noqa: PLC0415 -- slow to import

    signals = _Signals()
    with log_in_background(_plain_handler()):
        logging.getLogger("hostspec").setLevel(logging.DEBUG if debug else logging.INFO)
        from alerthost.cli.server import Running  # noqa: PLC0415 -- libraries take their time

        running = Running(path, listens=not no_http, works=not no_workers)
        while signals.next() == signal.SIGHUP:
            threading.Thread(target=running.reload, name="hostspec reload", daemon=True).start()
        logging.getLogger("hostspec").info("stopping: deliveries in flight are finished")
        running.stop()
    os._exit(0)  # whatever thread of a plugin's hangs: what it did is taken up by the next start


def _plain_handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(
        _Plain("%(asctime)s %(levelname)-7s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z")
    )
    logging.raiseExceptions = False  # who reads the log may be gone: that must not end anything
    return handler
