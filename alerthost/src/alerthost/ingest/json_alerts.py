"""Parse alerts from JSON text: files, standard input and the bodies of requests."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Final

import attrs

from hostspec.alert import Alert, FaultyAlertError, FieldReader, parse_json
from hostspec.errors import Fault
from hostspec.normalisation import Repair

EXPIRES_AT: Final = "expires_at"
"""The field of an alert that only hosts with a memory of time have."""


class TooManyAlertsError(ValueError):
    """A body has more alerts than one request may have."""

    def __init__(self, most: int) -> None:
        super().__init__(f"more than {most:,} alerts in one request")


@attrs.frozen
class ParsedAlert:
    """One alert of an input, or the reasons why it is not valid.

    Attributes:
        location: the line or the number of the alert, after the name of its file if there are
            several.
        alert: None if it is faulty.
        faults: empty if it is valid.
        expires_at: when the alert is resolved unless it is reported again, aware; None for never.
    """

    location: str
    alert: Alert | None
    faults: tuple[Fault, ...] = ()
    expires_at: dt.datetime | None = None

    @classmethod
    def faulty(cls, path: str, reason: str, location: str = "") -> ParsedAlert:
        """Build one with a single fault."""
        return cls(location, None, (Fault(path, reason),))

    def as_of(self, now: dt.datetime) -> ParsedAlert:
        """Return it with the repairs that depend on the host's clock (`Alert.as_of`)."""
        if self.alert is None:
            return self
        alert = self.alert.as_of(now)
        if self.expires_at is not None and self.expires_at <= now:
            repair = Repair(EXPIRES_AT, "is in the past; the alert expires in a minute")
            alert = attrs.evolve(alert, repairs=(*alert.repairs, repair))
        return attrs.evolve(self, alert=alert)


def parse_body(
    body: bytes, *, lines: bool = False, most: int | None = None
) -> Sequence[ParsedAlert]:
    """Parse the body of a request: a JSON object, a list of them, or JSON lines.

    Takes linear time, and stops at the first alert beyond `most`, if that is given. Bytes that are
    not UTF-8 are replaced, and reported as a repair.

    Args:
        body: of a request.
        lines: it is declared as JSON lines.
        most: limit of alerts.

    Raises:
        TooManyAlertsError: the body has more alerts than `most`.
    """
    if lines:
        return _at_most(most, parse_lines("", io.BytesIO(body)))
    try:
        content = parse_json(decode(body))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _at_most(most, parse_lines("", io.BytesIO(body)))
        return (not_json(error),)
    if isinstance(content, list):
        if most is not None and len(content) > most:
            raise TooManyAlertsError(most)
        return tuple(_parse_list("", content))
    if (
        isinstance(content, Mapping)
        and "key" not in content
        and isinstance(content.get("alerts"), list)
    ):
        reason = "an Alertmanager or Grafana webhook; post it to /ingest/alertmanager"
        return (ParsedAlert.faulty("", reason),)
    return (parse_document("", content),)


def decode(body: bytes) -> str:
    """Return the text of a body; bytes that are not UTF-8 are kept for the alert's repair."""
    return body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def not_json(error: json.JSONDecodeError) -> ParsedAlert:
    """Return the faulty result for a body that is not JSON."""
    return ParsedAlert.faulty("", f"not JSON: {error.msg} at character {error.pos + 1}")


def parse_files(files: Iterable[BinaryIO]) -> Iterator[ParsedAlert]:
    """Parse several files, one after the other."""
    opened = list(files)
    for file in opened:
        yield from parse_lines(file.name if len(opened) > 1 else "", file)


def parse_lines(name: str, lines: Iterable[bytes]) -> Iterator[ParsedAlert]:
    """Parse JSON lines, or JSON documents over several lines, as the lines arrive.

    A line that ends within a list or an object continues on the next one. If another object
    begins there, only the unfinished one is faulty. Blank lines are skipped.

    Args:
        name: prefix of the locations; empty for none.
        lines: of UTF-8; other bytes are replaced, and reported as a repair.
    """
    prefix = f"{name}: " if name else ""
    location, parts, depth = "", list[str](), 0
    for number, line in enumerate(lines, start=1):
        text = decode(line).strip()
        opened = _opened_brackets(text)
        if parts and depth == 1 and parts[0][0] == text[:1] == "{" and not opened:
            yield parse_alert(location, "\n".join(parts))
            parts, depth = [], 0
        if not parts:
            location = f"{prefix}line {number}"
        if text:
            parts.append(text)
            depth += opened
        if parts and (depth <= 0 or not parts[0].endswith(_CONTINUED)):
            yield from _parse_document(location, "\n".join(parts))
            parts, depth = [], 0
    if parts:
        yield parse_alert(location, "\n".join(parts))


def parse_alert(location: str, text: str) -> ParsedAlert:
    """Parse the JSON text of one alert."""
    try:
        document = parse_json(text)
    except json.JSONDecodeError as error:
        reason = f"not a JSON object: {error.msg} at character {error.pos + 1}"
        return ParsedAlert.faulty("", reason, location)
    return parse_document(location, document)


def parse_document(location: str, document: object) -> ParsedAlert:
    """Parse the JSON object of one alert: its fields, and ``expires_at``."""
    try:
        if not isinstance(document, Mapping) or EXPIRES_AT not in document:
            return ParsedAlert(location, Alert.read(document))
        fields = {name: value for name, value in document.items() if name != EXPIRES_AT}
        alert = Alert.read(fields)
    except FaultyAlertError as error:
        return ParsedAlert(location, None, error.faults)
    reader, details = FieldReader(alert.repairs), dict(alert.details)
    expires_at = reader.moment(EXPIRES_AT, document[EXPIRES_AT], details)
    alert = attrs.evolve(alert, details=details, repairs=reader.repairs)
    return ParsedAlert(location, alert, expires_at=expires_at)


_CONTINUED: Final = ("{", "[", ",")
_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?+|[\[\]{}]')


def _opened_brackets(text: str) -> int:
    """Count the brackets that a line opens and does not close; negative if it closes more."""
    found = _BRACKET.findall(text)
    return found.count("{") + found.count("[") - found.count("}") - found.count("]")


def _parse_document(location: str, text: str) -> Iterator[ParsedAlert]:
    """Parse an alert, or a list of them."""
    content: object = None
    if text.startswith("["):
        with contextlib.suppress(json.JSONDecodeError):
            content = parse_json(text)
    if isinstance(content, list):
        yield from _parse_list(location, content)
    else:
        yield parse_alert(location, text)


def _parse_list(location: str, content: Sequence[object]) -> Iterator[ParsedAlert]:
    if not content:
        yield ParsedAlert.faulty("", "an empty list; expected at least one alert", location)
    prefix = f"{location}, " if location else ""
    for number, each in enumerate(content, start=1):
        yield parse_document(f"{prefix}alert {number}", each)


def _at_most(most: int | None, parsed: Iterator[ParsedAlert]) -> Sequence[ParsedAlert]:
    found = tuple(itertools.islice(parsed, most))
    if next(parsed, None) is not None:
        raise TooManyAlertsError(most or 0)
    return found
