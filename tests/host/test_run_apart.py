"""``alerthost run`` with separate processes for receiving and delivering."""

from __future__ import annotations

import logging
import signal

import pytest
from serving import Process, ask, post, run
from workspace import CHECKOUT, PLATFORM, Workspace

from alerthost.cli.server import Server
from alerthost.store.database import Database
from alerthost.store.errors import StoreError

ALERT = {"key": "db-1/disk", "severity": "critical", "labels": {"team": "data"}}


def test_alerts_accepted_by_one_process_are_delivered_by_another(workspace: Workspace) -> None:
    workspace.configure_http()
    with run(workspace, "--no-workers", PD_CHECKOUT=None) as (front, url):
        front.wait_for("not delivering: other processes on this store deliver")
        assert post(url, ALERT).status == 202
        assert ask(url, "GET", "/readyz").json == {"ready": True}
        with Process(workspace, "--no-http") as worker:
            worker.wait_for("delivering alerts that other processes on this store accept")
            workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 30)
            assert post(url, {**ALERT, "status": "resolved"}).status == 202
            workspace.fake.wait_for(
                lambda fake: {each.state for each in fake.incidents} == {"resolved"}, 30
            )
            worker.signal(signal.SIGTERM)
            assert worker.end() == 0
        assert post(url, {**ALERT, "key": "db-2/disk"}).status == 202
        assert "listening" not in worker.log
        assert "delivered" not in front.log
    assert len(workspace.fake.incidents) == 2


def test_a_worker_needs_no_token_and_reloads(workspace: Workspace) -> None:
    workspace.configure_http(http='token = "env:NO_TOKEN"')
    with Process(workspace, "--no-http") as worker:
        worker.wait_for("delivering alerts that other processes on this store accept")
        workspace.configure_http(('"error|critical"', '"info"'), http="odd = 1")
        worker.signal(signal.SIGHUP)
        worker.wait_for("not reloaded")
        workspace.configure_http(('"error|critical"', '"info"'))
        worker.signal(signal.SIGHUP)
        worker.wait_for("reloaded")
        sent = workspace.alerthost("send", given='{"key": "a", "severity": "info"}\n')
        assert sent.returncode == 0
        worker.signal(signal.SIGINT)
        assert worker.end() == 0


def test_no_http_and_no_workers_together_are_an_error(workspace: Workspace) -> None:
    workspace.configure_http()

    run = workspace.alerthost("run", "--no-http", "--no-workers")

    assert (run.returncode, run.stderr) == (
        2,
        "--no-http: cannot be combined with --no-workers: nothing would be left to do\n",
    )


def test_a_receiving_process_with_a_failing_store_releases_its_address(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.configure_http()

    def fail(_: Database) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Database, "migrate", fail)
        with pytest.raises(StoreError, match="the disk is full"):
            Server(workspace.folder / "alerthost.toml", works=False)
    running = Server(workspace.folder / "alerthost.toml", works=False)
    assert running.reload()
    assert ask(running.url, "GET", "/readyz").status == 200
    assert running.stop()


def test_a_worker_has_no_address(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hostspec")
    monkeypatch.setenv("PD_CHECKOUT", CHECKOUT)
    workspace.configure_http()
    running = Server(workspace.folder / "alerthost.toml", listens=False)
    assert running.url == ""
    assert running.reload()
    assert running.stop()
    assert "delivering alerts that other processes on this store accept" in caplog.messages


def test_notes_are_logged_at_the_start(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "hostspec")
    monkeypatch.setenv("PD_CHECKOUT", PLATFORM)
    workspace.configure_http()
    assert Server(workspace.folder / "alerthost.toml", listens=False).stop()
    (note,) = caplog.messages
    assert note.startswith("note: ")
    assert "the same" in note


def test_a_worker_with_a_failing_store_does_not_start(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PD_CHECKOUT", CHECKOUT)
    workspace.configure_http()

    def fail(_: Database) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Database, "migrate", fail)
    with pytest.raises(StoreError, match="the disk is full"):
        Server(workspace.folder / "alerthost.toml", listens=False)
