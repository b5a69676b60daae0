"""Reads the statements of hosts: what can be understood is repaired, and reported."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

import attrs

from hostspec.faults import Fault
from hostspec.normalise import DEEPEST, FrozenDict, Json, Repair, free_name, normalise
from hostspec.parts import FaultyAlertError, Image, Link, Severity, Status

_LONGEST_NUMERAL: Final = 640
"""Digits: Python always turns so many into an integer, and may refuse more."""

_DEEPEST_TEXT: Final = 2 * DEEPEST
"""Levels of nesting that are read of a JSON text; `normalise` cuts earlier, with a repair."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""A string or a bracket. It neither backtracks nor looks for the end of a string in vain (one may
have none), so that finding all of them is linear in the text."""

_NUMERAL: Final = re.compile(r"\d{9,}(\.\d+)?", re.ASCII)
"""An epoch given as text; ISO 8601 has no form of so many digits without a sign between."""

_MILLISECONDS: Final = 100_000_000_000
"""An epoch beyond this is in milliseconds: in seconds it would lie after the year 5000."""

_STATUS_WORDS: Final = frozenset(status.value for status in Status)


def parse(text: str) -> object:
    """Parse one JSON text, however deep its nesting and however long its numerals.

    Takes time linear in the length of the text. Values that lie deeper than 128 levels become
    null, so that no caller can run into Python's limit of recursion.

    Raises:
        json.JSONDecodeError: it is no JSON.
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
    """Replace values that are nested too deeply by null."""
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


def adopt(
    unknown: Mapping[object, object], details: object
) -> tuple[dict[object, object], list[Repair]]:
    """Move unknown fields into the details, beside what is there already."""
    adopted: dict[object, object] = {}
    repairs = []
    if isinstance(details, Mapping):
        adopted.update(details)
    elif details is not None:
        adopted["details"] = details
        repairs.append(Repair("details", _no_object(details)))
    for name, value in unknown.items():
        text = _as_text(normalise(name, "")[0])
        adopted[_free_place(text, adopted) if name in adopted else name] = value
        repairs.append(Repair(text, "not a field of an alert; moved into its details"))
    return adopted, repairs


def _free_place(name: str, taken: Mapping[Any, object]) -> str:
    """Return a free name in the details: the field's own, ``alert.NAME``, or that with a number.

    The names tried for one field are tried for no other, so that thousands of fields whose
    places are taken cost no more than the details are long.
    """
    if name not in taken:
        return name
    name = f"alert.{name}"
    return free_name(name, taken, {}) if name in taken else name


def _no_object(value: object) -> str:
    return f"{_kind(value)} where an object belongs; kept under 'details'"


_Entry = TypeVar("_Entry", Link, Image)


class Reader:
    """Reads the fields of one statement; what it repairs and refuses gathers here."""

    def __init__(self, repairs: list[Repair]) -> None:
        self.repairs = repairs
        self._faults: list[Fault] = []

    def repair(self, field: str, reason: str) -> None:
        """Note what was changed."""
        self.repairs.append(Repair(field, reason))

    def refuse_faults(self) -> None:
        """Refuse the statement if a field of it leaves no meaning."""
        if self._faults:
            raise FaultyAlertError(self._faults)

    def key(self, value: object) -> str:
        """Read the key; without one there is no problem to speak of."""
        key = self.text("key", value)
        if not key.strip():
            self._faults.append(Fault("key", "missing or blank; it names the problem"))
        return key

    def status(self, value: object) -> Status:
        """Read the status, whatever its case and blanks."""
        word = value.strip().casefold() if isinstance(value, str) else None
        if word == "":
            self.repair("status", "blank; taken as firing")
            return Status.FIRING
        if word in _STATUS_WORDS:
            return Status(word)
        known = ", ".join(Status)
        self._faults.append(Fault("status", f"{_shortened(value)} is unknown; known are {known}"))
        return Status.FIRING

    def severity(self, value: object) -> Severity:
        """Read the severity; error where it is missing or unknown."""
        if value is None or (isinstance(value, str) and not value.strip()):
            self.repair("severity", "missing; taken as error")
            return Severity.ERROR
        known = Severity.understand(value) if isinstance(value, str) else None
        if known is None:
            self.repair("severity", f"{_shortened(value)} is unknown; taken as error")
            return Severity.ERROR
        return known

    def text(self, field: str, value: object) -> str:
        """Read a text; anything else becomes one."""
        if value is None:
            return ""
        normalised, repairs = normalise(value, field)
        self.repairs.extend(repairs)
        if isinstance(normalised, str):
            return normalised
        self.repair(field, f"{_kind(normalised)} became text")
        return _as_text(normalised)

    def summary(self, value: object, key: str) -> str:
        """Read the summary; the key where there is none."""
        summary = self.text("summary", value)
        if summary.strip():
            return summary
        self.repair("summary", "missing or blank; the key stands in its place")
        return key

    def moment(self, field: str, value: object, details: dict[str, Json]) -> dt.datetime | None:
        """Read a time; one that cannot be read is kept, as it came, in the details."""
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        try:
            return self._moment(field, value)
        except Exception:  # noqa: BLE001 -- a time zone of somebody's own may do anything
            self.keep(field, value, details)
            reason = f"{_shortened(value)} is not an ISO 8601 time; kept in the details"
            self.repair(field, reason)
            return None

    def _moment(self, field: str, value: Any) -> dt.datetime:
        if isinstance(value, str) and _NUMERAL.fullmatch(value.strip()):
            value = json.loads(value)
        if isinstance(value, bool):
            message = "a truth value is no time"
            raise TypeError(message)
        if isinstance(value, (int, float)):
            return self._epoch(field, value)
        text = value if isinstance(value, str) else value.isoformat()  # a date, or somebody's own
        moment = dt.datetime.fromisoformat(text.strip().upper())  # RFC 3339 allows "z"
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
            self.repair(field, "has no time zone; taken as UTC")
        return moment.astimezone(dt.UTC)

    def _epoch(self, field: str, number: float) -> dt.datetime:
        in_milliseconds = abs(number) > _MILLISECONDS
        moment = dt.datetime.fromtimestamp(number / 1000 if in_milliseconds else number, dt.UTC)
        unit = "milliseconds" if in_milliseconds else "seconds"
        self.repair(field, f"the number {number} was read as {unit} since 1970")
        return moment

    def details(self, value: object) -> dict[str, Json]:
        """Read the details; what is no object is kept in one."""
        if value is None:
            return {}
        normalised, repairs = normalise(value, "details")
        if not isinstance(normalised, Mapping):
            self.repair("details", _no_object(value))
            return self.details({"details": value})
        self.repairs.extend(repairs)
        return dict(normalised)

    def keep(self, field: str, value: object, details: dict[str, Json]) -> None:
        """Keep in the details what a field cannot hold."""
        details.update(self.details({_free_place(field, details): value}))

    def labels(self, value: object, details: dict[str, Json]) -> Mapping[str, str]:
        """Read the labels, all of them texts; what is no object is kept in the details."""
        if value is None:
            return FrozenDict()  # type: ignore[return-value]
        normalised, repairs = normalise(value, "labels")
        if not isinstance(normalised, Mapping):
            self.keep("labels", value, details)
            reason = f"{_kind(normalised)} where an object belongs; kept in the details"
            self.repair("labels", reason)
            return FrozenDict()  # type: ignore[return-value]
        self.repairs.extend(repairs)
        labels: dict[str, str] = {}
        for name, item in normalised.items():
            if isinstance(item, str):
                labels[name] = item
            else:
                self.repair(f"labels.{name}", f"{_kind(item)} became text")
                labels[name] = _as_text(item)
        return FrozenDict(labels)  # type: ignore[return-value]

    def links(self, value: object) -> tuple[Link, ...]:
        """Read the links; one without an address is dropped."""
        return self._several("links", value, Link, "href")

    def images(self, value: object) -> tuple[Image, ...]:
        """Read the images; one without an address is dropped."""
        return self._several("images", value, Image, "src")

    def _several(
        self, field: str, value: object, kind: type[_Entry], needed: str
    ) -> tuple[_Entry, ...]:
        if isinstance(value, (str, Mapping, kind)):
            self.repair(field, f"{_kind(value)} where a list belongs; taken as a list of one")
            value = [value]
        if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray)):
            if value is not None:
                self.repair(field, f"{_kind(value)} where a list belongs; dropped")
            return ()
        read = (self._one(f"{field}[{n}]", item, kind, needed) for n, item in enumerate(value))
        return tuple(item for item in read if item is not None)

    def _one(self, field: str, value: object, kind: type[_Entry], needed: str) -> _Entry | None:
        names = [attribute.name for attribute in attrs.fields(kind)]
        if isinstance(value, kind):
            value = {name: getattr(value, name) for name in names}
        if isinstance(value, str):
            self.repair(field, f"text where an object belongs; taken as its {needed}")
            value = {needed: value}
        if not isinstance(value, Mapping):
            self.repair(field, f"{_kind(value)} where an object belongs; dropped")
            return None
        texts = {name: self.text(f"{field}.{name}", value.get(name)) for name in names}
        if not texts[needed].strip():
            reason = f"has no {needed}; dropped: {_shortened(dict(value))}"
            self.repair(field, reason)
            return None
        for name in value:
            if name not in names:
                text = _as_text(normalise(name, "")[0])
                self.repair(f"{field}.{text}", "unknown; dropped")
        return kind(**texts)


def _as_text(value: Json) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if value is not None else ""


def _kind(value: object) -> str:
    """Name a value's kind in JSON's words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "an object"
        case bytes() | bytearray():
            return "bytes"
        case Sequence():
            return "a list"
    return f"a {type(value).__name__}"


def _shortened(value: object) -> str:
    """Quote a value for a person, no longer than a line holds."""
    normalised, _ = normalise(value, "")
    text = json.dumps(normalised, ensure_ascii=False)
    longest = 60
    return text if len(text) <= longest else f"{text[:longest]}…"
