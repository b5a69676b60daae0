"""Broken output prevents no delivery: alerts are sent, and the exit code is 1."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from workspace import Workspace, line

import alerthost.cli

COUNT = 8
LINES = "".join(line(f"problem-{number}", severity="odd") for number in range(COUNT))


def alerthost(workspace: Workspace, shell: str, **environment: str) -> subprocess.CompletedProcess:
    """Run ``alerthost send`` on several alerts in a shell, which may do anything to its output."""
    workspace.migrate()
    (workspace.folder / "alerts.jsonl").write_text(LINES, encoding="utf-8")
    workspace.configure(("severity=~", "severity!~"), ("error|critical", "info"))
    return subprocess.run(
        ["bash", "-c", shell.replace("alerthost", f"{sys.executable} -m alerthost")],
        cwd=workspace.folder,
        env=workspace.environment(dict(environment)),
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "shell",
    [
        "alerthost send alerts.jsonl | head -1; exit ${PIPESTATUS[0]}",
        "alerthost send alerts.jsonl > /dev/full",
        "alerthost send alerts.jsonl 2> /dev/full",
        "alerthost send alerts.jsonl >&-",
        "alerthost send alerts.jsonl 2>&-",
    ],
)
def test_alerts_are_sent_though_the_output_is_broken(workspace: Workspace, shell: str) -> None:
    run = alerthost(workspace, shell)

    assert len(workspace.fake.incidents) == 2 * COUNT
    assert run.returncode == 1
    assert b"Traceback" not in run.stderr
    assert b"Exception ignored" not in run.stderr


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        ("explain", b""),
        ("send", b""),
        ("connect pagerduty", b"NAME: missing; give the name that rules use for the account\n"),
        ("connect pagerduty b --settings -", b"services: missing; it is required\n"),
    ],
)
def test_a_closed_input_counts_as_empty(
    workspace: Workspace, command: str, reported: bytes
) -> None:
    run = alerthost(workspace, f"alerthost {command} <&-")

    assert run.returncode == (2 if reported else 0)
    assert run.stderr.startswith(reported)
    assert b"Traceback" not in run.stderr


@pytest.mark.parametrize("both", [True, False], ids=["both", "errors"])
def test_alerts_are_sent_though_the_terminal_is_closed(workspace: Workspace, *, both: bool) -> None:
    """The terminal is closed between two alerts, while it shows the progress bar."""
    workspace.configure()
    workspace.migrate()
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "alerthost", "send"],
        cwd=workspace.folder,
        env=workspace.environment({"COLUMNS": "80", "TERM": "xterm"}),
        stdin=subprocess.PIPE,
        stdout=terminal if both else subprocess.PIPE,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        assert process.stdin
        process.stdin.write(line("first", severity="fatal", odd=1).encode())
        process.stdin.flush()
        shown = b""
        while b"repaired" not in shown:
            shown += os.read(controller, 65536)
        os.close(controller)
        reported, _ = process.communicate("".join(line(f"next-{n}") for n in range(3)).encode())

    assert len(workspace.fake.incidents) == 8
    assert process.returncode == 1
    if not both:
        assert reported.endswith(b"4 alerts, 8 deliveries (8 delivered), 1 repair\n")


def test_a_table_on_a_closed_terminal_causes_no_traceback() -> None:
    controller, terminal = pty.openpty()
    code = (
        "import sys\n"
        "from alerthost.cli.output import Screen\n"
        "from hostspec.provider import Table\n"
        "screen = Screen()\n"
        "screen.print('zero')\n"
        "sys.stdin.read()\n"
        "screen.table(Table('T', ('a',), (('1',),)))\n"
        "screen.print('one')\n"
        "screen.print_unwrapped('two')\n"
        "sys.exit(7 if screen.is_broken else 0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=terminal,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(terminal)
        shown = b""
        while b"zero" not in shown:
            shown += os.read(controller, 65536)
        os.close(controller)
        _, errors = process.communicate()

    assert (process.returncode, errors) == (7, b"")


def test_characters_outside_the_encoding_are_escaped(workspace: Workspace) -> None:
    workspace.configure()

    run = workspace.process(
        "send", given=line("a \u2192 b") + line("c"), env={"PYTHONIOENCODING": "latin-1"}
    )

    assert run.returncode == 0
    assert "a \\u2192 b" in run.stdout
    assert {incident.dedup_key for incident in workspace.fake.incidents} == {"a \u2192 b", "c"}


def test_explain_stops_when_its_output_is_closed(workspace: Workspace) -> None:
    run = alerthost(workspace, "alerthost explain --json alerts.jsonl >&-")

    assert (run.returncode, run.stderr) == (1, b"")
