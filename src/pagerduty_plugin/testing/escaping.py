"""Text as HTML: markup is escaped, and control characters are shown instead of sent."""

from __future__ import annotations

import html
from typing import Final

# Unicode's pictures of the control characters; those of C1 have none, so they share one sign.
_PICTURES: Final = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)


def escape(text: str) -> str:
    """Render a text for an HTML page, as content or as an attribute's value."""
    return html.escape(text.translate(_PICTURES))
