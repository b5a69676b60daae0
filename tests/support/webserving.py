"""Runs web applications under real servers."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from programs import Program
from serving import Reply, ask, connected
from waiting import wait_until

APPS = Path(__file__).parents[1] / "web" / "apps"
GUNICORN = ("gunicorn", "--workers", "2", "--bind", "127.0.0.1:0")
UVICORN = ("uvicorn", "--workers", "2", "--port", "0")

SERVERS = {
    "django_shop": (*GUNICORN, "django_shop:app"),
    "django_shop, asynchronous": (*UVICORN, "django_shop:asgi"),
    "flask_shop": (*GUNICORN, "flask_shop:app"),
    "wsgi_shop": (*GUNICORN, "--preload", "wsgi_shop:app"),
    "starlette_shop": (*UVICORN, "starlette_shop:app"),
}
"""Arguments of ``python -m`` by the name of an application."""


class Served(Program):
    """An application under its server.

    Args:
        command: see `SERVERS`.
        variables: of its environment.
    """

    def __init__(self, command: Sequence[object], **variables: object) -> None:
        environment = {name: str(value) for name, value in variables.items()}
        super().__init__(
            [sys.executable, "-m", *map(str, command)], APPS, {**os.environ, **environment}
        )
        said = "Listening at: " if "gunicorn" in command else "running on "
        (self.url,) = re.findall(r"http://[0-9.:]+", self.wait_for(said))
        try:
            wait_until(self._listens, "that the server listens")
        except BaseException as error:
            error.add_note(self.log)
            raise

    def get(self, path: str) -> Reply:
        """Request a page."""
        return ask(self.url, "GET", path)

    def _listens(self) -> bool:  # uvicorn logs its address before its workers listen
        with contextlib.suppress(ConnectionRefusedError), connected(self.url):
            return True
        return False
