"""Reads alerts from files and standard input, one JSON object on each line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import attrs

from hostspec.alert import Alert
from hostspec.faults import Fault
from hostspec.parts import FaultyAlertError


@attrs.frozen
class Statement:
    """One line that was read.

    Attributes:
        place: the line's number, after the file's name where there are several files.
        alert: what it says; None where it is faulty.
        faults: why it is faulty.
    """

    place: str
    alert: Alert | None
    faults: tuple[Fault, ...] = ()


def read(name: str, lines: Iterable[bytes]) -> Iterator[Statement]:
    """Read one file, line by line as they come; blank lines are no statements.

    Args:
        name: put before the line's number; empty for none.
        lines: of UTF-8; what is not is repaired, and reported.
    """
    before = f"{name}: " if name else ""
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").strip()
        if text:
            yield statement(f"{before}line {number}", text)


def statement(place: str, text: str) -> Statement:
    """Read one JSON text."""
    try:
        return Statement(place, Alert.read_text(text))
    except FaultyAlertError as error:
        return Statement(place, None, error.faults)


def read_all(files: Iterable[BinaryIO]) -> Iterator[Statement]:
    """Read several files, one after the other."""
    opened = list(files)
    for file in opened:
        yield from read(file.name if len(opened) > 1 else "", file)
