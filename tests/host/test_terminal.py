"""Output on a terminal is coloured and wrapped; elsewhere it is plain."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from terminal import ESCAPE
from workspace import CHECKOUT, Workspace, line

from alerthost.cli.output import printable
from pagerduty_plugin.testing import refusing


def on_terminal(
    workspace: Workspace, *arguments: str, columns: int = 80, piped: bool = False, given: str = ""
) -> tuple[int, str]:
    """Run a command on its own terminal; with `piped`, standard output is a pipe."""
    controller, terminal = pty.openpty()
    environment = workspace.environment(
        {"COLUMNS": str(columns), "TERM": "xterm-256color", "NO_COLOR": None}
    )
    with subprocess.Popen(
        [sys.executable, "-m", "alerthost", *arguments],
        cwd=workspace.folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if piped else terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        assert process.stdin
        process.stdin.write(given.encode())
        process.stdin.close()
        seen = bytearray()
        while True:
            try:
                chunk = os.read(controller, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not chunk:
                break
            seen += chunk
        os.close(controller)
        if piped:
            assert process.stdout
            return process.wait(), process.stdout.read().decode()
        return process.wait(), seen.decode().replace("\r\n", "\n")


def test_the_demo_is_coloured_and_fits_80_columns(workspace: Workspace) -> None:
    code, seen = on_terminal(workspace, "demo")

    assert code == 0
    assert "\x1b[" in seen
    shown = ESCAPE.sub("", seen)
    assert "Incidents at PagerDuty" in shown
    assert max(len(text.rpartition("\r")[2]) for text in shown.splitlines()) <= 80


def test_send_shows_progress_and_one_line_per_delivery(
    workspace: Workspace,
) -> None:
    workspace.fake.misbehave(refusing("no"), key=CHECKOUT)

    code, seen = on_terminal(workspace, "send", given=line(severity="odd") + "[]\n")

    assert code == 1
    shown = ESCAPE.sub("", seen)
    assert "sending" in shown
    texts = [text.rpartition("\r")[2] for text in shown.splitlines()]
    assert "rejected       trigger      acme/checkout     db-1/disk  400: no" in texts
    assert "delivered      trigger      acme/platform     db-1/disk" in texts
    assert 'line 1: repaired severity: "odd" is unknown; taken as error' in texts
    assert "line 2: an empty list; expected at least one alert" in texts


def test_a_check_and_a_test_are_coloured_and_fit_80_columns(workspace: Workspace) -> None:
    workspace.configure(('services = ["checkout", "platform"]', 'services = ["checkout"]'))

    for command in (("check", "--online"), ("test", "acme/checkout")):
        code, seen = on_terminal(workspace, *command)

        assert code == 0
        assert "\x1b[32m" in seen
        shown = ESCAPE.sub("", seen)
        assert " OK" in shown
        # what an action says of itself is as long as it is
        lines = [text for text in shown.splitlines() if not text.startswith("rule ")]
        assert max(map(len, lines)) <= 80


def test_progress_stays_on_the_terminal_when_the_output_is_piped(workspace: Workspace) -> None:
    code, piped = on_terminal(workspace, "send", piped=True, given=line())

    assert code == 0
    assert piped.splitlines() == [
        "delivered      trigger      acme/checkout     db-1/disk",
        "delivered      trigger      acme/platform     db-1/disk",
        "1 alert, 2 deliveries (2 delivered)",
    ]


def test_words_between_colons_are_not_emoji(workspace: Workspace) -> None:
    _, seen = on_terminal(workspace, "explain", given=line("host:warning:cpu"))

    assert '"dedup_key": "host:warning:cpu"' in ESCAPE.sub("", seen)


def test_long_json_is_not_broken_on_a_narrow_terminal(workspace: Workspace) -> None:
    """The terminal folds the line, so that copied JSON is unchanged."""
    _, seen = on_terminal(workspace, "explain", columns=40, given=line(summary="x" * 200))

    assert f'"summary": "{"x" * 200}"' in ESCAPE.sub("", seen)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("db-1/disk", "db-1/disk"),
        ("Äpfel 🧑‍🚀 ⚡️", "Äpfel 🧑‍🚀 ⚡️"),
        ("a\x1b[2Jb\r\n", "a\\x1b[2Jb\\r\\n"),
        ("right\u202eleft", "right\\u202eleft"),
    ],
)
def test_only_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_explain_wraps_between_words_with_an_indent(
    workspace: Workspace,
) -> None:
    summary = "disk full " * 90

    code, seen = on_terminal(workspace, "explain", given=line(summary=summary, source=""))

    assert code == 0
    shown = ESCAPE.sub("", seen)
    assert (
        "  repaired source: missing or blank, PagerDuty needs one; 'unknown' is used\n    instead\n"
    ) in shown
    assert f'"summary": "{summary}"' in shown  # to be copied


def test_errors_wrap_between_words(workspace: Workspace) -> None:
    code, seen = on_terminal(workspace, "connect", "pagerduty", "acme", columns=40)

    assert code == 2
    errors = ESCAPE.sub("", seen).splitlines()
    assert max(map(len, errors)) <= 40
    assert " ".join(errors).startswith(
        "account 'acme' already exists (alerthost.toml, line 4); use another name, "
    )


def test_a_terminal_one_column_wide_works(workspace: Workspace) -> None:
    code, seen = on_terminal(workspace, "explain", columns=1, given=line())

    assert code == 0
    assert '"dedup_key": "db-1/disk"' in seen


def test_a_table_of_deliveries_fits_80_columns(workspace: Workspace) -> None:
    workspace.fake.misbehave(refusing(f"no {'reason ' * 20}"), key=CHECKOUT)
    alert = line("shop/eu-central-1/db-1/disk/var/lib/postgresql")
    assert workspace.alerthost("send", given=alert).returncode == 1

    code, seen = on_terminal(workspace, "deliveries")

    assert code == 0
    assert max(map(len, ESCAPE.sub("", seen).splitlines())) <= 80
