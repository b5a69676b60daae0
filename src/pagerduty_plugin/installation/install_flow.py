"""PagerDuty's Simple Install Flow (guide "Events Integration Functionality").

The operator picks services at PagerDuty, which sends the browser back with an integration key for
each of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from hostspec import Installation, Secret
from hostspec.connect import Connected, InstallError, InstallFlow, InstallProblem, Skipped
from pagerduty_plugin import validators
from pagerduty_plugin.constants import PAGE_DOMAINS, PROVIDER
from pagerduty_plugin.http.responses import text_member
from pagerduty_plugin.installation.merge_services import GrantedService, describe_skipped, merge
from pagerduty_plugin.routing import routing_key_fault
from pagerduty_plugin.settings import InstallationSettings, InstallFlowSettings

_SERVICE: Final = "service"
"""The type of keys that page a service. The guide spells the other types in two ways, and says that
there may be more."""


class PagerDutyInstallFlow(InstallFlow[InstallFlowSettings, InstallationSettings]):
    """PagerDuty's Simple Install Flow."""

    provider = PROVIDER
    settings = InstallFlowSettings

    def address(self, redirect_url: str, settings: InstallFlowSettings) -> str:
        """Return PagerDuty's page for picking services."""
        domain = f"{settings.account.lower() or 'app'}.{PAGE_DOMAINS[settings.region]}"
        base = settings.install_url.rstrip("/") or f"https://{domain}"
        query = {"app_id": settings.app_id, "redirect_url": redirect_url, "version": "2"}
        return f"{base}/install/integration?{urlencode(query)}"

    def connect(
        self,
        parameters: Mapping[str, str],
        settings: InstallFlowSettings,
        installations: Iterable[Installation[Any]],
    ) -> Connected[InstallationSettings]:
        """Return a new or extended installation with the services that PagerDuty granted.

        Reads the secrets of the given installations, to recognise their keys.

        Raises:
            InstallError: PagerDuty sent no configuration, an invalid one, or no usable key.
        """
        config = _read(parameters)
        account, entries = config.get("account"), config.get("integration_keys")
        account = account if isinstance(account, Mapping) else {}
        asked, subdomain = settings.account.lower(), text_member(account, "subdomain").lower()
        read = [_service(entry) for entry in entries] if isinstance(entries, list) else []
        granted = [each for each in read if isinstance(each, GrantedService)]
        skipped = tuple(each for each in read if isinstance(each, Skipped))
        if not granted:
            raise InstallError(InstallProblem.NOTHING_USABLE, _nothing_usable(skipped))
        # "name" in practice, "Name" in the guide's example
        name = text_member(account, "name") or text_member(account, "Name") or subdomain
        subdomain = "" if validators.subdomain(subdomain) else subdomain
        template = InstallationSettings(
            region=settings.region,
            base_url=settings.base_url,
            services=(),
            subdomain=subdomain,
            dedup_prefix=settings.dedup_prefix,
        )
        connected = merge(granted, template, installations, name=name or "PagerDuty")
        notes = connected.notes
        if asked and subdomain not in ("", asked):
            notes += (f"You asked for the account {settings.account}; this is {subdomain}.",)
        return attrs.evolve(connected, notes=notes, skipped=skipped)


def _read(parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the callback's configuration; no error quotes it, as it contains keys."""
    config = parameters.get("config")
    if config is None:
        raise InstallError(
            InstallProblem.MISSING_ANSWER,
            "PagerDuty sent no configuration, perhaps because it was cancelled there; begin again",
        )
    if not config.strip():
        raise InstallError(InstallProblem.EMPTY_ANSWER, "PagerDuty sent an empty configuration")
    try:
        parsed = json.loads(config)
    except (ValueError, RecursionError):
        problem, form = InstallProblem.UNREADABLE_ANSWER, "JSON"
    else:
        if isinstance(parsed, Mapping):
            return parsed
        problem, form = InstallProblem.MALFORMED_ANSWER, "a JSON object"
    raise InstallError(problem, f"PagerDuty's configuration is not {form}")


def _service(entry: object) -> GrantedService | Skipped:
    if not isinstance(entry, Mapping):
        return Skipped("", "", "it is not an object")
    kind, name, identifier = (text_member(entry, member) for member in ("type", "name", "id"))
    if kind != _SERVICE:
        return Skipped(kind, name, "only a service can be paged")
    key = entry.get("integration_key")
    key = key.strip() if isinstance(key, str) else ""
    if fault := routing_key_fault(key):
        return Skipped(kind, name, f"its key is {fault}")
    return GrantedService(name or identifier or "Service", identifier, (Secret(key),))


def _nothing_usable(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return "PagerDuty sent no integration key; pick at least one service there"
    return f"PagerDuty sent no usable integration key: {describe_skipped(skipped)}"
