"""Parse a request body, and find every fault of an event.

Pure. The limits and the texts quoted from PagerDuty are those of its Events API v2 guide
("Send an Alert Event", "Send a Change Event"), its OpenAPI schema, and error bodies that users
have published; ``maiximum`` is PagerDuty's own spelling. Where PagerDuty documents nothing (nulls,
unknown fields, local times, …) the fake refuses, so that a sender's mistake shows in tests; those
texts are the fake's own.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_BODY_BYTES: Final = 512_000
MAX_SUMMARY_CHARACTERS: Final = 1024
MAX_DEDUP_KEY_CHARACTERS: Final = 255
ROUTING_KEY_CHARACTERS: Final = 32

_ACTIONS: Final = ("trigger", "acknowledge", "resolve")
_SEVERITIES: Final = ("critical", "warning", "error", "info")
_ALERT_FIELDS: Final = frozenset(
    {
        "routing_key",
        "event_action",
        "dedup_key",
        "payload",
        "images",
        "links",
        "client",
        "client_url",
    }
)
# the schema also has `images`, but the guide supports `links` only
_CHANGE_FIELDS: Final = frozenset({"routing_key", "payload", "links"})
_CHANGE_PAYLOAD_FIELDS: Final = frozenset({"summary", "source", "timestamp", "custom_details"})
_ALERT_PAYLOAD_FIELDS: Final = _CHANGE_PAYLOAD_FIELDS | {"severity", "component", "group", "class"}

_TIMESTAMP: Final = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?"
    r"(Z|[+-](0\d|1[0-4]):?[0-5]\d)",
    re.ASCII,
)


class UnreadableBodyError(ValueError):
    """The body is not one JSON object in UTF-8."""


def read_event(body: bytes) -> dict[str, object]:
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


def alert_faults(event: Mapping[str, object]) -> tuple[str, ...]:
    """Return every fault of an event for ``/v2/enqueue``."""
    return tuple(_alert_faults(event))


def change_faults(event: Mapping[str, object]) -> tuple[str, ...]:
    """Return every fault of an event for ``/v2/change/enqueue``."""
    return tuple(_change_faults(event))


def routing_key_of(body: bytes) -> str | None:
    """Return the integration key of a request body, or None."""
    try:
        key = read_event(body).get("routing_key")
    except UnreadableBodyError:
        return None
    return key if isinstance(key, str) else None


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


def _alert_faults(event: Mapping[str, object]) -> Iterator[str]:
    yield from _unknown_fields(event, _ALERT_FIELDS)
    yield from _key(event)
    yield from _choice(event, "event_action", _ACTIONS, "'trigger', 'acknowledge' or 'resolve'")
    action = event.get("event_action")
    if "dedup_key" in event or action in {"acknowledge", "resolve"}:
        yield from _text(event, "dedup_key", most=MAX_DEDUP_KEY_CHARACTERS)
    # documented acknowledges and resolves have no payload, but Alertmanager sends one
    if "payload" in event or action == "trigger":
        yield from _alert_payload(event.get("payload"))
    for name in ("client", "client_url"):
        if name in event:
            yield from _text(event, name)
    yield from _links(event)
    yield from _images(event)


def _change_faults(event: Mapping[str, object]) -> Iterator[str]:
    yield from _unknown_fields(event, _CHANGE_FIELDS)
    yield from _key(event)
    payload = event.get("payload")
    if isinstance(payload, dict):
        yield from _unknown_fields(payload, _CHANGE_PAYLOAD_FIELDS, "payload.")
        yield from _common_payload(payload)
        if "source" in payload:
            yield from _text(payload, "source", "payload.")
    else:
        yield _not_an_object("payload", payload)
    yield from _links(event)


def _alert_payload(payload: object) -> Iterator[str]:
    if not isinstance(payload, dict):
        yield _not_an_object("payload", payload)
        return
    yield from _unknown_fields(payload, _ALERT_PAYLOAD_FIELDS, "payload.")
    yield from _common_payload(payload)
    yield from _text(payload, "source", "payload.")
    yield from _choice(
        payload, "severity", _SEVERITIES, "'critical', 'warning', 'error' or 'info'", "payload."
    )
    for name in ("component", "group", "class"):
        if name in payload:
            yield from _text(payload, name, "payload.")


def _common_payload(payload: Mapping[str, object]) -> Iterator[str]:
    yield from _text(payload, "summary", "payload.", most=MAX_SUMMARY_CHARACTERS)
    if "timestamp" in payload and not _is_timestamp(payload["timestamp"]):
        yield "'payload.timestamp' is invalid (must be an ISO 8601 date and time with its offset)"
    if "custom_details" in payload and not isinstance(payload["custom_details"], dict):
        yield _not_an_object("payload.custom_details", payload["custom_details"])


def _key(event: Mapping[str, object]) -> Iterator[str]:
    faults = tuple(_text(event, "routing_key"))
    yield from faults
    key = event.get("routing_key")
    if not faults and isinstance(key, str):
        yield from routing_key_faults(key)


def _links(event: Mapping[str, object]) -> Iterator[str]:
    yield from _each(event, "links", _link)


def _link(link: Mapping[str, object], where: str) -> Iterator[str]:
    yield from _unknown_fields(link, frozenset({"href", "text"}), where)
    yield from _text(link, "href", where)
    yield from _string(link, "text", where)


def _images(event: Mapping[str, object]) -> Iterator[str]:
    yield from _each(event, "images", _image)


def _image(image: Mapping[str, object], where: str) -> Iterator[str]:
    yield from _unknown_fields(image, frozenset({"src", "href", "alt"}), where)
    faults = tuple(_text(image, "src", where))
    yield from faults
    if not faults and not str(image["src"]).startswith("https://"):
        yield f"'{where}src' is invalid (must be an HTTPS URL)"
    yield from _string(image, "href", where)
    yield from _string(image, "alt", where)


def _each(
    event: Mapping[str, object],
    name: str,
    check: Callable[[Mapping[str, object], str], Iterator[str]],
) -> Iterator[str]:
    if name not in event:
        return
    entries = event[name]
    if not isinstance(entries, list):
        yield f"'{name}' must be an array"
        return
    for index, entry in enumerate(entries):
        where = f"{name}[{index}]"
        if isinstance(entry, dict):
            yield from check(entry, f"{where}.")
        else:
            yield f"'{where}' must be an object"


def _unknown_fields(
    value: Mapping[str, object], known: frozenset[str], where: str = ""
) -> Iterator[str]:
    for name in value:
        if name not in known:
            yield f"'{where}{name}' is not a known field"


def _text(
    value: Mapping[str, object], name: str, where: str = "", *, most: int | None = None
) -> Iterator[str]:
    """Require a string that is not blank, of at most ``most`` characters."""
    text = value.get(name)
    if text is None or (isinstance(text, str) and not text.strip()):
        yield f"'{where}{name}' is missing or blank"
    elif not isinstance(text, str):
        yield f"'{where}{name}' must be a string"
    elif most is not None and len(text) > most:
        yield f"'{name}' is too long (maiximum is {most} characters)"


def _string(value: Mapping[str, object], name: str, where: str) -> Iterator[str]:
    """Require a string if the field exists; Alertmanager sends blank ones."""
    if not isinstance(value.get(name, ""), str):
        yield f"'{where}{name}' must be a string"


def _choice(
    value: Mapping[str, object],
    name: str,
    choices: tuple[str, ...],
    listed: str,
    where: str = "",
) -> Iterator[str]:
    faults = tuple(_text(value, name, where))
    yield from faults
    if not faults and value[name] not in choices:
        yield f"'{where}{name}' is invalid (must be one of the following: {listed})"


def _not_an_object(name: str, value: object) -> str:
    problem = "is missing or blank" if value is None else "must be an object"
    return f"'{name}' {problem}"


def _is_timestamp(value: object) -> bool:
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return False
    try:
        dt.date.fromisoformat(match["date"])
    except ValueError:
        return False
    return True
