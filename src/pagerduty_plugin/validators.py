"""Checks of single settings, and of settings that contradict each other. Pure.

A check returns the reason why a value is invalid, or None. No reason contains a secret.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from hostspec import Fault, Json, Secret, Status
from hostspec.errors import FaultsError
from hostspec.text import is_loopback
from pagerduty_plugin import templates
from pagerduty_plugin.constants import (
    ALERT_KEY,
    BASE_URLS,
    DEFAULT_SEVERITY,
    DIRECT,
    REST_URLS,
    RULE_AND_ALERT_KEY,
    SEVERITIES,
)

if TYPE_CHECKING:
    from pagerduty_plugin.settings import NetworkSettings, ServiceSettings

_ENQUEUE: Final = re.compile(r"/v2/(change/)?enqueue/?$")
"""The path of the Events API, which other senders expect in the configured address."""

_NEVER_IN_URL: Final = re.compile(r"[\s\x00-\x1f\\]")
"""Characters that are invalid in a URL, though some parsers skip them."""

_HOST: Final = re.compile(r"[\w-]+(\.[\w-]+)*\.?")

_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")
"""Without a slash, which separates the prefix from the key; short, as a dedup key has 255
characters."""

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
"""A DNS label (RFC 1123), which a subdomain is."""

_APP_ID: Final = re.compile(r"[A-Za-z0-9]+")


def not_blank(text: str) -> str | None:
    """Check that a text is not blank."""
    return None if text.strip() else "is blank"


def _base_url(url: str, *, service: str, example: str) -> str | None:
    """Check a base URL, if there is one."""
    if not url:
        return None
    if "@" in url:  # before any reason that quotes the URL
        return f"contains a user name or password (an @); {service} takes none"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        return f"{url!r} is not a valid URL: {error}"
    if parts.scheme not in ("http", "https") or not _is_host(host) or _NEVER_IN_URL.search(url):
        return f"{url!r} is not a base URL; use one like {example!r}"
    if parts.scheme == "http" and not is_loopback(host):
        return f"{url!r} is not encrypted; use https://, or a loopback address"
    base = _ENQUEUE.sub("", url)
    if base != url:
        return f"{url!r} includes the path of the Events API; use {base!r}"
    if "?" in url or "#" in url:
        return f"{url!r} has a query or fragment; use a base URL without them"
    return None


events_url = functools.partial(_base_url, service="the Events API", example=BASE_URLS["us"])
rest_url = functools.partial(_base_url, service="the REST API", example=REST_URLS["us"])
pages_url = functools.partial(_base_url, service="PagerDuty", example="https://app.pagerduty.com")


def _is_host(host: str) -> bool:
    try:
        host.encode("idna")
        return bool(ipaddress.ip_address(host) if ":" in host else _HOST.fullmatch(host))
    except ValueError:
        return False


def region(
    name: str, url: str, path: str = "base_url", urls: Mapping[str, str] = BASE_URLS
) -> Iterator[Fault]:
    """Check that an address is not that of another region."""
    for other, regional in urls.items():
        if other != name and url.rstrip("/").lower() == regional:
            reason = f"{url!r} belongs to the region {other!r}; use region = {other!r} instead"
            yield Fault(path, reason)


def proxy(text: str) -> str | None:
    """Check a configured proxy: its URL, or the word for none."""
    if text == DIRECT:
        return None
    reason = proxy_url(text)
    return f"{reason}; or {DIRECT!r} for none" if reason else None


def proxy_url(text: str) -> str | None:
    """Check the URL of a proxy; the reason does not quote it, as it may contain a password."""
    try:
        parts = urlsplit(text)
        _ = parts.port
        unquote(parts.netloc.rpartition("@")[0]).encode("latin-1")  # as HTTP sends it
    except ValueError:
        parts = urlsplit("")
    more = parts.path.strip("/") or parts.query or parts.fragment or _NEVER_IN_URL.search(text)
    if parts.scheme in ("http", "https") and _is_host(parts.hostname or "") and not more:
        return None
    return (
        "is not the URL of an http or https proxy; use "
        "'http://user:password@proxy.example:3128', with special characters of user and password "
        "percent-encoded ('#' as '%23')"
    )


def plain_proxy(secret: Secret) -> str | None:
    """Check a proxy that is given literally; a reference is resolved when it is used."""
    return None if secret.reference else proxy(secret.reveal())


def unencrypted_proxy(
    network: NetworkSettings, url: str, content: str = "the events", label: str = "base URL"
) -> Iterator[Fault]:
    """Check that no proxy is configured for a plain http address: it could read the traffic."""
    if url.lower().startswith("http:") and network.proxy not in (None, Secret(DIRECT)):
        reason = f"could read {content}: the {label} is not encrypted; use {DIRECT!r}"
        yield Fault("network.proxy", reason)


def path(text: str) -> str | None:
    """Check the path of a file."""
    return "contains a NUL, which is invalid in a path" if "\0" in text else None


def needed_template(text: str) -> str | None:
    """Check a template that must not be blank."""
    return not_blank(text) or templates.fault(text)


def detail(value: Json) -> None:
    """Check the templates in a detail.

    Raises:
        FaultsError: a template is invalid; each fault has the path within the detail.
    """
    if faults := tuple(_template_faults("", value)):
        raise FaultsError(faults)


def _template_faults(at: str, value: Json) -> Iterator[Fault]:
    match value:
        case str():
            if reason := templates.fault(value):
                yield Fault(at, reason)
        case Mapping():
            for name, each in value.items():
                yield from _template_faults(f"{at}.{name}" if at else name, each)
        case tuple():
            for index, each in enumerate(value):
                yield from _template_faults(f"{at}[{index}]", each)


def detail_names(details: Mapping[str, Json]) -> Iterator[Fault]:
    """Check that every detail has a name."""
    if not all(name.strip() for name in details):
        yield Fault("details", "has an entry without a name")


def severity(text: str) -> str | None:
    """Check the severity of a rule: one of PagerDuty's, the word for the alert's, a template."""
    known = (DEFAULT_SEVERITY, *SEVERITIES)
    if text in known or "{{" in text or "{%" in text:
        return templates.fault(text)
    # a longer text may be a secret
    word = repr(text) if len(text) <= max(map(len, known)) else "this"
    return f"{word} is unknown; known are {', '.join(known)}, or a template"


def dedup_key(text: str) -> str | None:
    """Check the dedup key of a rule: a strategy, or a template of names that stay the same."""
    if text in (ALERT_KEY, RULE_AND_ALERT_KEY):
        return None
    if "{{" not in text:
        return (
            f"is not a known strategy; use {ALERT_KEY!r}, {RULE_AND_ALERT_KEY!r} or a template "
            "such as '{{ labels.cluster }}/{{ key }}'"
        )
    return templates.fault(text, templates.STEADY_NAMES)


def dedup_prefix(prefix: str) -> str | None:
    """Check the prefix of all dedup keys."""
    if _PREFIX.fullmatch(prefix):
        return None
    return (
        f"{prefix!r} is not a valid prefix; use at most 64 letters, digits, dots, hyphens and "
        "underscores, such as 'production'"
    )


def subdomain(text: str) -> str | None:
    """Check the subdomain of an account, if there is one."""
    if not text or _LABEL.fullmatch(text):
        return None
    return (
        f"{text!r} is not a valid subdomain; use at most 63 letters, digits and inner hyphens, "
        "such as 'acme' of https://acme.pagerduty.com"
    )


def app_id(text: str) -> str | None:
    """Check the id of a PagerDuty app."""
    if _APP_ID.fullmatch(text):
        return None
    return f"{text!r} is not an app id; use the one on the app's page, such as 'PABC123'"


def statuses(chosen: Sequence[str]) -> str | None:
    """Check that a change is recorded when it begins."""
    return None if Status.FIRING in chosen else f"must contain {Status.FIRING.value!r}"


def services(configured: Sequence[ServiceSettings]) -> Iterator[Fault]:
    """Check that names, ids and former names of services are unique."""
    names = Counter(service.name for service in configured)
    ids = Counter(service.destination for service in configured)
    for index, service in enumerate(configured):
        at = f"services[{index}]"
        if names[service.name] > 1:
            yield Fault(f"{at}.name", f"{service.name!r} is used twice")
        elif ids[service.name] and service.destination != service.name:
            yield Fault(f"{at}.name", f"{service.name!r} is the id of another service")
        if service.id and ids[service.id] > 1:
            yield Fault(f"{at}.id", f"{service.id!r} is used twice")
        for number, name in enumerate(service.former_names):
            if any(name in other.names for other in configured if other is not service):
                reason = f"{name!r} also names another service"
                yield Fault(f"{at}.former_names[{number}]", reason)
