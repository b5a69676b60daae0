"""``pytest --alert KEY``: real runs of pytest, which pass and fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted

PASSES = "def test_passes(): pass\n"
FAILS = "def test_fails(): assert 1 == 2\n"


def run(folder: Path, content: str, *options: str, **variables: object) -> tuple[int, str]:
    """Run pytest on one file; return its exit code and its output."""
    (folder / "test_shop.py").write_text(content, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *options],
        cwd=folder,
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def alerts(server: Scripted) -> list[dict[str, Any]]:
    return server.alerts


def test_a_failed_run_fires_and_a_passed_one_resolves(server: Scripted, tmp_path: Path) -> None:
    url = {"ALERTHOST_URL": server.url}
    assert run(tmp_path, PASSES + FAILS, "--alert", "shop/tests", **url)[0] == 1
    assert run(tmp_path, PASSES, "--alert", "shop/tests", **url)[0] == 0
    failed, passed = alerts(server)
    assert failed["summary"] == "shop/tests: 1 failed, 1 passed"
    assert "assert 1 == 2" in failed["details"]["test_shop.py::test_fails"]
    assert failed["details"]["exit_code"] == 1
    assert passed == {"key": "shop/tests", "status": "resolved"}


def test_without_the_option_nothing_is_handed_over(server: Scripted, tmp_path: Path) -> None:
    assert run(tmp_path, FAILS, ALERTHOST_URL=server.url)[0] == 1
    assert run(tmp_path, PASSES, ALERTHOST_URL="nowhere")[0] == 0
    assert server.posts == []


def test_a_run_with_workers_fires_once(server: Scripted, tmp_path: Path) -> None:
    content = "".join(f"def test_{number}(): assert {number} > 7\n" for number in range(30))
    run(tmp_path, content, "--alert", "tests", "--numprocesses", "2", ALERTHOST_URL=server.url)
    (alert,) = alerts(server)
    assert alert["summary"] == "tests: 8 failed, 22 passed"


def test_the_texts_of_many_failures_are_bounded(server: Scripted, tmp_path: Path) -> None:
    content = "".join(f"def test_{number}(): assert 'x' * 9999 == ''\n" for number in range(30))
    run(tmp_path, content, "--alert", "tests", "-vv", ALERTHOST_URL=server.url)
    (alert,) = alerts(server)
    assert alert["summary"] == "tests: 30 failed, 0 passed"
    assert len(alert["details"]) == 21
    assert {len(text) for text in map(str, alert["details"].values())} == {1, 5000}


@pytest.mark.parametrize(
    ("content", "summary"),
    [
        ("import no_such_module\n", "tests: 1 failed, 0 passed"),
        ("", "tests: no tests collected"),
        ("import pytest\ndef test_a(): pytest.exit('stop', 77)\n", "tests: exit code 77"),
        ("def test_a(): raise KeyboardInterrupt\n", "tests: interrupted"),
    ],
)
def test_a_run_that_does_not_pass_fires(
    server: Scripted, tmp_path: Path, content: str, summary: str
) -> None:
    run(tmp_path, content, "--alert", "tests", ALERTHOST_URL=server.url)
    (alert,) = alerts(server)
    assert alert["summary"] == summary


def test_invalid_settings_end_the_run_before_it_begins(tmp_path: Path) -> None:
    code, output = run(tmp_path, PASSES, "--alert", "tests", ALERTHOST_URL="nowhere")
    assert code == 4
    assert "url: 'nowhere' is not a URL of alerthost" in output


def test_alerts_of_a_spool_wait_for_alerthost(server: Scripted, tmp_path: Path) -> None:
    spool = {"ALERTHOST_SPOOL": tmp_path / "spool"}
    run(tmp_path, FAILS, "--alert", "tests", ALERTHOST_URL="http://127.0.0.1:1", **spool)
    run(tmp_path, PASSES, "--alert", "tests", ALERTHOST_URL=server.url, **spool)
    assert [alert.get("status") for alert in alerts(server)] == [None, "resolved"]
