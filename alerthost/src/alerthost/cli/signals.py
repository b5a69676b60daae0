"""Signal handling: the first signal lets a command finish its work, the second one ends it."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final, Self

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Sent by the operator, a supervisor and a closed terminal. Windows has no SIGHUP."""

_POLL: Final = 1.0


class Interrupts:
    """Counts signals in a block, in the main thread; the second one raises KeyboardInterrupt.

    Signals that are ignored stay ignored, as `nohup` wants.

    Args:
        limit: the signal that raises, outside of `breakable`; 0 for none.
        message: written to standard error on the first signal.

    Attributes:
        count: signals received.
    """

    def __init__(self, *, limit: int = 2, message: bytes = b"") -> None:
        self.count = 0
        self._limit = limit
        self._message = message
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for each in _SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                self._previous[each] = signal.signal(each, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)

    @contextlib.contextmanager
    def breakable(self, *, at: int) -> Iterator[None]:
        """Leave the block early, without an error, once `at` signals were received."""
        with contextlib.suppress(KeyboardInterrupt):
            self._limit, previous = at, self._limit
            try:
                yield
            finally:
                self._limit = previous

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count == 1 and self._message:
            # unbuffered: the signal may have interrupted a print to the same stream
            with contextlib.suppress(OSError):
                os.write(2, self._message)
        if self._limit and self.count >= self._limit:
            raise KeyboardInterrupt


class SignalQueue:
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
