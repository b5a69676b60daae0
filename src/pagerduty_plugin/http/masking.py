"""Masks the secrets of a request in the text of its reply. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote, urlsplit

from pagerduty_plugin.keys import STARS

SHORTEST: Final = 8
"""Characters of a part of a secret that is masked; a shorter one may be any word."""


def mask(text: str, secrets: Iterable[str]) -> str:
    """Mask every part of `SHORTEST` or more characters of a secret, in upper and lower case.

    A secret that is shorter is masked as a whole. Takes time linear in the text.
    """
    for secret in filter(None, secrets):
        length = min(SHORTEST, len(secret))
        parts = {secret[at : at + length] for at in range(len(secret) - length + 1)}
        # looks ahead, so that parts may overlap
        pattern = f"(?={'|'.join(map(re.escape, sorted(parts)))})"
        pieces, end = [], 0
        for found in re.finditer(pattern, text, re.IGNORECASE):
            if found.start() >= end:
                pieces += [text[end : found.start()], STARS]
            end = found.start() + length
        text = "".join([*pieces, text[end:]])
    return text


def proxy_secrets(proxy: str) -> tuple[str, ...]:
    """Return the forms in which the password in a proxy's URL is sent; none without a password."""
    credentials = urlsplit(proxy).netloc.rpartition("@")[0]
    user, _, password = credentials.partition(":")
    if not password:
        return ()
    sent = f"{unquote(user)}:{unquote(password)}".encode("latin-1")
    return (password, unquote(password), base64.b64encode(sent).decode())
