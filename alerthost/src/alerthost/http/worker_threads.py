"""The threads that work on requests, divided so that no request starves the others.

Python threads share one interpreter lock, which a parser holds while it parses. So large bodies
are parsed one at a time, and `request_body` bounds the number of values in a body.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from alerthost.http.responses import Rejection

LARGE: Final = 256 * 1024
"""Bytes of a body beyond which it is parsed one at a time."""

_THREADS: Final = 32
_CHECKS: Final = 4
_LARGE_AT_ONCE: Final = 4
"""Large bodies in memory at a time."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class WorkerThreads:
    """Runs checks, small requests and large requests, each in threads of their own."""

    def __init__(self) -> None:
        self._checks = ThreadPoolExecutor(_CHECKS, "hostspec check")
        self._small = ThreadPoolExecutor(_THREADS, "hostspec request")
        self._large = ThreadPoolExecutor(1, "hostspec large request")
        self._slots = threading.BoundedSemaphore(_LARGE_AT_ONCE)

    async def check(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a check of the host's state; requests do not delay it."""
        return await _run(self._checks, lambda: function(*args, **kwargs))

    async def work(self, size: int, function: Callable[[], _T]) -> _T:
        """Run the work on a request, by the size of its body in bytes."""
        return await _run(self._large if size > LARGE else self._small, function)

    @contextlib.contextmanager
    def memory(self) -> Iterator[BodyMemory]:
        """Hold the memory for the body of one request."""
        memory = BodyMemory(self._slots)
        try:
            yield memory
        finally:
            memory.release()

    def close(self) -> None:
        """End the threads when they are idle."""
        for executor in (self._checks, self._small, self._large):
            executor.shutdown(wait=False)


class BodyMemory:
    """The memory for one body; a large body needs one of a few slots."""

    def __init__(self, slots: threading.BoundedSemaphore) -> None:
        self._slots = slots
        self._has_slot = False

    def reserve(self, size: int) -> None:
        """Reserve memory for a body of a size in bytes.

        Raises:
            Rejection: too many large bodies are in memory.
        """
        if size > LARGE and not self._has_slot:
            self._has_slot = self._slots.acquire(blocking=False)
            if not self._has_slot:
                reason = "too many large requests at once; retry"
                raise Rejection(429, "busy", reason, retry=True)

    def release(self) -> None:
        """Release the memory."""
        if self._has_slot:
            self._slots.release()


async def _run(executor: ThreadPoolExecutor, function: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(executor, function)
