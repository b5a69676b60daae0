"""A dialog with alerthost on a terminal: waits for its questions, and types."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workspace import Workspace

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

INTERRUPTIBLE = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from alerthost.__main__ import main
sys.argv[0] = "alerthost"
main()
"""
"""A program that runs alerthost, with Ctrl-C even if the tests run in the background."""

_CONTROLLED = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{INTERRUPTIBLE}"


class Conversation:
    """A command on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], controller: int) -> None:
        self.process = process
        self.seen = ""
        self._controller = controller
        self._read = 0

    def answer(self, question: str, text: str) -> None:
        """Wait for a question, and type a line."""
        self.wait_for(question)
        self.type(f"{text}\n")

    def wait_for(self, text: str) -> None:
        """Wait for a text after all earlier ones."""
        while text not in self.seen[self._read :]:
            assert self._more(), f"{text!r} was never shown after\n{self.seen}"
        self._read = self.seen.index(text, self._read) + len(text)

    def type(self, text: str) -> None:
        """Type a text; Ctrl-C is ``\\x03``."""
        os.write(self._controller, text.encode())

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        while self._more():
            pass
        return self.process.wait()

    def _more(self) -> bool:
        ready, _, _ = select.select([self._controller], [], [], 60)
        assert ready, f"nothing more was shown after\n{self.seen}"
        try:
            chunk = os.read(self._controller, 65536)
        except OSError:  # Linux: the other side is closed
            return False
        self.seen += ESCAPE.sub("", chunk.decode().replace("\r\n", "\n"))
        return bool(chunk)


@contextmanager
def conversation(
    workspace: Workspace, *arguments: str, env: dict[str, str | None] | None = None
) -> Iterator[Conversation]:
    """Start alerthost on a terminal that controls it."""
    environment = workspace.environment({"COLUMNS": "80", "TERM": "xterm", **(env or {})})
    command = [sys.executable, "-c", _CONTROLLED, *arguments]
    with on_terminal(command, environment, workspace.folder) as started:
        yield started


@contextmanager
def on_terminal(
    command: list[str], environment: dict[str, str], folder: Path | None = None
) -> Iterator[Conversation]:
    """Start a command on a terminal of its own."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        try:
            yield Conversation(process, controller)
        finally:
            process.kill()
            os.close(controller)
