"""A console in a process of its own, and Chromium to open it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from chromium import Console
from playwright.sync_api import Browser, BrowserContext, Page
from serving import TOKEN, run
from workspace import CHECKOUT, PLATFORM, STORE_KEY, Workspace

from pagerduty_plugin.testing import FakePagerDuty


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium.running(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("console")
    (folder / "alerthost.key").write_text(STORE_KEY, encoding="utf-8")
    (folder / "pd_platform").write_text(f"{PLATFORM}\n", encoding="utf-8")
    with FakePagerDuty() as fake:
        fake.add_service("checkout", CHECKOUT)
        fake.add_service("platform", PLATFORM)
        workspace = Workspace(folder, fake)
        workspace.configure_http(
            ("match = ['severity=~\"error|critical\"', 'team=\"data\"']", ""),
            http='token = "env:ALERTHOST_TOKEN"\n[store]\nkey = "file:alerthost.key"',
        )
        yield workspace


@pytest.fixture(scope="module")
def console(workspace: Workspace) -> Iterator[Console]:
    with run(workspace, ALERTHOST_TOKEN=TOKEN) as (process, url):
        yield Console(workspace, process, url)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page on which no script fails, and no foreign one runs."""
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    page.on(
        "console",
        lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None,
    )
    yield page
    assert faults == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder for pictures: with HOSTSPEC_PICTURES, that of the documentation."""
    asked = os.environ.get("HOSTSPEC_PICTURES")
    return Path(__file__).parents[2] / "docs" if asked else tmp_path
