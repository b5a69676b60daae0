"""Fits an event into PagerDuty's size limit, cutting what matters least first. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hostspec import Json, Repair

SHORTEST_LEAF: Final = 128
"""Bytes to which a text in the details may be cut, but no further."""

LONGEST_FIELD: Final = 2048
"""Bytes that a text outside of the details keeps when details alone do not make room."""

MOST_MARKS: Final = 20
"""Cuts that are told one by one in the event; the rest is counted."""

MARK: Final = "_truncated"
"""The member of ``custom_details`` that says what was cut: path to original size in bytes."""


ROOM_FOR_MARK: Final = 128
"""Bytes that the mark takes when all details had to go."""


def encode(value: object) -> bytes:
    """Encode JSON as PagerDuty gets it, which is what its size limit counts."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def size(value: object) -> int:
    """Bytes of a value as it goes over the wire."""
    return len(encode(value))


def fit(message: Mapping[str, Json], limit: int) -> tuple[dict[str, Any], tuple[Repair, ...]]:
    """Make an event fit; deterministic, and the event it gives is always within `limit`.

    The ladder: cut the largest texts in the details; then replace the largest members of the
    details by a note; then drop all details. Only an event that is too large without any
    details has the texts and lists around them cut. Summary and severity are never touched.

    Args:
        message: the members of a trigger's body.
        limit: bytes of UTF-8 it may come to; at least 32,000.

    Returns:
        the message, and what was cut.
    """
    fitted: dict[str, Any] = dict(message)
    if size(fitted) <= limit:
        return fitted, ()
    cuts: list[Repair] = []
    for step in (_cut_around, _cut_leaves, _cut_members, _drop_details):
        fitted = step(fitted, limit, cuts)
        if size(fitted) <= limit:
            break
    return fitted, tuple(cuts)


def _details(message: Mapping[str, Any]) -> dict[str, Any]:
    return dict(message["payload"].get("custom_details", {}))


def _with_details(message: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    return {**message, "payload": {**message["payload"], "custom_details": details}}


def _cut_leaves(message: dict[str, Any], limit: int, cuts: list[Repair]) -> dict[str, Any]:
    """Cut the largest texts to one common length, the greatest that makes the event fit."""
    details = _details(message)
    leaves = dict(_leaves(details, ""))
    if not any(length > SHORTEST_LEAF for length in leaves.values()):
        return message
    low, high = SHORTEST_LEAF, max(leaves.values())
    while low < high:
        middle = (low + high + 1) // 2
        if size(_trimmed(message, details, leaves, middle)) <= limit:
            low = middle
        else:
            high = middle - 1
    cuts.extend(
        Repair(f"details.{path}", f"{length:,} bytes; cut to {low:,} to fit PagerDuty's limit")
        for path, length in _largest(leaves, low)[:MOST_MARKS]
    )
    return _trimmed(message, details, leaves, low)


def _trimmed(
    message: dict[str, Any], details: dict[str, Any], leaves: Mapping[str, int], longest: int
) -> dict[str, Any]:
    cut = _largest(leaves, longest)
    mark: dict[str, Any] = dict(cut[:MOST_MARKS])
    if len(cut) > MOST_MARKS:
        mark["(others)"] = len(cut) - MOST_MARKS
    trimmed = {name: _shorten(value, longest) for name, value in details.items()}
    return _with_details(message, {**trimmed, MARK: mark} if mark else trimmed)


def _largest(sizes: Mapping[str, int], longest: int) -> list[tuple[str, int]]:
    over = [(path, length) for path, length in sizes.items() if length > longest]
    return sorted(over, key=lambda entry: (-entry[1], entry[0]))


def _leaves(value: Json, path: str) -> Iterator[tuple[str, int]]:
    """Find the texts in a value, with their sizes in bytes."""
    if isinstance(value, str):
        yield path, size(value)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else name)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")


def _shorten(value: Json, longest: int) -> Any:
    """Cut every text in a value to at most so many bytes on the wire."""
    if isinstance(value, str):
        return _shorten_text(value, longest)
    if isinstance(value, Mapping):
        return {name: _shorten(item, longest) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shorten(item, longest) for item in value]
    return value


def _shorten_text(text: str, longest: int) -> str:
    if len(text) * 6 + 2 <= longest or size(text) <= longest:
        return text
    low, high = 0, min(len(text), longest)
    while low < high:
        middle = (low + high + 1) // 2
        if size(text[:middle] + "…") <= longest:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "…"


def _cut_members(message: dict[str, Any], limit: int, cuts: list[Repair]) -> dict[str, Any]:
    """Replace the largest members of the details by a note, until the event fits."""
    details = _details(message)
    mark = dict(details.pop(MARK, {}))
    excess = size(message) - limit
    for name, length in _largest({name: size(value) for name, value in details.items()}, 64):
        if excess <= 0:
            break
        details[name] = f"(cut: {length:,} bytes)"
        excess -= length - size(details[name])
        cuts.append(Repair(f"details.{name}", f"{length:,} bytes; cut to fit PagerDuty's limit"))
    return _with_details(message, {**details, MARK: mark} if mark else details)


def _drop_details(message: dict[str, Any], _limit: int, cuts: list[Repair]) -> dict[str, Any]:
    length = size(_details(message))
    cuts.append(Repair("details", f"{length:,} bytes in small pieces; dropped"))
    return _with_details(message, {MARK: {"(all details)": length}})


def _cut_around(message: dict[str, Any], limit: int, cuts: list[Repair]) -> dict[str, Any]:
    """Cut what is around the details, where that alone is too large."""
    room = limit - ROOM_FOR_MARK
    if size(_with_details(message, {})) <= room:
        return message
    fitted = _cut_fields(message, cuts)
    for name in ("images", "links"):
        excess = size(_with_details(fitted, {})) - room
        fitted = _drop_entries(fitted, name, excess, cuts)
    return fitted


def _cut_fields(message: dict[str, Any], cuts: list[Repair]) -> dict[str, Any]:
    """Cut the texts that have no limit of their own; an address cut short leads nowhere."""
    payload = dict(message["payload"])
    for name in ("source", "component", "group", "class"):
        length = size(payload.get(name, ""))
        if length > LONGEST_FIELD:
            payload[name] = _shorten_text(payload[name], LONGEST_FIELD)
            cuts.append(Repair(name, f"{length:,} bytes; cut to {LONGEST_FIELD:,}"))
    fitted = {**message, "payload": payload}
    length = size(message.get("client_url", ""))
    if length > LONGEST_FIELD:
        del fitted["client_url"]
        cuts.append(Repair("url", f"{length:,} bytes; dropped"))
    return fitted


def _drop_entries(
    message: dict[str, Any], name: str, excess: int, cuts: list[Repair]
) -> dict[str, Any]:
    """Drop the largest entries of a list until so many bytes are gone."""
    entries = message.get(name, [])
    dropped: set[int] = set()
    for index in sorted(range(len(entries)), key=lambda index: -size(entries[index])):
        if excess <= 0:
            break
        dropped.add(index)
        excess -= size(entries[index]) + 1
    if not dropped:
        return message
    reason = f"the {len(dropped)} largest of {len(entries)} dropped to fit PagerDuty's limit"
    cuts.append(Repair(name, reason))
    kept = [entry for index, entry in enumerate(entries) if index not in dropped]
    without = {member: value for member, value in message.items() if member != name}
    return {**without, name: kept} if kept else without
