"""Turns: who comes first goes first."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Hashable, Iterable, Iterator


class Turns:
    """Locks by name, each given in the order in which it was asked for.

    A lock of `threading` goes to any of those who wait, and a resolve could overtake the
    trigger before it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[Hashable, collections.deque[threading.Lock]] = {}

    @contextlib.contextmanager
    def of(self, names: Iterable[Hashable]) -> Iterator[None]:
        """Wait for one's turn at all of the names, and hold it.

        Several names are waited for in one order everywhere, so that nobody waits in a circle.
        """
        with contextlib.ExitStack() as stack:
            for name in sorted(set(names), key=repr):
                stack.enter_context(self._one(name))
            yield

    @contextlib.contextmanager
    def _one(self, name: Hashable) -> Iterator[None]:
        mine = threading.Lock()
        with self._lock:
            queue = self._queues.setdefault(name, collections.deque())
            if queue:
                mine.acquire()
            queue.append(mine)
        try:
            with mine:
                yield
        finally:
            with self._lock:
                first = queue[0] is mine
                queue.remove(mine)
                if not queue:
                    del self._queues[name]
                elif first:
                    queue[0].release()
