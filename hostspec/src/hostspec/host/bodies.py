"""Reads alerts from the body of a request: one JSON object, a list of them, or JSON lines."""

from __future__ import annotations

import json

from hostspec.alert import Alert
from hostspec.faults import Fault
from hostspec.host import statements
from hostspec.host.statements import Statement
from hostspec.parts import FaultyAlertError
from hostspec.reading import parse


def read(body: bytes, *, lines: bool = False) -> tuple[Statement, ...]:
    """Read the alerts in a body; what is no UTF-8 in it is repaired, and reported.

    Args:
        body: one JSON object, a list of them, or one on each line.
        lines: it is JSON lines, though it may look like something else.
    """
    if lines:
        return _lines(body)
    try:
        content = parse(text_of(body))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _lines(body)
        return (not_json(error),)
    if isinstance(content, list):
        return tuple(_alert(f"alert {n}", each) for n, each in enumerate(content, start=1))
    return (_alert("", content),)


def text_of(body: bytes) -> str:
    """Give the text of a body, with what is no UTF-8 in it kept apart, for the alert to repair."""
    return body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def not_json(error: json.JSONDecodeError) -> Statement:
    """Give the faulty statement of a body that is no JSON."""
    reason = f"not JSON: {error.msg} at character {error.pos + 1}"
    return Statement("", None, (Fault("", reason),))


def _lines(body: bytes) -> tuple[Statement, ...]:
    return tuple(statements.read("", body.split(b"\n")))


def _alert(place: str, content: object) -> Statement:
    try:
        return Statement(place, Alert.read(content))
    except FaultyAlertError as error:
        return Statement(place, None, error.faults)
