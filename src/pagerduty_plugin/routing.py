"""Which services an action reaches: what a rule calls them, and what became of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs

from hostspec import Fault, Installation
from pagerduty_plugin.settings import InstallationSettings

REMOVED: Final = "[removed]"
"""Stands for an account or a service that is gone."""


@attrs.frozen
class Reach:
    """What an action reaches.

    Attributes:
        services: the services' names by what names them for good. One that the account never
            had is among them: a delivery to it is misconfigured, and so is heard of.
        removed: what the rule calls those that were removed from the account.
    """

    services: Mapping[str, str]
    removed: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know who sees a delivery to one of the services."""
        return tuple(f"the service {name} was removed from the account" for name in self.removed)


def reach(named: Sequence[str], settings: InstallationSettings) -> Reach:
    """Find the services that a rule names, each once."""
    services: dict[str, str] = {}
    removed: dict[str, None] = {}
    for name in named:
        service = settings.service(name)
        if service:
            services[service.destination] = service.name
        elif name in settings.removed_services:
            removed[name] = None
        else:
            services[name] = name
    return Reach(services, tuple(removed))


def faults(
    named: Sequence[str], installation: Installation[InstallationSettings]
) -> Iterator[Fault]:
    """Refuse services that the account never had, and an action that reaches none any more."""
    settings = installation.settings
    known = ", ".join(service.name for service in settings.services)
    for index, name in enumerate(named):
        if settings.service(name) is None and name not in settings.removed_services:
            yield Fault(
                f"services[{index}]",
                f'the service "{name}" has not been granted access in the '
                f"{installation.name} PagerDuty account; it has {known}",
            )
    if not reach(named, settings).services:
        yield Fault("services", f"{nobody(named, installation)}; nobody would be told")


def nobody(named: Sequence[str], installation: Installation[InstallationSettings]) -> str:
    """Describe why an action reaches nobody."""
    gone = ", ".join(dict.fromkeys(named))
    return f"all of them were removed from the {installation.name} PagerDuty account: {gone}"


def described(
    named: Sequence[str], installation: Installation[InstallationSettings] | None
) -> tuple[str, str]:
    """Return the names of account and services, for a person."""
    if installation is None:
        return REMOVED, REMOVED
    found = (installation.settings.service(name) for name in named)
    names = dict.fromkeys(service.name if service else REMOVED for service in found)
    return installation.name, ", ".join(names)
