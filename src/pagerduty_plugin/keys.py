"""Integration keys: which texts can be one, and how they are told apart without being told."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

from hostspec import Secret, SecretUnavailableError
from hostspec.secret import quote_around

STARS: Final = "********"
"""What every mask begins with."""

ROUTING_KEY_LENGTH: Final = 32
"""Characters of an integration key, which PagerDuty calls routing key on the wire."""

_ROUTING_KEY: Final = re.compile(rf"[A-Za-z0-9]{{{ROUTING_KEY_LENGTH}}}")

_OTHER_SECRETS: Final = (
    (re.compile(r"pd[a-z]{2}\+.*"), "got an OAuth token of PagerDuty"),
    (re.compile(r"https?://.*"), "got a URL; the key is the last part of it, or beside it"),
)
"""What people paste in a key's place, beside REST API keys."""


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


def routing_key_fault(key: str) -> str | None:
    """Describe why PagerDuty would not take a text as routing key; None where it may."""
    if _ROUTING_KEY.fullmatch(key):
        return None
    found = f"got {len(key)} characters"
    if len(key) == 20:  # noqa: PLR2004 -- the length of PagerDuty's REST API keys
        found += ", as a REST API key has"
    elif len(key) == ROUTING_KEY_LENGTH:
        found += ", not all of them letters and digits"
    if quote := quote_around(key):
        found = f"got the quote {quote}; remove it"
    if invisible := next((each for each in key if unicodedata.category(each) == "Cf"), ""):
        found = f"got the invisible character U+{ord(invisible):04X}; remove it"
    for pattern, what in _OTHER_SECRETS:
        if pattern.fullmatch(key):
            found = what
    return f"not an integration key: expected {ROUTING_KEY_LENGTH} letters and digits, {found}"


def change_key_fault(key: str) -> str | None:
    """Describe why PagerDuty would not take a text as routing key of a change; None where it may.

    The guide "Events API v2 Overview" says it of rulesets. Event orchestrations, which came in
    their place, have keys that begin the same.
    """
    if key.startswith("R") and _ROUTING_KEY.fullmatch(key):
        return (
            "the key of a ruleset or an event orchestration, as its R says, and those take no "
            "change events; a service's own integration key does"
        )
    return routing_key_fault(key)
