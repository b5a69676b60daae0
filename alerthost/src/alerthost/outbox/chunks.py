"""Groups stored bodies, so that few bytes are in memory at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

BATCH_SIZE: Final = 8 * 1024 * 1024
"""Largest number of bytes of bodies that are read at once; a larger body is read alone."""


def chunks(rows: Iterable[Any]) -> Iterator[list[int]]:
    """Yield the ids of rows, in order, in groups whose bodies are small enough together.

    Args:
        rows: with an ``id`` and a ``size`` in bytes; read no further than needed.
    """
    numbers: list[int] = []
    left = BATCH_SIZE
    for row in rows:
        if numbers and row.size > left:
            yield numbers
            numbers, left = [], BATCH_SIZE
        left -= row.size
        numbers.append(row.id)
    if numbers:
        yield numbers
