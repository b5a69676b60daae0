"""Refused requests: why they are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from hostspec.text import shorten

LONGEST_TEXT: Final = 200
"""Characters of a text from a client that are shown."""

COME_AGAIN: Final = 10
"""Seconds after which a client that was turned away may post again (Retry-After)."""


class Refusal(Exception):  # noqa: N818 -- an answer, not a mistake of ours
    """A request that is refused.

    Args:
        status: of the answer.
        cause: one word for the metric; there are about 20.
        reason: a sentence for the sender and the log.
        again: the same request may be accepted later.
        faults: mistakes in the body, each with its place.
        headers: of the answer.
        error: the log has this text too, as an ERROR; for what the operator has to change.
    """

    def __init__(  # noqa: PLR0913 -- one for each thing that answer and log say
        self,
        status: int,
        cause: str,
        reason: str,
        *,
        again: bool = False,
        faults: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        error: str = "",
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.cause = cause
        self.reason = reason
        self.again = again
        self.faults = faults
        self.headers = dict(headers or {})
        self.error = error
        if again:
            self.headers["Retry-After"] = str(COME_AGAIN)

    @property
    def kind(self) -> str:
        """The reason, with the first fault, without what differs from request to request."""
        return kind_of(self.reason, self.faults)

    def __str__(self) -> str:
        """Return the reason, with the first fault."""
        if not self.faults:
            return self.reason
        return f"{self.reason}: {first_of(self.faults)}"


def first_of(faults: Sequence[Mapping[str, str]]) -> str:
    """Return the first fault as text, and the number of the others."""
    place = ": ".join(filter(None, faults[0].values()))
    others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{shortened(place)}{others}"


def kind_of(reason: str, faults: Sequence[Mapping[str, str]]) -> str:
    """Return what a reason and the first fault have in common with others of their kind.

    Numbers, and texts in quotation marks, come from the request and are left out.
    """
    fault = ": ".join(faults[0].values()) if faults else ""
    return shortened(_GIVEN.sub("#", f"{reason}: {fault}"))


_GIVEN: Final = re.compile(r"""\d+|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""")


def shortened(text: str) -> str:
    """Return a text with a bounded length."""
    return shorten(text, LONGEST_TEXT)
