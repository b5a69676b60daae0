"""What is true of addresses on the web."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f]")
_BLANK: Final = re.compile(r"\s")

NO_CREDENTIALS: Final = "the user name and password in the URL were removed"
"""The repair of a URL that would show them to everyone who reads the alert."""

_CREDENTIALS: Final = re.compile(r"^(\s*+(?:[a-zA-Z][a-zA-Z0-9+.-]*+:)?+//)[^/?#]*@")
"""User name and password of a URL, with or without a scheme (RFC 3986, section 3.2.1)."""


def is_loopback(host: str) -> bool:
    """Check whether a host, as a URL names it in lower case, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def without_credentials(address: str) -> str:
    """Return a URL without its user name and password."""
    return _CREDENTIALS.sub(r"\1", address)


def is_address(text: str) -> bool:
    """Check that a text is an absolute http or https URL with a host, which works from anywhere."""
    try:
        url = urlsplit(text)
        named = bool(url.hostname) and not _BLANK.search(url.netloc) and url.port != 0
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and named and not _UNFIT.search(text)
