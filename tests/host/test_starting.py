"""``alerthost init`` writes a file that works once its key is set; ``--version``."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspace import CHECKOUT, Workspace


def test_the_file_works_once_its_key_is_set(workspace: Workspace) -> None:
    file = workspace.folder / "alerthost.toml"
    file.unlink()
    missing = workspace.alerthost("check")
    assert "create one with `alerthost init`" in missing.stderr

    assert workspace.alerthost("init").returncode == 0

    without = workspace.alerthost("check", env={"INTEGRATION_KEY": None})
    assert "the environment variable INTEGRATION_KEY is not set" in without.stderr
    run = workspace.alerthost("check", env={"INTEGRATION_KEY": CHECKOUT})
    assert (run.returncode, run.stderr) == (0, "")


def test_a_file_is_not_overwritten(workspace: Workspace) -> None:
    run = workspace.alerthost("init")

    assert run.returncode == 2
    assert run.stderr == "alerthost.toml: already exists; name another file with --config\n"


def test_an_unwritable_file_is_an_error(workspace: Workspace, tmp_path: Path) -> None:
    run = workspace.alerthost("init", "--config", str(tmp_path / "none" / "a.toml"))

    assert run.returncode == 2
    assert run.stderr.endswith("a.toml: cannot be written: No such file or directory\n")


def test_an_unknown_provider_is_an_error(workspace: Workspace) -> None:
    run = workspace.alerthost("init", "pagerdooty")

    assert run.returncode == 2
    assert "did you mean 'pagerduty'?" in run.stderr


def test_the_version_is_that_of_alerthost(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"1.2.3 of {name}")

    run = workspace.alerthost("--version")

    assert run.stdout == "alerthost, version 1.2.3 of alerthost\n"
