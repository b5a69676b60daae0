"""The fields of an alert, and lenient parsers: JSON of any depth, and times in many formats."""

from __future__ import annotations

import datetime as dt
import enum
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import attrs

from hostspec.errors import FaultsError
from hostspec.normalisation import DEEPEST

_LONGEST_NUMERAL: Final = 640
"""The number of digits that Python always converts to an integer; it may refuse more."""

_DEEPEST_TEXT: Final = 2 * DEEPEST
"""The maximum nesting of a JSON text; `normalise` cuts earlier, with a repair."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""A string or a bracket. The pattern does not backtrack, even for an unterminated string, so that
scanning is linear in the length of the text."""

_NUMERAL: Final = re.compile(r"\d{9,}(\.\d+)?", re.ASCII)
"""An epoch as text; ISO 8601 has no format with so many digits in a row."""

_ZERO: Final = re.compile(r"-?0+(\.0+)?", re.ASCII)

_EPOCH: Final = dt.datetime.fromtimestamp(0, dt.UTC)
"""The value of an unset field in programs that count from it."""

_MILLISECONDS: Final = 100_000_000_000
"""A greater epoch is in milliseconds: in seconds it would be after the year 5000."""

_GO: Final = re.compile(
    r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) ([+-]\d{4})(?: [^ ]+)?(?: M=[+-][\d.]+)?",
    re.ASCII,
)
"""The format of Go's ``Time.String``: offset, zone name, monotonic reading."""

_YEAR_ZERO: Final = "0000-"
"""Go's zero time (the first instant of year 1 in UTC) in a zone west of Greenwich."""

_NEVER: Final = "is a time that was never set; taken as missing"


class Severity(enum.StrEnum):
    """The severity of a problem, from the mildest to the worst."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the mildest, 4 for the worst; compare ranks, because StrEnum compares as text."""
        return _RANKS[self]

    @classmethod
    def understand(cls, text: str) -> Severity | None:
        """Return the severity of a word or common synonym, in any case; None if unknown."""
        word = text.strip().casefold()
        return _SEVERITY_WORDS.get(word)


_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}

_SEVERITY_WORDS: Final[Mapping[str, Severity]] = {
    **{severity.value: severity for severity in Severity},
    **dict.fromkeys(("trace", "verbose"), Severity.DEBUG),
    **dict.fromkeys(("none", "ok", "notice", "low", "informational", "information"), Severity.INFO),
    **dict.fromkeys(("warn", "minor", "moderate", "medium", "average"), Severity.WARNING),
    **dict.fromkeys(("err", "high", "major"), Severity.ERROR),
    **dict.fromkeys(
        ("crit", "fatal", "page", "alert", "emerg", "emergency", "panic", "severe", "disaster"),
        Severity.CRITICAL,
    ),
}


class Status(enum.StrEnum):
    """The status of a problem."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@attrs.frozen
class Link:
    """A link for the responder.

    Attributes:
        href: its address.
        text: its text; empty for the address.
    """

    href: str
    text: str = ""


@attrs.frozen
class Image:
    """An image for the responder.

    Attributes:
        src: the address of the image.
        href: the address that a click opens; empty for none.
        alt: the alternative text.
    """

    src: str
    href: str = ""
    alt: str = ""


@attrs.frozen(cache_hash=True)
class Identity:
    """The identity of a problem: its scope (tenant or project) and its key within the scope."""

    scope: str
    key: str

    def __str__(self) -> str:
        """Return the identity for the operator."""
        return f"{self.scope}/{self.key}" if self.scope else self.key


class FaultyAlertError(FaultsError):
    """The input is not an alert; ``faults`` holds every reason."""


def parse_json(text: str) -> object:
    """Parse a JSON text of any nesting, with numerals of any length, in linear time.

    Values nested deeper than 128 levels become null, so that no caller exceeds Python's recursion
    limit.

    Raises:
        json.JSONDecodeError: the text is not valid JSON.
    """
    try:
        content = json.loads(text, parse_int=_integer)
    except RecursionError:
        pass
    else:
        if not _is_too_deep(content):
            return content
    return json.loads(_cut_depths(text), parse_int=_integer)


def _integer(numeral: str) -> int | Decimal:
    return int(numeral) if len(numeral) <= _LONGEST_NUMERAL else Decimal(numeral)


def _is_too_deep(content: object) -> bool:
    level = [content]
    for _ in range(_DEEPEST_TEXT - 1):
        level = [
            item
            for value in level
            if isinstance(value, (dict, list))
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    return any(isinstance(value, (dict, list)) for value in level)


def _cut_depths(text: str) -> str:
    """Replace values that are nested too deeply with null."""
    kept = []
    depth = start = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == _DEEPEST_TEXT:
                kept.append(text[start : token.start()] + "null")
                start = len(text)
        elif token[0] in "]}":
            if depth == _DEEPEST_TEXT:
                start = token.end()
            depth -= 1
    return "".join(kept) + text[start:]


def parse_time(value: Any) -> tuple[dt.datetime | None, str]:
    """Parse a time.

    Args:
        value: a text, a number, or an object with ``isoformat``.

    Returns:
        the time in UTC, or None for an unset time; and the reason of a repair, or an empty text.
        The reason does not quote the value.

    Raises:
        Exception: the value is not a time; the class depends on the value.
    """
    if isinstance(value, str) and _ZERO.fullmatch(value.strip()):
        return None, _NEVER
    if isinstance(value, str) and _NUMERAL.fullmatch(value.strip()):
        value = json.loads(value)
    if isinstance(value, bool):
        message = "a truth value is not a time"
        raise TypeError(message)
    if isinstance(value, (int, float)):
        return _of_epoch(value)
    text = value if isinstance(value, str) else value.isoformat()
    text = text.strip().upper()  # RFC 3339 allows "z"
    if text.startswith(_YEAR_ZERO):
        return None, _NEVER
    if written_by_go := _GO.fullmatch(text):
        text = "{}T{}{}".format(*written_by_go.groups())
    moment = dt.datetime.fromisoformat(text)
    if moment.year == 1:
        return None, _NEVER
    repaired = ""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
        repaired = "has no time zone; taken as UTC"
    moment = moment.astimezone(dt.UTC)
    return (None, _NEVER) if moment == _EPOCH else (moment, repaired)


def _of_epoch(number: float) -> tuple[dt.datetime | None, str]:
    in_milliseconds = abs(number) > _MILLISECONDS
    moment = dt.datetime.fromtimestamp(number / 1000 if in_milliseconds else number, dt.UTC)
    if moment.year == 1 or moment == _EPOCH:
        return None, _NEVER
    unit = "milliseconds" if in_milliseconds else "seconds"
    return moment, f"the number {number} was read as {unit} since 1970"
