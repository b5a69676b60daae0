"""The threads that work on requests, divided so that no request starves the others.

Python's threads share one interpreter lock, which a parser holds for as long as it parses. So
large bodies are parsed one at a time, and `request_body` bounds what one body may hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from alerthost.http.refusals import Refusal

LARGE: Final = 256 * 1024
"""Bytes of a body beyond which it is parsed one at a time."""

_THREADS: Final = 32
_CHECKS: Final = 4
_LARGE_AT_ONCE: Final = 4
"""Large bodies that are in memory at a time."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Workload:
    """Run functions in threads: checks, small requests and large requests each in their own."""

    def __init__(self) -> None:
        self._checks = ThreadPoolExecutor(_CHECKS, "hostspec check")
        self._small = ThreadPoolExecutor(_THREADS, "hostspec request")
        self._large = ThreadPoolExecutor(1, "hostspec large request")
        self._slots = threading.BoundedSemaphore(_LARGE_AT_ONCE)

    async def check(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a check of the host's state; no request delays it."""
        return await _run(self._checks, lambda: function(*args, **kwargs))

    async def work(self, size: int, function: Callable[[], _T]) -> _T:
        """Run the work on a request whose body has a size in bytes."""
        return await _run(self._large if size > LARGE else self._small, function)

    @contextlib.contextmanager
    def room(self) -> Iterator[Room]:
        """Keep the room that the body of one request takes until the block is left."""
        room = Room(self._slots)
        try:
            yield room
        finally:
            room.leave()

    def close(self) -> None:
        """End the threads when they are idle."""
        for executor in (self._checks, self._small, self._large):
            executor.shutdown(wait=False)


class Room:
    """The room of one body: a large one takes one of a few slots."""

    def __init__(self, slots: threading.BoundedSemaphore) -> None:
        self._slots = slots
        self._is_taken = False

    def grow(self, size: int) -> None:
        """Take room for a body of so many bytes.

        Raises:
            Refusal: too many large bodies are in memory already.
        """
        if size > LARGE and not self._is_taken:
            self._is_taken = self._slots.acquire(blocking=False)
            if not self._is_taken:
                reason = "too many large requests at once; post it again"
                raise Refusal(429, "busy", reason, again=True)

    def leave(self) -> None:
        """Return the room."""
        if self._is_taken:
            self._slots.release()


async def _run(executor: ThreadPoolExecutor, function: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(executor, function)
