"""How deliveries are stored as text, long keys are indexed, and large rows are read."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from hostspec.alert import Identity
from hostspec.delivery import Delivery, IncidentRef
from hostspec.values import from_json, members

CHUNK_BYTES: Final = 8 * 1024 * 1024
"""Largest number of bytes of bodies that are read at once; a larger body is read alone."""

DIGESTS: Final = 2048
"""Digests that are kept: about those of one batch, which needs each several times."""


dump: Final = json.JSONEncoder(separators=(",", ":"), default=members, check_circular=False).encode
"""Returns the JSON text of a value of the contract, which is frozen and so contains no cycle. It is
ASCII, as a plugin's text may contain characters that no database stores."""


def load_delivery(text: str) -> Delivery:
    """Return the delivery that `dump` wrote."""
    return from_json(Delivery, json.loads(text))


@functools.lru_cache(maxsize=DIGESTS)
def digest(key: IncidentRef | Identity) -> str:
    """Return 32 characters that identify an incident or alert in indexes.

    An index row of PostgreSQL holds 2,704 bytes at most, and a key may be longer.
    """
    name = json.dumps(names_of(key))
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def names_of(key: IncidentRef | Identity) -> tuple[str, ...]:
    """Return the names that make up an incident reference or an identity."""
    if isinstance(key, Identity):
        return key.scope, key.key
    return key.action, key.installation, key.destination, key.correlation_key


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
