"""Remembers which installed distributions bring plugins.

Each of the thousands of loads would read the metadata of everything that is installed.
"""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, EntryPoints, PackageMetadata, PathDistribution
from pathlib import Path

from hostspec.hookspecs import PROJECT

find = importlib.metadata.distributions
"""Finds all of them, as a program does."""


class Remembered(PathDistribution):
    """A distribution whose files are read once."""

    @functools.cached_property
    def metadata(self) -> PackageMetadata:  # type: ignore[override]
        return super().metadata

    @functools.cached_property
    def entry_points(self) -> EntryPoints:  # type: ignore[override]
        return super().entry_points


def remembered() -> Iterable[Distribution]:
    """Return those with plugins; read them again once a folder of the path has changed."""
    return _read(tuple((folder, _changed(folder)) for folder in sys.path))


def _changed(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=8)
def _read(_path: tuple[tuple[str, int], ...]) -> tuple[Distribution, ...]:
    read = (Remembered(each._path) for each in find())  # type: ignore[attr-defined]
    return tuple(each for each in read if each.entry_points.select(group=PROJECT))
