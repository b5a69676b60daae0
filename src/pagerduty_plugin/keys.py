"""Integration keys: how they are told apart and shown without being told."""

from __future__ import annotations

import hashlib
from typing import Final

from hostspec import Secret, SecretUnavailableError

STARS: Final = "********"
"""What every mask begins with."""


def fingerprint(routing_key: str) -> str:
    """Name a key without telling it: keys are random, so that a hash cannot be undone."""
    return hashlib.sha256(routing_key.encode()).hexdigest()[:16]


def readable_fingerprint(key: Secret) -> str | None:
    """Read a key and name it; None where it cannot be read now."""
    try:
        return fingerprint(key.reveal())
    except SecretUnavailableError:
        return None


def mask(key: Secret) -> str:
    """Show a key to a person: its reference, or stars and the beginning of its fingerprint.

    One that a host keeps sealed may not be readable now; all of those have the same mask.
    """
    if key.reference:
        return key.reference
    name = readable_fingerprint(key)
    return f"{STARS} {name[:8] if name else '(cannot be read)'}"
