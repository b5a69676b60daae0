"""The first signal lets a command finish; the second one ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from terminal import INTERRUPTIBLE
from workspace import Workspace, line

from alerthost.cli.session import Interrupts
from pagerduty_plugin.testing import Gate, late


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Set the signal handlers of a foreground process, and restore the previous ones."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def test_signals_are_counted_and_the_second_one_interrupts() -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.count == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def begin(workspace: Workspace) -> subprocess.Popen[bytes]:
    """Start ``alerthost send`` on a pipe, as a foreground process."""
    return subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "send"],
        cwd=workspace.folder,
        env=workspace.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_input(workspace: Workspace, number: int) -> None:
    with begin(workspace) as process:
        assert process.stdin
        process.stdin.write(line().encode())
        process.stdin.flush()
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2)
        process.send_signal(number)
        out, errors = process.communicate()

    assert process.returncode == 0
    assert out.endswith(b"1 alert, 2 deliveries (2 delivered)\n")
    assert errors.startswith(b"interrupted: finishing deliveries in flight")
    assert b"Traceback" not in errors


def test_a_second_signal_does_not_wait_for_deliveries_in_flight(workspace: Workspace) -> None:
    gate = Gate()
    workspace.fake.misbehave(late(gate))
    with begin(workspace) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(line().encode())
        process.stdin.flush()
        workspace.fake.wait_for(lambda fake: len(fake.requests) == 2)
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline().startswith(b"interrupted")
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate()
        gate.open()

    assert (process.returncode, out) == (1, b"")
    assert errors.split() == [b"Aborted!"]
    assert workspace.process("deliveries").stdout.count("in flight") == 2


def test_ignored_signals_stay_ignored() -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGHUP)
    assert interrupts.count == 0
