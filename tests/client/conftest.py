"""Servers that clients hand their alerts over to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from restarted import Restarted, restarted
from scripted import Scripted


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


@pytest.fixture
def alerthost(tmp_path: Path) -> Iterator[Restarted]:
    """Return an ``alerthost run`` with a rule that pages every alert."""
    folder = tmp_path / "alerthost"
    folder.mkdir()
    with restarted(folder) as alerthost:
        yield alerthost
