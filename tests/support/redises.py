"""Starts a real Redis."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import wait_until

FETCHED = Path(__file__).parents[2] / ".venv/debian/usr"


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run a Redis in this block; yield its URL."""
    program = shutil.which("redis-server") or str(FETCHED / "bin/redis-server")
    if not Path(program).exists():
        pytest.skip("Redis is not here; tests/fetch-debian.sh gets it where apt is")
    (libraries,) = {str(path.parent) for path in FETCHED.glob("lib/*/liblzf.so.1")} or {""}
    socket = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(socket.exists, "the socket of Redis")
            yield f"unix://{socket}"
        finally:
            process.terminate()
