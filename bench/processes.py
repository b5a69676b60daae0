"""Processes of a measurement: each runs a function of a program, its role, and prints lines."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

Role = Callable[..., None]
"""A function of a program; its arguments are text. It says "ready" once it is."""


@contextlib.contextmanager
def process(
    role: Role, *arguments: object, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a role in a process; yield it once it is ready, and end it."""
    command = [sys.executable, role.__code__.co_filename, role.__name__, *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    ) as popen:
        try:
            heard = read_line(popen)
            assert heard == "ready", heard
            yield popen
        finally:
            popen.kill()


def print_line(line: object) -> None:
    """Print a line, in a role."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def read_line(popen: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints."""
    assert popen.stdout
    return popen.stdout.readline().strip()


def write_line(popen: subprocess.Popen[str], line: object) -> None:
    """Send a line to a process."""
    assert popen.stdin
    popen.stdin.write(f"{line}\n")
    popen.stdin.flush()


def finish(popen: subprocess.Popen[str]) -> str:
    """End the input of a process; return the next line that it prints."""
    assert popen.stdin
    popen.stdin.close()
    return read_line(popen)
