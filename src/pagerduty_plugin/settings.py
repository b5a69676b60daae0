"""The configuration schema of an installation, and of connecting it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from hostspec import Fault, Secret, setting
from pagerduty_plugin import validators
from pagerduty_plugin.constants import (
    ACCOUNT_TOKEN_LENGTH,
    AUTO,
    BASE_URLS,
    DIRECT,
    EVENTS_PER_MINUTE,
    MOST_EVENTS_PER_MINUTE,
    REST_URLS,
)


def _region() -> Any:
    return setting(
        "Service region",
        help="The region that the account belongs to.",
        default="us",
        choices=tuple(BASE_URLS),
    )


def _installation_url() -> Any:
    return setting(
        "Base URL",
        help="Another address of the Events API, for the installation.",
        default="",
        check=validators.events_url,
    )


def _dedup_prefix() -> Any:
    return setting(
        "Dedup prefix",
        help="Precedes every dedup key. Keeps two hosts apart that share an integration key and "
        "whose alerts have the same keys.",
        default="",
        check=validators.dedup_prefix,
    )


def _service_name() -> Any:
    return setting(
        "Service", help="The name that rules use for this service.", check=validators.not_blank
    )


@frozen(kw_only=True)
class ServiceSettings:
    """A PagerDuty service with its integration key."""

    name: str = _service_name()
    integration_key: Secret | tuple[Secret, ...] = setting(
        "Integration key",
        help="The service's Events API v2 key, 32 letters and digits, by reference: "
        "env:NAME, file:PATH or keyring:SERVICE/NAME. While a key is rotated, a list of "
        "both, the new one first.",
        least_items=1,
    )
    id: str = setting(
        "Id",
        help="A permanent id, so that the service can be renamed; its name, if empty.",
        default="",
    )
    pagerduty_id: str = setting("PagerDuty's id", help="The service's id at PagerDuty.", default="")
    pagerduty_name: str = setting(
        "PagerDuty's name",
        help="The service's last known name at PagerDuty; a different name was chosen by hand.",
        default="",
    )
    former_names: tuple[str, ...] = setting(
        "Former names",
        help="Earlier names; rules that use them still page the service.",
        default=(),
    )

    @property
    def destination(self) -> str:
        """The permanent id: the configured one, else the name."""
        return self.id or self.name

    @property
    def keys(self) -> tuple[Secret, ...]:
        """The integration keys, the newest first."""
        keys = self.integration_key
        return keys if isinstance(keys, tuple) else (keys,)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a rule may use, the id first."""
        return (self.destination, self.name, *self.former_names)


@frozen(kw_only=True)
class NewService:
    """A service that the operator adds by hand."""

    name: str = _service_name()
    integration_key: Secret = setting(
        "Integration key",
        help="The service's Events API v2 key, 32 letters and digits: from its Integrations.",
    )


@frozen(kw_only=True)
class NetworkSettings:
    """Proxy, TLS and timeouts of requests to PagerDuty."""

    proxy: Secret | None = setting(
        "Proxy",
        help="The URL of a proxy, by reference if it contains a password; used for every address. "
        f"{DIRECT} for none. Default: the proxy of the environment.",
        default=None,
        check=validators.plain_proxy,
    )
    ca_bundle: str = setting(
        "CA bundle",
        help="The path of a file or folder of certificates to trust instead of the built-in "
        "ones. Default: the certificates of the environment.",
        default="",
        check=validators.path,
    )
    client_certificate: str = setting(
        "Client certificate",
        help="The path of a PEM file, for a relay or proxy that asks for a certificate.",
        default="",
        check=validators.path,
    )
    client_key: str = setting(
        "Client key",
        help="The path of its private key, a PEM file without a passphrase; the file of the "
        "certificate, if empty.",
        default="",
        check=validators.path,
    )
    connect_timeout: float = setting(
        "Connect timeout",
        help="Seconds to connect to one address.",
        default=5.0,
        minimum=1,
        maximum=60,
    )
    timeout: float = setting(
        "Timeout",
        help="Seconds for a whole attempt, up to the last byte of the response.",
        default=20.0,
        minimum=1,
        maximum=60,
    )

    def faults(self) -> Iterator[Fault]:
        """Reject a key without its certificate."""
        if self.client_key and not self.client_certificate:
            yield Fault("client_key", "needs a client_certificate; configure both")


@frozen(kw_only=True)
class InstallationSettings:
    """A PagerDuty account: its region, its services, and how to reach it."""

    region: str = _region()
    base_url: str = setting(
        "Base URL",
        help="Another address of the Events API, such as a relay's; replaces the region's.",
        default="",
        check=validators.events_url,
    )
    services: tuple[ServiceSettings, ...] = setting(
        "Services", help="The services that rules may page.", least_items=1
    )
    subdomain: str = setting(
        "Subdomain",
        help="The account's, which identifies it when it is connected again.",
        default="",
        check=validators.subdomain,
    )
    network: NetworkSettings = setting(
        "Network", help="Proxy, TLS and timeouts.", default=NetworkSettings()
    )
    dedup_prefix: str = _dedup_prefix()
    rate_limit: int = setting(
        "Rate limit",
        help="Events per minute that PagerDuty accepts for an integration key. A host leaves a "
        "few of them unused.",
        default=EVENTS_PER_MINUTE,
        minimum=1,
        maximum=MOST_EVENTS_PER_MINUTE,
    )
    removed_services: tuple[str, ...] = setting(
        "Removed services",
        help="Names and ids of services that were removed; a rule that names one of them beside "
        "others ignores it.",
        default=(),
    )

    @property
    def events_url(self) -> str:
        """The base URL of the Events API for this account."""
        return self.base_url.rstrip("/") or BASE_URLS[self.region]

    def service(self, name: str) -> ServiceSettings | None:
        """Return a service by its id or name, else by a former name; or None."""
        return next(
            (service for service in self.services if name in (service.destination, service.name)),
            next((service for service in self.services if name in service.former_names), None),
        )

    def faults(self) -> Iterator[Fault]:
        """Reject an address of another region, an unsafe proxy, and ambiguous services."""
        yield from validators.region(self.region, self.base_url)
        yield from validators.unencrypted_proxy(self.network, self.base_url)
        yield from validators.services(self.services)


@frozen(kw_only=True)
class InstallFlowSettings:
    """How to connect an account in a browser."""

    app_id: str = setting(
        "App id", help="The id of your app at PagerDuty.", check=validators.app_id
    )
    account: str = setting(
        "Account",
        help="The subdomain of the account; PagerDuty asks for it, if empty.",
        default="",
        check=validators.subdomain,
    )
    region: str = _region()
    install_url: str = setting(
        "Install URL",
        help="Another address of PagerDuty's pages; replaces the region's.",
        default="",
        check=validators.pages_url,
    )
    base_url: str = _installation_url()
    dedup_prefix: str = _dedup_prefix()

    def faults(self) -> Iterator[Fault]:
        """Reject an account beside an install URL, and an address of another region."""
        yield from validators.region(self.region, self.base_url)
        if self.account and self.install_url:
            yield Fault("account", "cannot be combined with install_url; remove one of them")


@frozen(kw_only=True)
class DiscoverySettings:
    """How to list an account's services."""

    token: Secret = setting(
        "API token",
        help="A token of PagerDuty's REST API that may read services, and write them if an "
        "integration has to be created: an account's API key, or an OAuth token. By reference: "
        "env:NAME, file:PATH or keyring:SERVICE/NAME.",
    )
    token_kind: str = setting(
        "Kind of token",
        help=f"{AUTO}: an account's API key if it has {ACCOUNT_TOKEN_LENGTH} characters, else "
        "OAuth.",
        default=AUTO,
        choices=(AUTO, "account", "oauth"),
    )
    region: str = _region()
    query: str = setting(
        "Query", help="List only services whose name contains this; all, if empty.", default=""
    )
    integration_name: str = setting(
        "Integration name",
        help="The name of integrations that are created at PagerDuty.",
        default="pagerduty-plugin",
        check=validators.not_blank,
    )
    api_url: str = setting(
        "API URL",
        help="Another address of the REST API; replaces the region's.",
        default="",
        check=validators.rest_url,
    )
    base_url: str = _installation_url()
    network: NetworkSettings = setting(
        "Network",
        help="Proxy, TLS and timeouts; for the installation too.",
        default=NetworkSettings(),
    )
    dedup_prefix: str = _dedup_prefix()

    def faults(self) -> Iterator[Fault]:
        """Reject addresses of another region, and an unsafe proxy."""
        yield from validators.region(self.region, self.base_url)
        yield from validators.region(self.region, self.api_url, "api_url", REST_URLS)
        yield from validators.unencrypted_proxy(self.network, self.base_url)
        yield from validators.unencrypted_proxy(self.network, self.api_url, "the token", "API URL")

    @property
    def rest_url(self) -> str:
        """The base URL of the REST API for this account."""
        return self.api_url.rstrip("/") or REST_URLS[self.region]
