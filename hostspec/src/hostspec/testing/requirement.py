"""How a check says what is wrong, and how to mend it."""

from __future__ import annotations

from typing import NoReturn


class ConformanceError(AssertionError):
    """A rule of the contract is broken; the message says which, and how to mend it."""


def fail(sentence: str) -> NoReturn:
    """Fail a check.

    Raises:
        ConformanceError: always.
    """
    raise ConformanceError(sentence)


def require(holds: object, sentence: str) -> None:
    """Fail a check unless something holds.

    Raises:
        ConformanceError: it does not hold.
    """
    if not holds:
        fail(sentence)
