"""Integration keys: which texts are valid, how one is identified without showing it, which is used.

PagerDuty calls an integration key a routing key in the Events API.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Final

from hostspec import Handle, Secret, SecretUnavailableError
from hostspec.secret import quote_around
from pagerduty_plugin.constants import ACCOUNT_TOKEN_LENGTH, STARS
from pagerduty_plugin.settings import ServiceSettings

ROUTING_KEY_LENGTH: Final = 32
"""Characters of an integration key."""

_ROUTING_KEY: Final = re.compile(rf"[A-Za-z0-9]{{{ROUTING_KEY_LENGTH}}}")

_OTHER_SECRETS: Final = (
    (re.compile(r"pd[a-z]{2}\+.*"), "got an OAuth token of PagerDuty"),
    (re.compile(r"https?://.*"), "got a URL; the key is its last part, or beside it"),
)


def fingerprint(routing_key: str) -> str:
    """Return a name for a key: keys are random, so that the hash cannot be reversed."""
    return hashlib.sha256(routing_key.encode()).hexdigest()[:16]


def readable_fingerprint(key: Secret) -> str | None:
    """Return the fingerprint of a key; None while the key cannot be read."""
    try:
        return fingerprint(key.reveal())
    except SecretUnavailableError:
        return None


def mask(key: Secret) -> str:
    """Return the reference of a key, or stars and the beginning of its fingerprint.

    All sealed keys that cannot be read now have the same mask.
    """
    if key.reference:
        return key.reference
    name = readable_fingerprint(key)
    return f"{STARS} {name[:8] if name else '(cannot be read)'}"


def routing_key_fault(key: str) -> str | None:
    """Return the reason why a text cannot be a routing key; None if it can."""
    if _ROUTING_KEY.fullmatch(key):
        return None
    found = f"got {len(key)} characters"
    if len(key) == ACCOUNT_TOKEN_LENGTH:
        found += ", as a REST API key has"
    elif len(key) == ROUTING_KEY_LENGTH:
        found += ", not all of them letters and digits"
    if quote := quote_around(key):
        found = f"got the quote {quote}; remove it"
    if invisible := next((each for each in key if unicodedata.category(each) == "Cf"), ""):
        found = f"got the invisible character U+{ord(invisible):04X}; remove it"
    for pattern, secret in _OTHER_SECRETS:
        if pattern.fullmatch(key):
            found = secret
    return f"not an integration key: expected {ROUTING_KEY_LENGTH} letters and digits, {found}"


def change_key_fault(key: str) -> str | None:
    """Return the reason why a text cannot be the routing key of a change event; None if it can.

    The guide "Events API v2 Overview" excludes rulesets. The keys of event orchestrations, their
    successors, begin with the same letter.
    """
    if key.startswith("R") and _ROUTING_KEY.fullmatch(key):
        return (
            "the key of a ruleset or an event orchestration (it begins with R), which accept no "
            "change events; use a service's own integration key"
        )
    return routing_key_fault(key)


def sending_key(service: ServiceSettings, handle: Handle | None) -> tuple[str, str]:
    """Return the key that opened the incident, else the newest; or an empty text and a reason."""
    if not handle:
        return read_key(service.keys[0])
    reasons = ["does not have the key that opened the incident"]
    for key in service.keys:
        routing_key, reason = read_key(key)
        if reason:
            reasons.append(reason)
        elif fingerprint(routing_key) == handle.get("key"):
            return routing_key, ""
    return "", "; ".join(reasons)


def read_key(
    key: Secret, fault: Callable[[str], str | None] = routing_key_fault
) -> tuple[str, str]:
    """Return a key; or an empty text and the reason why it cannot be used."""
    try:
        routing_key = key.reveal()
    except SecretUnavailableError as error:
        return "", f"has no key: {error}"
    reason = fault(routing_key)
    return ("", f"has an invalid key: {reason}") if reason else (routing_key, "")


def masked_key(service: ServiceSettings | None, handle: Handle | None = None) -> str:
    """Return the mask of the key for a preview, which reads no secret.

    With a handle, any of the keys may have opened the incident.
    """
    keys = service.keys if service else ()
    shown = [key.masked() for key in (keys if handle else keys[:1]) if key.reference]
    return f"{STARS} ({' or '.join(shown)})" if shown else STARS
