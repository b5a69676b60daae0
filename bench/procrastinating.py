"""The contender: procrastinate makes the same posts, one after the other of each lock."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any

import requests  # noqa: TID253 -- what one would write without the plugin
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector


def defer(store: str, events: Iterable[tuple[str, Any]]) -> None:
    """Queue posts in an empty database, each with its lock."""
    app = App(connector=SyncPsycopgConnector(conninfo=store))
    with app.open():
        app.schema_manager.apply_schema()
        for lock, event in events:
            app.configure_task("post", lock=lock).defer(event=event)


def worker_on(store: str, url: str, threads: int) -> Callable[[], None]:
    """Return what makes all posts that wait; each thread has a session of its own."""
    app = App(connector=PsycopgConnector(conninfo=store, max_size=16))
    local = threading.local()

    @app.task(name="post", retry=10)
    def post(event: Any) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        local.session.post(f"{url}/v2/enqueue", json=event, timeout=20).raise_for_status()

    return functools.partial(app.run_worker, concurrency=threads, wait=False, listen_notify=False)
