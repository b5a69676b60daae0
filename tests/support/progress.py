"""Prints the progress of a long test under pytest's ``--capture=no``."""

from __future__ import annotations

import sys
import time

EVERY = 50

_began = time.monotonic()


def report(message: str) -> None:
    sys.stderr.write(f"{time.monotonic() - _began:6.0f} s  {message}\n")
    sys.stderr.flush()
