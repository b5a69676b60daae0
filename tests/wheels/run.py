"""Builds the wheels, installs them into a folder of their own, and runs the tests on them.

Arguments go to pytest. Nothing is fetched: hatchling builds, and pip only unpacks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WHEELS = ROOT / "build" / "wheels"
SITE = ROOT / "build" / "wheel-site"


def python(*arguments: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> int:
    """Run this Python on a module and its arguments."""
    run = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], cwd=cwd, env=env, check=False
    )
    return run.returncode


def main() -> int:
    """Build, install, and give pytest's exit code."""
    for folder in (WHEELS, SITE):
        shutil.rmtree(folder, ignore_errors=True)
    for project in (ROOT / "hostspec", ROOT / "alerthost-client", ROOT / "alerthost", ROOT):
        if python("hatchling", "build", "-t", "wheel", "-d", WHEELS, cwd=project):
            return 1
    quiet = ("--disable-pip-version-check", "--quiet", "--no-index", "--no-deps")
    if python("pip", "install", *quiet, "--target", SITE, *WHEELS.glob("*.whl")):
        return 1
    # the first entry on the path wins, modules and entry points alike: the editable
    # installations of the environment are hidden by the wheels
    env = {**os.environ, "PYTHONPATH": str(SITE), "HOSTSPEC_WHEELS": "1"}
    # else each of the many programs that the tests start would compile all of it again
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return python("pytest", *sys.argv[1:], env=env)


if __name__ == "__main__":
    sys.exit(main())
