"""Each measurement of `make bench` runs, and prints its figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
PROGRAMS = sorted(
    path.stem for path in BENCH.glob("*.py") if "\ndef measure(" in path.read_text("utf-8")
)


@pytest.mark.proof
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_measurement_prints_its_figures(name: str) -> None:
    command = [sys.executable, BENCH / "run.py", "--quick", name]
    run = subprocess.run(command, capture_output=True, check=False, text=True)
    assert run.returncode == 0, run.stderr
    head, _, *figures = run.stdout.splitlines()
    assert head.split() == ["figure", "measured", "baseline", "ratio", "goal", "met"]
    assert figures
