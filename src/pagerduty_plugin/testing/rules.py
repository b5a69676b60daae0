"""Parses a request body, and finds every fault of an event. Pure.

The limits and the texts quoted from PagerDuty are those of its Events API v2 guide ("Send an Alert
Event", "Send a Change Event"), its OpenAPI schema, and error bodies that users have published;
``maiximum`` is PagerDuty's own spelling. Where PagerDuty documents nothing (nulls, unknown fields,
local times, …) the fake refuses, so that a sender's mistake shows in tests; those texts are the
fake's own.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias

MAX_BODY_BYTES: Final = 512_000
MAX_SUMMARY_CHARACTERS: Final = 1024
MAX_DEDUP_KEY_CHARACTERS: Final = 255
ROUTING_KEY_CHARACTERS: Final = 32

_TIMESTAMP: Final = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?"
    r"(Z|[+-](0\d|1[0-4]):?[0-5]\d)",
    re.ASCII,
)

Event: TypeAlias = "Mapping[str, Any]"
_Check: TypeAlias = "Callable[[Any, str], Iterator[str]]"
"""Yields the faults of the value at a path."""


class UnreadableBodyError(ValueError):
    """The body is not one JSON object in UTF-8."""


def read_event(body: bytes) -> dict[str, Any]:
    """Parse a request body as one JSON object.

    Strict JSON in strict UTF-8: no ``NaN`` or ``Infinity``, no number beyond a double, no
    duplicate name in an object, no lone surrogate.

    Raises:
        UnreadableBodyError: the body is not such an object.
    """
    try:
        event = json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        json.dumps(event, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise UnreadableBodyError from None
    if not isinstance(event, dict):
        raise UnreadableBodyError
    return event


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        msg = "duplicate name"
        raise ValueError(msg)
    return members


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number


def routing_key_of(body: bytes) -> str | None:
    """Return the integration key of a request body, or None."""
    try:
        key = read_event(body).get("routing_key")
    except UnreadableBodyError:
        return None
    return key if isinstance(key, str) else None


def alert_faults(event: Event) -> tuple[str, ...]:
    """Return every fault of an event for ``/v2/enqueue``."""
    needed = {"routing_key", "event_action"}
    match event.get("event_action"):
        case "trigger":
            needed.add("payload")
        case "acknowledge" | "resolve":
            needed.add("dedup_key")
    return tuple(_members(event, "", fields=_ALERT, needed=needed))


def change_faults(event: Event) -> tuple[str, ...]:
    """Return every fault of an event for ``/v2/change/enqueue``."""
    return tuple(_members(event, "", fields=_CHANGE, needed=("routing_key", "payload")))


def routing_key_faults(key: str) -> tuple[str, ...]:
    """Return the faults of an integration key's form."""
    faults = []
    if len(key) != ROUTING_KEY_CHARACTERS:
        faults.append(
            f"Length of 'routing_key' is incorrect (should be {ROUTING_KEY_CHARACTERS} characters)"
        )
    if not (key.isascii() and key.isalnum()):
        faults.append("'routing_key' cannot contain non-alphanumeric characters.")
    return tuple(faults)


def _members(
    value: Any, path: str, *, fields: Mapping[str, _Check], needed: Collection[str]
) -> Iterator[str]:
    """Require an object with known fields."""
    if not isinstance(value, dict):
        yield f"'{path}' is missing or blank" if value is None else f"'{path}' must be an object"
        return
    where = f"{path}." if path else ""
    for name in value:
        if name not in fields:
            yield f"'{where}{name}' is not a known field"
    for name, check in fields.items():
        if name in value or name in needed:
            yield from check(value.get(name), f"{where}{name}")


def _each(value: Any, path: str, *, fields: Mapping[str, _Check], needed: str) -> Iterator[str]:
    """Require an array of objects."""
    if not isinstance(value, list):
        yield f"'{path}' must be an array"
        return
    for index, entry in enumerate(value):
        if entry is None:
            yield f"'{path}[{index}]' must be an object"
        else:
            yield from _members(entry, f"{path}[{index}]", fields=fields, needed=(needed,))


def _text(value: Any, path: str, *, most: float = math.inf) -> Iterator[str]:
    """Require a string that is not blank, of at most ``most`` characters."""
    if value is None or (isinstance(value, str) and not value.strip()):
        yield f"'{path}' is missing or blank"
    elif not isinstance(value, str):
        yield f"'{path}' must be a string"
    elif len(value) > most:
        yield f"'{path.rpartition('.')[2]}' is too long (maiximum is {most} characters)"


def _string(value: Any, path: str) -> Iterator[str]:
    """Require a string, which may be blank: Alertmanager sends blank ones."""
    if not isinstance(value, str):
        yield f"'{path}' must be a string"


def _choice(value: Any, path: str, *, choices: tuple[str, ...]) -> Iterator[str]:
    faults = tuple(_text(value, path))
    yield from faults
    if not faults and value not in choices:
        listed = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"
        yield f"'{path}' is invalid (must be one of the following: {listed})"


def _routing_key(value: Any, path: str) -> Iterator[str]:
    yield from tuple(_text(value, path)) or routing_key_faults(value)


def _https(value: Any, path: str) -> Iterator[str]:
    faults = tuple(_text(value, path))
    yield from faults
    if not faults and not value.startswith("https://"):
        yield f"'{path}' is invalid (must be an HTTPS URL)"


def _timestamp(value: Any, path: str) -> Iterator[str]:
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    try:
        dt.date.fromisoformat(match["date"] if match else "")
    except ValueError:
        yield f"'{path}' is invalid (must be an ISO 8601 date and time with its offset)"


def _details(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield from _members(value, path, fields={}, needed=())


_CHANGE_PAYLOAD: Final[Mapping[str, _Check]] = {
    "summary": functools.partial(_text, most=MAX_SUMMARY_CHARACTERS),
    "timestamp": _timestamp,
    "custom_details": _details,
    "source": _text,
}
_ALERT_PAYLOAD: Final[Mapping[str, _Check]] = {
    **_CHANGE_PAYLOAD,
    "severity": functools.partial(_choice, choices=("critical", "warning", "error", "info")),
    "component": _text,
    "group": _text,
    "class": _text,
}
_LINKS: Final = functools.partial(_each, fields={"href": _text, "text": _string}, needed="href")
_IMAGES: Final = functools.partial(
    _each, fields={"src": _https, "href": _string, "alt": _string}, needed="src"
)
_CHANGE: Final[Mapping[str, _Check]] = {
    "routing_key": _routing_key,
    "payload": functools.partial(_members, fields=_CHANGE_PAYLOAD, needed=("summary",)),
    # the schema also has `images`, but the guide supports `links` only
    "links": _LINKS,
}
_ALERT: Final[Mapping[str, _Check]] = {
    "routing_key": _routing_key,
    "event_action": functools.partial(_choice, choices=("trigger", "acknowledge", "resolve")),
    "dedup_key": functools.partial(_text, most=MAX_DEDUP_KEY_CHARACTERS),
    # documented acknowledges and resolves have no payload, but Alertmanager sends one
    "payload": functools.partial(
        _members, fields=_ALERT_PAYLOAD, needed=("summary", "source", "severity")
    ),
    "client": _text,
    "client_url": _text,
    "links": _LINKS,
    "images": _IMAGES,
}
