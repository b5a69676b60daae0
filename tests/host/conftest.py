"""A fresh workspace for each test of the reference host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import TOKEN, Start
from workspace import CHECKOUT, PLATFORM, Workspace

from alerthost.cli.server import Server
from pagerduty_plugin.testing import FakePagerDuty


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "pd_platform").write_text(f"{PLATFORM}\n", encoding="utf-8")
    with FakePagerDuty() as fake:
        fake.add_service("checkout", CHECKOUT)
        fake.add_service("platform", PLATFORM)
        workspace = Workspace(tmp_path, fake)
        workspace.configure()
        yield workspace


@pytest.fixture
def start(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Run in this process, until the test is over."""
    monkeypatch.setenv("PD_CHECKOUT", CHECKOUT)
    monkeypatch.setenv("ALERTHOST_TOKEN", TOKEN)
    with contextlib.ExitStack() as stack:

        def begin(*changes: tuple[str, str], http: str = "", works: bool = True) -> Server:
            workspace.configure_http(*changes, http=http)
            running = Server(workspace.folder / "alerthost.toml", works=works)
            stack.callback(running.stop)  # it may be stopped already
            return running

        yield begin
