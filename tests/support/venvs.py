"""Makes environments for programs whose dependencies are not those of the tests."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def programs_of(name: str) -> Path:
    """Return the folder of the programs of an environment, which is made if it is missing.

    It has the packages of ``tests/constraints-NAME.txt``, and is kept under ``build``.
    """
    folder = ROOT / "build" / name
    constraints = ROOT / "tests" / f"constraints-{name}.txt"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / "constraints.txt"
        if not made.exists() or made.read_text() != constraints.read_text():
            pip = ["pip", "--python", str(folder / "bin" / "python"), "install", "--no-compile"]
            for module in (
                ["venv", "--clear", "--without-pip", str(folder)],
                [*pip, "--quiet", "--no-deps", "--requirement", str(constraints)],
            ):
                command = [sys.executable, "-m", *module]
                ran = subprocess.run(command, capture_output=True, text=True, check=False)
                if ran.returncode:
                    pytest.skip(f"{name} cannot be installed: {ran.stderr[-500:]}")
            made.write_text(constraints.read_text())
    return folder / "bin"
