"""A fresh workspace for each test of the reference host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace import CHECKOUT, PLATFORM, Workspace

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
