"""Dedup keys: they identify the incident of a problem at PagerDuty.

Pure. Their limit is that of PagerDuty's guide "Send an Alert Event".
"""

from __future__ import annotations

import hashlib
from typing import Final

from hostspec import Identity, Repair

LONGEST_DEDUP_KEY: Final = 255
"""Characters of ``dedup_key``."""


def dedup_key(
    alert: Identity, *, prefix: str = "", rule: str | None = None
) -> tuple[str, tuple[Repair, ...]]:
    """Return the dedup key of a problem: its scope, if it has one, and its key.

    A slash in a scope or a rule's name is escaped, so that the first slash ends it. A dedup key
    that is too long keeps its beginning and ends in a hash of the whole, so that it is the same
    from trigger to resolve. A host should use scopes for all its alerts or for none: the key of an
    alert without a scope may look like the scope and key of another.
    Without a rule, it is that of the incident of all rules.
    """
    if rule is not None:
        # an empty scope keeps its slash, so that it cannot be confused with the rule's name
        return prefixed_dedup_key(f"{_escape(rule)}/{_escape(alert.scope)}/{alert.key}", prefix)
    return prefixed_dedup_key(
        f"{_escape(alert.scope)}/{alert.key}" if alert.scope else alert.key, prefix
    )


def prefixed_dedup_key(key: str, prefix: str = "") -> tuple[str, tuple[Repair, ...]]:
    """Return a text with a prefix as a dedup key, shortened if necessary; see `dedup_key`."""
    key = f"{prefix}/{key}" if prefix else key
    if len(key) <= LONGEST_DEDUP_KEY:
        return key, ()
    digest = hashlib.sha256(key.encode()).hexdigest()
    kept = key[: LONGEST_DEDUP_KEY - len(digest) - 1]
    reason = f"{len(key)} characters, PagerDuty takes {LONGEST_DEDUP_KEY}; its end became a hash"
    return f"{kept}…{digest}", (Repair("key", reason),)


def _escape(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2F")
