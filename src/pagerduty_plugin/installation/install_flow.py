"""PagerDuty's Simple Install Flow (guide "Events Integration Functionality").

The operator picks services at PagerDuty, which sends the browser back with an integration key for
each of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from hostspec import Installation, Secret
from hostspec.connect import Connected, InstallError, InstallFlow, InstallProblem, Skipped
from hostspec.text import clean_text
from pagerduty_plugin import validators
from pagerduty_plugin.constants import PAGE_DOMAINS, PROVIDER
from pagerduty_plugin.installation.merge_services import (
    GrantedService,
    describe_skipped,
    merge,
    new_id,
)
from pagerduty_plugin.keys import routing_key_fault
from pagerduty_plugin.settings import InstallationSettings, InstallFlowSettings

_SERVICE: Final = "service"
"""The type of keys that page a service. The guide spells the other types in two ways, and says that
there may be more."""


@attrs.frozen
class _Answer:
    """The content of the callback.

    Attributes:
        name: of the account.
        subdomain: of the account; empty if PagerDuty sent none.
        granted: the usable services.
        skipped: the other entries.
    """

    name: str
    subdomain: str
    granted: tuple[GrantedService, ...]
    skipped: tuple[Skipped, ...]


class PagerDutyInstallFlow(InstallFlow[InstallFlowSettings, InstallationSettings]):
    """PagerDuty's Simple Install Flow.

    Args:
        make_id: returns the id of a new service.
    """

    provider = PROVIDER
    settings = InstallFlowSettings

    def __init__(self, make_id: Callable[[], str] = new_id) -> None:
        self._make_id = make_id

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
        answer = _read(parameters)
        connected = merge(
            answer.granted,
            InstallationSettings(
                region=settings.region,
                base_url=settings.base_url,
                services=(),
                subdomain=answer.subdomain,
                dedup_prefix=settings.dedup_prefix,
            ),
            installations,
            name=answer.name,
            make_id=self._make_id,
        )
        notes = connected.notes
        if settings.account and answer.subdomain not in ("", settings.account.lower()):
            notes += (f"You asked for the account {settings.account}; this is {answer.subdomain}.",)
        return attrs.evolve(connected, notes=notes, skipped=answer.skipped)


def _read(parameters: Mapping[str, str]) -> _Answer:
    """Parse the callback's parameters; no error quotes them, as they contain keys."""
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
        parsed = None
        problem = InstallProblem.UNREADABLE_ANSWER
    else:
        problem = InstallProblem.MALFORMED_ANSWER
    if not isinstance(parsed, Mapping):
        form = "JSON" if problem is InstallProblem.UNREADABLE_ANSWER else "a JSON object"
        raise InstallError(problem, f"PagerDuty's configuration is not {form}")
    account, entries = parsed.get("account"), parsed.get("integration_keys")
    account = account if isinstance(account, Mapping) else {}
    subdomain = _text(account, "subdomain").lower()
    read = [_service(entry) for entry in entries] if isinstance(entries, list) else []
    granted = tuple(each for each in read if isinstance(each, GrantedService))
    skipped = tuple(each for each in read if isinstance(each, Skipped))
    if not granted:
        raise InstallError(InstallProblem.NOTHING_USABLE, _nothing_usable(skipped))
    return _Answer(
        # "name" in practice, "Name" in the guide's example
        name=_text(account, "name") or _text(account, "Name") or subdomain or "PagerDuty",
        subdomain=subdomain if not validators.subdomain(subdomain) else "",
        granted=granted,
        skipped=skipped,
    )


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    return " ".join(clean_text(value).split()) if isinstance(value, str) else ""


def _service(entry: object) -> GrantedService | Skipped:
    if not isinstance(entry, Mapping):
        return Skipped("", "", "it is not an object")
    kind, name, identifier = (_text(entry, member) for member in ("type", "name", "id"))
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
