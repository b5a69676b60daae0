"""Text from outside: whether it is blank, and how much of it is shown."""

from __future__ import annotations

import re
from typing import Final

_VISIBLE: Final = re.compile(
    "[^\\s\0-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Any character but blanks, controls, and those that are drawn as nothing: Unicode's
Default_Ignorable_Code_Point (DerivedCoreProperties.txt), the blank braille pattern (U+2800), the
null notehead (U+1D159) and the marks of interlinear annotations."""


def is_blank(text: str) -> bool:
    """Check that a text holds no character that is drawn."""
    return _VISIBLE.search(text) is None


def shorten(text: str, longest: int) -> str:
    """Return the first `longest` characters of a text; an ellipsis follows where there are more."""
    return text if len(text) <= longest else f"{text[:longest]}…"
