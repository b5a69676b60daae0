"""What PagerDuty granted, merged into the installations there are. Pure.

However an account was connected, one that is connected again is merged into its installation: by
key, and by PagerDuty's id.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

import attrs

from hostspec import Installation, Secret
from hostspec.connect import Connected, Skipped
from pagerduty_plugin.installation.service_table import one_or_several
from pagerduty_plugin.keys import fingerprint, readable_fingerprint
from pagerduty_plugin.settings import (
    PROVIDER,
    InstallationSettings,
    NetworkSettings,
    ServiceSettings,
)


@attrs.frozen
class Granted:
    """A service that PagerDuty granted.

    Attributes:
        name: what PagerDuty calls it.
        id: what PagerDuty calls it among machines; empty if it did not say.
        keys: each of its integration keys, given as itself; the first is the one to take.
    """

    name: str
    id: str
    keys: tuple[Secret, ...]

    @property
    def fingerprints(self) -> frozenset[str]:
        """Name the keys without telling them."""
        return frozenset(fingerprint(key.reveal()) for key in self.keys)


def merge(
    granted: Sequence[Granted],
    wanted: InstallationSettings,
    installations: Iterable[Installation[Any]],
    *,
    name: str,
    make_id: Callable[[], str],
) -> Connected[InstallationSettings]:
    """Make an installation of what was granted, or extend the one that the account has.

    The secrets of the installations given are read, to know a key again.

    Args:
        granted: at least one service.
        wanted: the settings of a new installation, without services.
        installations: all that the host has.
        name: what to call a new installation.
        make_id: makes the id of a new service.
    """
    installations = tuple(installations)
    before = _find(installations, wanted, granted)
    held = before.settings if before else wanted
    services, notes = list(held.services), []
    for each in granted:
        notes += _add(services, each, make_id)
    if before:
        notes += _kept(before, wanted)
    merged = attrs.evolve(
        held.with_services(services), subdomain=held.subdomain or wanted.subdomain
    )
    taken = {each.name for each in installations}
    name = before.name if before else _free(name, wanted.subdomain, taken)
    return Connected(
        Installation(PROVIDER, name, merged),
        again=before is not None,
        notes=tuple(notes),
    )


def told(left_aside: Iterable[Skipped]) -> str:
    """Tell what was left aside, with the reasons."""
    return "; ".join(
        f"{each.name or 'nameless'} ({each.kind or 'without type'}): {each.reason}"
        for each in left_aside
    )


def _kept(before: Installation[InstallationSettings], wanted: InstallationSettings) -> list[str]:
    """Describe which settings of an installation stay, though others were given this time."""
    held = before.settings
    kept = []
    if wanted.region != held.region:
        kept.append(f"region {held.region}, not {wanted.region}")
    if wanted.base_url and wanted.base_url != held.base_url:
        kept.append(f"base_url {held.base_url or 'of its region'}, not {wanted.base_url}")
    if wanted.dedup_prefix and wanted.dedup_prefix != held.dedup_prefix:
        kept.append(f"dedup_prefix {held.dedup_prefix or 'none'}, not {wanted.dedup_prefix}")
    if wanted.network not in (NetworkSettings(), held.network):
        kept.append("network")  # without its values, for a proxy's address may hold a password
    if not kept:
        return []
    told = f"{before.name} keeps its settings ({'; '.join(kept)})"
    return [f"{told}; to change them, remove it and connect it again."]


def _add(
    services: list[ServiceSettings], granted: Granted, make_id: Callable[[], str]
) -> list[str]:
    """Put a granted service among those there are, and say what a person should know."""
    index = _index(services, granted)
    others = services[:index] + services[index + 1 :] if index is not None else services
    taken = {text for service in others for text in (service.name, service.destination)}
    name = _free(granted.name, granted.id, taken)
    if index is None:
        services.append(
            ServiceSettings(
                name=name,
                integration_key=granted.keys[0],
                id=make_id(),
                pagerduty_id=granted.id,
                pagerduty_name=granted.name,
            )
        )
        return []
    before, notes = services[index], []
    keys = before.keys
    if granted.fingerprints.isdisjoint(map(readable_fingerprint, keys)):
        keys = (granted.keys[0], *keys)
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


def _find(
    installations: Iterable[Installation[Any]],
    wanted: InstallationSettings,
    granted: Sequence[Granted],
) -> Installation[InstallationSettings] | None:
    """Find the installation of the account: by subdomain, else by a key or service it has."""
    ours: list[Installation[InstallationSettings]] = [
        each for each in installations if each.provider == PROVIDER
    ]
    for each in ours:
        same_region = each.settings.region == wanted.region
        if wanted.subdomain and each.settings.subdomain == wanted.subdomain and same_region:
            return each
    for each in ours:
        subdomains = {each.settings.subdomain, wanted.subdomain} - {""}
        known = (_index(each.settings.services, service) for service in granted)
        if len(subdomains) < 2 and any(index is not None for index in known):  # noqa: PLR2004
            return each
    return None


def _index(services: Sequence[ServiceSettings], granted: Granted) -> int | None:
    """Find a granted service: by one of its keys, else by PagerDuty's id."""
    by_key = (
        index
        for index, service in enumerate(services)
        if not granted.fingerprints.isdisjoint(map(readable_fingerprint, service.keys))
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
