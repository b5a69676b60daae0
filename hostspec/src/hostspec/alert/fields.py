"""The parts of an alert, and the error of a statement that is none."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from hostspec.errors import FaultsError


class Severity(enum.StrEnum):
    """How bad a problem is, from the mildest to the worst."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the mildest, 4 for the worst: StrEnum compares as text, so compare this."""
        return _RANKS[self]

    @classmethod
    def understand(cls, text: str) -> Severity | None:
        """Read a severity whatever its case and blanks, or a common synonym; None if unknown."""
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
    """What the host says of the problem."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@attrs.frozen
class Link:
    """A link for the person who is woken.

    Attributes:
        href: where it leads.
        text: what it says; empty for the address itself.
    """

    href: str
    text: str = ""


@attrs.frozen
class Image:
    """A picture for the person who is woken.

    Attributes:
        src: where the picture is.
        href: where a click on it leads; empty for nowhere.
        alt: the text in its place.
    """

    src: str
    href: str = ""
    alt: str = ""


@attrs.frozen
class Identity:
    """What tells one problem from another: the tenant or project, and its key in there."""

    scope: str
    key: str

    def __str__(self) -> str:
        """Name it for a person."""
        return f"{self.scope}/{self.key}" if self.scope else self.key


class FaultyAlertError(FaultsError):
    """A statement that cannot be understood as an alert; ``faults`` says why, all at once."""
