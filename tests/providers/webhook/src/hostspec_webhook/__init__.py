"""A plain webhook: every update of an alert is one POST of the alert as JSON.

The response is only a status, so there is no handle. The receiver may act twice on a repeated
post, so repeats are not idempotent.
"""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from hostspec import (
    Action,
    Alert,
    AnyAction,
    Capabilities,
    Delivery,
    Destination,
    Identity,
    Incident,
    IncidentRef,
    Installation,
    Operation,
    Outcome,
    OutcomeKind,
    Provider,
    Secret,
    SecretUnavailableError,
    SendContext,
    Status,
    hookimpl,
    setting,
    to_json,
)

TIMEOUT: Final = 10.0
"""Seconds without a byte after which an attempt fails."""

_OPERATIONS: Final[Mapping[Status, Operation]] = {
    Status.FIRING: Operation.TRIGGER,
    Status.ACKNOWLEDGED: Operation.ACKNOWLEDGE,
    Status.RESOLVED: Operation.RESOLVE,
}


@attrs.frozen(kw_only=True)
class InstallationSettings:
    """The URL for alerts."""

    url: Secret = setting("URL", help="Receives the POSTs; anyone with this URL can post there.")


@attrs.frozen(kw_only=True)
class PostSettings:
    """A rule has no settings."""


class Webhook(Provider[InstallationSettings]):
    """A service that accepts JSON at a URL."""

    name = "webhook"
    label = "Webhook"
    settings = InstallationSettings

    def destinations(
        self, installation: Installation[InstallationSettings]
    ) -> Sequence[Destination]:
        """Return the one destination; its URL may be secret, and is not shown."""
        return [Destination("url", installation.name)]


class Post(Action[PostSettings, InstallationSettings]):
    """Posts an alert, and again whenever its status changes."""

    name = "webhook.post"
    label = "Post to a webhook"
    provider = "webhook"
    settings = PostSettings
    capabilities = Capabilities(acknowledge=True, resolve=True, update=True)

    def plan(
        self,
        alert: Alert,
        settings: PostSettings,
        installation: Installation[InstallationSettings],
        *,
        rule: str = "",
    ) -> Sequence[Delivery]:
        """Post the alert with any status."""
        ref = IncidentRef(self.name, installation.name, "url", _correlation_key(alert.identity))
        return [_delivery(_OPERATIONS[alert.status], ref, alert, (rule,) if rule else ())]

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery:
        """Post the alert again with its new status."""
        firing = alert.status is Status.FIRING
        operation = Operation.UPDATE if firing else _OPERATIONS[alert.status]
        return _delivery(operation, incident.ref, alert, incident.rules)

    def send(
        self,
        delivery: Delivery,
        installation: Installation[InstallationSettings],
        context: SendContext,
    ) -> Outcome:
        """Post once; follows no redirect."""
        try:
            url = installation.settings.url.reveal()
        except SecretUnavailableError as error:
            return Outcome(OutcomeKind.MISCONFIGURED, f"has no URL: {error}")
        if not url.startswith(("http://", "https://")):
            return Outcome(OutcomeKind.MISCONFIGURED, "the URL is not http or https")
        body = json.dumps(to_json(delivery)["message"]).encode()
        try:
            request = urllib.request.Request(
                url, body, {"Content-Type": "application/json"}, method="POST"
            )
            # an opener keeps the proxies of the environment in which it was made
            with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT):
                return Outcome(OutcomeKind.DELIVERED)
        except urllib.error.HTTPError as error:
            with error:
                return Outcome(_kind(error.code), f"answered {error.code}")
        except (ValueError, http.client.InvalidURL):
            return Outcome(OutcomeKind.MISCONFIGURED, "the URL is not valid")
        except urllib.error.URLError as error:
            if not isinstance(error.reason, OSError):
                return Outcome(OutcomeKind.MISCONFIGURED, "the URL is not valid")
            never_left = isinstance(error.reason, (ConnectionRefusedError, socket.gaierror))
            kind = OutcomeKind.UNREACHABLE if never_left else OutcomeKind.UNCERTAIN
            return Outcome(kind, f"no connection: {error.reason.strerror or 'it was closed'}")
        except Exception:  # noqa: BLE001 -- whatever HTTP does, it may have arrived
            return Outcome(OutcomeKind.UNCERTAIN, "no response")

    def settings_for(self, destination: Destination) -> PostSettings:
        """Post: there is one destination, and every event is sent."""
        return PostSettings()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirect: alerts go to the URL of the settings only."""


def _kind(code: int) -> OutcomeKind:
    match code:
        case 429:
            return OutcomeKind.THROTTLED
        case 400 | 413 | 422:
            return OutcomeKind.REJECTED
        case _ if code < 500:
            return OutcomeKind.MISCONFIGURED
    return OutcomeKind.UNCERTAIN


def _correlation_key(alert: Identity) -> str:
    return json.dumps([alert.scope, alert.key])


def _delivery(
    operation: Operation, ref: IncidentRef, alert: Alert, rules: tuple[str, ...]
) -> Delivery:
    return Delivery(operation, ref, alert.identity, alert.severity, to_json(alert), rules)


@hookimpl
def hostspec_providers() -> Sequence[Provider[Any]]:
    """Offer the provider ``webhook``."""
    return [Webhook()]


@hookimpl
def hostspec_actions() -> Sequence[AnyAction]:
    """Offer the action ``webhook.post``."""
    return [Post()]
