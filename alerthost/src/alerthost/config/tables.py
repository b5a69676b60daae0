"""The tables of the configuration file, as classes of settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from alerthost.config.durations import duration_check
from hostspec.alert import Severity
from hostspec.errors import Fault
from hostspec.secret import REFERENCE_FORMS, Secret
from hostspec.settings import setting
from hostspec.text import is_loopback

_ADDRESS: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:\[\]/]+)):(?P<port>\d+)"
)
_ORIGIN: Final = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[^\s:/?#\[\]@]+)(?::\d+)?")
_HEARTBEAT_KEY: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_HIGHEST_PORT: Final = 65535


def _blank(text: str) -> str | None:
    return None if text.strip() else "is blank"


def account_name_fault(name: str) -> str | None:
    """Return why a text cannot be the name of an account; None if it can."""
    if "/" in name:
        return "has a /, which separates an account from its service; use another character"
    return _blank(name)


def _literal_secret(secret: Secret) -> str | None:
    if secret.reference is None:
        return f"must not be written here; use a reference: {REFERENCE_FORMS}"
    return None


def _public_url_fault(url: str) -> str | None:
    if url and not _ORIGIN.fullmatch(url):
        return "is not an address without a path; use for example https://alerts.example.org"
    return None


def _resolve_timeout_fault(timeout: str) -> str | None:
    if not timeout:
        return "is empty; use for example 5m"
    return duration_check(least="1m", most="365d")(timeout)


def _listen_fault(listen: str) -> str | None:
    if Address.read(listen) is None:
        return "is not HOST:PORT; use for example 127.0.0.1:9095 or [::1]:9095"
    return None


@attrs.frozen(kw_only=True)
class PluginsTable:
    """The table ``[plugins]``."""

    enabled: tuple[str, ...] = setting("Enabled", help="Names of plugins to load.", default=())


@attrs.frozen(kw_only=True)
class InstallationTable:
    """A table ``[[installations]]``."""

    provider: str = setting("Provider", help="The provider's name.")
    name: str = setting("Name", help="The name that rules use for it.", check=account_name_fault)
    settings: Mapping[str, Any] = setting(
        "Settings", help="The settings of the provider.", default={}
    )


@attrs.frozen(kw_only=True)
class RuleTable:
    """A table ``[[rules]]``."""

    name: str = setting("Name", help="The rule's name in logs and commands.", check=_blank)
    match: tuple[Any, ...] = setting(
        "Match",
        help='Matchers, such as team="data": all must match. Without any, every alert does.',
        default=(),
    )
    for_: str = setting(
        "For",
        help="Start the actions only for an alert that still fires after this long, such as 5m; "
        "empty for at once.",
        default="",
        check=duration_check(least="1s", most="1d", optional=True),
    )
    expire_after: str = setting(
        "Expire after",
        help="Resolve an alert that was not reported for this long, such as 1h30m; empty for never."
        " The expires_at of an alert takes precedence.",
        default="",
        check=duration_check(least="1m", most="365d", optional=True),
    )
    actions: tuple[Mapping[str, Any], ...] = setting(
        "Actions",
        help="The actions: each names an action (use) and an installation, and has its settings.",
        least_items=1,
    )
    resolve_unknown: bool = setting(
        "Resolve unknown",
        help="Send a resolve that matches although no incident is open here: for alerts that fire "
        "in one process, job or machine and are resolved by another one, each with a store or a "
        "memory of its own. At most every 5 minutes for one incident.",
        default=False,
    )


def _heartbeat_key_fault(key: str) -> str | None:
    if not _HEARTBEAT_KEY.fullmatch(key):
        return "is not a key; use up to 100 letters, digits and the characters . _ - :"
    return None


@attrs.frozen(kw_only=True)
class HeartbeatTable:
    """A table ``[[heartbeats]]``."""

    key: str = setting(
        "Key", help="Identifies the heartbeat, in commands and URLs.", check=_heartbeat_key_fault
    )
    every: str = setting(
        "Every",
        help="The longest time between two signs of life, such as 1h.",
        check=duration_check(least="10s", most="365d"),
    )
    grace: str = setting(
        "Grace",
        help="How late one may be, such as 5m.",
        default="1m",
        check=duration_check(least="1m", most="30d"),
    )
    severity: str = setting(
        "Severity",
        help="The severity of the alert about a missed heartbeat.",
        default="error",
        choices=tuple(Severity),
    )
    summary: str = setting(
        "Summary", help="The summary of that alert; by default it names the heartbeat.", default=""
    )
    scope: str = setting("Scope", help="The scope of that alert.", default="")
    labels: Mapping[str, str] = setting(
        "Labels", help="Labels of that alert, for the matchers of rules.", default={}
    )
    match: tuple[str, ...] = setting(
        "Match",
        help="Matchers of alerts that are signs of life while they fire, such as an always-firing "
        "Watchdog. Such an alert pages no one.",
        default=(),
    )

    @property
    def name(self) -> str:
        """The key, by which tables of one kind differ."""
        return self.key


@attrs.frozen(kw_only=True)
class StoreTable:
    """The table ``[store]``."""

    url: str = setting(
        "URL",
        help="The database: sqlite:///FILE, relative to this file, or postgresql://…",
        default="sqlite:///alerthost.db",
    )
    key: Secret | None = setting(
        "Key",
        help="The key that seals the secrets in the database, by reference; file:PATH is relative "
        "to this file. Create one with the command new-key.",
        default=None,
        check=_literal_secret,
    )
    keep_days: int = setting(
        "Kept",
        help="Days for which finished deliveries and resolved incidents are kept.",
        default=30,
        minimum=1,
        maximum=3650,
    )


@attrs.frozen(kw_only=True)
class DeliveryTable:
    """The table ``[delivery]``."""

    workers: int = setting(
        "Workers",
        help="The most deliveries that are sent at once: those wanted in a second, times the "
        "seconds that an answer takes.",
        default=8,
        minimum=1,
        maximum=256,
    )


@attrs.frozen(kw_only=True)
class SpoolTable:
    """The table ``[spool]``."""

    path: str = setting(
        "Path",
        help="The folder in which clients on this machine leave alerts, relative to this file. "
        "Empty for none. alerthost run accepts them.",
        default="",
    )


@attrs.frozen
class Address:
    """An address to listen on.

    Attributes:
        host: an address or a name; an IPv6 address without its brackets.
        port: 0 for a free one.
    """

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Address | None:
        """Parse ``HOST:PORT``; return None if the text is not one."""
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found["port"]) > _HIGHEST_PORT:
            return None
        return cls(found["ipv6"] or found["name"], int(found["port"]))

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address."""
        return ":" in self.host

    @property
    def is_local(self) -> bool:
        """Whether the host is a loopback address."""
        return is_loopback(self.host.casefold())

    def url(self, port: int) -> str:
        """Return the URL with the port that was bound."""
        return f"http://[{self.host}]:{port}" if self.is_ipv6 else f"http://{self.host}:{port}"


@attrs.frozen(kw_only=True)
class HttpTable:
    """The table ``[http]``."""

    listen: str = setting(
        "Listen",
        help="The address to listen on, HOST:PORT. An address beyond this machine needs a token.",
        default="127.0.0.1:9095",
        check=_listen_fault,
    )
    token: Secret | None = setting(
        "Token",
        help="The token that clients send as Authorization: Bearer, or as the password of Basic, "
        "by reference; file:PATH is relative to this file. Operators sign in to the console with "
        "it. Without a token, any local process may post, and act in the console.",
        default=None,
        check=_literal_secret,
    )
    viewer_token: Secret | None = setting(
        "Viewer token",
        help="A second token, by reference, for viewers of the console: they see everything and "
        "change nothing. It posts no alerts.",
        default=None,
        check=_literal_secret,
    )
    console: bool = setting(
        "Console", help="Serve the web pages of the console, at /console/.", default=True
    )
    public_url: str = setting(
        "Public URL",
        help="The address at which browsers reach this process, such as "
        "https://alerts.example.org behind a reverse proxy. With https, the console's cookie is "
        "sent over https only.",
        default="",
        check=_public_url_fault,
    )
    largest_body: int = setting(
        "Largest body",
        help="The limit of bytes in a request.",
        default=32 * 1024 * 1024,
        minimum=1024,
        maximum=256 * 1024 * 1024,
    )
    most_alerts: int = setting(
        "Most alerts",
        help="The limit of alerts in a request. Set Alertmanager's max_alerts below it, or use "
        "smaller groups.",
        default=5_000,
        minimum=1,
        maximum=100_000,
    )
    resolve_timeout: str = setting(
        "Resolve timeout",
        help="How long an alert posted to Alertmanager's API fires if it has no endsAt and is not "
        "posted again, such as 5m.",
        default="5m",
        check=_resolve_timeout_fault,
    )
    most_connections: int = setting(
        "Most connections",
        help="The limit of open connections; lower if the process may open few files. At the "
        "limit, a new connection replaces the one that is idle longest.",
        default=256,
        minimum=4,
    )
    backlog: int = setting(
        "Backlog",
        help="The limit of queued submissions and deliveries; beyond it new alerts are rejected "
        "for a while. Each scope and destination may use half, and a quarter is reserved for "
        "critical alerts and resolves.",
        default=100_000,
        minimum=1,
    )

    def faults(self) -> Iterator[Fault]:
        """Yield a fault if anyone on the network could post, or a viewer could act."""
        address = Address.read(self.listen)
        if address and self.token is None and not address.is_local:
            reason = "is beyond this machine; set a token too, or listen on 127.0.0.1"
            yield Fault("listen", reason)
        if self.viewer_token is not None and self.token is None:
            reason = "does not limit anyone without a token; set token too"
            yield Fault("viewer_token", reason)
        elif self.viewer_token is not None and self.viewer_token == self.token:
            yield Fault("viewer_token", "is the same as token; use another one")

    @property
    def address(self) -> Address:
        """The address to listen on."""
        address = Address.read(self.listen)
        assert address is not None  # noqa: S101 -- `listen` was checked
        return address
