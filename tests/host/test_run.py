"""``alerthost run``: start, reload, stop, and a killed process."""

from __future__ import annotations

import logging
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import attrs
import pytest
from serving import TOKEN, Process, Start, ask, measured_when, post, run
from workspace import CHECKOUT, PLATFORM, Workspace, errors_of

from alerthost.cli.server import Server
from alerthost.outbox.engine import Engine
from alerthost.store.errors import StoreError
from pagerduty_plugin.testing import failing, late
from pagerduty_plugin.testing.misbehaviour import Gate

ALERT = {"key": "db-1/disk", "severity": "critical", "labels": {"team": "data"}}
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} (INFO|WARNING|ERROR) +")


def reported(process: Process) -> list[str]:
    """Return the log lines without times and levels."""
    assert all(STAMP.match(line) for line in process.lines), process.log
    return [STAMP.sub("", line) for line in process.lines]


def test_start_reload_and_stop_are_logged(workspace: Workspace) -> None:
    workspace.configure_http()
    with run(workspace) as (process, url):
        assert post(url, {**ALERT, "key": "a\nb"}).status == 202
        process.wait_for("delivered")
        process.wait_for("delivered")
        process.signal(signal.SIGTERM)
        assert process.end() == 0

    first, *delivered, stopping, stopped = reported(process)
    assert first == f"listening on {url}, without a token: any local process can send"
    assert sorted(delivered) == [
        "delivered trigger to acme/checkout for a\\nb",
        "delivered trigger to acme/platform for a\\nb",
    ]
    assert (stopping, stopped) == ("stopping: finishing deliveries in flight", "stopped")
    assert CHECKOUT not in process.log
    assert PLATFORM not in process.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_deliveries_in_flight_are_finished_before_exit(
    workspace: Workspace, number: signal.Signals
) -> None:
    gate = Gate()
    workspace.fake.misbehave(late(gate, processed="late"), key=CHECKOUT)
    workspace.configure_http()
    with run(workspace) as (process, url):
        assert post(url, ALERT).status == 202
        workspace.fake.wait_for(lambda fake: len(fake.requests) == 2, 30)
        process.signal(number)
        process.wait_for("stopping")
        gate.open()
        assert process.end() == 0
    assert reported(process)[-1] == "stopped"
    assert len(workspace.fake.incidents) == 2
    # nothing of it is sent again
    with run(workspace) as (process, url):
        post(url, {**ALERT, "key": "db-2/disk"})
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 4, 30)
    assert len(workspace.fake.requests) == 4


def test_a_second_signal_ends_at_once(workspace: Workspace) -> None:
    gate = Gate()
    workspace.fake.misbehave(late(gate))
    workspace.configure_http()
    with run(workspace) as (process, url):
        assert post(url, ALERT).status == 202
        workspace.fake.wait_for(lambda fake: len(fake.requests) == 2, 30)
        process.signal(signal.SIGTERM)
        process.wait_for("stopping")
        process.signal(signal.SIGINT)
        assert process.end() == 1
    gate.open()


def test_slow_deliveries_are_left_for_the_next_start(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PD_CHECKOUT", CHECKOUT)
    monkeypatch.setattr("alerthost.cli.server.STOP_WITHIN", 0.1)
    gate = Gate()
    workspace.fake.misbehave(late(gate))
    workspace.configure_http()
    running = Server(workspace.folder / "alerthost.toml")
    assert post(running.url, ALERT).status == 202
    workspace.fake.wait_for(lambda fake: len(fake.requests) == 2, 30)

    with running._reloading:  # and a reload hangs as well
        assert not running.stop()

    assert "stopped with work unfinished; the next start reclaims it" in caplog.text
    gate.open()
    engine = running._app.backend.engine
    assert engine.stop()
    engine.database.close()


def test_leases_of_a_killed_process_are_reclaimed(workspace: Workspace) -> None:
    gate = Gate()
    script = workspace.fake.misbehave(attrs.evolve(failing(), gate=gate), key=CHECKOUT)
    workspace.configure_http()
    with run(workspace) as (process, url):
        assert post(url, [{**ALERT, "key": f"db-{n}/disk"} for n in range(20)]).status == 202
        workspace.fake.wait_for(lambda fake: len(fake.requests) >= 1, 30)
        process.signal(signal.SIGKILL)
        assert process.end() == -signal.SIGKILL
    script.clear()
    gate.open()

    with run(workspace) as (process, url):
        workspace.fake.wait_for(
            lambda fake: len({(each.service, each.dedup_key) for each in fake.incidents}) == 40, 10
        )
        assert "deliveries were reclaimed" in process.log
        resolved = [{**ALERT, "key": f"db-{n}/disk", "status": "resolved"} for n in range(20)]
        assert post(url, resolved).status == 202
        workspace.fake.wait_for(
            lambda fake: all(each.state == "resolved" for each in fake.incidents), 30
        )
    assert len(workspace.fake.incidents) == 40


def test_a_reload_activates_the_new_configuration(workspace: Workspace) -> None:
    workspace.configure_http()
    with run(workspace) as (process, url):
        post(url, ALERT)
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 30)
        workspace.configure_http(
            ('services = ["checkout", "platform"]', 'services = ["platform"]'),
            http='token = "env:ALERTHOST_TOKEN"',
        )
        refused = "alerthost.toml, line 25: http.token: "
        process.signal(signal.SIGHUP)
        line = process.wait_for(refused)
        assert line.endswith(f"{refused}the environment variable ALERTHOST_TOKEN is not set")
        process.wait_for("not reloaded: the previous configuration stays active")
        (workspace.folder / "token").write_text(TOKEN)
        workspace.configure_http(
            ('services = ["checkout", "platform"]', 'services = ["platform"]'),
            http='token = "file:token"',
        )
        process.signal(signal.SIGHUP)
        process.wait_for("reloaded")

        assert post(url, {**ALERT, "key": "db-2/disk"}).status == 401
        bearer = f"Bearer {TOKEN}"
        post(url, {**ALERT, "key": "db-2/disk"}, Authorization=bearer)
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 3, 30)
        assert [each.service for each in workspace.fake.incidents][-1] == "platform"
        # incidents opened before are closed at their service
        post(url, {**ALERT, "status": "resolved"}, Authorization=bearer)
        workspace.fake.wait_for(
            lambda fake: [each.state for each in fake.incidents].count("resolved") == 2, 30
        )


def test_a_reload_under_load_loses_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PD_CHECKOUT", CHECKOUT)
    workspace.configure_http()
    running = Server(workspace.folder / "alerthost.toml")
    for number in range(20):
        assert post(running.url, {**ALERT, "key": f"db-{number}/disk"}).status == 202
        if number % 5 == 0:
            assert running.reload()
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 40, 30)
    found = measured_when(
        running.url,
        lambda found: found.get(("alerthost_delivered_total", "acme/checkout", "pagerduty")) == 20,
    )
    assert found["alerthost_accepted_total", "/alerts"] == 20
    assert found["alerthost_reloads_total", "succeeded"] == 4
    assert running.stop()
    assert not running.reload()


def test_a_wrong_file_changes_nothing_and_every_error_is_logged(workspace: Workspace) -> None:
    workspace.configure_http()
    with run(workspace) as (process, url):
        workspace.configure_http(
            ("severity = ", "severty = "),
            ('use = "pagerduty.trigger"', 'use = "pagerduty.page"'),
            http="backlog = 0",
        )
        process.signal(signal.SIGHUP)
        process.wait_for("not reloaded")
        faults = [line for line in reported(process) if line.startswith("alerthost.toml, line ")]
        assert [re.sub(r":.*", "", line) for line in faults] == [
            "alerthost.toml, line 25",
            "alerthost.toml, line 18",
        ]
        post(url, ALERT)
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 30)
        (workspace.folder / "alerthost.toml").unlink()
        process.signal(signal.SIGHUP)
        process.wait_for("no such file")
        process.wait_for("not reloaded")
        refusals = ("alerthost_reloads_total", "failed")
        assert measured_when(url, lambda found: found.get(refusals) == 2)[refusals] == 2
        process.signal(signal.SIGTERM)
        assert process.end() == 0


def test_a_failing_store_during_a_reload_changes_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PD_CHECKOUT", CHECKOUT)
    workspace.configure_http()
    running = Server(workspace.folder / "alerthost.toml")
    url, port = running.url, free_port()

    def fail(_: Engine) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Engine, "start", fail)
        assert not running.reload()
        file = workspace.folder / "alerthost.toml"
        file.write_text(file.read_text().replace(":0", f":{port}"))
        assert not running.reload()
    errors = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    assert (
        errors == ["the disk is full", "not reloaded: the previous configuration stays active"] * 2
    )
    assert running.url == url
    assert post(url, ALERT).status == 202
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 30)
    # the address was let go again
    assert running.reload()
    assert running.url == f"http://127.0.0.1:{port}"
    assert ask(running.url, "GET", "/readyz").status == 200
    assert running.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_reload_moves_to_another_address(workspace: Workspace) -> None:
    port = free_port()
    workspace.configure_http()
    with run(workspace) as (process, url):
        workspace.configure_http(('name = "Pages"', 'name = "Others"'))
        text = (workspace.folder / "alerthost.toml").read_text()
        (workspace.folder / "alerthost.toml").write_text(text.replace(":0", f":{port}"))
        process.signal(signal.SIGHUP)
        moved = process.listens()
        process.wait_for("reloaded")
        assert moved == f"http://127.0.0.1:{port}"
        assert ask(moved, "GET", "/readyz").status == 200
        process.signal(signal.SIGTERM)
        assert process.end() == 0
    with pytest.raises(OSError, match="refused"):
        ask(url, "GET", "/readyz")


def test_a_reload_to_a_taken_address_or_another_store_is_an_error(workspace: Workspace) -> None:
    workspace.configure_http()
    file = workspace.folder / "alerthost.toml"
    with run(workspace) as (process, url), socket.create_server(("127.0.0.1", 0)) as taken:
        text = file.read_text()
        port = taken.getsockname()[1]
        file.write_text(text.replace(":0", f":{port}"))
        process.signal(signal.SIGHUP)
        line = process.wait_for("http.listen")
        assert line.endswith(f"cannot listen on 127.0.0.1:{port}: Address already in use")
        process.wait_for("not reloaded")

        file.write_text(text + '[store]\nurl = "sqlite:///other.db"\n')
        process.signal(signal.SIGHUP)
        line = process.wait_for("store.url")
        assert line.endswith(
            "changed; restart to switch stores (queued alerts stay in the old one)"
        )
        process.wait_for("not reloaded")

        assert post(url, ALERT).status == 202
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 30)
    assert not (workspace.folder / "other.db").exists()


def start_errors(workspace: Workspace, **env: str | None) -> list[str]:
    return errors_of(workspace.alerthost("run", env=dict(env)))


def test_run_reports_all_configuration_errors(workspace: Workspace) -> None:
    workspace.configure_http(
        ('installation = "acme"', 'installation = "acm"'),
        http='token = "env:ALERTHOST_TOKEN"\nviewer_token = "env:VIEWER_TOKEN"',
    )
    missing = {"ALERTHOST_TOKEN": None, "PD_CHECKOUT": None, "VIEWER_TOKEN": None}
    assert start_errors(workspace, **missing) == [
        "alerthost.toml, line 10: installation 'acme': settings.services[0].integration_key: "
        "the environment variable PD_CHECKOUT is not set",
        "alerthost.toml, line 19: rule 'Pages': actions[0].installation: "
        "'acm' is unknown; did you mean 'acme'?",
        "alerthost.toml, line 25: http.token: the environment variable ALERTHOST_TOKEN is not set",
        "alerthost.toml, line 26: http.viewer_token: the environment variable VIEWER_TOKEN is not "
        "set",
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "alerts.example"])
def test_run_needs_a_token_to_listen_beyond_loopback(workspace: Workspace, host: str) -> None:
    workspace.configure()
    file = workspace.folder / "alerthost.toml"
    file.write_text(f'{file.read_text()}\n[http]\nlisten = "{host}:9095"\n')
    assert start_errors(workspace) == [
        "alerthost.toml, line 24: http.listen: "
        "is beyond this machine; set a token too, or listen on 127.0.0.1"
    ]


def test_run_listens_beyond_loopback_with_a_token(workspace: Workspace) -> None:
    workspace.configure_http(http='token = "env:ALERTHOST_TOKEN"')
    file = workspace.folder / "alerthost.toml"
    file.write_text(file.read_text().replace("127.0.0.1:0", "0.0.0.0:0"))
    with run(workspace, ALERTHOST_TOKEN=TOKEN) as (process, url):
        assert reported(process) == [f"listening on {url}"]
        assert post(url, ALERT).status == 401
        assert post(url, ALERT, Authorization=f"Bearer {TOKEN}").status == 202
        process.signal(signal.SIGTERM)
        assert process.end() == 0
    assert TOKEN not in process.log


def test_a_taken_address_and_an_impossible_store_are_errors(workspace: Workspace) -> None:
    workspace.configure_http()
    file = workspace.folder / "alerthost.toml"
    text = file.read_text()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file.write_text(text.replace(":0", f":{port}"))
        [line] = start_errors(workspace)
    assert line == (
        "alerthost.toml, line 24: http.listen: "
        f"cannot listen on 127.0.0.1:{port}: Address already in use"
    )
    file.write_text(text + '[store]\nurl = "sqlite:///nowhere/alerthost.db"\n')
    [line] = start_errors(workspace)
    assert line.endswith("cannot be created: its folder does not exist; create it first")


def test_a_closed_log_does_not_end_the_process(workspace: Workspace) -> None:
    workspace.configure_http()
    port = free_port()
    file = workspace.folder / "alerthost.toml"
    file.write_text(file.read_text().replace(":0", f":{port}"))
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(
            [sys.executable, "-m", "alerthost", "run"],
            cwd=workspace.folder,
            env=workspace.environment(),
            stderr=full,
        ) as process,
    ):
        url = f"http://127.0.0.1:{port}"
        while True:
            try:
                reply = post(url, ALERT)
            except ConnectionError:
                assert process.poll() is None
            else:
                break
        assert reply.status == 202
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 30)
        process.terminate()
        assert process.wait(60) == 0


def test_on_windows_run_is_an_error_with_the_remedy(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("signal.SIGHUP")

    run = workspace.alerthost("run")

    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == ("alerthost run does not work on Windows; run it on Linux, macOS or WSL\n")


def test_as_many_workers_send_as_are_configured(start: Start) -> None:
    before = set(threading.enumerate())
    start(http="\n[delivery]\nworkers = 3\n")
    names = {each.name for each in set(threading.enumerate()) - before}
    workers = sorted(name for name in names if name.startswith("hostspec worker"))
    assert workers == [f"hostspec worker {number}" for number in (1, 2, 3)]
