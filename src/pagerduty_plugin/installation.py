"""The provider: PagerDuty, and how an account of it is connected.

In a browser, by PagerDuty's Simple Install Flow (guide "Events Integration Functionality"): a
person picks services at PagerDuty, which sends the browser back with an integration key for each.
An account that is connected again is merged into its installation, by key and by PagerDuty's id.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from hostspec import (
    Connected,
    Demonstration,
    Destination,
    Fault,
    Installation,
    LeftAside,
    Provider,
    Secret,
    SecretUnavailableError,
    Setup,
    SetupError,
    SetupProblem,
)
from hostspec.normalise import clean_text
from hostspec.settings import secrets
from pagerduty_plugin.event import routing_key_fault
from pagerduty_plugin.keys import fingerprint, readable_fingerprint
from pagerduty_plugin.network import Surroundings, network_faults
from pagerduty_plugin.service_table import ServiceTable, new_id, one_or_several
from pagerduty_plugin.settings import (
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

    name = "pagerduty"
    label = "PagerDuty"
    settings = InstallationSettings

    def destinations(
        self, installation: Installation[InstallationSettings]
    ) -> Sequence[Destination]:
        """Give the services of an account."""
        return [
            Destination(service.destination, service.name)
            for service in installation.settings.services
        ]

    def check(self, installation: Installation[InstallationSettings]) -> Sequence[Fault]:
        """Say which integration keys, and which proxy and files of TLS, cannot be read or used."""
        faults = []
        for path, key in secrets(installation.settings.services, "services"):
            try:
                reason = routing_key_fault(key.reveal())
            except SecretUnavailableError as error:
                reason = str(error)
            if reason:
                faults.append(Fault(path, reason))
        way = network_faults(installation.settings.network, Surroundings.read(os.environ))
        return [*faults, *(fault.below("network") for fault in way)]

    def table(self) -> ServiceTable:
        """Offer the service table."""
        return ServiceTable()

    def setup(self) -> InstallFlow:
        """Offer PagerDuty's Simple Install Flow."""
        return InstallFlow()

    def demonstration(self) -> Demonstration:
        """Offer a fake PagerDuty on loopback."""
        # a web server of no use to those who only send
        from pagerduty_plugin.testing.demonstration import (  # noqa: PLC0415
            PagerDutyDemonstration,
        )

        return PagerDutyDemonstration()


@attrs.frozen
class _Granted:
    """A service that PagerDuty granted, with its key."""

    name: str
    id: str
    key: Secret

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.key.reveal())


@attrs.frozen
class _Answer:
    """What the callback brought, read but not used yet."""

    name: str
    subdomain: str
    granted: tuple[_Granted, ...]
    left_aside: tuple[LeftAside, ...]


class InstallFlow(Setup[InstallFlowSettings, InstallationSettings]):
    """PagerDuty's Simple Install Flow.

    Args:
        make_id: makes the id of a new service.
    """

    provider = PagerDuty.name
    settings = InstallFlowSettings

    def __init__(self, make_id: Callable[[], str] = new_id) -> None:
        self._make_id = make_id

    def address(self, redirect_url: str, settings: InstallFlowSettings) -> str:
        """Give PagerDuty's page on which services are picked."""
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
            SetupError: PagerDuty sent no configuration, none that can be read, or no usable key.
        """
        installations = tuple(installations)
        answer = _read(parameters)
        empty = InstallationSettings(
            region=settings.region,
            base_url=settings.base_url,
            services=(),
            subdomain=answer.subdomain,
        )
        before = _find(installations, empty, answer)
        held = before.settings if before else empty
        services, notes = list(held.services), []
        for granted in answer.granted:
            notes += self._merge(services, granted)
        if settings.account and answer.subdomain not in ("", settings.account.lower()):
            notes.append(
                f"You asked for the account {settings.account}; this is {answer.subdomain}."
            )
        merged = attrs.evolve(
            held,
            services=tuple(services),
            subdomain=held.subdomain or answer.subdomain,
        )
        taken = {each.name for each in installations}
        name = before.name if before else _free(answer.name, answer.subdomain, taken)
        return Connected(
            Installation(self.provider, name, merged),
            again=before is not None,
            notes=tuple(notes),
            left_aside=answer.left_aside,
        )

    def _merge(self, services: list[ServiceSettings], granted: _Granted) -> list[str]:
        """Put a granted service among those there are, and say what a person should know."""
        index = _index(services, granted)
        others = services[:index] + services[index + 1 :] if index is not None else services
        taken = {text for service in others for text in (service.name, service.destination)}
        name = _free(granted.name, granted.id, taken)
        if index is None:
            services.append(
                ServiceSettings(
                    name=name,
                    integration_key=granted.key,
                    id=self._make_id(),
                    pagerduty_id=granted.id,
                    pagerduty_name=granted.name,
                )
            )
            return []
        before, notes = services[index], []
        keys = before.keys
        if granted.fingerprint not in map(readable_fingerprint, keys):
            keys = (granted.key, *keys)
            notes.append(f"The service {before.name} has a new key; it keeps the old one as well.")
        if before.name != before.pagerduty_name:
            name = before.name  # a person's own
        elif before.name != name:
            notes.append(f"The service {before.name} is called {name} now.")
        services[index] = attrs.evolve(
            before,
            name=name,
            integration_key=one_or_several(keys),
            id=before.destination,
            pagerduty_id=granted.id or before.pagerduty_id,
            pagerduty_name=granted.name,
        )
        return notes


def _read(parameters: Mapping[str, str]) -> _Answer:
    """Read the callback's parameters; what is wrong is told without quoting, for it holds keys."""
    config = parameters.get("config")
    if config is None:
        raise SetupError(
            SetupProblem.MISSING_ANSWER,
            "PagerDuty sent no configuration; perhaps it was cancelled there. Begin again",
        )
    if not config.strip():
        raise SetupError(SetupProblem.EMPTY_ANSWER, "PagerDuty sent an empty configuration")
    parsed = _json(config)
    if parsed is None:
        raise SetupError(SetupProblem.UNREADABLE_ANSWER, "PagerDuty's configuration is no JSON")
    if not isinstance(parsed[0], Mapping):
        raise SetupError(
            SetupProblem.MALFORMED_ANSWER, "PagerDuty's configuration is no JSON object"
        )
    account, entries = parsed[0].get("account"), parsed[0].get("integration_keys")
    account = account if isinstance(account, Mapping) else {}
    subdomain = _text(account, "subdomain").lower()
    granted: list[_Granted] = []
    left_aside: list[LeftAside] = []
    for entry in entries if isinstance(entries, list) else ():
        taken = _grant(entry)
        if isinstance(taken, LeftAside):
            left_aside.append(taken)
        else:
            granted.append(taken)
    if not granted:
        raise SetupError(SetupProblem.NOTHING_USABLE, _nothing(left_aside))
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


def _grant(entry: object) -> _Granted | LeftAside:
    if not isinstance(entry, Mapping):
        return LeftAside("", "", "it is no object")
    kind, name, identifier = (_text(entry, member) for member in ("type", "name", "id"))
    if kind != _USABLE:
        return LeftAside(kind, name, "only a service can be paged")
    key = entry.get("integration_key")
    key = key.strip() if isinstance(key, str) else ""
    if fault := routing_key_fault(key):
        return LeftAside(kind, name, f"its key {fault}")
    return _Granted(name or identifier or "Service", identifier, Secret(key))


def _nothing(left_aside: Sequence[LeftAside]) -> str:
    if not left_aside:
        return "PagerDuty sent no integration key; pick at least one service there"
    told = "; ".join(
        f"{each.name or 'nameless'} ({each.kind or 'without type'}): {each.reason}"
        for each in left_aside
    )
    return f"PagerDuty sent no integration key that can be used: {told}"


def _find(
    installations: Iterable[Installation[Any]], wanted: InstallationSettings, answer: _Answer
) -> Installation[InstallationSettings] | None:
    """Find the installation of the account: by subdomain, else by a key or service it has."""
    ours: list[Installation[InstallationSettings]] = [
        each for each in installations if each.provider == PagerDuty.name
    ]
    for each in ours:
        same_region = each.settings.region == wanted.region
        if wanted.subdomain and each.settings.subdomain == wanted.subdomain and same_region:
            return each
    for each in ours:
        subdomains = {each.settings.subdomain, wanted.subdomain} - {""}
        known = (_index(each.settings.services, granted) for granted in answer.granted)
        if len(subdomains) < 2 and any(index is not None for index in known):  # noqa: PLR2004
            return each
    return None


def _index(services: Sequence[ServiceSettings], granted: _Granted) -> int | None:
    """Find a granted service: by its key, else by PagerDuty's id."""
    by_key = (
        index
        for index, service in enumerate(services)
        if granted.fingerprint in map(readable_fingerprint, service.keys)
    )
    by_id = (
        index
        for index, service in enumerate(services)
        if granted.id and service.pagerduty_id == granted.id
    )
    return next(by_key, next(by_id, None))


def _free(name: str, more: str, taken: Container[str]) -> str:
    """Make a name unique: by something more about it, else by a number."""
    if name not in taken:
        return name
    base = f"{name} ({more})" if more else name
    candidate, number = base, 1
    while candidate in taken:
        number += 1
        candidate = f"{base} {number}"
    return candidate
