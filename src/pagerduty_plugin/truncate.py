"""Truncates an event to PagerDuty's size limit, the least important content first. Pure."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from hostspec import Json, Repair
from hostspec.text import shorten

SHORTEST_LEAF: Final = 128
"""Bytes that are always left of a text in the details."""

LONGEST_FIELD: Final = 2048
"""Bytes that are left of a text outside the details, if cutting details is not enough."""

MOST_REPORTED: Final = 20
"""Cuts that are reported one by one; the rest is counted."""

MARK: Final = "_truncated"
"""The member of ``custom_details`` that lists the cuts: path to original size in bytes."""

LONGEST_PATH: Final = 200
"""Characters of a path that are shown: names in details may be as long as texts."""

LONGEST_NOTE: Final = 64
"""Bytes of a member of the details that is not worth replacing by a note."""

ROOM_FOR_MARK: Final = 128
"""Bytes of the mark when all details were dropped."""

_Path: TypeAlias = "tuple[str | int, ...]"
_Sized: TypeAlias = "tuple[_Path, int]"
"""A path in the details, and the encoded size of its value."""


_text: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode(value: object) -> bytes:
    """Encode JSON as it is sent, which is how the size limit counts."""
    return _text(value).encode()


def size(value: object) -> int:
    """Return the encoded size of a value."""
    return len(encode(value))


def truncate_event(
    message: Mapping[str, Json], limit: int
) -> tuple[dict[str, Any], tuple[Repair, ...]]:
    """Return an event within `limit`, and the cuts; deterministic.

    The steps: cut the largest texts in the details; replace the largest members of the details by
    a note; drop all details. Texts and lists around the details are cut only if the event is too
    large without any details. Summary and severity never change.

    The limit is in bytes of UTF-8, and at least 32,000.
    """
    fitted: dict[str, Any] = dict(message)
    if size(fitted) <= limit:
        return fitted, ()
    cuts: list[Repair] = []
    for step in (_cut_around, _cut_leaves, _cut_members, _drop_details):
        if size(fitted) > limit:
            fitted = step(fitted, limit, cuts)
    return fitted, tuple(cuts)


def _details(message: Mapping[str, Any]) -> dict[str, Any]:
    return dict(message["payload"].get("custom_details", {}))


def _with_details(message: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    return {**message, "payload": {**message["payload"], "custom_details": details}}


def _cut_leaves(message: dict[str, Any], limit: int, cuts: list[Repair]) -> dict[str, Any]:
    """Cut the largest texts to one common length, the greatest with which the event fits."""
    details = _details(message)
    leaves = _largest(_leaves(details, ()), SHORTEST_LEAF)
    if not leaves:
        return message
    excess = size(message) + size({MARK: _mark(leaves)}) - limit
    longest = _common_length([length for _, length in leaves], excess)
    cut = [leaf for leaf in leaves if leaf[1] > longest]
    _report(cuts, cut, f"cut to {longest:,} to fit PagerDuty's limit")
    return _with_details(message, {**_shorten(details, longest), MARK: _mark(cut)})


def _common_length(lengths: Sequence[int], excess: int) -> int:
    """Return the greatest length to cut texts to, so that they lose at least the excess."""

    def lost(longest: int) -> int:
        return sum(length - longest for length in lengths if length > longest)

    candidates = range(SHORTEST_LEAF, max(lengths))
    fitting = bisect.bisect_right(candidates, -excess, key=lambda longest: -lost(longest))
    return candidates[max(fitting - 1, 0)]


def _largest(sized: Iterator[_Sized], longest: int) -> list[_Sized]:
    """Return the entries of more than `longest` bytes, the largest first."""
    return sorted((entry for entry in sized if entry[1] > longest), key=lambda entry: -entry[1])


def _mark(cut: Sequence[_Sized]) -> dict[str, int]:
    mark = {_path(path): length for path, length in cut[:MOST_REPORTED]}
    if len(cut) > MOST_REPORTED:
        mark["(others)"] = len(cut) - MOST_REPORTED
    return mark


def _report(cuts: list[Repair], cut: Sequence[_Sized], reason: str) -> None:
    for path, length in cut[:MOST_REPORTED]:
        cuts.append(Repair(f"details.{_path(path)}", f"{length:,} bytes; {reason}"))
    if len(cut) > MOST_REPORTED:
        cuts.append(Repair("details", f"{len(cut) - MOST_REPORTED:,} others; {reason}"))


def _path(path: _Path) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return shorten("".join(steps).removeprefix("."), LONGEST_PATH)


def _leaves(value: Json, path: _Path) -> Iterator[_Sized]:
    """Yield the texts in a value."""
    if isinstance(value, str):
        yield path, size(value)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, (*path, name))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))


def _shorten(value: Json, longest: int) -> Any:
    """Cut every text in a value to at most `longest` encoded bytes."""
    if isinstance(value, str):
        return _shorten_text(value, longest)
    if isinstance(value, Mapping):
        return {name: _shorten(item, longest) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shorten(item, longest) for item in value]
    return value


_ELLIPSIS: Final = "…"


def _shorten_text(text: str, longest: int) -> str:
    if size(text) <= longest:
        return text
    most = longest - len(_ELLIPSIS.encode())
    # a character takes a byte at least, and the quotes take two
    lengths = range(most - 1)
    plain = text[: lengths[-1]]
    if size(plain) <= most:
        return plain + _ELLIPSIS
    kept = bisect.bisect_right(lengths, most, key=lambda length: size(text[:length])) - 1
    return text[:kept] + _ELLIPSIS


def _cut_members(message: dict[str, Any], limit: int, cuts: list[Repair]) -> dict[str, Any]:
    """Replace the largest members of the details by a note, until the event fits."""
    details = _details(message)
    excess = size(message) - limit
    members = (((name,), size(value)) for name, value in details.items() if name != MARK)
    cut: list[_Sized] = []
    for path, length in _largest(members, LONGEST_NOTE):
        if excess <= 0:
            break
        name = str(path[0])
        details[name] = f"(cut: {length:,} bytes)"
        excess -= length - size(details[name])
        cut.append((path, length))
    _report(cuts, cut, "cut to fit PagerDuty's limit")
    return _with_details(message, details)


def _drop_details(message: dict[str, Any], _limit: int, cuts: list[Repair]) -> dict[str, Any]:
    length = size(_details(message))
    cuts.append(Repair("details", f"{length:,} bytes in small pieces; dropped"))
    return _with_details(message, {MARK: {"(all details)": length}})


def _cut_around(message: dict[str, Any], limit: int, cuts: list[Repair]) -> dict[str, Any]:
    """Cut texts and lists around the details, if these alone are too large."""
    room = limit - ROOM_FOR_MARK
    if size(_with_details(message, {})) <= room:
        return message
    fitted = _cut_fields(message, cuts)
    for name in ("images", "links"):
        excess = size(_with_details(fitted, {})) - room
        fitted = _drop_entries(fitted, name, excess, cuts)
    return fitted


def _cut_fields(message: dict[str, Any], cuts: list[Repair]) -> dict[str, Any]:
    """Cut the texts without a limit of their own; drop a long address, useless when cut."""
    payload = dict(message["payload"])
    fitted = {**message, "payload": payload}
    fields = [(payload, name) for name in ("source", "component", "group", "class")]
    for members, name in (*fields, (fitted, "client")):
        length = size(members.get(name, ""))
        if length > LONGEST_FIELD:
            members[name] = _shorten_text(members[name], LONGEST_FIELD)
            cuts.append(Repair(name, f"{length:,} bytes; cut to {LONGEST_FIELD:,}"))
    length = size(message.get("client_url", ""))
    if length > LONGEST_FIELD:
        del fitted["client_url"]
        cuts.append(Repair("url", f"{length:,} bytes; dropped"))
    return fitted


def _drop_entries(
    message: dict[str, Any], name: str, excess: int, cuts: list[Repair]
) -> dict[str, Any]:
    """Drop the largest entries of a list until it has lost the excess."""
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
