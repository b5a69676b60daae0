"""``alerthost run`` accepts what clients left in a spool."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from serving import TOKEN, Start, measured_when
from waiting import wait_until
from workspace import Workspace, errors_of

from alerthost_client import Client

SPOOL = '\n[spool]\npath = "left"\n'


def leave(folder: Path, *keys: str) -> None:
    """Leave alerts as a process does that ends while alerthost is down."""
    with Client("http://127.0.0.1:1", spool=folder, source="db-1") as client:
        for key in keys:
            assert client.fire(key, "Disk full", severity="critical", labels={"team": "data"})


def test_alerts_of_a_spool_are_delivered(start: Start, workspace: Workspace) -> None:
    leave(workspace.folder / "left", "a", "b")
    running = start(http=SPOOL)
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 4, 60)
    leave(workspace.folder / "left", "c")
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 6, 60)
    assert sorted({each.dedup_key for each in workspace.fake.incidents}) == ["a", "b", "c"]
    accepted = ("alerthost_accepted_total", "/alerts")
    assert measured_when(running.url, lambda found: accepted in found)[accepted] == 3


def test_the_spool_follows_a_reload(
    start: Start, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    running = start(http=f'token = "env:ALERTHOST_TOKEN"\n{SPOOL}')
    file = workspace.folder / "alerthost.toml"
    file.write_text(file.read_text().replace('"left"', '"moved"'))
    leave(workspace.folder / "moved", "a")
    assert running.reload()
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 60)
    (workspace.folder / "file").write_text("")
    file.write_text(file.read_text().replace('"moved"', '"file/x"'))
    assert not running.reload()
    assert "spool.path: " in caplog.text
    assert TOKEN not in caplog.text
    file.write_text(file.read_text().replace('"file/x"', '""'))
    assert running.reload()


def test_a_token_that_cannot_be_read_is_retried(
    start: Start,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start(http=f'token = "env:ALERTHOST_TOKEN"\n{SPOOL}')
    monkeypatch.delenv("ALERTHOST_TOKEN")
    leave(workspace.folder / "left", "a")
    wait_until(lambda: "token: cannot be read: " in caplog.text)
    monkeypatch.setenv("ALERTHOST_TOKEN", TOKEN)
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 60)


def test_an_unusable_spool_is_a_fault(workspace: Workspace) -> None:
    workspace.configure_http(http='\n[spool]\npath = "alerthost.toml"\n')
    (error,) = errors_of(workspace.process("run"))
    assert error.endswith("alerthost.toml cannot be used: File exists")
    assert "spool.path" in error
    workspace.configure_http(http="\n[spool]\nfolder = 7\n")
    assert "spool.folder: unknown; known are path" in workspace.alerthost("check").stderr


def test_a_process_that_does_not_listen_reads_no_spool(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from workspace import CHECKOUT

    from alerthost.cli.server import Server

    monkeypatch.setenv("PD_CHECKOUT", CHECKOUT)
    caplog.set_level(logging.WARNING)
    workspace.configure_http(http=SPOOL)
    running = Server(workspace.folder / "alerthost.toml", listens=False)
    assert running.stop()
    assert f"spool.path: {workspace.folder / 'left'} is not read with --no-http" in caplog.text
