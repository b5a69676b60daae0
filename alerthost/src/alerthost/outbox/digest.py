"""Names places and alerts by what an index holds, however long they are."""

from __future__ import annotations

import hashlib
import json

import attrs

from hostspec.alert import Identity
from hostspec.delivery import IncidentRef


def digest(thing: IncidentRef | Identity) -> str:
    """Return 32 characters that stand for a place or an alert, the same in every process.

    An index of PostgreSQL takes 2,704 bytes for one row, and a key may be longer than that.
    """
    name = json.dumps(attrs.astuple(thing))
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
