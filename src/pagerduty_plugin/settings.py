"""The configuration schema of an installation, of connecting it, and of the two actions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from hostspec import Fault, Json, Secret, Status, setting
from hostspec.normalisation import FrozenDict
from pagerduty_plugin import templates, validators
from pagerduty_plugin.constants import (
    ACCOUNT_TOKEN_LENGTH,
    ALERT_KEY,
    AUTO,
    BASE_URLS,
    CHANGE_EVENT,
    DEFAULT_SEVERITY,
    DIRECT,
    DROP,
    EVENT_ACTIONS,
    EVENTS_PER_MINUTE,
    MOST_EVENTS_PER_MINUTE,
    PAGE,
    REST_URLS,
    RULE_AND_ALERT_KEY,
    SEVERITIES,
)

_TEMPLATE: Final = "May be a template."


def _optional(label: str, help: str, check: Callable[[str], str | None] | None = None) -> Any:  # noqa: A002 -- as in `setting`
    return setting(label, help=help, default="", check=check)


def _template(label: str, help: str) -> Any:  # noqa: A002
    return _optional(label, f"{help} {_TEMPLATE}", templates.fault)


def _replacement(label: str) -> Any:
    return _template(label, "Replaces the alert's.")


def _region() -> Any:
    help_ = "The region that the account belongs to."
    return setting("Service region", help=help_, default="us", choices=tuple(BASE_URLS))


def _installation_url() -> Any:
    help_ = "Another address of the Events API, for the installation."
    return _optional("Base URL", help_, validators.events_url)


def _dedup_prefix() -> Any:
    return _optional(
        "Dedup prefix",
        "Precedes every dedup key. Keeps two hosts apart that share an integration key and whose "
        "alerts have the same keys.",
        validators.dedup_prefix,
    )


def _service_name() -> Any:
    help_ = "The name that rules use for this service."
    return setting("Service", help=help_, check=validators.not_blank)


def _services() -> Any:
    help_ = "Names or ids of services of the installation."
    return setting("Services", help=help_, least_items=1, destinations=True)


def _details() -> Any:
    return setting(
        "Details",
        help="Added to the alert's, by name. Values may be nested; every text may be a template, "
        "and one that consists of a single expression keeps the type of its value.",
        default=FrozenDict(),
        check=validators.detail,
    )


def _added(label: str) -> Any:
    return setting(label, help="Added to the alert's.", default=())


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
    id: str = _optional(
        "Id", "A permanent id, so that the service can be renamed; its name, if empty."
    )
    pagerduty_id: str = _optional("PagerDuty's id", "The service's id at PagerDuty.")
    pagerduty_name: str = _optional(
        "PagerDuty's name",
        "The service's last known name at PagerDuty; a different name was chosen by hand.",
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
    ca_bundle: str = _optional(
        "CA bundle",
        "The path of a file or folder of certificates to trust instead of the built-in "
        "ones. Default: the certificates of the environment.",
        validators.path,
    )
    client_certificate: str = _optional(
        "Client certificate",
        "The path of a PEM file, for a relay or proxy that asks for a certificate.",
        validators.path,
    )
    client_key: str = _optional(
        "Client key",
        "The path of its private key, a PEM file without a passphrase; the file of the "
        "certificate, if empty.",
        validators.path,
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
    base_url: str = _optional(
        "Base URL",
        "Another address of the Events API, such as a relay's; replaces the region's.",
        validators.events_url,
    )
    services: tuple[ServiceSettings, ...] = setting(
        "Services", help="The services that rules may page.", least_items=1
    )
    subdomain: str = _optional(
        "Subdomain",
        "The account's, which identifies it when it is connected again.",
        validators.subdomain,
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
        return self._by_name.get(name)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The present name of each service."""
        return tuple(service.name for service in self.services)

    @functools.cached_property
    def _by_name(self) -> Mapping[str, ServiceSettings]:
        former = {name: each for each in self.services[::-1] for name in each.former_names}
        present = {
            name: each for each in self.services[::-1] for name in (each.name, each.destination)
        }
        return {**former, **present}

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
    account: str = _optional(
        "Account",
        "The subdomain of the account; PagerDuty asks for it, if empty.",
        validators.subdomain,
    )
    region: str = _region()
    install_url: str = _optional(
        "Install URL",
        "Another address of PagerDuty's pages; replaces the region's.",
        validators.pages_url,
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
    api_url: str = _optional(
        "API URL", "Another address of the REST API; replaces the region's.", validators.rest_url
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


@frozen(kw_only=True)
class LinkSettings:
    """A link that a rule adds."""

    href: str = setting(
        "Address", help=f"The target. {_TEMPLATE}", check=validators.needed_template
    )
    text: str = _template("Text", "The text of the link; the address, if empty.")


@frozen(kw_only=True)
class ImageSettings:
    """An image that a rule adds."""

    src: str = setting(
        "Source",
        help=f"The address of the image, over https. {_TEMPLATE}",
        check=validators.needed_template,
    )
    href: str = _template("Address", "The page that a click opens.")
    alt: str = _template("Text", "The alternative text.")


@frozen(kw_only=True)
class TriggerSettings:
    """Which services an alert pages, how urgently, and with which texts."""

    services: tuple[str, ...] = _services()
    severity: str = setting(
        "Severity",
        help=f"The incident's severity: {', '.join(SEVERITIES)}; {DEFAULT_SEVERITY} means the "
        f"alert's own. {_TEMPLATE}",
        default=DEFAULT_SEVERITY,
        check=validators.severity,
    )
    event_actions: tuple[str, ...] = setting(
        "Event actions",
        help="Which events are sent: without trigger, no incident is opened; without acknowledge "
        "or resolve, a person does that at PagerDuty.",
        default=EVENT_ACTIONS,
        choices=EVENT_ACTIONS,
        least_items=1,
    )
    dedup_key: str = setting(
        "Dedup key",
        help=f"Which alerts share an incident: {ALERT_KEY}, {RULE_AND_ALERT_KEY}, or a template "
        "of values that stay the same from trigger to resolve. Alerts with the same result "
        "share an incident.",
        default=ALERT_KEY,
        check=validators.dedup_key,
    )
    summary: str = _replacement("Summary")
    source: str = _replacement("Source")
    component: str = _replacement("Component")
    group: str = _replacement("Group")
    class_: str = _replacement("Class")
    client: str = _template("Client", "The name of the monitoring program.")
    client_url: str = _template("Client URL", "Replaces the alert's own page.")
    details: Mapping[str, Json] = _details()
    links: tuple[LinkSettings, ...] = _added("Links")
    images: tuple[ImageSettings, ...] = _added("Images")
    missed: str = setting(
        "Missed problems",
        help="For a problem that ended before PagerDuty could be notified: page and say so, "
        "record a change event, or drop it.",
        default=PAGE,
        choices=(PAGE, CHANGE_EVENT, DROP),
    )

    @property
    def has_text(self) -> bool:
        """Whether it sets any text, which may differ from service to service."""
        texts = (self.summary, self.source, self.component, self.group, self.class_, self.client)
        more = (self.client_url, self.details, self.links, self.images)
        is_rendered = self.dedup_key not in (ALERT_KEY, RULE_AND_ALERT_KEY)
        return is_rendered or any(texts) or any(more)

    def faults(self) -> Iterator[Fault]:
        """Reject details without a name."""
        return validators.detail_names(self.details)


@frozen(kw_only=True)
class ChangeSettings:
    """With which services a change is recorded, and with which texts."""

    services: tuple[str, ...] = _services()
    statuses: tuple[str, ...] = setting(
        "Statuses",
        help="Which statuses of an alert are recorded. Firing is always one of them: without it, "
        "no later status is recorded.",
        default=(Status.FIRING.value,),
        choices=tuple(status.value for status in Status),
        least_items=1,
        check=validators.statuses,
    )
    summary: str = _replacement("Summary")
    source: str = _replacement("Source")
    details: Mapping[str, Json] = _details()
    links: tuple[LinkSettings, ...] = _added("Links")

    def faults(self) -> Iterator[Fault]:
        """Reject details without a name."""
        return validators.detail_names(self.details)
