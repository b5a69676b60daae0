"""Run a command: pass its output and signals through, and keep the end of its output."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from types import FrameType

LONGEST_TAIL = 64 * 1024
"""Bytes of output that are kept."""

CHUNK = 64 * 1024
"""Bytes that are read at once: all that a pipe holds."""

LINGER = 1.0
"""Seconds after the end of the command in which output of the processes that it left is read."""

KILL_AFTER = 10.0
"""Seconds from SIGTERM to SIGKILL, for a command that is to end at its timeout."""

LOOK = 0.5
"""Seconds between two looks whether there is a signal to forward, while the output is not read."""

_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
_FORWARDED = (*_FROM_TERMINAL, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Tail:
    """Keeps the last lines of an output in bounded memory.

    Args:
        lines: their number.
    """

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._kept = bytearray()

    def add(self, chunk: bytes) -> None:
        """Add output."""
        self._kept += chunk
        if len(self._kept) > 2 * LONGEST_TAIL:  # not each time: it moves all that is kept
            del self._kept[:-LONGEST_TAIL]

    def text(self) -> str:
        """Return the last lines as a terminal shows them: after the last return of each."""
        output = bytes(self._kept[-LONGEST_TAIL:]).decode("utf-8", "replace")
        lines = output.rstrip().split("\n")
        lines = lines[max(0, len(lines) - self._lines) :]
        return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


class Command:
    """A command that runs until its end, or until its timeout.

    Its standard output and error are pipes, whose content is written to those of this process. Use
    one per process, in the main thread: it takes signals over from now on, and forwards them.

    Args:
        tail: keeps the end of its output.

    Attributes:
        unwritten: why output could not be written; blank if all of it was.
    """

    def __init__(self, tail: Tail) -> None:
        self.unwritten = ""
        self._tail = tail
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._selector = selectors.DefaultSelector()
        woken, wake = os.pipe()
        for descriptor in (woken, wake):
            os.set_blocking(descriptor, False)
        self._selector.register(woken, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _FORWARDED:
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._forward)

    def run(
        self,
        arguments: Sequence[str],
        timeout: float | None,
        on_timeout: Callable[[], object],
        *,
        kill: bool,
    ) -> int:
        """Run it, and return its exit code: 128 and the number of the signal that ended it.

        Args:
            arguments: the program, and its arguments.
            timeout: in seconds; None for none.
            on_timeout: called then, in a signal handler.
            kill: whether to end it then, by SIGTERM, and by SIGKILL if it does not end.

        Raises:
            OSError: it cannot be started.
        """
        pipes = os.pipe(), os.pipe()
        (_, out), (_, err) = pipes
        process = subprocess.Popen(arguments, stdout=out, stderr=err)  # noqa: S603 -- as asked
        self._process = process
        for number in self._early:
            process.send_signal(number)

        def escalate(*_: object) -> None:
            process.kill()

        def end_late(*_: object) -> None:
            on_timeout()
            if kill:
                process.terminate()
                signal.signal(signal.SIGALRM, escalate)
                signal.setitimer(signal.ITIMER_REAL, KILL_AFTER)

        signal.signal(signal.SIGALRM, end_late)
        signal.setitimer(signal.ITIMER_REAL, timeout or 0)
        for (read, write), target in zip(pipes, (1, 2)):
            os.close(write)
            self._selector.register(read, selectors.EVENT_READ, target)
        self._pass_output(process)
        code = process.wait()
        signal.setitimer(signal.ITIMER_REAL, 0)
        return code if code >= 0 else 128 - code

    def _forward(self, number: int, _: FrameType | None) -> None:
        if number in _FROM_TERMINAL and _is_in_foreground():
            return  # the terminal sent it to the command, too
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)

    def _pass_output(self, process: subprocess.Popen[bytes]) -> None:
        """Pass output through until the end of the command, and a moment longer.

        A process that the command left behind may keep the pipes open for ever.
        """
        end: float | None = None
        # the pipe of the signals stays, and SIGCHLD is one of them
        while len(self._selector.get_map()) > 1 or process.poll() is None:
            left = None if end is None else max(0.0, end - time.monotonic())
            self._pass_ready(left)
            if left == 0.0:
                return
            if end is None and process.poll() is not None:
                end = time.monotonic() + LINGER

    def _pass_ready(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            chunk = os.read(key.fd, CHUNK)
            if key.data is None:
                continue
            self._tail.add(chunk)
            try:
                _write(key.data, chunk)
            except OSError as error:
                # closing the pipe comes closest to the error that the command would get alone
                self.unwritten = os.strerror(error.errno or 0)
                chunk = b""
            if not chunk:
                self._selector.unregister(key.fd)
                os.close(key.fd)


def _write(descriptor: int, chunk: bytes) -> None:
    """Write all bytes.

    Raises:
        OSError: they cannot be written.
    """
    left = memoryview(chunk)
    while left:
        # a signal that came just before a wait without end would be forwarded after it
        _, ready, _ = select.select([], [descriptor], [], LOOK)
        for each in ready:
            with contextlib.suppress(BlockingIOError):  # another process may have made it so
                left = left[os.write(each, left) :]


def _is_in_foreground() -> bool:
    """Check whether this process, and so the command, gets the signals of a terminal's keys."""
    with contextlib.suppress(OSError):
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False
