"""Runs a program whose output is read continuously."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self


class Program:
    """A running program in a process group, which is killed at the end of the block.

    Attributes:
        lines: of its output and errors so far.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.popen = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._read = 0
        self._reader = threading.Thread(target=self._follow)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.end()

    @property
    def log(self) -> str:
        """The log so far."""
        return "\n".join(self.lines)

    def wait_for(self, text: str) -> str:
        """Wait for the next line with a text; return it."""

        def found() -> bool:
            return self._ended or any(text in line for line in self.lines[self._read :])

        with self._changed:
            assert self._changed.wait_for(found, 60), f"{text!r} was never said:\n{self.log}"
            for number in range(self._read, len(self.lines)):
                if text in self.lines[number]:
                    self._read = number + 1
                    return self.lines[number]
        raise AssertionError(f"it ended without saying {text!r}:\n{self.log}")

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        self.popen.send_signal(number)

    def end(self) -> int:
        """Wait for its end; return the exit code."""
        try:
            code = self.popen.wait(60)
        except subprocess.TimeoutExpired:
            self.popen.send_signal(signal.SIGABRT)  # where its threads are, at the log's end
            self.popen.wait(60)
            self._reader.join()
            raise AssertionError(self.log) from None
        self._reader.join()
        return code

    def _follow(self) -> None:
        assert self.popen.stdout
        with self.popen.stdout as file:
            for line in file:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def free_port() -> int:
    """Return a port that nothing listens on, for a program that must be given one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
