"""The fields of an alert, and the error of unreadable input."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from hostspec.errors import FaultsError


class Severity(enum.StrEnum):
    """The severity of a problem, from the mildest to the worst."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the mildest, 4 for the worst; compare ranks, because StrEnum compares as text."""
        return _RANKS[self]

    @classmethod
    def understand(cls, text: str) -> Severity | None:
        """Return the severity of a word or common synonym, in any case; None if unknown."""
        word = text.strip().casefold()
        return _SEVERITY_WORDS.get(word)


_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}

_SEVERITY_WORDS: Final[Mapping[str, Severity]] = {
    **{severity.value: severity for severity in Severity},
    **dict.fromkeys(("trace", "verbose"), Severity.DEBUG),
    **dict.fromkeys(("none", "ok", "notice", "low", "informational", "information"), Severity.INFO),
    **dict.fromkeys(("warn", "minor", "moderate", "medium", "average"), Severity.WARNING),
    **dict.fromkeys(("err", "high", "major"), Severity.ERROR),
    **dict.fromkeys(
        ("crit", "fatal", "page", "alert", "emerg", "emergency", "panic", "severe", "disaster"),
        Severity.CRITICAL,
    ),
}


class Status(enum.StrEnum):
    """The status of a problem."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@attrs.frozen
class Link:
    """A link for the responder.

    Attributes:
        href: its address.
        text: its text; empty for the address.
    """

    href: str
    text: str = ""


@attrs.frozen
class Image:
    """An image for the responder.

    Attributes:
        src: the address of the image.
        href: the address that a click opens; empty for none.
        alt: the alternative text.
    """

    src: str
    href: str = ""
    alt: str = ""


@attrs.frozen
class Identity:
    """The identity of a problem: its scope (tenant or project) and its key within the scope."""

    scope: str
    key: str

    def __str__(self) -> str:
        """Return the identity for the operator."""
        return f"{self.scope}/{self.key}" if self.scope else self.key


class FaultyAlertError(FaultsError):
    """The input is not an alert; ``faults`` holds every reason."""
