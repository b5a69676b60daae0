"""Events for open pages after each change (server-sent events)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.responses import Response, StreamingResponse

from alerthost.console.rendering import HEADERS
from alerthost.http.app import HttpApp
from alerthost.http.responses import Rejection
from alerthost.store.errors import StoreError

MOST: Final = 32
"""Streams that are open at once; each is a connection. Further pages ask every few seconds."""

EVERY: Final = 1.0
"""Seconds between two looks at the store."""

SILENT: Final = 2
"""Looks without a change after which a comment is sent: a closed page is noticed by writing."""


class Events:
    """The streams of events to open pages."""

    def __init__(self, http: HttpApp) -> None:
        self._http = http
        self._open = 0

    def response(self) -> Response:
        """Return a stream that has an event at its beginning, and after each change.

        Raises:
            Rejection: too many streams are open.
        """
        if self._open >= MOST:
            raise Rejection(429, "streams", f"{MOST} pages have a stream of events already")
        return StreamingResponse(self._events(), headers=HEADERS, media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        self._open += 1
        try:
            seen: object = None
            silent, backend = 0, self._http.backend
            # after a reload the browser connects again, perhaps to another listener
            while not self._http.stopping and self._http.backend is backend:
                marker = await self._http.threads.check(self._marker)
                if marker != seen:
                    seen, silent = marker, 0
                    yield "data: changed\n\n"
                elif silent == SILENT:
                    silent = 0
                    yield ":\n\n"
                silent += 1
                await asyncio.sleep(EVERY)
        finally:
            self._open -= 1

    def _marker(self) -> object:
        try:
            return self._http.backend.engine.admin.lists.marker()
        except StoreError:
            return "the store fails"
