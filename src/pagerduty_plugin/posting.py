"""Posts an event under a service's integration key: which of its keys, and how much each takes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hostspec import Handle, Limit, Outcome, OutcomeKind, Secret, SecretUnavailableError
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.http.responses import judge
from pagerduty_plugin.keys import STARS, fingerprint, routing_key_fault
from pagerduty_plugin.settings import InstallationSettings, NetworkSettings, ServiceSettings
from pagerduty_plugin.truncate import encode

WINDOW: Final = 60.0
"""Seconds of PagerDuty's sliding window."""


def key_for(service: ServiceSettings, handle: Handle | None) -> tuple[str, str]:
    """Return the newest key, or the one that opened the incident; else why there is none."""
    if not handle:
        return usable(service.keys[0])
    reasons = ["does not hold the key that opened the incident"]
    for key in service.keys:
        routing_key, reason = usable(key)
        if reason:
            reasons.append(reason)
        elif fingerprint(routing_key) == handle.get("key"):
            return routing_key, ""
    return "", "; ".join(reasons)


def usable(key: Secret, fault: Callable[[str], str | None] = routing_key_fault) -> tuple[str, str]:
    """Read a key; give it, or else why it cannot be used, which `fault` may say."""
    try:
        routing_key = key.reveal()
    except SecretUnavailableError as error:
        return "", f"has no key: {error}"
    reason = fault(routing_key)
    return ("", f"has a wrong key: {reason}") if reason else (routing_key, "")


def post(  # noqa: PLR0913 -- each has a name
    client: Client,
    url: str,
    body: Mapping[str, Any],
    *,
    routing_key: str,
    network: NetworkSettings,
    now: dt.datetime | None,
    idempotent: bool = True,
) -> Outcome:
    """Post an event once.

    Args:
        client: which speaks HTTP.
        url: where to.
        body: the event, routing key and all.
        routing_key: the key in it.
        network: the way out.
        now: when the attempt starts, for an answer that names a date.
        idempotent: whether a repeat comes to the same.
    """
    reply = client.post(
        url, encode(body), secrets=[routing_key], network=network, idempotent=idempotent
    )
    return judge(reply, now or dt.datetime.now(dt.UTC), idempotent=idempotent)


def limits(
    settings: InstallationSettings, destination: str, handle: Handle | None = None
) -> Sequence[Limit]:
    """Return the limit of the newest key, or of the one that opened the incident.

    Raises:
        SecretUnavailableError: the newest key cannot be read.
    """
    service = settings.service(destination)
    if service is None:
        return ()
    name = handle["key"] if handle else fingerprint(service.keys[0].reveal())
    return (Limit(f"pagerduty:{name}", settings.rate_limit, WINDOW),)


def masked(service: ServiceSettings | None, handle: Handle | None = None) -> str:
    """Show where the key comes from; which of several opened the incident, no one has read."""
    keys = service.keys if service else ()
    shown = [key.masked() for key in (keys if handle else keys[:1]) if key.reference]
    return f"{STARS} ({' or '.join(shown)})" if shown else STARS


def misconfigured(service: str, reason: str) -> Outcome:
    """Describe why nothing can be sent to a service."""
    return Outcome(OutcomeKind.MISCONFIGURED, f"service {service!r} {reason}")


def gone(destination: str) -> Outcome:
    """State that a service is not there."""
    return misconfigured(destination, "is not in the installation any more")
