"""Formats text, columns, counts and times for output."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Sequence

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def printable(text: str) -> str:
    """Escape control characters, so that the text is safe to print on one line."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        and character not in "\u200d\ufe0f"
        else character
        for character in text
    )


def columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Align the cells of one line; cells beyond the last width are not padded."""
    aligned = (cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
    return "  ".join((*aligned, *cells[len(widths) :])).rstrip()


def plural(word: str, count: int) -> str:
    """Return the singular or plural of a word, for a count."""
    if count == 1:
        return word
    return f"{word[:-1]}ies" if re.search("[^aeiou]y$", word) else f"{word}s"


def counted(count: int, word: str) -> str:
    """Return a count and its word in the right number, such as ``2 deliveries``."""
    return f"{count:,} {plural(word, count)}"


def age(moment: float, now: float) -> str:
    """Return how long ago a moment was, both in seconds since the epoch."""
    seconds = max(0.0, now - moment)
    for unit, name in _UNITS:
        if seconds >= unit:
            return f"{int(seconds // unit)} {name}"
    return f"{int(seconds)} s"


def iso(moment: float | None) -> str | None:
    """Return a moment in UTC as ISO 8601; None stays None."""
    return None if moment is None else dt.datetime.fromtimestamp(moment, dt.UTC).isoformat()
