"""Which services an action reaches, and why one cannot be reached. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs

from hostspec import Fault, Handle, Installation, Limit, Outcome, OutcomeKind
from hostspec.text import closest
from pagerduty_plugin.constants import RATE_WINDOW
from pagerduty_plugin.keys import fingerprint
from pagerduty_plugin.settings import InstallationSettings

REMOVED: Final = "[removed]"
"""Shown instead of an account or a service that was removed."""


@attrs.frozen
class Reach:
    """The services that a rule names.

    Attributes:
        services: names by permanent ids. Includes unknown services: a delivery to one is
            misconfigured, and so reported.
        removed: the rule's names of services that were removed from the account.
    """

    services: Mapping[str, str]
    removed: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for each delivery to one of the services."""
        return tuple(f"the service {name} was removed from the account" for name in self.removed)


def reach(names: Sequence[str], settings: InstallationSettings) -> Reach:
    """Return the services that a rule names, without duplicates."""
    services: dict[str, str] = {}
    removed: dict[str, None] = {}
    for name in names:
        service = settings.service(name)
        if service:
            services[service.destination] = service.name
        elif name in settings.removed_services:
            removed[name] = None
        else:
            services[name] = name
    return Reach(services, tuple(removed))


def faults(
    names: Sequence[str], installation: Installation[InstallationSettings]
) -> Iterator[Fault]:
    """Reject services that the account never had, and a rule whose services were all removed."""
    settings = installation.settings
    known = [service.name for service in settings.services]
    for index, name in enumerate(names):
        if settings.service(name) is None and name not in settings.removed_services:
            near = closest(name, known)
            hint = f'did you mean "{near}"?' if near else f"it has {', '.join(known)}"
            reason = f'account {installation.name} has no service "{name}"; {hint}'
            yield Fault(f"services[{index}]", reason)
    if not reach(names, settings).services:
        yield Fault("services", f"{all_removed(names, installation)}; choose another service")


def all_removed(names: Sequence[str], installation: Installation[InstallationSettings]) -> str:
    """Return the reason why a rule reaches no service."""
    removed = ", ".join(dict.fromkeys(names))
    return f"all its services were removed from account {installation.name}: {removed}"


def displayed(
    names: Sequence[str], installation: Installation[InstallationSettings] | None
) -> tuple[str, str]:
    """Return the names of the account and of the services, for display."""
    if installation is None:
        return REMOVED, REMOVED
    found = (installation.settings.service(name) for name in names)
    unique = dict.fromkeys(service.name if service else REMOVED for service in found)
    return installation.name, ", ".join(unique)


def limits(
    settings: InstallationSettings, destination: str, handle: Handle | None = None
) -> Sequence[Limit]:
    """Return the rate limit of the key that opened the incident, else of the newest key.

    Raises:
        SecretUnavailableError: the newest key cannot be read.
    """
    service = settings.service(destination)
    if service is None:
        return ()
    name = handle["key"] if handle else fingerprint(service.keys[0].reveal())
    return (Limit(f"pagerduty:{name}", settings.rate_limit, RATE_WINDOW),)


def misconfigured(service: str, reason: str) -> Outcome:
    """Return the outcome for a service to which nothing can be sent."""
    return Outcome(OutcomeKind.MISCONFIGURED, f"service {service!r} {reason}")


def removed(destination: str) -> Outcome:
    """Return the outcome for a service that is not in the installation any more."""
    return misconfigured(destination, "is not in the installation any more")
