"""Regular expressions of RE2: matched in linear time, with the syntax of Go and Alertmanager.

Syntax: https://github.com/google/re2/wiki/Syntax. The only module that imports `re2`, which has
no type annotations.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import re2

MAX_MEMORY: Final = 2 * 1024 * 1024
"""Limit, in bytes, of one compiled expression and of its cache while it matches."""

_REMEDIES: Final = (
    ("invalid perl operator: (?!", "RE2 has no lookahead; use the operator !~ to exclude values"),
    ("invalid perl operator: (?=", "RE2 has no lookahead; use two matchers, both must match"),
    ("invalid perl operator: (?<", "RE2 has no lookbehind; use two matchers, both must match"),
    ("invalid escape sequence: \\Z", "the end of the text is \\z in RE2"),
    ("bad repetition operator: ", "RE2 needs no possessive repetition; use one operator"),
    ("pattern too large", "the expression is too large; use several rules or shorter repetitions"),
)


@attrs.frozen
class Regex:
    """One compiled expression; it matches whole texts.

    Attributes:
        pattern: the expression.
        ignore_case: match letters of either case.

    Raises:
        ValueError: `pattern` is not valid in RE2; the reason has the remedy if known.
    """

    pattern: str
    ignore_case: bool = False
    _compiled: Any = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Compile the expression."""
        options = re2.Options()
        options.case_sensitive = not self.ignore_case
        options.log_errors = False
        options.max_mem = MAX_MEMORY
        options.never_capture = True
        try:
            compiled = re2.compile(_encoded(self.pattern), options)
        except re2.error as error:
            reason = error.args[0].decode("utf-8", "replace")
            remedies = (remedy for known, remedy in _REMEDIES if reason.startswith(known))
            raise ValueError(next(remedies, reason)) from None
        object.__setattr__(self, "_compiled", compiled)

    def matches(self, text: str) -> bool:
        """Check whether the whole of `text` matches."""
        return self._compiled.fullmatch(_encoded(text)) is not None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
