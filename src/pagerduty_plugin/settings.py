"""The configuration schema: what an installation and an action can be told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import attrs

from hostspec import Fault, Secret, setting
from hostspec.web import is_loopback

BASE_URLS: Final = {
    "us": "https://events.pagerduty.com",
    "eu": "https://events.eu.pagerduty.com",
}
"""The Events API by service region (support page "Service Regions")."""

SEVERITIES: Final = ("critical", "error", "warning", "info")
"""The severities of the Events API v2 (guide "Send an Alert Event")."""

DEFAULT_SEVERITY: Final = "default"
"""Stands for the alert's own severity."""

DIRECT: Final = "direct"
"""Stands in a proxy's place for none."""


def _base_url_fault(url: str) -> str | None:
    return _url_fault(url, "the Events API", BASE_URLS["us"])


def _install_url_fault(url: str) -> str | None:
    return _url_fault(url, "PagerDuty", "https://app.pagerduty.com")


def _url_fault(url: str, whose: str, example: str) -> str | None:
    if not url:
        return None
    if "@" in url:  # before anything that would show the address
        return f"holds a user name or password (an @); {whose} takes none"
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        return f"{url!r} is no URL: {error}"
    if parts.scheme not in ("http", "https") or not host or _BLANK.search(url):
        return f"{url!r} is no base URL; right would be {example!r}"
    if parts.scheme == "http" and not is_loopback(host):
        return f"{url!r} is not encrypted; only loopback may be plain http"
    base = _ENQUEUE.sub("", url)
    if base != url:
        return f"{url!r} has the path of the Events API; right would be {base!r}"
    if "?" in url or "#" in url:
        return f"{url!r} has a query or fragment; a base URL has none"
    return None


_ENQUEUE: Final = re.compile(r"/v2/(change/)?enqueue/?$")
"""The path that is put after a base URL, and that other senders want in it."""

_BLANK: Final = re.compile(r"[\s\x00-\x1f\\]")
"""What no URL holds, though some readers of URLs pass over it."""


def _region_fault(region: str, base_url: str) -> Iterator[Fault]:
    """Refuse the address of one region beside the name of another."""
    for other, url in BASE_URLS.items():
        if other != region and base_url.rstrip("/").lower() == url:
            reason = f"{base_url!r} is of the region {other!r}; give region = {other!r} instead"
            yield Fault("base_url", reason)


def proxy_fault(proxy: str) -> str | None:
    """Say why a text is no proxy's URL; without the text, which may hold a password."""
    if proxy == DIRECT:
        return None
    try:
        parts = urlsplit(proxy)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    more = parts.path.strip("/") or parts.query or parts.fragment or _BLANK.search(proxy)
    if parts.scheme in ("http", "https") and parts.hostname and not more:
        return None
    return (
        "is no proxy; right would be 'http://user:password@proxy.example:3128', where what is "
        f"special in user and password is written as in '%2F'; or {DIRECT!r} for none"
    )


def _given_proxy_fault(proxy: Secret) -> str | None:
    """Check a proxy that was given as itself; a reference is read when it is used."""
    return None if proxy.reference else proxy_fault(proxy.reveal())


def _path_fault(path: str) -> str | None:
    return "holds a NUL, which no path does" if "\0" in path else None


def _blank(text: str) -> str | None:
    return None if text.strip() else "is blank"


_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
"""A DNS label (RFC 1123), which a subdomain is."""

_APP_ID: Final = re.compile(r"[A-Za-z0-9]+")


def account_fault(account: str) -> str | None:
    """Say why a text is no account's subdomain; None where it is, or is empty."""
    if not account or _LABEL.fullmatch(account):
        return None
    return (
        f"{account!r} is no subdomain; right would be 'acme' of https://acme.pagerduty.com: "
        "letters, digits and inner hyphens, 63 at the most"
    )


def _app_id_fault(app_id: str) -> str | None:
    if _APP_ID.fullmatch(app_id):
        return None
    return f"{app_id!r} is no app id; right would be 'PABC123', from the page of the app"


@attrs.frozen(kw_only=True)
class ServiceSettings:
    """A PagerDuty service with its integration key."""

    name: str = setting("Service", help="What rules call the service.", check=_blank)
    integration_key: Secret | tuple[Secret, ...] = setting(
        "Integration key",
        help="The service's Events API v2 key, 32 letters and digits, by reference: "
        "env:NAME, file:PATH or keyring:SERVICE/NAME. While a key is rotated, a list of "
        "both, the new one first.",
        least_items=1,
    )
    id: str = setting(
        "Id",
        help="Names the service for good, so that it may be renamed; its name, if empty.",
        default="",
    )
    pagerduty_id: str = setting(
        "PagerDuty's id", help="What PagerDuty calls it among machines.", default=""
    )
    pagerduty_name: str = setting(
        "PagerDuty's name",
        help="What PagerDuty called it last; a name that differs is the person's own.",
        default="",
    )

    @property
    def destination(self) -> str:
        """What names the service for good."""
        return self.id or self.name

    @property
    def keys(self) -> tuple[Secret, ...]:
        """The integration keys, the newest first."""
        held = self.integration_key
        return held if isinstance(held, tuple) else (held,)


@attrs.frozen(kw_only=True)
class NetworkSettings:
    """The way out to PagerDuty, and how long an attempt may take."""

    proxy: Secret | None = setting(
        "Proxy",
        help="The URL of a proxy, by reference if it holds a password; used for every address. "
        f"{DIRECT} for none. Without it, what the environment names.",
        default=None,
        check=_given_proxy_fault,
    )
    ca_bundle: str = setting(
        "CA bundle",
        help="The path of a file or folder of certificates to trust in place of the built-in "
        "ones. Without it, what the environment names.",
        default="",
        check=_path_fault,
    )
    client_certificate: str = setting(
        "Client certificate",
        help="The path of a PEM file, for a relay or proxy that asks for a certificate.",
        default="",
        check=_path_fault,
    )
    client_key: str = setting(
        "Client key",
        help="The path of its private key, a PEM file without a passphrase; the file of the "
        "certificate, if empty.",
        default="",
        check=_path_fault,
    )
    connect_timeout: float = setting(
        "Connect timeout",
        help="Seconds for one address to take a connection.",
        default=5.0,
        minimum=1,
        maximum=60,
    )
    timeout: float = setting(
        "Timeout",
        help="Seconds for an attempt in all, from the waiting for its turn to the last byte.",
        default=20.0,
        minimum=1,
        maximum=60,
    )

    def faults(self) -> Iterator[Fault]:
        """Refuse a key without its certificate."""
        if self.client_key and not self.client_certificate:
            yield Fault("client_key", "belongs to a client_certificate, and there is none")


@attrs.frozen(kw_only=True)
class NewService:
    """What a person says of a service that is added by hand."""

    name: str = setting("Service", help="What rules call the service.", check=_blank)
    integration_key: Secret = setting(
        "Integration key",
        help="The service's Events API v2 key, 32 letters and digits: from its Integrations.",
    )


@attrs.frozen(kw_only=True)
class InstallationSettings:
    """A PagerDuty account: where it is, its services, and the way there."""

    region: str = setting(
        "Service region",
        help="Where the account lives, and so the address of the Events API.",
        default="us",
        choices=tuple(BASE_URLS),
    )
    base_url: str = setting(
        "Base URL",
        help="Another address of the Events API, such as a relay's; used in place of the region's.",
        default="",
        check=_base_url_fault,
    )
    services: tuple[ServiceSettings, ...] = setting(
        "Services", help="The services that rules may page.", least_items=1
    )
    subdomain: str = setting(
        "Subdomain",
        help="The account's, by which it is known when it is connected again.",
        default="",
        check=account_fault,
    )
    network: NetworkSettings = setting(
        "Network", help="The way out, and how long an attempt may take.", default=NetworkSettings()
    )

    @property
    def events_url(self) -> str:
        """The base URL of the Events API for this account."""
        return self.base_url.rstrip("/") or BASE_URLS[self.region]

    def service(self, named: str) -> ServiceSettings | None:
        """Find a service by its id, or by its name."""
        return next(
            (service for service in self.services if named in (service.destination, service.name)),
            None,
        )

    def faults(self) -> Iterator[Fault]:
        """Refuse what contradicts itself.

        Two services of one name or id, also where one's name is the other's id; an address of
        another region; and a proxy between here and a plain http address, which would read along.
        """
        yield from _region_fault(self.region, self.base_url)
        proxy = self.network.proxy
        if self.base_url.lower().startswith("http:") and proxy not in (None, Secret(DIRECT)):
            yield Fault(
                "network.proxy",
                f"would read the events, for the base URL is not encrypted; give {DIRECT!r}",
            )
        names = Counter(service.name for service in self.services)
        ids = Counter(service.destination for service in self.services)
        for index, service in enumerate(self.services):
            if names[service.name] > 1:
                yield Fault(f"services[{index}].name", f"{service.name!r} is there twice")
            elif ids[service.name] and service.destination != service.name:
                yield Fault(f"services[{index}].name", f"{service.name!r} is the id of another")
            if service.id and ids[service.id] > 1:
                yield Fault(f"services[{index}].id", f"{service.id!r} is there twice")


@attrs.frozen(kw_only=True)
class InstallFlowSettings:
    """What has to be known to connect an account in a browser."""

    app_id: str = setting("App id", help="The id of your app at PagerDuty.", check=_app_id_fault)
    account: str = setting(
        "Account",
        help="The subdomain of the account; without it PagerDuty asks.",
        default="",
        check=account_fault,
    )
    region: str = setting(
        "Service region",
        help="Where the account lives; PagerDuty does not tell.",
        default="us",
        choices=tuple(BASE_URLS),
    )
    install_url: str = setting(
        "Install URL",
        help="Another address of PagerDuty's pages; stands in the region's place.",
        default="",
        check=_install_url_fault,
    )
    base_url: str = setting(
        "Base URL",
        help="Another address of the Events API, for the installation.",
        default="",
        check=_base_url_fault,
    )

    def faults(self) -> Iterator[Fault]:
        """Refuse an account that no address would name, and an address of another region."""
        yield from _region_fault(self.region, self.base_url)
        if self.account and self.install_url:
            yield Fault("account", "has no place in an install URL; leave one of both out")


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
