"""The journal that plugins of the checks write, whatever process they are in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

VARIABLE: Final = "HOSTSPEC_TESTING_JOURNAL"
"""The environment variable that names the journal's file."""


def write(event: str, **members: object) -> None:
    """Add a line, in one write, so that lines of several threads do not mix."""
    line = json.dumps({"event": event, **members}) + "\n"
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def read() -> list[dict[str, object]]:
    """Return the lines, in the order in which they were written."""
    path = Path(os.environ[VARIABLE])
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]
