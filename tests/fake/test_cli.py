"""The command ``fake-pagerduty``."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from pagerduty_plugin.testing import FakePagerDuty, cli
from pagerduty_plugin.testing.backend import Backend
from pagerduty_plugin.testing.misbehaviour import Misbehaviour

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "0123456789abcdef0123456789abcdef"
READY = re.compile(r"fake PagerDuty \((us|eu)\): (http://127\.0\.0\.1:[0-9]+)\n")


class Output(io.StringIO):
    """Standard output that runs a function after each whole line."""

    def __init__(self, then: Callable[[str], None]) -> None:
        """Store the function."""
        super().__init__()
        self._then = then

    def flush(self) -> None:
        """Run the function after a whole line."""
        self._then(self.getvalue())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_runs_until_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """It prints one line, exits 0 and leaves the signals as they were."""
    pages: list[bytes] = []

    def look_and_stop(line: str) -> None:
        match = READY.fullmatch(line)
        assert match is not None
        with urllib.request.urlopen(match[2], timeout=60) as response:
            pages.append(response.read())
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    output = Output(look_and_stop)
    monkeypatch.setattr(sys, "stdout", output)

    assert cli.main(["--port", "0", "--region", "eu", "--service", f"a=b={KEY}"]) == 0
    assert output.getvalue().startswith("fake PagerDuty (eu): ")
    assert b"region eu" in pages[0]
    assert signal.getsignal(number) == before
    assert not [each for each in threading.enumerate() if "PagerDuty" in each.name]


def test_the_options_reach_the_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services and rate limit apply to a sender."""
    statuses: list[int] = []

    def send_and_stop(line: str) -> None:
        match = READY.fullmatch(line)
        assert match is not None
        for key in (KEY, KEY, "f" * 32):
            body = (
                '{"event_action": "trigger", "payload": {"summary": "s", "source": "s", '
                f'"severity": "info"}}, "routing_key": "{key}"}}'
            )
            request = urllib.request.Request(
                f"{match[2]}/v2/enqueue", body.encode(), {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    statuses.append(response.status)
            except urllib.error.HTTPError as error:
                with error:
                    statuses.append(error.code)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(sys, "stdout", Output(send_and_stop))

    assert cli.main(["--service", f"checkout={KEY}", "--rate-limit", "1"]) == 0
    assert statuses == [202, 429, 400]


def test_the_install_flow_and_the_rest_api_can_be_tried_by_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Apps, tokens and services without an integration can be defined."""
    seen: list[str] = []

    def look_and_stop(line: str) -> None:
        match = READY.fullmatch(line)
        assert match is not None
        page = f"{match[2]}/install/integration?app_id=PAPP&version=2&redirect_url="
        listing = urllib.request.Request(
            f"{match[2]}/services",
            headers={
                "Authorization": "Token token=y_NbAkKc66ryYTWUXYEu",
                "Accept": "application/vnd.pagerduty+json;version=2",
            },
        )
        for asked in (f"{page}http://127.0.0.1:1/a", f"{page}http://127.0.0.1:2/b?c=d", listing):
            with urllib.request.urlopen(asked, timeout=60) as response:
                seen.append(response.read().decode())
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(sys, "stdout", Output(look_and_stop))
    arguments = ["--app", "PAPP=http://127.0.0.1:1/a", "--app", "PAPP=http://127.0.0.1:2/b?c=d"]
    arguments += ["--empty-service", "platform", "--api-token", "y_NbAkKc66ryYTWUXYEu"]

    assert cli.main(arguments) == 0
    assert [text.count("platform") for text in seen] == [2, 2, 2]


def statuses_of(
    monkeypatch: pytest.MonkeyPatch, count: int, *arguments: str
) -> tuple[list[int], list[dict[str, object]]]:
    """Send triggers to a fake with options; return their statuses, and its incidents."""
    statuses: list[int] = []
    logged: list[dict[str, object]] = []

    def send_and_stop(line: str) -> None:
        match = READY.fullmatch(line)
        assert match is not None
        for number in range(count):
            event = {
                "routing_key": KEY,
                "event_action": "trigger",
                "dedup_key": str(number),
                "payload": {"summary": "s", "source": "s", "severity": "info"},
            }
            request = urllib.request.Request(
                f"{match[2]}/v2/enqueue",
                json.dumps(event).encode(),
                {"Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    statuses.append(response.status)
            except urllib.error.HTTPError as error:
                with error:
                    statuses.append(error.code)
            except OSError:
                statuses.append(0)
        with urllib.request.urlopen(f"{match[2]}/incidents", timeout=60) as response:
            logged.extend(json.load(response)["incidents"])
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(sys, "stdout", Output(send_and_stop))
    assert cli.main([*arguments, "--rate-limit", "0"]) == 0
    return statuses, logged


@pytest.mark.parametrize(
    ("how", "status", "processed"),
    [
        ("503", 503, 0),
        ("429", 429, 0),
        ("reset", 0, 0),
        ("lost", 0, 1),
        ("captive-portal", 200, 0),
    ],
)
def test_requests_can_fail(
    monkeypatch: pytest.MonkeyPatch, how: str, status: int, processed: int
) -> None:
    """The first one fails, and the second one succeeds."""
    statuses, incidents = statuses_of(monkeypatch, 2, "--fail", how, "--fail-times", "1")

    assert statuses == [status, 202]
    assert len(incidents) == 1 + processed


def test_a_share_of_the_requests_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same requests in every run."""
    arguments = ("--fail", "503", "--fail-rate", "0.25")
    statuses, _ = statuses_of(monkeypatch, 100, *arguments)

    assert statuses.count(503) in range(10, 41)
    assert statuses.count(202) == 100 - statuses.count(503)
    assert statuses_of(monkeypatch, 100, *arguments)[0] == statuses


def test_responses_can_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed and proper ones alike."""
    waited: list[float] = []
    wait = Backend.wait

    def note(backend: Backend, how: Misbehaviour) -> None:
        waited.append(how.seconds)
        wait(backend, attrs.evolve(how, seconds=0.0))

    monkeypatch.setattr(Backend, "wait", note)
    arguments = ("--latency", "0.2", "--fail", "503", "--fail-times", "1")

    assert statuses_of(monkeypatch, 2, *arguments)[0] == [503, 202]
    assert waited == [0.2, 0.2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "http"], "argument --port: 'http' is not a port (0 to 65535)"),
        (["--port", "65536"], "argument --port: '65536' is not a port (0 to 65535)"),
        (["--rate-limit", "-1"], "argument --rate-limit: '-1' is not a number of events"),
        (["--service", KEY], "argument --service: expected NAME=KEY"),
        (["--service", f"={KEY}"], "a service needs a name"),
        (
            ["--service", f"a={KEY}x"],
            "the integration key of service 'a' is not 32 letters and digits",
        ),
        (
            ["--service", f"a={KEY}", "--service", f"b={KEY}"],
            "the integration key of service 'b' already belongs to 'a'",
        ),
        (["--empty-service", " "], "a service needs a name"),
        (
            ["--api-token", KEY],
            "an account's token is 20 letters, digits, +, _ and -; an OAuth token begins with "
            "pdus+_ or pdeu+_",
        ),
        *(
            (
                ["--app", text],
                f"argument --app: expected ID=REDIRECT_URL, got {text!r}",
            )
            for text in ("PAPP", "PAPP=", "=http://127.0.0.1")
        ),
        (
            ["--latency", "slow"],
            "argument --latency: 'slow' is not a number of seconds, such as 0.2",
        ),
        *(
            (
                ["--fail", how],
                f"argument --fail: {how!r} is neither a status from 400 to 599 nor reset, lost, "
                "garbage, captive-portal",
            )
            for how in ("200", "600", "badly")
        ),
        (["--fail", "503", "--fail-rate", "2"], "the rate 2.0 is not a share from 0 to 1"),
        (["--fail", "503", "--fail-times", "0"], "a misbehaviour applies to at least one request"),
        (["--fail-times", "1"], "--fail-rate and --fail-times need --fail"),
        (["--fail-rate", "0.1"], "--fail-rate and --fail-times need --fail"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """The exit status is 2, and no integration key is shown."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)

    assert caught.value.code == 2
    assert capsys.readouterr() == ("", f"fake-pagerduty: {message}\n")


def test_an_unknown_region_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The text is that of argparse."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["--region", "ap"])

    assert caught.value.code == 2
    assert re.fullmatch(
        r"fake-pagerduty: argument --region: invalid choice: 'ap' .*\n", capsys.readouterr().err
    )


def test_a_port_in_use_is_reported_in_one_line(
    fake: FakePagerDuty, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 2."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["--port", str(fake.port)])

    assert caught.value.code == 2
    assert (
        "",
        f"fake-pagerduty: cannot listen on 127.0.0.1:{fake.port}: Address already in use\n",
    ) == capsys.readouterr()


def test_the_installed_command_starts_and_stops() -> None:
    """It runs as a separate process."""
    command = Path(sys.executable).with_name("fake-pagerduty")
    if not command.exists():
        pytest.skip(f"{command} is not installed")
    with subprocess.Popen(
        [command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert READY.fullmatch(process.stdout.readline())
        process.terminate()
        assert (process.stdout.read(), process.stderr.read()) == ("", "")
        assert process.wait(60) == 0
