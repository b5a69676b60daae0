"""Text and addresses from outside: cleaning, shortening, near misses, and web addresses."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

NO_CREDENTIALS: Final = "the user name and password in the URL were removed"
"""The repair of a URL with credentials: an alert is stored, listed and sent."""

_CREDENTIALS: Final = re.compile(r"^(\s*+(?:[a-zA-Z][a-zA-Z0-9+.-]*+:)?+//)[^/?#]*@")
"""User name and password of a URL, with or without a scheme (RFC 3986, section 3.2.1)."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BLANK: Final = re.compile(r"\s")

_VISIBLE: Final = re.compile(
    "[^\\s\0-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Any character but blanks, controls, and those that are drawn as nothing: Unicode's
Default_Ignorable_Code_Point (DerivedCoreProperties.txt), the blank braille pattern (U+2800), the
null notehead (U+1D159) and the marks of interlinear annotations."""


def clean_text(text: str) -> str:
    """Replace the characters that UTF-8 encoders or PostgreSQL refuse.

    Surrogate pairs are joined; lone surrogates and NUL become U+FFFD.
    """
    text = str.__str__(text)  # the methods of a subclass may do anything
    text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def is_blank(text: str) -> bool:
    """Check that a text has no visible character."""
    return _VISIBLE.search(text) is None


def shorten(text: str, longest: int) -> str:
    """Return the first ``longest`` characters, followed by an ellipsis if there are more."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the known word most like ``word``; empty if none is near (see ``difflib``)."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def unknown_name(name: str, known: Iterable[str], kind: str = "") -> str:
    """Return a sentence that a name is unknown, with the nearest known one, or all of them.

    The kind is what the name is for (``the filter``).
    """
    remedy = nearest_or_all(name, known, "known are", "none is known")
    return f"{kind} {name!r} is unknown; {remedy}".lstrip()


def nearest_or_all(name: str, known: Iterable[str], are: str, none: str) -> str:
    """Return a question for the known name nearest to ``name``, or a list of all of them."""
    names = sorted(known)
    if near := closest(name, names):
        return f"did you mean {near!r}?"
    return f"{are} {', '.join(names)}" if names else none


def is_loopback(host: str) -> bool:
    """Check that a host, as a URL names it, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def without_credentials(address: str) -> str:
    """Return a URL without its user name and password."""
    return _CREDENTIALS.sub(r"\1", address)


def is_address(text: str) -> bool:
    """Check that a text is an absolute http or https URL with a host."""
    try:
        url = urlsplit(text)
        has_host = bool(url.hostname) and not _BLANK.search(url.netloc) and url.port != 0
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and has_host and not _CONTROL.search(text)
