"""A folder with a configuration that sends to a fake PagerDuty, and a way to run alerthost."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from click.testing import CliRunner

from alerthost.cli.main import main
from alerthost.store.database import Database
from pagerduty_plugin.testing import FakePagerDuty

CHECKOUT = "0123456789abcdefghijABCDEFGHIJ01"
PLATFORM = "platformplatformplatformplatform"

RULE = """
[[rules]]
name = "Pages"
match = ['severity=~"error|critical"', 'team="data"']
[[rules.actions]]
use = "pagerduty.trigger"
installation = "acme"
services = ["checkout", "platform"]
severity = "default"
"""

CONFIGURATION = (
    """\
[plugins]
enabled = ["pagerduty"]

[[installations]]
provider = "pagerduty"
name = "acme"
[installations.settings]
base_url = "{url}"
services = [
  {{ name = "checkout", integration_key = "env:PD_CHECKOUT" }},
  {{ name = "platform", integration_key = "file:{folder}/pd_platform" }},
]
"""
    + RULE
)


BARE = """\
[plugins]
enabled = ["pagerduty"]

[store]
key = "file:alerthost.key"
"""

STORE_KEY = "c3RvcmUta2V5LW9mLXRoZS10ZXN0cy0zMi1ieXRlcyE="


@attrs.frozen
class Workspace:
    """A folder in which ``alerthost`` runs."""

    folder: Path
    fake: FakePagerDuty

    def configure(self, *changes: tuple[str, str]) -> None:
        """Write the configuration, with some texts replaced."""
        text = CONFIGURATION.format(url=self.fake.url, folder=self.folder)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (self.folder / "alerthost.toml").write_text(text, encoding="utf-8")

    def configure_http(self, *changes: tuple[str, str], http: str = "") -> None:
        """Write the configuration with a free port to listen on, and more settings in its table."""
        self.configure(*changes)
        file = self.folder / "alerthost.toml"
        table = f'\n[http]\nlisten = "127.0.0.1:0"\n{http}\n'
        file.write_text(file.read_text(encoding="utf-8") + table, encoding="utf-8")

    def configure_bare(self, more: str = "") -> None:
        """Write a configuration without an installation, and the key of its store."""
        (self.folder / "alerthost.toml").write_text(BARE + more, encoding="utf-8")
        (self.folder / "alerthost.key").write_text(f"{STORE_KEY}\n", encoding="utf-8")

    def migrate(self) -> None:
        """Make the tables of the store here, which is much quicker than in a process of its own."""
        with Database("sqlite:///alerthost.db", self.folder) as database:
            database.migrate()

    def process(
        self, *arguments: str, given: str | bytes = "", env: dict[str, str | None] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a process of its own, off any terminal."""
        self.migrate()
        run = subprocess.run(
            [sys.executable, "-m", "alerthost", *arguments],
            cwd=self.folder,
            env=self.environment(env),
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return subprocess.CompletedProcess(
            run.args, run.returncode, run.stdout.decode(), run.stderr.decode()
        )

    def alerthost(
        self, *arguments: str, given: str | bytes = "", env: dict[str, str | None] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside this process, which is quicker than a process of its own."""
        variables = {"PD_CHECKOUT": CHECKOUT, **(env or {})}  # None removes one
        with contextlib.chdir(self.folder), _unchanged_logging():
            ran = CliRunner().invoke(
                main, arguments, input=given, env=variables, prog_name="alerthost"
            )
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        return subprocess.CompletedProcess(arguments, ran.exit_code, ran.stdout, ran.stderr)

    def environment(self, env: dict[str, str | None] | None = None) -> dict[str, str]:
        """Return the environment of a command, with the secret and without colours."""
        merged = {**os.environ, "PD_CHECKOUT": CHECKOUT, **(env or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def bodies(self) -> list[dict[str, Any]]:
        """Return the received events; the fake logs a request before its body has arrived."""
        count = len(self.fake.requests)
        self.fake.wait_for(lambda fake: all(each.body for each in fake.requests[:count]))
        return [each.json() for each in self.fake.requests[:count]]


@contextlib.contextmanager
def _unchanged_logging() -> Iterator[None]:
    """Undo what ``alerthost run`` sets for its process: other tests run in this one."""
    logger = logging.getLogger("hostspec")
    level, raises = logger.level, logging.raiseExceptions
    try:
        yield
    finally:
        logger.setLevel(level)
        logging.raiseExceptions = raises


def line(key: str = "db-1/disk", **fields: object) -> str:
    """Return an alert that matches the rule of the configuration, as one JSON line."""
    statement = {
        "key": key,
        "summary": "Disk full on db-1",
        "severity": "critical",
        "source": "db-1",
        "labels": {"team": "data"},
        **fields,
    }
    return json.dumps(statement) + "\n"


def errors_of(run: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the errors of a command that did nothing."""
    assert (run.returncode, run.stdout) == (2, ""), run
    return run.stderr.splitlines()


def printed_lines(text: str) -> list[str]:
    """Return the lines of an output, with one blank between cells and without ages."""
    shown = re.sub(r" \d+ s([ ;]|$)", r" N s\1", text, flags=re.MULTILINE)
    return [" ".join(each.split()) for each in shown.splitlines() if each]
