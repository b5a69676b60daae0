"""Discovery: finds an account's services and their keys by PagerDuty's REST API.

The key of a service is that of an Events API v2 integration. An existing integration is preferred
to a new one, and one without a vendor to a vendor's, which may be deleted together with that
product. A key that is already configured is kept, whichever integration it belongs to.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from hostspec import Installation, SecretUnavailableError
from hostspec.connect import Connected, Discovery, DiscoveryError, Found, FoundState, Skipped
from pagerduty_plugin.constants import ACCOUNT_TOKEN_LENGTH, AUTO, PROVIDER, REST_URLS
from pagerduty_plugin.http import rest
from pagerduty_plugin.http.rest import Integration, RestApi, RestError, Service
from pagerduty_plugin.installation.merge_services import GrantedService, describe_skipped, merge
from pagerduty_plugin.routing import routing_key_fault
from pagerduty_plugin.settings import DiscoverySettings, InstallationSettings

_KIND: Final = "service"
_DISABLED: Final = "it is disabled at PagerDuty, and would page no one"
_NOT_TRIED: Final = (
    "it has no Events API v2 integration, and creating one failed for another service"
)
_READ_SCOPE: Final = "services.read"
_WRITE_SCOPE: Final = "services.write"
_HEADERS: Final[Mapping[str, str]] = {"account": "Token token={}", "oauth": "Bearer {}"}
"""The header for each kind of token (guides "Authentication" and "OAuth Functionality")."""

_TOKEN: Final = re.compile(r"[!-~]+")


class ServiceDiscovery(Discovery[DiscoverySettings, InstallationSettings]):
    """Lists an account's services, and connects the chosen ones.

    `sleep` is called with the seconds to wait at PagerDuty's rate limit.
    """

    provider = PROVIDER
    settings = DiscoverySettings

    def __init__(self, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sleep = sleep

    def find(self, settings: DiscoverySettings) -> Sequence[Found]:
        """Return the account's services.

        Raises:
            DiscoveryError: a call to PagerDuty failed.
        """
        with self._api(settings) as api:
            try:
                services = {each.id: each for each in api.services(settings.query)}
            except RestError as error:
                raise DiscoveryError(_reason(error, settings, _READ_SCOPE)) from None
        return [_found(service) for service in services.values()]

    def connect(
        self,
        chosen: Sequence[str],
        settings: DiscoverySettings,
        installations: Iterable[Installation[Any]] = (),
        *,
        name: str = "",
    ) -> Connected[InstallationSettings]:
        """Return a new or extended installation; creates integrations that are missing.

        Reads the secrets of the given installations, to recognise their keys.

        Raises:
            DiscoveryError: no service could be connected.
        """
        with self._api(settings) as api:
            services, skipped = self._read(api, chosen, settings)
            granted, without_key = self._keys(api, services, settings)
        skipped += without_key
        if not granted:
            reasons = describe_skipped(skipped) or "none was chosen"
            message = f"No service was connected: {reasons}"
            raise DiscoveryError(message)
        account = services[0]
        template = InstallationSettings(
            region=settings.region,
            base_url=settings.base_url,
            services=(),
            subdomain=account.subdomain,
            network=settings.network,
            dedup_prefix=settings.dedup_prefix,
        )
        name = name.strip() or account.subdomain or "PagerDuty"
        connected = merge(granted, template, installations, name=name)
        notes = connected.notes
        region = connected.installation.settings.region
        if account.region not in ("", region):
            notes += (
                f"The account's pages are in the region {account.region}, but its events go to "
                f"the region {region}; check the region.",
            )
        return attrs.evolve(connected, notes=notes, skipped=tuple(skipped))

    def _api(self, settings: DiscoverySettings) -> RestApi:
        header = _authorization(settings)
        return RestApi(settings.rest_url, header, network=settings.network, sleep=self._sleep)

    def _read(
        self, api: RestApi, chosen: Sequence[str], settings: DiscoverySettings
    ) -> tuple[list[Service], list[Skipped]]:
        """Return the chosen services, with the keys of their Events API v2 integrations."""
        services: list[Service] = []
        skipped: list[Skipped] = []
        for service_id in dict.fromkeys(chosen):
            try:
                service = api.service(service_id)
                if service.status == "disabled":
                    skipped.append(Skipped(_KIND, service.name, _DISABLED))
                    continue
                integrations = tuple(_with_key(api, service, each) for each in _capable(service))
                services.append(attrs.evolve(service, integrations=integrations))
            except RestError as error:
                if error.status != 404:  # noqa: PLR2004 -- HTTP's number
                    raise DiscoveryError(_reason(error, settings, _READ_SCOPE)) from None
                skipped.append(Skipped(_KIND, service_id, "PagerDuty has no such service"))
        return services, skipped

    def _keys(
        self, api: RestApi, services: Sequence[Service], settings: DiscoverySettings
    ) -> tuple[list[GrantedService], list[Skipped]]:
        """Return the services with their keys; create the integrations that are missing.

        If the first one cannot be created, nothing is connected.
        """
        granted: list[GrantedService] = []
        skipped: list[Skipped] = []
        created, failed = 0, False
        for service in services:
            integrations = service.integrations
            if not integrations and failed:
                skipped.append(Skipped(_KIND, service.name, _NOT_TRIED))
                continue
            try:
                if not integrations:
                    made = api.create_integration(service, settings.integration_name)
                    created += 1
                    integrations = (_with_key(api, service, made),)
            except RestError as error:
                failed, reason = True, _not_created(error, settings)
                if not created:
                    message = f"The service {service.name}: {reason}. Nothing was connected"
                    raise DiscoveryError(message) from None
                skipped.append(Skipped(_KIND, service.name, reason))
                continue
            keys = tuple(
                each.key
                for each in integrations
                if each.key and not routing_key_fault(each.key.reveal())
            )
            if keys:
                granted.append(GrantedService(service.name, service.id, keys))
            else:
                names = ", ".join(each.name for each in integrations)
                reason = f"PagerDuty shows no key of its integration {names}; add it by hand"
                skipped.append(Skipped(_KIND, service.name, reason))
        return granted, skipped


def _authorization(settings: DiscoverySettings) -> str:
    """Return the Authorization header; no error quotes the token."""
    try:
        token = settings.token.reveal()
    except SecretUnavailableError as error:
        message = f"The API token cannot be read: {error}"
        raise DiscoveryError(message) from None
    if not _TOKEN.fullmatch(token):
        message = "The API token contains a blank or an invalid character; give the token alone"
        raise DiscoveryError(message)
    if settings.token_kind != AUTO:
        return _HEADERS[settings.token_kind].format(token)
    if not routing_key_fault(token):
        message = (
            f"The API token looks like an integration key ({len(token)} letters and digits); an "
            f"account's API key has {ACCOUNT_TOKEN_LENGTH} characters"
        )
        raise DiscoveryError(message)
    return _HEADERS["account" if len(token) == ACCOUNT_TOKEN_LENGTH else "oauth"].format(token)


def _capable(service: Service) -> list[Integration]:
    """Return the Events API v2 integrations of a service, the preferred one first."""
    capable = [each for each in service.integrations if each.type == rest.EVENTS_API_V2]
    return sorted(capable, key=lambda integration: integration.vendor)


def _with_key(api: RestApi, service: Service, integration: Integration) -> Integration:
    """Return an integration with its key, which PagerDuty may omit in a list."""
    return integration if integration.key else api.integration(service, integration)


def _found(service: Service) -> Found:
    if service.status == "disabled":
        return Found(service.id, service.name, FoundState.UNUSABLE, _DISABLED)
    capable = _capable(service)
    if not capable:
        detail = "it has no Events API v2 integration yet"
        return Found(service.id, service.name, FoundState.MISSING, detail)
    return Found(service.id, service.name, FoundState.READY, f"integration {capable[0].name}")


def _reason(error: RestError, settings: DiscoverySettings, scope: str) -> str:
    """Return why a call failed, and the remedy."""
    match error.status:
        case 401:
            others = " or ".join(region for region in REST_URLS if region != settings.region)
            return (
                f"PagerDuty does not know the API token (401) in the region {settings.region}, at "
                f"{settings.rest_url}; if the account belongs to another region, try {others}"
            )
        case 403:
            return f"The API token needs the scope {scope} ({error})"
        case 429:
            return "PagerDuty's rate limit is used up (429); try again in a few minutes"
        case status if status >= 500:  # noqa: PLR2004 -- the class of HTTP server errors
            return f"{error}; try again later"
        case status if 300 <= status < 400:  # noqa: PLR2004 -- the class of HTTP redirects
            return f"{error}; check region and api_url"
    return f"{error} (asked at {settings.rest_url})"


def _not_created(error: RestError, settings: DiscoverySettings) -> str:
    if error.status == 403:  # noqa: PLR2004 -- HTTP's number
        why = f"the API token may not create one: it needs the scope {_WRITE_SCOPE}, or full access"
    else:
        why = f"creating one failed: {_reason(error, settings, _WRITE_SCOPE)}"
    rejected = 300 <= error.status < 500  # noqa: PLR2004 -- the classes of HTTP's rejections
    doubt = "" if rejected else "; perhaps it was created, so list the services again"
    return f"it has no Events API v2 integration, and {why}{doubt}"
