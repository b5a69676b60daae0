"""How deliveries are stored as text, long keys are indexed, and large rows are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from hostspec.alert import Identity
from hostspec.delivery import Delivery, IncidentRef
from hostspec.values import from_json, to_json

CHUNK_BYTES: Final = 8 * 1024 * 1024
"""Largest number of bytes of bodies that are read at once; a larger body is read alone."""


def dump_delivery(delivery: Delivery) -> str:
    """Return the JSON text of a delivery.

    Raises:
        Exception: the delivery cannot be written, or not be read back. Plugins are not type-checked
            at run time, and one unreadable delivery would block the whole queue of its incident.
    """
    text = json.dumps(to_json(delivery))
    load_delivery(text)
    return text


def load_delivery(text: str) -> Delivery:
    """Return the delivery that `dump_delivery` wrote."""
    return from_json(Delivery, json.loads(text))


def digest(key: IncidentRef | Identity) -> str:
    """Return 32 characters that identify an incident or alert in indexes.

    An index row of PostgreSQL holds 2,704 bytes at most, and a key may be longer.
    """
    name = json.dumps(attrs.astuple(key))
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def chunks(rows: Iterable[Any]) -> Iterator[list[int]]:
    """Yield the ids of rows, in order, in groups whose bodies fit into memory together.

    Args:
        rows: with an ``id`` and a ``size`` in bytes; read no further than needed.
    """
    ids: list[int] = []
    left = CHUNK_BYTES
    for row in rows:
        if ids and row.size > left:
            yield ids
            ids, left = [], CHUNK_BYTES
        left -= row.size
        ids.append(row.id)
    if ids:
        yield ids
