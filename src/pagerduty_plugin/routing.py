"""Services and keys: which services an action reaches, and which integration key it uses.

PagerDuty calls an integration key a routing key in the Events API.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from hostspec import (
    Action,
    Delivery,
    DurableAction,
    Fault,
    Handle,
    Installation,
    Limit,
    Outcome,
    OutcomeKind,
    Secret,
    SecretUnavailableError,
    Suppression,
)
from hostspec.secret import quote_around
from hostspec.text import closest
from pagerduty_plugin.constants import ACCOUNT_TOKEN_LENGTH, PROVIDER, RATE_WINDOW, STARS
from pagerduty_plugin.settings import (
    ChangeSettings,
    InstallationSettings,
    ServiceSettings,
    TriggerSettings,
)

REMOVED: Final = "[removed]"
"""Shown instead of an account or a service that was removed."""

ROUTING_KEY_LENGTH: Final = 32
"""Characters of an integration key."""

_ROUTING_KEY: Final = re.compile(rf"[A-Za-z0-9]{{{ROUTING_KEY_LENGTH}}}")

_OTHER_SECRETS: Final = (
    (re.compile(r"pd[a-z]{2}\+.*"), "got an OAuth token of PagerDuty"),
    (re.compile(r"https?://.*"), "got a URL; the key is its last part, or beside it"),
)


_SettingsT = TypeVar("_SettingsT", TriggerSettings, ChangeSettings)


class ServiceAction(Action[_SettingsT, InstallationSettings], DurableAction[InstallationSettings]):
    """An action on services of an account."""

    provider = PROVIDER

    def check(
        self, settings: _SettingsT, installation: Installation[InstallationSettings]
    ) -> Sequence[Fault]:
        """Reject services that the account never had, and a rule whose services were removed."""
        account = installation.settings
        known = [service.name for service in account.services]
        faults = []
        for index, name in enumerate(settings.services):
            if account.service(name) is None and name not in account.removed_services:
                near = closest(name, known)
                hint = f'did you mean "{near}"?' if near else f"it has {', '.join(known)}"
                reason = f'account {installation.name} has no service "{name}"; {hint}'
                faults.append(Fault(f"services[{index}]", reason))
        if not reach(settings.services, account)[0]:
            reason = f"{_all_removed(settings, installation)}; choose another service"
            faults.append(Fault("services", reason))
        return faults

    def limits(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        handle: Handle | None = None,
    ) -> Sequence[Limit]:
        """Return the rate limit of the key that opened the incident, else of the newest key.

        Raises:
            SecretUnavailableError: the newest key cannot be read.
        """
        service = installation.settings.service(delivery.ref.destination)
        if service is None:
            return ()
        name = handle["key"] if handle else fingerprint(service.keys[0].reveal())
        return (Limit(f"pagerduty:{name}", installation.settings.rate_limit, RATE_WINDOW),)

    def _suppressed(
        self,
        settings: _SettingsT,
        installation: Installation[InstallationSettings],
        rules: tuple[str, ...],
        notes: tuple[str, ...] = (),
    ) -> Sequence[Suppression]:
        """Return the suppression for a rule that reaches no service."""
        reason = _all_removed(settings, installation)
        return (Suppression(self.name, installation.name, reason, rules=rules, notes=notes),)


def _all_removed(
    settings: TriggerSettings | ChangeSettings, installation: Installation[InstallationSettings]
) -> str:
    removed = ", ".join(dict.fromkeys(settings.services))
    return f"all its services were removed from account {installation.name}: {removed}"


def reach(
    names: Sequence[str], settings: InstallationSettings
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return the services that a rule names: names by permanent ids; and notes on removed ones.

    Includes unknown services: a delivery to one is misconfigured, and so reported.
    """
    services: dict[str, str] = {}
    notes: dict[str, None] = {}
    for name in names:
        service = settings.service(name)
        if service:
            services[service.destination] = service.name
        elif name in settings.removed_services:
            notes[f"the service {name} was removed from the account"] = None
        else:
            services[name] = name
    return services, tuple(notes)


def displayed(
    names: Sequence[str], installation: Installation[InstallationSettings] | None
) -> tuple[str, str]:
    """Return the names of the account and of the services, for display."""
    if installation is None:
        return REMOVED, REMOVED
    found = (installation.settings.service(name) for name in names)
    unique = dict.fromkeys(service.name if service else REMOVED for service in found)
    return installation.name, ", ".join(unique)


def misconfigured(service: str, reason: str) -> Outcome:
    """Return the outcome for a service to which nothing can be sent."""
    return Outcome(OutcomeKind.MISCONFIGURED, f"service {service!r} {reason}")


def removed(destination: str) -> Outcome:
    """Return the outcome for a service that is not in the installation any more."""
    return misconfigured(destination, "is not in the installation any more")


def fingerprint(routing_key: str) -> str:
    """Return a name for a key: keys are random, so that the hash cannot be reversed."""
    return hashlib.sha256(routing_key.encode()).hexdigest()[:16]


def readable_fingerprint(key: Secret) -> str | None:
    """Return the fingerprint of a key; None while the key cannot be read."""
    try:
        return fingerprint(key.reveal())
    except SecretUnavailableError:
        return None


def mask(key: Secret) -> str:
    """Return the reference of a key, or stars and the beginning of its fingerprint.

    All sealed keys that cannot be read now have the same mask.
    """
    if key.reference:
        return key.reference
    name = readable_fingerprint(key)
    return f"{STARS} {name[:8] if name else '(cannot be read)'}"


def routing_key_fault(key: str) -> str | None:
    """Return the reason why a text cannot be a routing key; None if it can."""
    if _ROUTING_KEY.fullmatch(key):
        return None
    found = f"got {len(key)} characters"
    if len(key) == ACCOUNT_TOKEN_LENGTH:
        found += ", as a REST API key has"
    elif len(key) == ROUTING_KEY_LENGTH:
        found += ", not all of them letters and digits"
    if quote := quote_around(key):
        found = f"got the quote {quote}; remove it"
    if invisible := next((each for each in key if unicodedata.category(each) == "Cf"), ""):
        found = f"got the invisible character U+{ord(invisible):04X}; remove it"
    for pattern, secret in _OTHER_SECRETS:
        if pattern.fullmatch(key):
            found = secret
    return f"not an integration key: expected {ROUTING_KEY_LENGTH} letters and digits, {found}"


def change_key_fault(key: str) -> str | None:
    """Return the reason why a text cannot be the routing key of a change event; None if it can.

    The guide "Events API v2 Overview" excludes rulesets. The keys of event orchestrations, their
    successors, begin with the same letter.
    """
    if key.startswith("R") and _ROUTING_KEY.fullmatch(key):
        return (
            "the key of a ruleset or an event orchestration (it begins with R), which accept no "
            "change events; use a service's own integration key"
        )
    return routing_key_fault(key)


def sending_key(service: ServiceSettings, handle: Handle | None) -> tuple[str, str]:
    """Return the key that opened the incident, else the newest; or an empty text and a reason."""
    if not handle:
        return read_key(service.keys[0])
    reasons = ["does not have the key that opened the incident"]
    for key in service.keys:
        routing_key, reason = read_key(key)
        if reason:
            reasons.append(reason)
        elif fingerprint(routing_key) == handle.get("key"):
            return routing_key, ""
    return "", "; ".join(reasons)


def read_key(
    key: Secret, fault: Callable[[str], str | None] = routing_key_fault
) -> tuple[str, str]:
    """Return a key; or an empty text and the reason why it cannot be used."""
    try:
        routing_key = key.reveal()
    except SecretUnavailableError as error:
        return "", f"has no key: {error}"
    reason = fault(routing_key)
    return ("", f"has an invalid key: {reason}") if reason else (routing_key, "")


def masked_key(service: ServiceSettings | None, handle: Handle | None = None) -> str:
    """Return the mask of the key for a preview, which reads no secret.

    With a handle, any of the keys may have opened the incident.
    """
    keys = service.keys if service else ()
    shown = [key.masked() for key in (keys if handle else keys[:1]) if key.reference]
    return f"{STARS} ({' or '.join(shown)})" if shown else STARS
