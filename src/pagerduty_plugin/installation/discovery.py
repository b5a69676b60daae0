"""Discovery: an account's services and their keys, by PagerDuty's REST API.

Which key of a service is taken: one of an Events API v2 integration. One that is there is
preferred to a new one, and one that was made for no vendor to one that was, as somebody who is
rid of that product may delete it. One that is held already is kept, whichever it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from hostspec import Installation, SecretUnavailableError
from hostspec.connect import Connected, Discovery, DiscoveryError, Found, FoundState, Skipped
from pagerduty_plugin.http.client import RestApi
from pagerduty_plugin.installation import rest
from pagerduty_plugin.installation.merge import Granted, merge, told
from pagerduty_plugin.installation.rest import Integration, RestError, Service
from pagerduty_plugin.installation.service_table import new_id
from pagerduty_plugin.keys import routing_key_fault
from pagerduty_plugin.settings import (
    ACCOUNT_TOKEN_LENGTH,
    AUTO,
    PROVIDER,
    REST_URLS,
    DiscoverySettings,
    InstallationSettings,
)

_KIND: Final = "service"
_DISABLED: Final = "it is disabled at PagerDuty, and would page nobody"
_GIVEN_UP: Final = (
    "it has no Events API v2 integration, and creating one failed for another service"
)
_READ: Final = "services.read"
_WRITE: Final = "services.write"
_FORMS: Final[Mapping[str, str]] = {"account": "Token token={}", "oauth": "Bearer {}"}
"""The header of each kind of token (guides "Authentication" and "OAuth Functionality")."""

_HEADER: Final = re.compile(r"[!-~]+")


class ServiceDiscovery(Discovery[DiscoverySettings, InstallationSettings]):
    """Lists an account's services, and connects those that are chosen.

    Args:
        make_id: makes the id of a new service.
        sleep: waits for so many seconds, when PagerDuty is asked too often.
    """

    provider = PROVIDER
    settings = DiscoverySettings

    def __init__(
        self,
        make_id: Callable[[], str] = new_id,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._make_id = make_id
        self._sleep = sleep

    def find(self, settings: DiscoverySettings) -> Sequence[Found]:
        """List the account's services.

        Raises:
            DiscoveryError: PagerDuty cannot be asked, or does not answer as it should.
        """
        with self._api(settings) as api:
            try:
                services = {each.id: each for each in rest.list_services(api, settings.query)}
            except RestError as error:
                raise DiscoveryError(_reason(error, settings, _READ)) from None
        return [_found(service) for service in services.values()]

    def connect(
        self,
        chosen: Sequence[str],
        settings: DiscoverySettings,
        installations: Iterable[Installation[Any]] = (),
        *,
        name: str = "",
    ) -> Connected[InstallationSettings]:
        """Make or extend an installation by services; an integration that lacks is created.

        The secrets of the installations given are read, to know a key again.

        Raises:
            DiscoveryError: nothing could be connected.
        """
        with self._api(settings) as api:
            services, left_aside = self._read(api, chosen, settings)
            granted, without_key = self._grant(api, services, settings)
        left_aside += without_key
        if not granted:
            reasons = told(left_aside) or "nothing was chosen"
            message = f"No service was connected: {reasons}"
            raise DiscoveryError(message)
        account = services[0]
        wanted = InstallationSettings(
            region=settings.region,
            base_url=settings.base_url,
            services=(),
            subdomain=account.subdomain,
            network=settings.network,
            dedup_prefix=settings.dedup_prefix,
        )
        connected = merge(
            granted,
            wanted,
            installations,
            name=name.strip() or account.subdomain or "PagerDuty",
            make_id=self._make_id,
        )
        notes = connected.notes
        region = connected.installation.settings.region
        if account.region not in ("", region):
            notes += (
                f"The account's pages are in the region {account.region}, but its events go to "
                f"the region {region}; check the region.",
            )
        return attrs.evolve(connected, notes=notes, left_aside=tuple(left_aside))

    def _api(self, settings: DiscoverySettings) -> RestApi:
        return RestApi(
            settings.rest_url,
            _authorization(settings),
            network=settings.network,
            sleep=self._sleep,
        )

    def _read(
        self, api: RestApi, chosen: Sequence[str], settings: DiscoverySettings
    ) -> tuple[list[Service], list[Skipped]]:
        """Read the services that were chosen, with the key of each integration that may have one.

        Raises:
            DiscoveryError: PagerDuty does not answer as it should.
        """
        services: list[Service] = []
        left_aside: list[Skipped] = []
        for service_id in dict.fromkeys(chosen):
            try:
                service = rest.read_service(api, service_id)
                if service.status == "disabled":
                    left_aside.append(Skipped(_KIND, service.name, _DISABLED))
                    continue
                integrations = tuple(_with_key(api, service, each) for each in _capable(service))
                services.append(attrs.evolve(service, integrations=integrations))
            except RestError as error:
                if error.status != 404:  # noqa: PLR2004 -- HTTP's number
                    raise DiscoveryError(_reason(error, settings, _READ)) from None
                left_aside.append(Skipped(_KIND, service_id, "PagerDuty has no such service"))
        return services, left_aside

    def _grant(
        self, api: RestApi, services: Sequence[Service], settings: DiscoverySettings
    ) -> tuple[list[Granted], list[Skipped]]:
        """Take the keys of services, and create an integration where there is none.

        Raises:
            DiscoveryError: an integration cannot be created, and none was before.
        """
        granted: list[Granted] = []
        left_aside: list[Skipped] = []
        created, failed = 0, False
        for service in services:
            integrations = service.integrations
            if not integrations and failed:
                left_aside.append(Skipped(_KIND, service.name, _GIVEN_UP))
                continue
            try:
                if not integrations:
                    made = rest.create_integration(api, service, settings.integration_name)
                    created += 1
                    integrations = (_with_key(api, service, made),)
            except RestError as error:
                failed, reason = True, _not_created(error, settings)
                if not created:
                    message = f"The service {service.name}: {reason}. Nothing was connected"
                    raise DiscoveryError(message) from None
                left_aside.append(Skipped(_KIND, service.name, reason))
                continue
            keys = tuple(each.key for each in integrations if each.key and _is_routing_key(each))
            if keys:
                granted.append(Granted(service.name, service.id, keys))
            else:
                names = ", ".join(each.name for each in integrations)
                reason = f"PagerDuty tells no key of its integration {names}; give it by hand"
                left_aside.append(Skipped(_KIND, service.name, reason))
        return granted, left_aside


def _authorization(settings: DiscoverySettings) -> str:
    """Make the header that names the token; what is wrong is told without quoting it."""
    try:
        token = settings.token.reveal()
    except SecretUnavailableError as error:
        message = f"The API token cannot be read: {error}"
        raise DiscoveryError(message) from None
    if not _HEADER.fullmatch(token):
        message = "The API token has a blank or a character that no token has; give it alone"
        raise DiscoveryError(message)
    if settings.token_kind != AUTO:
        return _FORMS[settings.token_kind].format(token)
    if not routing_key_fault(token):
        message = (
            f"The API token looks like an integration key ({len(token)} letters and digits); an "
            f"account's API key has {ACCOUNT_TOKEN_LENGTH} characters"
        )
        raise DiscoveryError(message)
    return _FORMS["account" if len(token) == ACCOUNT_TOKEN_LENGTH else "oauth"].format(token)


def _capable(service: Service) -> list[Integration]:
    """Return the integrations whose key the Events API v2 takes, the one to take first."""
    capable = [each for each in service.integrations if each.type == rest.EVENTS_API_V2]
    return sorted(capable, key=lambda integration: integration.vendor)


def _with_key(api: RestApi, service: Service, integration: Integration) -> Integration:
    """Read an integration by itself where PagerDuty did not tell its key with the service."""
    return integration if integration.key else rest.read_integration(api, service, integration)


def _is_routing_key(integration: Integration) -> bool:
    return integration.key is not None and not routing_key_fault(integration.key.reveal())


def _found(service: Service) -> Found:
    if service.status == "disabled":
        return Found(service.id, service.name, FoundState.UNUSABLE, _DISABLED)
    capable = _capable(service)
    if not capable:
        detail = "it has no Events API v2 integration yet"
        return Found(service.id, service.name, FoundState.MISSING, detail)
    return Found(service.id, service.name, FoundState.READY, f"integration {capable[0].name}")


def _reason(error: RestError, settings: DiscoverySettings, scope: str) -> str:
    """Say for a person what came of a call, with what to do."""
    match error.status:
        case 401:
            others = " or ".join(region for region in REST_URLS if region != settings.region)
            return (
                f"PagerDuty does not know the API token (401). It was asked in the region "
                f"{settings.region}, at {settings.rest_url}; if the account lives elsewhere, try "
                f"the region {others}"
            )
        case 403:
            return f"The API token may not do this; it needs the scope {scope} ({error})"
        case 429:
            return "PagerDuty was asked too often (429); try again in some minutes"
        case status if status >= 500:  # noqa: PLR2004 -- the class of HTTP server errors
            return f"{error}; try again later"
        case status if 300 <= status < 400:  # noqa: PLR2004 -- the class of HTTP redirects
            return f"{error}; check region and api_url"
    return f"{error} (asked at {settings.rest_url})"


def _not_created(error: RestError, settings: DiscoverySettings) -> str:
    if error.status == 403:  # noqa: PLR2004 -- HTTP's number
        why = f"the API token may not create one: it needs the scope {_WRITE}, or full access"
    else:
        why = f"creating one failed: {_reason(error, settings, _WRITE)}"
    doubt = "" if 300 <= error.status < 500 else "; perhaps it was created, so look again"  # noqa: PLR2004 -- what was refused
    return f"it has no Events API v2 integration, and {why}{doubt}"
