"""Stands in the way of an import from a checkout in which `hostspec` is not installed.

Python would take this folder for an empty package and go on. Where `hostspec` is installed,
which it is in ``.venv/`` after any ``make``, that one is imported in this one's place.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent.parent


def _installed() -> importlib.machinery.ModuleSpec | None:
    elsewhere = [place for place in sys.path if Path(place).resolve() != _HERE]
    return importlib.machinery.PathFinder.find_spec(__name__, elsewhere)


_found = _installed()
if _found is None or _found.loader is None:
    message = "hostspec is not installed; in its checkout, run: make test"
    raise ImportError(message)
sys.modules[__name__] = importlib.util.module_from_spec(_found)
_found.loader.exec_module(sys.modules[__name__])
