"""Reads alerts from files and standard input: JSON lines, lists, and JSON over several lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, cast

import attrs

from hostspec.alert import Alert, FaultyAlertError, parse_json
from hostspec.errors import Fault


@attrs.frozen
class Submission:
    """One line that was read.

    Attributes:
        place: the line's number, after the file's name where there are several files.
        alert: what it says; None where it is faulty.
        faults: why it is faulty.
    """

    place: str
    alert: Alert | None
    faults: tuple[Fault, ...] = ()


def read(name: str, lines: Iterable[bytes]) -> Iterator[Submission]:
    """Read one file, line by line as they come; blank lines are no statements.

    A line that ends within a list or an object continues on the next one; where that begins
    another object, the first one is faulty alone.

    Args:
        name: put before the line's number; empty for none.
        lines: of UTF-8; what is not is repaired, and reported.
    """
    before = f"{name}: " if name else ""
    place, parts, depth = "", list[str](), 0
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").strip()
        deeper = _depth(text)
        if parts and depth == 1 and parts[0][0] == text[:1] == "{" and not deeper:
            yield statement(place, "\n".join(parts))
            parts, depth = [], 0
        if not parts:
            place = f"{before}line {number}"
        if text:
            parts.append(text)
            depth += deeper
        if parts and (depth <= 0 or not parts[0].endswith(_GOES_ON)):
            yield from _document(place, "\n".join(parts))
            parts, depth = [], 0
    if parts:
        yield statement(place, "\n".join(parts))


_GOES_ON: Final = ("{", "[", ",")
_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?+|[\[\]{}]')


def _depth(text: str) -> int:
    """Count how many more brackets a line opens than it closes."""
    found = _BRACKET.findall(text)
    return found.count("{") + found.count("[") - found.count("}") - found.count("]")


def _document(place: str, text: str) -> Iterator[Submission]:
    """Read a JSON text: an alert, or a list of them."""
    if not text.startswith("["):
        yield statement(place, text)
        return
    try:
        content = cast("list[object]", parse_json(text))
    except json.JSONDecodeError:
        yield statement(place, text)
        return
    if not content:
        yield empty_list(place)
    for number, each in enumerate(content, start=1):
        try:
            yield Submission(f"{place}, alert {number}", Alert.read(each))
        except FaultyAlertError as error:
            yield Submission(f"{place}, alert {number}", None, error.faults)


def statement(place: str, text: str) -> Submission:
    """Read one JSON text."""
    try:
        return Submission(place, Alert.read_text(text))
    except FaultyAlertError as error:
        return Submission(place, None, error.faults)


def empty_list(place: str) -> Submission:
    """Make the faulty statement of a list without alerts."""
    return Submission(place, None, (Fault("", "an empty list; expected at least one alert"),))


def read_all(files: Iterable[BinaryIO]) -> Iterator[Submission]:
    """Read several files, one after the other."""
    opened = list(files)
    for file in opened:
        yield from read(file.name if len(opened) > 1 else "", file)
