"""``alerthost exec``: output, signals and exit codes pass through; failures fire."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scripted import Answer, Scripted
from terminal import on_terminal
from waiting import wait_until

from alerthost.cli.main import main
from alerthost_client import exec as execution

EXEC = [sys.executable, "-c", "from alerthost_client.exec import run; run()"]
ON_TERMINAL = [
    sys.executable,
    "-c",
    "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "from alerthost_client.exec import run; run()",
]
IMPATIENT = [
    sys.executable,
    "-c",
    "from alerthost_client import command, exec; command.KILL_AFTER = 0.1; exec.run()",
]

REPORTER = """
import signal
def report(number, frame):
    print(signal.Signals(number).name, flush=True)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, report)
print("ready", flush=True)
input()
"""
"""A command that prints the signals that it gets, until it reads a line."""

REPORTING = [sys.executable, "-c", REPORTER]


def environment(server: Scripted | None, **variables: object) -> dict[str, str]:
    url = {} if server is None else {"ALERTHOST_URL": server.url}
    return {**os.environ, **url, **{name: str(value) for name, value in variables.items()}}


def run(
    server: Scripted | None,
    *arguments: str,
    program: Sequence[str] = EXEC,
    given: bytes = b"",
    **variables: object,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command, whose arguments follow ``--``."""
    ran = subprocess.run(
        [*program, *arguments],
        env=environment(server, **variables),
        input=given,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in ran.stderr
    return ran


def start(server: Scripted, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*EXEC, *arguments],
        env=environment(server),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def alerts(server: Scripted) -> list[dict[str, Any]]:
    return server.alerts


@pytest.mark.parametrize("program", [EXEC, [sys.executable, "-m", "alerthost", "exec"]])
def test_a_failure_fires_with_the_last_lines(server: Scripted, program: list[str]) -> None:
    script = "cat; printf 'one\\ntwo\\n'; sleep 0.1; echo three >&2; exit 3"
    options = ("--severity", "critical", "--label", "team=data", "--tail", "2")
    ran = run(
        server, "db/backup", *options, "--", "sh", "-c", script, program=program, given=b"zero\n"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, b"zero\none\ntwo\n", b"three\n")
    (alert,) = alerts(server)
    assert re.fullmatch(r"db/backup: failed with exit code 3 after 0:\d\d:\d\d", alert["summary"])
    assert (alert["key"], alert["severity"]) == ("db/backup", "critical")
    assert alert["labels"] == {"team": "data"}
    del alert["details"]["duration"]
    assert alert["details"] == {"command": "sh", "exit_code": 3, "output": "two\nthree"}


def test_a_success_resolves(server: Scripted) -> None:
    ran = run(server, "backup", "--", "echo", "--severity", "--", "x")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"--severity -- x\n", b"")
    assert alerts(server) == [{"key": "backup", "status": "resolved"}]


def test_output_passes_byte_for_byte_in_bounded_memory(server: Scripted, tmp_path: Path) -> None:
    program = f"""
import sys
from alerthost_client.exec import main
code = main(sys.argv[1:], "exec")
lines = open("/proc/self/status").readlines()
open({str(tmp_path / "peak")!r}, "w").write(next(each for each in lines if "VmHWM" in each))
sys.exit(code)
"""
    script = "import os\nfor n in range(1000): os.write(1, bytes(range(256)) * 256)\nos._exit(1)"
    command = [sys.executable, "-c", program, "big", "--", sys.executable, "-c", script]
    seen = 0
    with subprocess.Popen(command, env=environment(server), stdout=subprocess.PIPE) as process:
        assert process.stdout
        while chunk := process.stdout.read(256):
            assert chunk == bytes(range(256))
            seen += 1
    assert (process.returncode, seen) == (1, 256_000)
    assert int((tmp_path / "peak").read_text().split()[1]) < 60 * 1024
    (alert,) = alerts(server)
    assert 0 < len(alert["details"]["output"]) <= 64 * 1024


def test_the_last_lines_are_those_of_a_terminal(server: Scripted) -> None:
    run(server, "a", "--tail", "2", "--", "printf", "x\n10%%\r20%%\r99%%\r\nno newline %%\\y")
    ran = run(server, "a", "--tail", "2", "--", "sh", "-c", "printf 'x\n1%%\r9%%\r\nend'; exit 1")
    assert ran.stdout == b"x\n1%\r9%\r\nend"
    run(server, "a", "--tail", "0", "--", "sh", "-c", "echo x; exit 1")
    assert [alert.get("details", {}).get("output") for alert in alerts(server)] == [
        None,
        "9%\nend",
        None,
    ]


def test_a_command_that_cannot_be_started_fires(server: Scripted, tmp_path: Path) -> None:
    ran = run(server, "a", "--", "no-such-program", "secret")
    assert ran.returncode == 127
    assert (
        ran.stderr == b"alerthost-exec: cannot start no-such-program: No such file or directory\n"
    )
    ran = run(server, "b", "--", str(tmp_path))
    assert ran.returncode == 126
    missing, folder = alerts(server)
    assert missing["summary"] == "a: cannot start no-such-program: No such file or directory"
    assert folder["summary"] == f"b: cannot start {tmp_path}: Permission denied"
    assert (missing["details"]["exit_code"], folder["details"]["exit_code"]) == (127, 126)
    assert b"secret" not in b"".join(post.body for post in server.posts)


def test_a_timeout_fires_while_the_command_goes_on(server: Scripted) -> None:
    with start(
        server, "slow", "--timeout", "1s", "--", "sh", "-c", "echo begun; read x"
    ) as process:
        server.wait_for(lambda seen: seen.accepted == ["slow"])
        output, errors = process.communicate(b"\n")
    assert (process.returncode, output, errors) == (0, b"begun\n", b"")
    late, over = alerts(server)
    assert late["summary"] == "slow: still runs after 0:00:01"
    assert late["details"]["output"] == "begun"
    assert over["status"] == "resolved"


@pytest.mark.parametrize(
    ("trap", "code", "shown"),
    [
        ("", 143, "143 (SIGTERM)"),
        ("trap 'exit 0' TERM; ", 0, "0"),
        ("trap '' TERM; ", 137, "137 (SIGKILL)"),
    ],
)
def test_kill_ends_the_command_at_its_timeout(
    server: Scripted, trap: str, code: int, shown: str
) -> None:
    script = f"{trap}while :; do read x; done"
    ran = run(
        server, "slow", "--timeout", "1s", "--kill", "--", "bash", "-c", script, program=IMPATIENT
    )
    assert ran.returncode == code
    late, ended = alerts(server)
    assert "still runs" in late["summary"]
    assert f"failed with exit code {shown} after 0:00:0" in ended["summary"]
    assert ended["summary"].endswith(", ended at its timeout")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1"])
def test_signals_are_forwarded(server: Scripted, name: str) -> None:
    with start(server, "a", "--", *REPORTING) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.Signals[name])
        assert process.stdout.readline() == f"{name}\n".encode()
        process.communicate(b"\n")
    assert process.returncode == 0


def test_an_ignored_signal_stays_ignored(server: Scripted) -> None:
    command = ["nohup", *EXEC, "a", "--", *REPORTING]
    with subprocess.Popen(
        command,
        env=environment(server),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"SIGTERM\n"
        process.communicate(b"\n")
    assert process.returncode == 0


def test_a_signal_before_the_start_is_forwarded() -> None:
    program = """
import os, signal
from alerthost_client.command import Command, Tail
command = Command(Tail(1))
os.kill(os.getpid(), signal.SIGTERM)
print(command.run(["sleep", "600"], None, print, kill=False))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout == b"143\n"


def test_a_signal_that_ends_the_command_fires(server: Scripted) -> None:
    ran = run(server, "a", "--", "sh", "-c", "kill -KILL $$")
    assert ran.returncode == 137
    assert "failed with exit code 137 (SIGKILL) after" in alerts(server)[0]["summary"]


def test_a_terminal_stays_usable(server: Scripted, tmp_path: Path) -> None:
    """Its keys signal the command once, and lines that are typed reach it."""
    noted = tmp_path / "noted"
    noting = REPORTER.replace("    print", f"    open({str(noted)!r}, 'a').close()\n    print")
    program = [*ON_TERMINAL, "a", "--", sys.executable, "-c", noting]
    with on_terminal(program, environment(server)) as terminal:
        terminal.wait_for("ready")
        # two signals that come together count as one: it gets its own when the command has it
        os.kill(terminal.process.pid, signal.SIGSTOP)
        terminal.type("\x03")
        wait_until(noted.exists)
        os.kill(terminal.process.pid, signal.SIGCONT)
        terminal.wait_for("SIGINT")
        os.kill(terminal.process.pid, signal.SIGUSR1)
        terminal.wait_for("SIGUSR1")
        terminal.type("\n")
        assert terminal.end() == 0
        assert terminal.seen.count("SIGINT") == 1
    assert alerts(server) == [{"key": "a", "status": "resolved"}]


def test_processes_that_the_command_leaves_do_not_keep_it(server: Scripted) -> None:
    ran = run(server, "a", "--", "sh", "-c", "sleep 600 & echo $!")
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(ran.stdout), signal.SIGKILL)
    ran = run(server, "a", "--", "sh", "-c", "while :; do echo y; done & exit 0")
    assert (ran.returncode, set(ran.stdout.splitlines())) == (0, {b"y"})


def test_a_command_that_closes_its_output_is_waited_for(server: Scripted) -> None:
    script = "import os, time; os.close(1); os.close(2); time.sleep(0.2); os._exit(4)"
    assert run(server, "a", "--", sys.executable, "-c", script).returncode == 4


def test_a_closed_output_is_closed_for_the_command(server: Scripted) -> None:
    with start(server, "a", "--", "yes") as process:
        assert process.stdout
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        process.stdout = None
        _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGPIPE
    assert errors == b"alerthost-exec: output cannot be written: Broken pipe\n"
    assert "(SIGPIPE)" in alerts(server)[0]["summary"]


def test_closed_standard_streams_break_nothing(server: Scripted) -> None:
    command = [
        "bash",
        "-c",
        '"$@" <&- >&- 2>&-',
        "",
        *EXEC,
        "a",
        "--",
        "sh",
        "-c",
        "echo x; exit 5",
    ]
    ran = subprocess.run(command, env=environment(server), capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (5, b"", b"")
    assert alerts(server)[0]["details"]["output"] == "x"
    command = ["bash", "-c", '"$@" 2>&-', "", *EXEC, "a", "--", "no-such-program"]
    ran = subprocess.run(command, env=environment(server), capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (127, b"")


def test_an_output_that_does_not_block_loses_nothing(server: Scripted) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    command = [*EXEC, "a", "--", "head", "-c", "1000000", "/dev/zero"]
    with subprocess.Popen(command, env=environment(server), stdout=write) as process:
        os.close(write)
        with os.fdopen(read, "rb") as output:
            assert output.read() == bytes(1_000_000)
    assert process.returncode == 0


def test_alerts_of_a_spool_wait_for_alerthost(server: Scripted, tmp_path: Path) -> None:
    down = {"ALERTHOST_URL": "http://127.0.0.1:1", "ALERTHOST_SPOOL": tmp_path}
    ran = run(None, "a", "--", "false", **down)
    assert ran.returncode == 1
    assert b"alerthost-exec: alerthost at http://127.0.0.1:1 accepts no alerts, retry" in ran.stderr
    assert b"lost" not in ran.stderr
    assert run(server, "a", "--", "true", ALERTHOST_SPOOL=tmp_path).returncode == 0
    assert [alert.get("status") for alert in alerts(server)] == [None, "resolved"]


def test_an_alert_that_is_lost_is_reported(server: Scripted) -> None:
    server.script += [Answer(401, "wrong token")] * 100
    ran = run(server, "a", "--", "true")
    assert ran.returncode == 0
    assert b"alerthost-exec: 1 alert may be lost: not accepted before the end" in ran.stderr


def test_the_command_runs_whatever_the_settings_are(server: Scripted, tmp_path: Path) -> None:
    ran = run(None, "a", "--", "sh", "-c", "echo x; exit 3", ALERTHOST_URL="nowhere")
    assert (ran.returncode, ran.stdout) == (3, b"x\n")
    first, second = ran.stderr.decode().splitlines()
    assert first.startswith("alerthost-exec: url: 'nowhere' is not a URL of alerthost")
    assert second == "alerthost-exec: the command runs without alerts"
    assert run(None, "a", "--", "true", ALERTHOST_URL="nowhere").returncode == 0
    (tmp_path / "file").write_text("")
    ran = run(server, "a", "--", "true", ALERTHOST_SPOOL=tmp_path / "file")
    text = f"alerthost-exec: spool: {tmp_path}/file cannot be used: File exists\n"
    assert (ran.returncode, ran.stderr.decode()) == (0, text)
    assert server.accepted == ["a"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["a"], "COMMAND: is missing; write it after --"),
        (["a", "--"], "COMMAND: is missing; write it after --"),
        (["--", "true"], "the following arguments are required: KEY"),
        ([" ", "--", "true"], "KEY: is blank"),
        (["a", "--kill", "--", "true"], "--kill: needs --timeout"),
        (["a", "--timeout", "5", "--", "true"], "'5' is not a time"),
        (["a", "--timeout", "0s", "--", "true"], "'0s' is not a time"),
        (["a", "--timeout", "1y", "--", "true"], "'1y' is not a time"),
        (["a", "--timeout", "9999d", "--", "true"], "'9999d' is not a time of up to 366 days"),
        (["a", "--tail", "-1", "--", "true"], "--tail"),
        (["a", "--tail", "x", "--", "true"], "'x' is not a number of lines"),
        (["a", "--label", "team", "--", "true"], "'team' is not NAME=VALUE"),
        (["a", "--severity", "high", "--", "true"], "--severity"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], fault: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        execution.main(arguments, "alerthost exec")
    assert ended.value.code == 2
    assert fault in capsys.readouterr().err


def test_alerthost_lists_the_command() -> None:
    assert re.search("exec +Run a command", CliRunner().invoke(main, ["--help"]).stdout)
    ran = CliRunner().invoke(main, ["exec", "a", "--kill", "--", "true"])
    assert ran.exit_code == 2
    assert "alerthost exec: error: --kill: needs --timeout" in ran.stderr


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("2d", 172_800)])
def test_times_are_as_in_prometheus(text: str, seconds: int) -> None:
    options = execution._parse(["a", "--timeout", text, "--", "true"], "alerthost exec")
    assert options.timeout == seconds


def test_windows_is_refused(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    assert execution.main(["a", "--", "true"], "alerthost exec") == 2
    assert capfd.readouterr().err == "alerthost exec: does not work on Windows\n"
