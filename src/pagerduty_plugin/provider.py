"""The provider: PagerDuty, and how an account of it is connected.

In a browser, by PagerDuty's Simple Install Flow (guide "Events Integration Functionality"): a
person picks services at PagerDuty, which sends the browser back with an integration key for each.
With a token of the REST API, by discovery (`pagerduty_plugin.installation.discovery`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import attrs

from hostspec import Destination, Fault, Installation, Provider, Secret, SecretUnavailableError
from hostspec.connect import Connected, InstallError, InstallFlow, InstallProblem, Skipped
from hostspec.demo import Demo
from hostspec.settings import secrets
from hostspec.text import clean_text
from pagerduty_plugin.http.network import Surroundings, network_faults
from pagerduty_plugin.installation.discovery import ServiceDiscovery
from pagerduty_plugin.installation.merge import Granted, merge, told
from pagerduty_plugin.installation.service_table import ServiceTable, new_id, shared_keys
from pagerduty_plugin.keys import routing_key_fault
from pagerduty_plugin.settings import (
    PROVIDER,
    InstallationSettings,
    InstallFlowSettings,
    ServiceSettings,
    account_fault,
)

_DOMAINS: Final = {"us": "pagerduty.com", "eu": "eu.pagerduty.com"}
"""PagerDuty's pages by service region (support page "Service Regions"). That the install page is
there for the EU too is not documented."""

_USABLE: Final = "service"
"""The type of the keys that page a service. The guide names the others in two ways, and says that
there may be more."""


class PagerDuty(Provider[InstallationSettings]):
    """PagerDuty, reached with the integration keys of an account's services."""

    name = PROVIDER
    label = "PagerDuty"
    settings = InstallationSettings

    def destinations(
        self, installation: Installation[InstallationSettings]
    ) -> Sequence[Destination]:
        """Return the services of an account."""
        return [
            Destination(service.destination, service.name, _page(installation.settings, service))
            for service in installation.settings.services
        ]

    def check(self, installation: Installation[InstallationSettings]) -> Sequence[Fault]:
        """Describe which integration keys, proxy and TLS files cannot be read or used."""
        faults = []
        for path, key in secrets(installation.settings.services, "services"):
            try:
                reason = routing_key_fault(key.reveal())
            except SecretUnavailableError as error:
                reason = str(error)
            if reason:
                faults.append(Fault(path, reason))
        settings = installation.settings
        way = network_faults(settings.events_url, settings.network, Surroundings.read(os.environ))
        return [*faults, *(fault.below("network") for fault in way)]

    def notes(self, installations: Sequence[Installation[InstallationSettings]]) -> Sequence[str]:
        """Describe which services share an integration key."""
        return [
            f"{' and '.join('/'.join(place) for place in shared.places)} have the same "
            "integration key: a problem that both are told of is one incident at PagerDuty, and "
            "the first resolve closes it"
            for shared in shared_keys(installations)
        ]

    def table(self) -> ServiceTable:
        """Offer the service table."""
        return ServiceTable()

    def install_flow(self) -> PagerDutyInstallFlow:
        """Offer PagerDuty's Simple Install Flow."""
        return PagerDutyInstallFlow()

    def discovery(self) -> ServiceDiscovery:
        """Offer to list the account's services by PagerDuty's REST API."""
        return ServiceDiscovery()

    def demo(self) -> Demo:
        """Offer a fake PagerDuty on loopback."""
        # a web server of no use to those who only send
        from pagerduty_plugin.testing.demo import PagerDutyDemo  # noqa: PLC0415

        return PagerDutyDemo()


def _page(settings: InstallationSettings, service: ServiceSettings) -> str:
    """Return the page of a service, where account and id are known."""
    if not (settings.subdomain and service.pagerduty_id):
        return ""
    domain = f"{settings.subdomain.lower()}.{_DOMAINS[settings.region]}"
    return f"https://{domain}/service-directory/{quote(service.pagerduty_id, safe='')}"


@attrs.frozen
class _Answer:
    """What the callback brought, read but not used yet."""

    name: str
    subdomain: str
    granted: tuple[Granted, ...]
    left_aside: tuple[Skipped, ...]


class PagerDutyInstallFlow(InstallFlow[InstallFlowSettings, InstallationSettings]):
    """PagerDuty's Simple Install Flow.

    Args:
        make_id: makes the id of a new service.
    """

    provider = PagerDuty.name
    settings = InstallFlowSettings

    def __init__(self, make_id: Callable[[], str] = new_id) -> None:
        self._make_id = make_id

    def address(self, redirect_url: str, settings: InstallFlowSettings) -> str:
        """Return PagerDuty's page on which services are picked."""
        domain = f"{settings.account.lower() or 'app'}.{_DOMAINS[settings.region]}"
        base = settings.install_url.rstrip("/") or f"https://{domain}"
        query = {"app_id": settings.app_id, "redirect_url": redirect_url, "version": "2"}
        return f"{base}/install/integration?{urlencode(query)}"

    def connect(
        self,
        parameters: Mapping[str, str],
        settings: InstallFlowSettings,
        installations: Iterable[Installation[Any]],
    ) -> Connected[InstallationSettings]:
        """Make or extend an installation by the services that PagerDuty granted.

        The secrets of the installations given are read, to know a key again.

        Raises:
            InstallError: PagerDuty sent no configuration, none that can be read, or no usable key.
        """
        answer = _read(parameters)
        wanted = InstallationSettings(
            region=settings.region,
            base_url=settings.base_url,
            services=(),
            subdomain=answer.subdomain,
            dedup_prefix=settings.dedup_prefix,
        )
        connected = merge(
            answer.granted, wanted, installations, name=answer.name, make_id=self._make_id
        )
        notes = connected.notes
        if settings.account and answer.subdomain not in ("", settings.account.lower()):
            notes += (f"You asked for the account {settings.account}; this is {answer.subdomain}.",)
        return attrs.evolve(connected, notes=notes, left_aside=answer.left_aside)


def _read(parameters: Mapping[str, str]) -> _Answer:
    """Read the callback's parameters; what is wrong is told without quoting, for it holds keys."""
    config = parameters.get("config")
    if config is None:
        raise InstallError(
            InstallProblem.MISSING_ANSWER,
            "PagerDuty sent no configuration; perhaps it was cancelled there. Begin again",
        )
    if not config.strip():
        raise InstallError(InstallProblem.EMPTY_ANSWER, "PagerDuty sent an empty configuration")
    parsed = _json(config)
    if parsed is None:
        raise InstallError(InstallProblem.UNREADABLE_ANSWER, "PagerDuty's configuration is no JSON")
    if not isinstance(parsed[0], Mapping):
        raise InstallError(
            InstallProblem.MALFORMED_ANSWER, "PagerDuty's configuration is no JSON object"
        )
    account, entries = parsed[0].get("account"), parsed[0].get("integration_keys")
    account = account if isinstance(account, Mapping) else {}
    subdomain = _text(account, "subdomain").lower()
    granted: list[Granted] = []
    left_aside: list[Skipped] = []
    for entry in entries if isinstance(entries, list) else ():
        taken = _grant(entry)
        if isinstance(taken, Skipped):
            left_aside.append(taken)
        else:
            granted.append(taken)
    if not granted:
        raise InstallError(InstallProblem.NOTHING_USABLE, _nothing(left_aside))
    return _Answer(
        # the guide's example spells it "Name", PagerDuty "name"
        name=_text(account, "name") or _text(account, "Name") or subdomain or PagerDuty.label,
        subdomain=subdomain if not account_fault(subdomain) else "",
        granted=tuple(granted),
        left_aside=tuple(left_aside),
    )


def _json(text: str) -> tuple[Any] | None:
    """Read JSON; None where it is none. Its error would hold the text, and so the keys."""
    try:
        return (json.loads(text),)
    except (ValueError, RecursionError):
        return None


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    return " ".join(clean_text(value).split()) if isinstance(value, str) else ""


def _grant(entry: object) -> Granted | Skipped:
    if not isinstance(entry, Mapping):
        return Skipped("", "", "it is no object")
    kind, name, identifier = (_text(entry, member) for member in ("type", "name", "id"))
    if kind != _USABLE:
        return Skipped(kind, name, "only a service can be paged")
    key = entry.get("integration_key")
    key = key.strip() if isinstance(key, str) else ""
    if fault := routing_key_fault(key):
        return Skipped(kind, name, f"its key is {fault}")
    return Granted(name or identifier or "Service", identifier, (Secret(key),))


def _nothing(left_aside: Sequence[Skipped]) -> str:
    if not left_aside:
        return "PagerDuty sent no integration key; pick at least one service there"
    return f"PagerDuty sent no integration key that can be used: {told(left_aside)}"
