"""Starts a real Redis."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from debian import FETCHED, find_program
from waiting import wait_until


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run a Redis in this block; yield its URL."""
    program = find_program("Redis", "redis-server", fetched="usr/bin/redis-server")
    (libraries,) = {str(path.parent) for path in FETCHED.glob("usr/lib/*/liblzf.so.1")} or {""}
    socket = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(socket.exists, "the socket of Redis")
            yield f"unix://{socket}"
        finally:
            process.terminate()
