"""Merges granted services into the installations that a host has. Pure.

An account that is connected again extends its installation, whichever way it is connected.
Services are recognised by their keys, and by PagerDuty's ids.
"""

from __future__ import annotations

import uuid
from collections.abc import Container, Iterable, Sequence
from typing import Any

import attrs

from hostspec import Installation, Secret
from hostspec.connect import Connected, Skipped
from pagerduty_plugin.constants import PROVIDER
from pagerduty_plugin.routing import fingerprint, readable_fingerprint
from pagerduty_plugin.settings import InstallationSettings, NetworkSettings, ServiceSettings


@attrs.frozen
class GrantedService:
    """A service that PagerDuty granted access to: name, id (empty if unknown), and literal keys.

    The preferred key comes first.
    """

    name: str
    id: str
    keys: tuple[Secret, ...]

    def has_key_of(self, service: ServiceSettings) -> bool:
        """Check whether a configured service has one of the keys."""
        own = {fingerprint(key.reveal()) for key in self.keys}
        return not own.isdisjoint(map(readable_fingerprint, service.keys))


def new_id() -> str:
    """Return a unique id for a service."""
    return uuid.uuid4().hex


def one_or_several(keys: Sequence[Secret]) -> Secret | tuple[Secret, ...]:
    """Return keys in the form of `ServiceSettings.integration_key`."""
    newest, *older = keys
    return (newest, *older) if older else newest


def replace_services(
    settings: InstallationSettings, services: Iterable[ServiceSettings]
) -> InstallationSettings:
    """Return the settings with other services, such that existing rules still work.

    A renamed service keeps its former name, and the names of a removed service are listed as
    removed until another service takes them.
    """
    before = {service.destination: service for service in settings.services}
    services = tuple(services)
    taken = {name for each in services for name in (each.destination, each.name)}
    replaced = []
    for service in services:
        known = before.pop(service.destination, service)
        former = dict.fromkeys((*service.former_names, known.name))
        names = tuple(name for name in former if name not in taken)
        taken.update(names)
        replaced.append(attrs.evolve(service, former_names=names))
    removed = dict.fromkeys(
        (*settings.removed_services, *(name for each in before.values() for name in each.names))
    )
    return attrs.evolve(
        settings,
        services=tuple(replaced),
        removed_services=tuple(name for name in removed if name not in taken),
    )


def merge(
    granted: Sequence[GrantedService],
    template: InstallationSettings,
    installations: Iterable[Installation[Any]],
    *,
    name: str,
) -> Connected[InstallationSettings]:
    """Return a new installation with the granted services, or the account's own, extended.

    Reads the secrets of the given installations, to recognise their keys. A new installation has
    the given name and the settings of the template.
    """
    installations = tuple(installations)
    existing = _find(installations, template, granted)
    before = existing.settings if existing else template
    services, notes = list(before.services), []
    for each in granted:
        notes += _merge_service(services, each)
    if existing:
        notes += _unchanged_settings(existing, template)
        name = existing.name
    else:
        name = _unique(name, template.subdomain, {each.name for each in installations})
    subdomain = before.subdomain or template.subdomain
    merged = attrs.evolve(replace_services(before, services), subdomain=subdomain)
    return Connected(
        Installation(PROVIDER, name, merged), again=existing is not None, notes=tuple(notes)
    )


def describe_skipped(skipped: Iterable[Skipped]) -> str:
    """Return the skipped entries with their reasons, in one line."""
    return "; ".join(
        f"{each.name or 'unnamed'} ({each.kind or 'without type'}): {each.reason}"
        for each in skipped
    )


def _unchanged_settings(
    existing: Installation[InstallationSettings], template: InstallationSettings
) -> list[str]:
    """Return a note about settings that differ this time, and yet stay as they are."""
    before = existing.settings
    unchanged = []
    if template.region != before.region:
        unchanged.append(f"region {before.region}, not {template.region}")
    if template.base_url not in ("", before.base_url):
        unchanged.append(f"base_url {before.base_url or 'of its region'}, not {template.base_url}")
    if template.dedup_prefix not in ("", before.dedup_prefix):
        kept = before.dedup_prefix or "none"
        unchanged.append(f"dedup_prefix {kept}, not {template.dedup_prefix}")
    if template.network not in (NetworkSettings(), before.network):
        unchanged.append("network")  # without its values: a proxy's URL may contain a password
    if not unchanged:
        return []
    return [
        f"{existing.name} keeps its settings ({'; '.join(unchanged)}); to change them, remove it "
        "and connect it again."
    ]


def _merge_service(services: list[ServiceSettings], granted: GrantedService) -> list[str]:
    """Add a granted service to the list, or update it there; return notes for the operator."""
    index = _index(services, granted)
    others = services[:index] + services[index + 1 :] if index is not None else services
    taken = {text for service in others for text in (service.name, service.destination)}
    name = _unique(granted.name, granted.id, taken)
    if index is None:
        services.append(
            ServiceSettings(
                name=name,
                integration_key=granted.keys[0],
                id=new_id(),
                pagerduty_id=granted.id,
                pagerduty_name=granted.name,
            )
        )
        return []
    before, notes = services[index], []
    keys = before.keys
    if not granted.has_key_of(before):
        keys = (granted.keys[0], *keys)
        notes.append(f"The service {before.name} has a new key; it keeps the old one as well.")
    if before.name != before.pagerduty_name:
        name = before.name  # chosen by the operator
    elif before.name != name:
        notes.append(f"The service {before.name} is now called {name}.")
    services[index] = attrs.evolve(
        before,
        name=name,
        integration_key=one_or_several(keys),
        id=before.destination,
        pagerduty_id=granted.id or before.pagerduty_id,
        pagerduty_name=granted.name,
    )
    return notes


def _find(
    installations: Iterable[Installation[Any]],
    template: InstallationSettings,
    granted: Sequence[GrantedService],
) -> Installation[InstallationSettings] | None:
    """Return the installation of the account: by subdomain, else by a key or service id."""
    own: list[Installation[InstallationSettings]] = [
        each for each in installations if each.provider == PROVIDER
    ]
    for each in own:
        same_region = each.settings.region == template.region
        if template.subdomain and each.settings.subdomain == template.subdomain and same_region:
            return each
    for each in own:
        subdomains = {each.settings.subdomain, template.subdomain} - {""}
        known = (_index(each.settings.services, service) for service in granted)
        if len(subdomains) < 2 and any(index is not None for index in known):  # noqa: PLR2004
            return each
    return None


def _index(services: Sequence[ServiceSettings], granted: GrantedService) -> int | None:
    """Return the position of a granted service: by one of its keys, else by PagerDuty's id."""
    by_key = (at for at, service in enumerate(services) if granted.has_key_of(service))
    by_id = (
        at
        for at, service in enumerate(services)
        if granted.id and service.pagerduty_id == granted.id
    )
    return next(by_key, next(by_id, None))


def _unique(name: str, qualifier: str, taken: Container[str]) -> str:
    """Return a unique name: with the qualifier if necessary, else with a number."""
    if name not in taken:
        return name
    base = f"{name} ({qualifier})" if qualifier else name
    candidate, number = base, 1
    while candidate in taken:
        number += 1
        candidate = f"{base} {number}"
    return candidate
