"""The configuration schema: what an installation and an action can be told."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import attrs

from hostspec import Fault, Secret, setting

BASE_URLS: Final = {
    "us": "https://events.pagerduty.com",
    "eu": "https://events.eu.pagerduty.com",
}
"""The Events API by service region (support page "Service Regions")."""

SEVERITIES: Final = ("critical", "error", "warning", "info")
"""The severities of the Events API v2 (guide "Send an Alert Event")."""

DEFAULT_SEVERITY: Final = "default"
"""Stands for the alert's own severity."""


def _base_url_fault(url: str) -> str | None:
    if not url:
        return None
    if "@" in url:  # before anything that would show the address
        return "holds a user name or password (an @); the Events API takes none"
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        return f"{url!r} is no URL: {error}"
    if parts.scheme not in ("http", "https") or not host or _BLANK.search(url):
        return f"{url!r} is no base URL; right would be {BASE_URLS['us']!r}"
    if parts.scheme == "http" and not is_loopback(host):
        return f"{url!r} is not encrypted; only loopback may be plain http"
    if "?" in url or "#" in url:
        return f"{url!r} has a query or fragment; a base URL has none"
    return None


_BLANK: Final = re.compile(r"[\s\x00-\x1f\\]")
"""What no URL holds, though some readers of URLs pass over it."""


def is_loopback(host: str) -> bool:
    """Say whether a host, as a URL names it in lower case, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _blank(text: str) -> str | None:
    return None if text.strip() else "is blank"


@attrs.frozen(kw_only=True)
class ServiceSettings:
    """A PagerDuty service with its integration key."""

    name: str = setting("Service", help="What rules call the service.", check=_blank)
    integration_key: Secret = setting(
        "Integration key",
        help="The service's Events API v2 key, 32 letters and digits, by reference: "
        "env:NAME, file:PATH or keyring:SERVICE/NAME.",
    )


@attrs.frozen(kw_only=True)
class InstallationSettings:
    """A PagerDuty account: where it is, and its services."""

    region: str = setting(
        "Service region",
        help="Where the account lives.",
        default="us",
        choices=tuple(BASE_URLS),
    )
    base_url: str = setting(
        "Base URL",
        help="Another address of the Events API; stands in the region's place.",
        default="",
        check=_base_url_fault,
    )
    services: tuple[ServiceSettings, ...] = setting(
        "Services", help="The services that rules may page.", least_items=1
    )

    @property
    def events_url(self) -> str:
        """The base URL of the Events API for this account."""
        return self.base_url.rstrip("/") or BASE_URLS[self.region]

    def service(self, name: str) -> ServiceSettings | None:
        """Find a service by name."""
        return next((service for service in self.services if service.name == name), None)

    def faults(self) -> Iterator[Fault]:
        """Refuse two services of one name."""
        counted = Counter(service.name for service in self.services)
        for index, service in enumerate(self.services):
            if counted[service.name] > 1:
                yield Fault(f"services[{index}].name", f"{service.name!r} is there twice")


@attrs.frozen(kw_only=True)
class TriggerSettings:
    """Whom an alert pages, and how urgently."""

    services: tuple[str, ...] = setting(
        "Services", help="Names of services of the installation.", least_items=1
    )
    severity: str = setting(
        "Severity",
        help="The incident's severity; default means the alert's own.",
        default=DEFAULT_SEVERITY,
        choices=(DEFAULT_SEVERITY, *SEVERITIES),
    )
