"""The install flow, with a command, a browser and PagerDuty's page."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, urljoin, urlsplit

import attrs
import pytest
import requests  # noqa: TID253 -- the browser of these tests
from forms import Form
from terminal import INTERRUPTIBLE
from workspace import CHECKOUT, Workspace

from pagerduty_plugin.testing import App


@pytest.fixture(autouse=True)
def bare(workspace: Workspace) -> None:
    workspace.configure_bare()


@attrs.define
class Flow:
    """A command that waits for a browser, and the browser."""

    workspace: Workspace
    process: subprocess.Popen[str]
    url: str
    reported: str = ""

    @property
    def callback(self) -> str:
        """The redirect URL, with its state."""
        return dict(parse_qsl(urlsplit(self.url).query))["redirect_url"]

    @property
    def home(self) -> str:
        return self.callback.partition("?")[0]

    def get(self, url: str) -> requests.Response:
        with requests.Session() as browser:
            browser.trust_env = False
            return browser.get(url, timeout=60)

    def pick(self, *services: str) -> requests.Response:
        """Pick services on PagerDuty's page, and follow every redirect."""
        app = App(app_id="PAPP", redirect_urls=(self.home,), others=(("team_rule_set", "Ops"),))
        self.workspace.fake.register_app(app)
        with requests.Session() as browser:
            browser.trust_env = False
            page = browser.get(self.url, timeout=60)
            form = Form.of(page.text)
            fields = [*form.fields, *(("service", service) for service in services)]
            return browser.post(urljoin(page.url, form.action), data=fields, timeout=60)

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        rest, _ = self.process.communicate(timeout=60)
        self.reported += rest
        return self.process.returncode


@contextmanager
def flow(
    workspace: Workspace, *arguments: str, env: dict[str, str | None] | None = None
) -> Iterator[Flow]:
    url = workspace.fake.url
    options = ("--app-id", "PAPP", "--set", f"install_url={url}", "--set", f"base_url={url}")
    command = ("connect", "pagerduty", *arguments, "--install-flow", *options)
    ports = () if "--port" in arguments else ("--port", "0")
    browser = () if env else ("--no-browser",)
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *command, *ports, *browser],
        cwd=workspace.folder,
        env=workspace.environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        try:
            first = process.stdout.readline()
            assert first == "Continue in your browser, at this address:\n", first
            yield Flow(workspace, process, process.stdout.readline().strip())
        finally:
            process.kill()


def hang_up(url: str) -> None:
    """Begin a request and reset the connection."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(b"GET /callback?state=x HT")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_an_account_is_connected_and_connected_again(workspace: Workspace) -> None:
    with flow(workspace) as first:
        arrived = first.pick("checkout")
        assert first.end() == 0

    back, last = arrived.history
    assert (back.status_code, last.status_code, arrived.status_code) == (302, 303, 200)
    assert last.headers["Location"] == "/connected"
    for answer in (last, arrived):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "You may close this window" in arrived.text
    assert arrived.url.endswith("/connected")
    key = dict(parse_qsl(urlsplit(back.headers["Location"]).query))["config"]
    assert key not in arrived.text + first.reported
    assert "connected Acme: checkout; stored in store sqlite:///alerthost.db\n" in first.reported
    assert "skipped: Ops (team_rule_set): only a service can be paged\n" in first.reported

    with flow(workspace, "other") as again:
        again.pick("checkout", "platform")
        assert again.end() == 0
    assert "connected Acme again: checkout, platform; stored in" in again.reported
    assert "note: the account was connected before, so its name is not other" in again.reported
    assert (
        "note: The service checkout has a new key; it keeps the old one as well." in again.reported
    )
    shown = workspace.alerthost("services", "Acme").stdout
    assert shown.count("********") == 3
    for service in workspace.fake.services:
        for integration in service.integrations:
            assert integration.key not in shown + first.reported + again.reported


def test_the_name_may_be_given(workspace: Workspace) -> None:
    with flow(workspace, "acme-eu", "--set", "region=eu") as connecting:
        connecting.pick("checkout")
        assert connecting.end() == 0
    assert "connected acme-eu: checkout" in connecting.reported


def test_a_callback_of_another_attempt_is_ignored(workspace: Workspace) -> None:
    with flow(workspace) as connecting:
        forged = connecting.get(f"{connecting.home}?state=wrong&config={CHECKOUT}")
        assert (forged.status_code, forged.url) == (200, connecting.home[:-8] + "ignored")
        assert CHECKOUT not in forged.text
        assert connecting.get(connecting.home[:-8] + "favicon.ico").status_code == 404
        hang_up(connecting.home)
        assert connecting.pick("checkout").status_code == 200
        assert connecting.end() == 0
    assert (
        "ignored a request: the callback belongs to no install flow that was started here"
        in connecting.reported
    )
    assert CHECKOUT not in connecting.reported
    assert "Exception" not in connecting.reported


def test_a_cancellation_at_the_provider_stores_nothing(workspace: Workspace) -> None:
    with flow(workspace) as connecting:
        page = connecting.get(connecting.callback)
        assert "Not connected" in page.text
        assert connecting.end() == 1
    assert (
        "not connected: PagerDuty sent no configuration, perhaps because it was"
        in connecting.reported
    )
    assert not (workspace.folder / "alerthost.db").exists()


def test_ctrl_c_ends_the_wait_for_the_browser(workspace: Workspace) -> None:
    with flow(workspace) as connecting:
        assert connecting.get(connecting.home[:-8]).status_code == 404  # it listens
        connecting.process.send_signal(signal.SIGINT)
        assert connecting.end() == 1
    assert "Traceback" not in connecting.reported
    assert connecting.reported.rstrip().endswith("Aborted!")


def test_the_browser_is_opened(workspace: Workspace) -> None:
    opened = workspace.folder / "opened"
    os.mkfifo(opened)
    script = workspace.folder / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    script.chmod(0o755)

    with flow(workspace, env={"BROWSER": f"{script} %s"}) as connecting:
        assert opened.read_text() == connecting.url
        connecting.pick("checkout")
        assert connecting.end() == 0


def test_an_account_of_the_file_cannot_be_connected_again(workspace: Workspace) -> None:
    labs = f"""
[[installations]]
name = "labs"
provider = "pagerduty"
[installations.settings]
subdomain = "acme"
services = [{{ name = "checkout", integration_key = "{CHECKOUT}" }}]
"""
    workspace.configure_bare(labs)
    with flow(workspace) as connecting:
        assert "Not connected" in connecting.pick("checkout").text
        assert connecting.end() == 2
    assert "the account 'labs' is declared in alerthost.toml, line 7; edit it there" in (
        connecting.reported
    )


def test_errors_are_reported_before_the_browser_opens(workspace: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = ("connect", "pagerduty", "--install-flow", "--app-id", "PAPP", "--port", port)
        run = workspace.alerthost(*options)
    assert (run.returncode, run.stderr) == (
        2,
        f"--port: cannot listen on {port}: Address already in use\n",
    )
    (workspace.folder / "alerthost.key").unlink()
    run = workspace.alerthost("connect", "pagerduty", "--install-flow", "--app-id", "PAPP")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("a secret cannot be sealed: the store's key cannot be read: ")
