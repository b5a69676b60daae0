"""``alerthost exec``: runs a command, and fires an alert when it fails or takes too long."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from datetime import timedelta

from alerthost_client.alert import ClientError
from alerthost_client.client import Client
from alerthost_client.command import Command, Tail

CANNOT_BE_EXECUTED = 126
NOT_FOUND = 127
"""Exit codes of a shell for a command that cannot be started."""

LONGEST_TIMEOUT = 366 * 86_400
"""Seconds."""

_STANDARD_ERROR = 2
_SEVERITIES = ("critical", "error", "warning", "info", "debug")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_DESCRIPTION = """\
Run a command, and fire the alert KEY when it fails or takes too long; resolve it when the command
succeeds. Output, signals and the exit code are those of the command."""

_ENVIRONMENT = """\
ALERTHOST_URL, ALERTHOST_SPOOL and ALERTHOST_TOKEN_FILE say where alerts go. With a spool, none is
lost while alerthost is down."""


def run() -> None:
    """Run the script ``alerthost-exec``."""
    sys.exit(main(sys.argv[1:], "alerthost-exec"))


def main(arguments: Sequence[str], program: str) -> int:
    """Run a command, and return its exit code.

    Args:
        arguments: of the command line, without the program.
        program: its name, for messages.
    """
    if not hasattr(signal, "SIGHUP"):
        _print(f"{program}: does not work on Windows")
        return 2
    _open_standard_streams()
    options = _parse(arguments, program)
    logging.basicConfig(format=f"{program}: %(message)s")
    logging.raiseExceptions = False  # a standard error that is closed must not end the command
    tail = Tail(options.tail)
    command = Command(tail)
    alerts = _Alerts(options, tail, _make_client(program))
    try:
        code = command.run(options.command, options.timeout, alerts.fire_late, kill=options.kill)
    except OSError as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_BE_EXECUTED
        problem = f"cannot start {options.command[0]}: {error.strerror}"
        _print(f"{program}: {problem}")
        alerts.fire(problem, code)
    else:
        if command.unwritten:
            _print(f"{program}: output cannot be written: {command.unwritten}")
        alerts.report(code)
    alerts.close()
    return code


class _Alerts:
    """Fires and resolves the alert of a command.

    Args:
        options: of the command line.
        tail: has the end of the output.
        client: None if its settings are invalid.
    """

    def __init__(self, options: argparse.Namespace, tail: Tail, client: Client | None) -> None:
        self._options = options
        self._tail = tail
        self._client = client
        self._started_at = time.monotonic()
        self._is_late = False

    def report(self, code: int) -> None:
        """Fire or resolve at the end of the command; one that was ended has not succeeded."""
        problem = f"failed with exit code {_named(code)} after {self._duration()}"
        if self._is_late and self._options.kill:
            self.fire(f"{problem}, ended at its timeout", code)
        elif code:
            self.fire(problem, code)
        elif self._client is not None:
            self._client.resolve(self._options.key)

    def fire_late(self) -> None:
        """Fire because the command takes too long."""
        self._is_late = True
        self.fire(f"still runs after {self._duration()}")

    def fire(self, problem: str, code: int | None = None) -> None:
        """Fire; its details have no arguments of the command, as these may be secrets."""
        if self._client is None:
            return
        details = {
            "command": self._options.command[0],
            "exit_code": code,
            "duration": self._duration(),
            "output": self._tail.text(),
        }
        self._client.fire(
            self._options.key,
            f"{self._options.key}: {problem}",
            severity=self._options.severity,
            labels=dict(self._options.label),
            details={name: value for name, value in details.items() if value not in {None, ""}},
        )

    def close(self) -> None:
        """Post the alert, or leave it to the spool."""
        if self._client is not None:
            self._client.close()

    def _duration(self) -> str:
        return str(timedelta(seconds=round(time.monotonic() - self._started_at)))


def _make_client(program: str) -> Client | None:
    """Make the client, or report why not: the command runs all the same."""
    try:
        return Client.from_env()
    except ClientError as error:
        _print(f"{program}: {error}")
    try:
        return Client.from_env({**os.environ, "ALERTHOST_SPOOL": ""})
    except ClientError:
        _print(f"{program}: the command runs without alerts")
        return None


def _parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} KEY [OPTIONS] -- COMMAND...",
        description=_DESCRIPTION,
        epilog=_ENVIRONMENT,
        allow_abbrev=False,
    )
    parser.add_argument("key", metavar="KEY", help="identifies the problem")
    parser.add_argument("--severity", choices=_SEVERITIES, default="error", help="error by default")
    parser.add_argument(
        "--label",
        type=_label,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a label of the alert; may be repeated",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="TIME",
        help="fire when it runs for longer, such as 90s, 15m or 2h; it goes on running",
    )
    parser.add_argument("--kill", action="store_true", help="end it at the timeout")
    parser.add_argument(
        "--tail",
        type=_count,
        default=100,
        metavar="LINES",
        help="lines of output in the alert, 100 by default",
    )
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:at])
    options.command = arguments[at + 1 :]
    if not options.key.strip():
        parser.error("KEY: is blank")
    if not options.command:
        parser.error("COMMAND: is missing; write it after --")
    if options.kill and options.timeout is None:
        parser.error("--kill: needs --timeout")
    return options


def _label(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        message = f"{text!r} is not NAME=VALUE"
        raise argparse.ArgumentTypeError(message)
    return name, value


def _seconds(text: str) -> int:
    parts = re.findall(r"([0-9]{1,9})([smhd])", text)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != text or not 0 < seconds <= LONGEST_TIMEOUT:
        message = f"{text!r} is not a time of up to 366 days; use for example 90s, 15m or 1h30m"
        raise argparse.ArgumentTypeError(message)
    return seconds


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        message = f"{text!r} is not a number of lines"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _named(code: int) -> str:
    """Return an exit code with the signal that a shell reports by it."""
    try:
        return f"{code} ({signal.Signals(code - 128).name})"
    except ValueError:
        return str(code)


def _open_standard_streams() -> None:
    """Open those that the caller closed, so that no pipe gets one of their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(descriptor)


def _print(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(_STANDARD_ERROR, f"{text}\n".encode(errors="replace"))
