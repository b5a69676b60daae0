"""Fixtures that install distributions in the folder of a test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PREFIX = "fake_plugin_"


@pytest.fixture
def site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _all_distributions_are_read: None
) -> Path:
    """Return a folder that is searched for distributions and modules."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def install(site: Path) -> Iterator[Callable[..., str]]:
    """Return a function that installs a plugin of one module, and names the module."""

    def install(
        name: str, source: str, *, distribution: str = "", folder: Path = site, value: str = ""
    ) -> str:
        distribution = distribution or f"dist-{name}"
        module = f"{PREFIX}{distribution.replace('-', '_')}"
        (folder / f"{module}.py").write_text(
            f"from hostspec import hookimpl, hookspec\n{source}", encoding="utf-8"
        )
        info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(
            f"[hostspec]\n{name} = {value or module}\n", encoding="utf-8"
        )
        importlib.invalidate_caches()
        return module

    yield install
    for module in [module for module in sys.modules if module.startswith(PREFIX)]:
        del sys.modules[module]
