"""An ``alerthost run`` that is killed and started again, and the fake PagerDuty behind it."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from serving import Process
from workspace import CHECKOUT, PLATFORM, Workspace

from pagerduty_plugin.testing import FakePagerDuty


class Restarted:
    """Runs ``alerthost run`` at one address.

    Attributes:
        workspace: its folder, and the fake.
        process: that runs now, or was killed last.
        url: its address.
    """

    def __init__(
        self, workspace: Workspace, stack: contextlib.ExitStack, http: str, env: Mapping[str, str]
    ) -> None:
        self.workspace = workspace
        self._stack = stack
        self._env = env
        every_alert = ("match = ['severity=~\"error|critical\"', 'team=\"data\"']", "")
        workspace.configure_http(every_alert, http=http)
        self.start()
        self.url = self.process.listens()
        file = workspace.folder / "alerthost.toml"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("127.0.0.1:0", self.url.removeprefix("http://")))

    def start(self) -> None:
        """Start it."""
        self.process = self._stack.enter_context(Process(self.workspace, **self._env))

    def kill(self) -> None:
        """Kill it at once."""
        self.process.signal(signal.SIGKILL)
        self.process.end()

    def wait_for(self, *, firing: set[str], seconds: float = 60) -> None:
        """Wait until the open incidents are those of these keys."""

        def is_so(fake: FakePagerDuty) -> bool:
            opened = [each for each in fake.incidents if each.state != "resolved"]
            return {each.dedup_key for each in opened} == firing

        self.workspace.fake.wait_for(is_so, seconds)

    def statuses(self, key: str) -> list[str]:
        """Return the statuses of the accepted alerts with a key, in order."""
        path = self.workspace.folder / "alerthost.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT body FROM submissions")
            bodies = [json.loads(row[0]) for row in rows]
        return [body.get("status", "firing") for body in bodies if body["key"] == key]


@contextlib.contextmanager
def restarted(folder: Path, http: str = "", **env: str) -> Iterator[Restarted]:
    """Run it in a folder until the end of the block, with settings in its table ``http``."""
    (folder / "pd_platform").write_text(f"{PLATFORM}\n", encoding="utf-8")
    services = {"checkout": CHECKOUT, "platform": PLATFORM}
    with FakePagerDuty(services=services, rate_limit=0) as fake, contextlib.ExitStack() as stack:
        yield Restarted(Workspace(folder, fake), stack, http, env)
