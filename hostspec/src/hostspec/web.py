"""What is true of addresses on the web."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f]")
_BLANK: Final = re.compile(r"\s")


def is_loopback(host: str) -> bool:
    """Say whether a host, as a URL names it in lower case, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_address(text: str) -> bool:
    """Check that a text is an absolute http or https URL with a host, which works from anywhere."""
    try:
        url = urlsplit(text)
        named = bool(url.hostname) and not _BLANK.search(url.netloc) and url.port != 0
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and named and not _UNFIT.search(text)
