"""Reads the fields of an alert from almost any input, and reports each repair."""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs

from hostspec.alert.fields import FaultyAlertError, Image, Link, Severity, Status, parse_time
from hostspec.errors import Fault, describe_error
from hostspec.normalisation import (
    CHARACTERS_REPLACED,
    LONGEST_NAME,
    MOST_REPAIRS,
    FrozenDict,
    Json,
    Repair,
    Repairs,
    free_name,
    normalise,
    normalise_into,
)
from hostspec.text import NO_CREDENTIALS, clean_text, is_blank, shorten, without_credentials

LONGEST_KEY: Final = 1024
"""The maximum length of a key or scope, for logs and database indexes. The end of a longer one is
replaced by a hash of the whole, so that it still identifies the same problem."""

LONGEST_LINE: Final = 65_536
"""The maximum length of a text outside the details: also the limit of a rule's template."""

MOST_ENTRIES: Final = 100
"""The maximum number of links, and of images: more than a responder reads."""

MOST_LABELS: Final = 1000
"""The maximum number of labels: Prometheus alerts have some tens."""

_LONGEST_QUOTE: Final = 60
"""The maximum length of a value that a repair or a fault quotes."""

_STATUS_WORDS: Final = frozenset(status.value for status in Status)


def adopt(
    unknown: Mapping[object, object], details: object
) -> tuple[dict[object, object], list[Repair]]:
    """Add unknown fields to the details."""
    adopted: dict[object, object] = {}
    repairs = []
    if isinstance(details, Mapping):
        adopted.update(details)
    elif details is not None:
        adopted["details"] = details
        repairs.append(Repair("details", _no_object(details)))
    for number, (name, value) in enumerate(unknown.items()):
        adopted[_free_place(_name(name), adopted) if name in adopted else name] = value
        if number < MOST_REPAIRS:
            reason = "not a field of an alert; moved into its details"
            repairs.append(Repair(shorten(_name(name), LONGEST_NAME), reason))
    if len(unknown) > MOST_REPAIRS:
        reason = (
            f"{len(unknown) - MOST_REPAIRS:,} more fields that an alert does not have moved here"
        )
        repairs.append(Repair("details", reason))
    return adopted, repairs


def _name(name: object) -> str:
    return _as_text(normalise(name, "")[0])


def _free_place(name: str, taken: Mapping[Any, object]) -> str:
    """Return a free name in the details: the field's own, ``alert.NAME``, or that with a number.

    Each field has candidates of its own, so that thousands of collisions take linear time.
    """
    if name not in taken:
        return name
    name = f"alert.{name}"
    return free_name(name, taken, {}) if name in taken else name


def _no_object(value: object) -> str:
    return f"{_kind(value)} where an object belongs; kept under 'details'"


_Entry = TypeVar("_Entry", Link, Image)


class FieldReader:
    """Reads the fields of one alert, and collects repairs and faults.

    The size of each field, and the number of repairs, are bounded for any input. Earlier repairs
    are kept.
    """

    def __init__(self, repairs: Iterable[Repair] = ()) -> None:
        self._repairs = Repairs(repairs)
        self._faults: list[Fault] = []

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """All repairs so far."""
        return self._repairs.as_tuple()

    def repair(self, field: str, reason: str, *, always: bool = False) -> None:
        """Record a repair."""
        self._repairs.add(field, reason, always=always)

    def refuse_faults(self) -> None:
        """Raise FaultyAlertError if a required field could not be read."""
        if self._faults:
            raise FaultyAlertError(self._faults)

    def key(self, value: object) -> str:
        """Read the key, which is required."""
        key = self.name("key", value)
        if is_blank(key):
            self._faults.append(Fault("key", "missing or blank; it names the problem"))
        return key

    def name(self, field: str, value: object) -> str:
        """Read a text that identifies a problem: different texts stay different."""
        name = self._any_text(field, value)
        if len(name) <= LONGEST_KEY:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()
        size = f"{len(name):,} characters"
        self.repair(field, f"{size}; beyond {LONGEST_KEY:,} its end became a hash of the whole")
        return f"{name[: LONGEST_KEY - len(digest) - 1]}…{digest}"

    def status(self, value: object) -> Status:
        """Read the status, in any case."""
        words = [word.strip().casefold() for word in _words(value)]
        if words and all(map(is_blank, words)):
            self.repair("status", "blank; taken as firing")
            return Status.FIRING
        known = next((word for word in words if word in _STATUS_WORDS), None)
        if known is not None:
            return Status(known)
        all_known = ", ".join(Status)
        self._faults.append(
            Fault("status", f"{_shortened(value)} is unknown; known are {all_known}")
        )
        return Status.FIRING

    def severity(self, value: object) -> Severity:
        """Read the severity; error if it is missing or unknown."""
        words = list(_words(value))
        if value is None or (words and all(map(is_blank, words))):
            self.repair("severity", "missing; taken as error")
            return Severity.ERROR
        known = next(filter(None, map(Severity.understand, words)), None)
        if known is None:
            self.repair("severity", f"{_shortened(value)} is unknown; taken as error")
            return Severity.ERROR
        return known

    def text(self, field: str, value: object) -> str:
        """Read a text; other values are converted."""
        return self._cut(field, self._any_text(field, value))

    def _any_text(self, field: str, value: object) -> str:
        if isinstance(value, str) and not isinstance(value, enum.Enum):
            text = clean_text(value)
            if text != str.__str__(value):
                self.repair(field, CHARACTERS_REPLACED)
            return text
        return self._converted(field, normalise_into(value, field, self._repairs))

    def _converted(self, field: str, value: Json) -> str:
        if value is not None and not isinstance(value, str):
            self.repair(field, f"{_kind(value)} became text")
        return _as_text(value)

    def _cut(self, field: str, text: str) -> str:
        if len(text) <= LONGEST_LINE:
            return text
        self.repair(field, f"{len(text):,} characters; cut to {LONGEST_LINE:,}")
        return shorten(text, LONGEST_LINE - 1)

    def summary(self, value: object, key: str) -> str:
        """Read the summary; by default the key."""
        summary = self.text("summary", value)
        if not is_blank(summary):
            return summary
        self.repair("summary", "missing or blank; replaced by the key")
        return key

    def address(self, field: str, value: object, details: dict[str, Json]) -> str:
        """Read an address; one that is too long moves to the details, because it cannot be cut."""
        address = self._without_credentials(field, self._any_text(field, value))
        if len(address) <= LONGEST_LINE:
            return address
        self.keep(field, address, details)
        self.repair(field, f"{_too_long(address)}; kept in the details")
        return ""

    def _without_credentials(self, field: str, address: str) -> str:
        """Remove the password from an address, because alerts are stored and listed."""
        kept = without_credentials(address)
        if kept != address:
            self.repair(field, NO_CREDENTIALS)
        return kept

    def moment(self, field: str, value: object, details: dict[str, Json]) -> dt.datetime | None:
        """Read a time; an unreadable one moves to the details as it is."""
        if value is None or (isinstance(value, str) and is_blank(value)):
            return None
        try:
            moment, repaired = parse_time(value)
        except Exception:  # noqa: BLE001 -- a time zone of the caller's may raise anything
            self.keep(field, value, details)
            reason = f"{_shortened(value)} is not an ISO 8601 time; kept in the details"
            self.repair(field, reason)
            return None
        if moment is None:
            repaired = f"{_shortened(value)} {repaired}"
        if repaired:
            self.repair(field, repaired)
        return moment

    def details(self, value: object) -> dict[str, Json]:
        """Read the details; a value that is not an object is wrapped in one."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.repair("details", _no_object(value))
            value = {"details": value}
        normalised = normalise_into(value, "details", self._repairs)
        return dict(normalised) if isinstance(normalised, Mapping) else {"details": normalised}

    def keep(self, field: str, value: object, details: dict[str, Json]) -> None:
        """Move a value that its field cannot hold into the details, within their bounds."""
        details.update(self.details({**details, _free_place(field, details): value}))

    def labels(self, value: object, details: dict[str, Json]) -> Mapping[str, str]:
        """Read the labels as texts; a value that is not an object moves to the details."""
        if value is None:
            return FrozenDict()  # type: ignore[return-value]
        normalised: Json = None
        if isinstance(value, Mapping):
            normalised = normalise_into(value, "labels", self._repairs)
        if not isinstance(normalised, Mapping):
            self.keep("labels", value, details)
            reason = f"{_kind(value)} where an object belongs; kept in the details"
            self.repair("labels", reason)
            return FrozenDict()  # type: ignore[return-value]
        labels = {
            name: self._label(f"labels.{shorten(name, LONGEST_NAME)}", item)
            for name, item in itertools.islice(normalised.items(), MOST_LABELS)
        }
        self._drop("labels", len(normalised) - MOST_LABELS, MOST_LABELS)
        return FrozenDict(labels)  # type: ignore[return-value]

    def _label(self, field: str, value: Json) -> str:
        if not isinstance(value, str):
            self.repair(field, f"{_kind(value)} became text")
        return self._cut(field, _as_text(value))

    def _drop(self, field: str, count: int, most: int) -> None:
        if count > 0:
            reason = f"{count:,} more entries were dropped; an alert has {most:,} at most"
            self.repair(field, reason, always=True)

    def links(self, value: object) -> tuple[Link, ...]:
        """Read the links, except those without an address."""
        return self._several("links", value, Link, "href")

    def images(self, value: object) -> tuple[Image, ...]:
        """Read the images, except those without an address."""
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
        try:
            given = [_members(item) for item in itertools.islice(value, MOST_ENTRIES)]
            self._drop(field, len(value) - len(given), MOST_ENTRIES)
        except Exception as error:  # noqa: BLE001 -- a list of another class may raise anything
            self.repair(field, f"could not be read: it {describe_error(error)}; dropped")
            return ()
        entries = normalise_into(given, field, self._repairs)
        assert isinstance(entries, tuple)  # noqa: S101 -- for it was a list
        read = (self._one(f"{field}[{n}]", item, kind, needed) for n, item in enumerate(entries))
        return tuple(item for item in read if item is not None)

    def _one(self, field: str, value: Json, kind: type[_Entry], needed: str) -> _Entry | None:
        names = [attribute.name for attribute in attrs.fields(kind)]
        if isinstance(value, str):
            self.repair(field, f"text where an object belongs; taken as its {needed}")
            value = {needed: value}
        if not isinstance(value, Mapping):
            self.repair(field, f"{_kind(value)} where an object belongs; dropped")
            return None
        texts = {name: self._member(f"{field}.{name}", name, value.get(name)) for name in names}
        if is_blank(texts[needed]):
            given = {name: texts[name] for name in names if name in value}
            self.repair(field, f"has no {needed}; dropped: {_shortened(given)}")
            return None
        for name in value:
            if name not in names:
                self.repair(f"{field}.{shorten(name, LONGEST_NAME)}", "unknown; dropped")
        return kind(**texts)

    def _member(self, field: str, name: str, value: Json) -> str:
        text = self._converted(field, value)
        if name in _ADDRESSES:
            text = self._without_credentials(field, text)
        if name not in _ADDRESSES or len(text) <= LONGEST_LINE:
            return self._cut(field, text)
        self.repair(field, f"{_too_long(text)}; dropped")
        return ""


_ADDRESSES: Final = frozenset({"href", "src"})


def _members(entry: object) -> object:
    return attrs.asdict(entry, recurse=False) if isinstance(entry, (Link, Image)) else entry


def _words(value: object) -> Iterator[str]:
    """Yield the words of a value: for an enum member, its value and its name."""
    if isinstance(value, enum.Enum):
        yield from _words(value.value)
        yield value.name
    elif isinstance(value, str):
        yield str.__str__(value)


def _too_long(address: str) -> str:
    return f"{len(address):,} characters, and an address has {LONGEST_LINE:,} at most"


def _as_text(value: Json) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if value is not None else ""


def _kind(value: object) -> str:
    """Return the JSON type of a value, for messages."""
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
    """Return a value as JSON, shortened to a line."""
    normalised, _ = normalise(value, "")
    return shorten(json.dumps(normalised, ensure_ascii=False), _LONGEST_QUOTE)
