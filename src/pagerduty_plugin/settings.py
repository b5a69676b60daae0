"""The configuration schema: what an installation and an action can be told."""

from __future__ import annotations

import ipaddress
import re
import types
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import attrs

from hostspec import Fault, Json, Operation, Secret, Status, setting
from hostspec.errors import FaultsError
from hostspec.normalisation import FrozenDict
from hostspec.text import is_loopback
from pagerduty_plugin import templates

BASE_URLS: Final = {
    "us": "https://events.pagerduty.com",
    "eu": "https://events.eu.pagerduty.com",
}
"""The Events API by service region (support page "Service Regions")."""

REST_URLS: Final = {
    "us": "https://api.pagerduty.com",
    "eu": "https://api.eu.pagerduty.com",
}
"""The REST API by service region (support page "Service Regions")."""

PROVIDER: Final = "pagerduty"
"""The name of the provider."""

SEVERITIES: Final = ("critical", "error", "warning", "info")
"""The severities of the Events API v2 (guide "Send an Alert Event")."""

AUTO: Final = "auto"
"""Stands for the kind of token that its length tells."""

ACCOUNT_TOKEN_LENGTH: Final = 20
"""Characters of an account's REST API key; nowhere promised, but so in PagerDuty's examples."""

DEFAULT_SEVERITY: Final = "default"
"""Stands for the alert's own severity."""

DIRECT: Final = "direct"
"""Stands in a proxy's place for none."""

EVENT_ACTIONS: Final = (
    Operation.TRIGGER.value,
    Operation.ACKNOWLEDGE.value,
    Operation.RESOLVE.value,
)
"""What PagerDuty calls ``event_action``."""

ALERT_KEY: Final = "alert"
"""One incident for each problem, whichever rules page for it."""

RULE_AND_ALERT_KEY: Final = "rule and alert"
"""One incident for each problem and rule."""

PAGE: Final = "page"
"""Of a missed problem: notify somebody all the same."""

CHANGE_EVENT: Final = "change-event"
"""Of a missed problem: record it as a change, which notifies nobody."""

DROP: Final = "drop"
"""Of a missed problem: tell nobody."""

EVENTS_PER_MINUTE: Final = 120
"""Events an integration key takes (guide "Rate Limits", "about 120 a minute")."""

MOST_EVENTS_PER_MINUTE: Final = 10_000
"""Events that an account may have agreed upon with PagerDuty, at most."""


def _base_url_fault(url: str) -> str | None:
    return _url_fault(url, "the Events API", BASE_URLS["us"])


def _install_url_fault(url: str) -> str | None:
    return _url_fault(url, "PagerDuty", "https://app.pagerduty.com")


def _api_url_fault(url: str) -> str | None:
    return _url_fault(url, "the REST API", REST_URLS["us"])


def _url_fault(url: str, whose: str, example: str) -> str | None:
    if not url:
        return None
    if "@" in url:  # before anything that would show the address
        return f"holds a user name or password (an @); {whose} takes none"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        return f"{url!r} is no URL: {error}"
    if parts.scheme not in ("http", "https") or not _is_host(host) or _BLANK.search(url):
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


def _region_fault(
    region: str,
    base_url: str,
    path: str = "base_url",
    base_urls: Mapping[str, str] = types.MappingProxyType(BASE_URLS),
) -> Iterator[Fault]:
    """Refuse the address of one region beside the name of another."""
    for other, url in base_urls.items():
        if other != region and base_url.rstrip("/").lower() == url:
            reason = f"{base_url!r} is of the region {other!r}; give region = {other!r} instead"
            yield Fault(path, reason)


def proxy_fault(proxy: str) -> str | None:
    """Return why a text is no setting of a proxy, without the text; None where it is one."""
    if proxy == DIRECT:
        return None
    reason = proxy_url_fault(proxy)
    return f"{reason}; or {DIRECT!r} for none" if reason else None


def proxy_url_fault(proxy: str) -> str | None:
    """Return why a text is no URL of a proxy, without the text, which may hold a password."""
    try:
        parts = urlsplit(proxy)
        _ = parts.port
        unquote(parts.netloc.rpartition("@")[0]).encode("latin-1")  # as HTTP carries it
    except ValueError:
        parts = urlsplit("")
    more = parts.path.strip("/") or parts.query or parts.fragment or _BLANK.search(proxy)
    if parts.scheme in ("http", "https") and _is_host(parts.hostname or "") and not more:
        return None
    return (
        "is not the URL of an http or https proxy; use "
        "'http://user:password@proxy.example:3128', with special characters of user and password "
        "percent-encoded ('#' as '%23')"
    )


_HOST: Final = re.compile(r"[\w-]+(\.[\w-]+)*\.?")


def _is_host(host: str) -> bool:
    """Check that the host of a URL is a name or an address."""
    try:
        host.encode("idna")
        return bool(ipaddress.ip_address(host) if ":" in host else _HOST.fullmatch(host))
    except ValueError:
        return False


def _given_proxy_fault(proxy: Secret) -> str | None:
    """Check a proxy that was given as itself; a reference is read when it is used."""
    return None if proxy.reference else proxy_fault(proxy.reveal())


def _path_fault(path: str) -> str | None:
    return "holds a NUL, which no path does" if "\0" in path else None


def _blank(text: str) -> str | None:
    return None if text.strip() else "is blank"


def _needed_template_fault(text: str) -> str | None:
    return _blank(text) or templates.fault(text)


def _dedup_key_fault(text: str) -> str | None:
    if text in (ALERT_KEY, RULE_AND_ALERT_KEY):
        return None
    if "{{" not in text:
        return (
            f"is none of the strategies; right would be {ALERT_KEY!r}, {RULE_AND_ALERT_KEY!r} "
            "or a template such as '{{ labels.cluster }}/{{ key }}'"
        )
    return templates.fault(text, templates.STEADY_NAMES)


_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")
"""No slash, which ends it; and short, for a dedup key has 255 characters."""


def _dedup_prefix_fault(prefix: str) -> str | None:
    if _PREFIX.fullmatch(prefix):
        return None
    return (
        f"{prefix!r} is no prefix; right would be 'production': letters, digits, dots, hyphens "
        "and underscores, 64 at most"
    )


_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
"""A DNS label (RFC 1123), which a subdomain is."""

_APP_ID: Final = re.compile(r"[A-Za-z0-9]+")


def account_fault(account: str) -> str | None:
    """Describe why a text is no account's subdomain; None where it is, or is empty."""
    if not account or _LABEL.fullmatch(account):
        return None
    return (
        f"{account!r} is no subdomain; right would be 'acme' of https://acme.pagerduty.com: "
        "letters, digits and inner hyphens, 63 at most"
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
    former_names: tuple[str, ...] = setting(
        "Former names",
        help="What it was called before; rules that name it so still page it.",
        default=(),
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

    @property
    def names(self) -> tuple[str, ...]:
        """Whatever a rule may call it, the id first."""
        return (self.destination, self.name, *self.former_names)


@attrs.frozen(kw_only=True)
class NewService:
    """What a person says of a service that is added by hand."""

    name: str = setting("Service", help="What rules call the service.", check=_blank)
    integration_key: Secret = setting(
        "Integration key",
        help="The service's Events API v2 key, 32 letters and digits: from its Integrations.",
    )


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


def _proxy_fault(
    network: NetworkSettings, url: str, read: str = "the events", label: str = "base URL"
) -> Iterator[Fault]:
    """Refuse a proxy between here and a plain http address, which would read along."""
    if url.lower().startswith("http:") and network.proxy not in (None, Secret(DIRECT)):
        reason = f"would read {read}, for the {label} is not encrypted; give {DIRECT!r}"
        yield Fault("network.proxy", reason)


def _dedup_prefix() -> Any:
    return setting(
        "Dedup prefix",
        help="Stands before every dedup key, and keeps two hosts apart whose alerts have the "
        "same keys and that share an integration key.",
        default="",
        check=_dedup_prefix_fault,
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
    dedup_prefix: str = _dedup_prefix()
    rate_limit: int = setting(
        "Rate limit",
        help="Events that PagerDuty takes of an integration key in a minute. A host keeps a few "
        "of them free.",
        default=EVENTS_PER_MINUTE,
        minimum=1,
        maximum=MOST_EVENTS_PER_MINUTE,
    )
    removed_services: tuple[str, ...] = setting(
        "Removed services",
        help="Names and ids of services that were here once; a rule that names one of them "
        "beside others goes on without it.",
        default=(),
    )

    @property
    def events_url(self) -> str:
        """The base URL of the Events API for this account."""
        return self.base_url.rstrip("/") or BASE_URLS[self.region]

    def service(self, named: str) -> ServiceSettings | None:
        """Find a service by its id, its name, or else a name it had before."""
        return next(
            (service for service in self.services if named in (service.destination, service.name)),
            next((service for service in self.services if named in service.former_names), None),
        )

    def with_services(self, services: Iterable[ServiceSettings]) -> InstallationSettings:
        """Put other services in place of those there are, so that rules go on.

        A service that was renamed keeps its former name, and one that is gone leaves its names
        under the removed ones, until another service takes them.
        """
        before = {service.destination: service for service in self.services}
        services = tuple(services)
        taken = {name for each in services for name in (each.destination, each.name)}
        kept = []
        for service in services:
            known = before.pop(service.destination, service)
            former = dict.fromkeys((*service.former_names, known.name))
            names = tuple(name for name in former if name not in taken)
            taken.update(names)
            kept.append(attrs.evolve(service, former_names=names))
        gone = (name for service in before.values() for name in service.names)
        removed = dict.fromkeys((*self.removed_services, *gone))
        return attrs.evolve(
            self,
            services=tuple(kept),
            removed_services=tuple(name for name in removed if name not in taken),
        )

    def faults(self) -> Iterator[Fault]:
        """Refuse what contradicts itself.

        Two services of one name or id, also where one's name is the other's id; an address of
        another region; and a proxy between here and a plain http address, which would read along.
        """
        yield from _region_fault(self.region, self.base_url)
        yield from _proxy_fault(self.network, self.base_url)
        names = Counter(service.name for service in self.services)
        ids = Counter(service.destination for service in self.services)
        for index, service in enumerate(self.services):
            if names[service.name] > 1:
                yield Fault(f"services[{index}].name", f"{service.name!r} is there twice")
            elif ids[service.name] and service.destination != service.name:
                yield Fault(f"services[{index}].name", f"{service.name!r} is the id of another")
            if service.id and ids[service.id] > 1:
                yield Fault(f"services[{index}].id", f"{service.id!r} is there twice")
            for place, name in enumerate(service.former_names):
                if any(name in other.names for other in self.services if other is not service):
                    path = f"services[{index}].former_names[{place}]"
                    yield Fault(path, f"{name!r} means another service too")


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
    dedup_prefix: str = _dedup_prefix()

    def faults(self) -> Iterator[Fault]:
        """Refuse an account that no address would name, and an address of another region."""
        yield from _region_fault(self.region, self.base_url)
        if self.account and self.install_url:
            yield Fault("account", "has no place in an install URL; leave one of both out")


_TEMPLATE: Final = "May be a template."
"""Said in the help of every text that may be one."""


@attrs.frozen(kw_only=True)
class LinkSettings:
    """A link that a rule adds."""

    href: str = setting(
        "Address", help=f"Where it leads. {_TEMPLATE}", check=_needed_template_fault
    )
    text: str = setting(
        "Text",
        help=f"What it says; the address, if empty. {_TEMPLATE}",
        default="",
        check=templates.fault,
    )


@attrs.frozen(kw_only=True)
class ImageSettings:
    """A picture that a rule adds."""

    src: str = setting(
        "Source",
        help=f"Where the picture is, over https. {_TEMPLATE}",
        check=_needed_template_fault,
    )
    href: str = setting(
        "Address",
        help=f"Where a click on it leads. {_TEMPLATE}",
        default="",
        check=templates.fault,
    )
    alt: str = setting(
        "Text",
        help=f"What stands in its place. {_TEMPLATE}",
        default="",
        check=templates.fault,
    )


def _services() -> Any:
    return setting(
        "Services",
        help="Names or ids of services of the installation.",
        least_items=1,
        destinations=True,
    )


def _instead(label: str) -> Any:
    return setting(
        label, help=f"In place of the alert's. {_TEMPLATE}", default="", check=templates.fault
    )


def _details() -> Any:
    return setting(
        "Details",
        help="Added to the alert's, by name. Values may be nested; every text may be a template, "
        "and one that consists of a single expression keeps the type of its value.",
        default=FrozenDict(),
        check=_check_detail,
    )


def _check_detail(value: Json) -> None:
    """Check the templates in a detail.

    Raises:
        FaultsError: some cannot be used; each fault has the path within the detail.
    """
    if faults := tuple(_template_faults("", value)):
        raise FaultsError(faults)


def _template_faults(path: str, value: Json) -> Iterator[Fault]:
    match value:
        case str():
            if reason := templates.fault(value):
                yield Fault(path, reason)
        case Mapping():
            for name, each in value.items():
                yield from _template_faults(f"{path}.{name}" if path else name, each)
        case tuple():
            for index, each in enumerate(value):
                yield from _template_faults(f"{path}[{index}]", each)


def _severity_fault(text: str) -> str | None:
    known = (DEFAULT_SEVERITY, *SEVERITIES)
    if text in known or "{{" in text or "{%" in text:
        return templates.fault(text)
    word = repr(text) if len(text) <= max(map(len, known)) else "this"  # which may be a secret
    return f"{word} is unknown; known are {', '.join(known)}, or a template"


def _links() -> Any:
    return setting("Links", help="Added to the alert's.", default=())


def _beginning_fault(statuses: Sequence[str]) -> str | None:
    """Refuse changes that nothing would begin."""
    return None if Status.FIRING in statuses else f"must hold {Status.FIRING.value!r}"


def _nameless_faults(details: Mapping[str, Json]) -> Iterator[Fault]:
    if not all(name.strip() for name in details):
        yield Fault("details", "has an entry without a name")


@attrs.frozen(kw_only=True)
class DiscoverySettings:
    """What has to be known to list an account's services."""

    token: Secret = setting(
        "API token",
        help="A token of PagerDuty's REST API that may read services, and write them if an "
        "integration has to be created: an account's API key, or an OAuth token. By reference: "
        "env:NAME, file:PATH or keyring:SERVICE/NAME.",
    )
    token_kind: str = setting(
        "Kind of token",
        help=f"{AUTO} means: of the account if it has {ACCOUNT_TOKEN_LENGTH} characters, else "
        "OAuth.",
        default=AUTO,
        choices=(AUTO, "account", "oauth"),
    )
    region: str = setting(
        "Service region",
        help="Where the account lives.",
        default="us",
        choices=tuple(REST_URLS),
    )
    query: str = setting(
        "Query", help="List only services whose name holds this; all, if empty.", default=""
    )
    integration_name: str = setting(
        "Integration name",
        help="What PagerDuty calls an integration that is created.",
        default="pagerduty-plugin",
        check=_blank,
    )
    api_url: str = setting(
        "API URL",
        help="Another address of the REST API; stands in the region's place.",
        default="",
        check=_api_url_fault,
    )
    base_url: str = setting(
        "Base URL",
        help="Another address of the Events API, for the installation.",
        default="",
        check=_base_url_fault,
    )

    network: NetworkSettings = setting(
        "Network",
        help="The way out, and how long a call may take; for the installation too.",
        default=NetworkSettings(),
    )
    dedup_prefix: str = _dedup_prefix()

    def faults(self) -> Iterator[Fault]:
        """Refuse an address of another region, and a proxy that would read along."""
        yield from _region_fault(self.region, self.base_url)
        yield from _region_fault(self.region, self.api_url, "api_url", REST_URLS)
        yield from _proxy_fault(self.network, self.base_url)
        yield from _proxy_fault(self.network, self.api_url, "the token", "API URL")

    @property
    def rest_url(self) -> str:
        """The base URL of the REST API for this account."""
        return self.api_url.rstrip("/") or REST_URLS[self.region]


@attrs.frozen(kw_only=True)
class TriggerSettings:
    """Whom an alert pages, how urgently, and in which words."""

    services: tuple[str, ...] = _services()
    severity: str = setting(
        "Severity",
        help=f"The incident's severity: {', '.join(SEVERITIES)}; {DEFAULT_SEVERITY} means the "
        f"alert's own. {_TEMPLATE}",
        default=DEFAULT_SEVERITY,
        check=_severity_fault,
    )
    event_actions: tuple[str, ...] = setting(
        "Event actions",
        help="What PagerDuty is told: without trigger nothing is opened; without acknowledge or "
        "resolve a person at PagerDuty does that.",
        default=EVENT_ACTIONS,
        choices=EVENT_ACTIONS,
        least_items=1,
    )
    dedup_key: str = setting(
        "Dedup key",
        help=f"What makes one incident: {ALERT_KEY}, {RULE_AND_ALERT_KEY}, or a template of what "
        "stays the same from trigger to resolve. Alerts that come to the same text share an "
        "incident.",
        default=ALERT_KEY,
        check=_dedup_key_fault,
    )
    summary: str = _instead("Summary")
    source: str = _instead("Source")
    component: str = _instead("Component")
    group: str = _instead("Group")
    class_: str = _instead("Class")
    client: str = setting(
        "Client",
        help=f"What PagerDuty calls the host that watches. {_TEMPLATE}",
        default="",
        check=templates.fault,
    )
    client_url: str = setting(
        "Client URL",
        help=f"In place of the alert's own page. {_TEMPLATE}",
        default="",
        check=templates.fault,
    )
    details: Mapping[str, Json] = _details()
    links: tuple[LinkSettings, ...] = _links()
    images: tuple[ImageSettings, ...] = setting("Images", help="Added to the alert's.", default=())
    missed: str = setting(
        "Missed problems",
        help="What becomes of a problem that was over before PagerDuty could be told: page "
        "somebody and say so, record a change event, or drop it.",
        default=PAGE,
        choices=(PAGE, CHANGE_EVENT, DROP),
    )

    @property
    def has_words(self) -> bool:
        """Whether it says anything itself, which may be something else for each service."""
        return bool(
            self.summary
            or self.source
            or self.component
            or self.group
            or self.class_
            or self.client
            or self.client_url
            or self.details
            or self.links
            or self.images
            or self.dedup_key not in (ALERT_KEY, RULE_AND_ALERT_KEY)
        )

    def faults(self) -> Iterator[Fault]:
        """Refuse details without a name."""
        return _nameless_faults(self.details)


@attrs.frozen(kw_only=True)
class ChangeSettings:
    """With which services a change is recorded, and in which words."""

    services: tuple[str, ...] = _services()
    statuses: tuple[str, ...] = setting(
        "Statuses",
        help="Which of an alert's are recorded. What was not recorded as firing is not recorded "
        "later, so firing is always one of them.",
        default=(Status.FIRING.value,),
        choices=tuple(status.value for status in Status),
        least_items=1,
        check=_beginning_fault,
    )
    summary: str = _instead("Summary")
    source: str = _instead("Source")
    details: Mapping[str, Json] = _details()
    links: tuple[LinkSettings, ...] = _links()

    def faults(self) -> Iterator[Fault]:
        """Refuse details without a name."""
        return _nameless_faults(self.details)
