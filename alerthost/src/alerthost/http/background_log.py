"""Writes the log on a thread of its own: whoever reads it slowly delays no delivery."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import queue
import threading
from collections.abc import Iterator
from typing import Final

MOST_WAITING: Final = 10_000
"""Records that wait to be written; beyond, new ones are dropped and counted."""

WRITE_WITHIN: Final = 2.0
"""Seconds in which the last records are written when the program ends."""


class Drops:
    """Counts the records that were dropped."""

    def __init__(self) -> None:
        self.count = 0


DROPS: Final = Drops()
"""The count of this process, for its metrics."""


class DroppingHandler(logging.handlers.QueueHandler):
    """Queues records without ever waiting; says how many were dropped once there is room."""

    def __init__(self, waiting: queue.Queue[logging.LogRecord], drops: Drops) -> None:
        super().__init__(waiting)
        self._drops = drops
        self._untold = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record, or drop it; called under the handler's lock."""
        try:
            if self._untold:
                self.queue.put_nowait(self._notice())
                self._untold = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self._drops.count += 1
            self._untold += 1

    def _notice(self) -> logging.LogRecord:
        text = f"{self._untold} log records were dropped: the log is read too slowly"
        return logging.LogRecord("hostspec", logging.WARNING, "", 0, text, None, None)


@contextlib.contextmanager
def written_behind(
    handler: logging.Handler, drops: Drops = DROPS, most: int = MOST_WAITING
) -> Iterator[None]:
    """Make a handler of the root logger write on its own thread while the context lasts.

    Args:
        handler: writes the records.
        drops: counts those that are not written.
        most: the largest number of waiting records.
    """
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(most)
    listener = logging.handlers.QueueListener(waiting, handler)
    queueing = DroppingHandler(waiting, drops)
    logging.getLogger().addHandler(queueing)
    listener.start()
    try:
        yield
    finally:
        logging.getLogger().removeHandler(queueing)
        stopping = threading.Thread(target=_stop, args=(listener, waiting), daemon=True)
        stopping.start()
        stopping.join(WRITE_WITHIN)


def _stop(
    listener: logging.handlers.QueueListener, waiting: queue.Queue[logging.LogRecord]
) -> None:
    waiting.join()  # the listener's own stop fails where the queue is full
    listener.stop()
