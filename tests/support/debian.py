"""Finds programs on the path, or where tests/fetch-debian.sh puts Debian's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

FETCHED = Path(__file__).parents[2] / ".venv/debian"


def find_program(title: str, *names: str, fetched: str, variable: str = "") -> str:
    """Return the path of a program, or skip the test.

    Args:
        title: of the program, in the reason of the skip.
        names: that it may have on the path.
        fetched: its path below Debian's root.
        variable: of the environment, which may name another one.
    """
    for name in (os.environ.get(variable), *names, str(FETCHED / fetched)):
        if name and (found := shutil.which(name)):
            return found
    pytest.skip(f"{title} is not here; tests/fetch-debian.sh gets it where apt is")
