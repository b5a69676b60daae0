"""The provider: PagerDuty accounts, and the ways to connect one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from hostspec import Destination, Fault, Installation, Provider, SecretUnavailableError
from hostspec.provider import Demo
from hostspec.settings import secrets
from pagerduty_plugin.constants import PAGE_DOMAINS, PROVIDER
from pagerduty_plugin.http.network import NetworkEnvironment, network_faults
from pagerduty_plugin.http.transport import import_requests
from pagerduty_plugin.installation.service_table import ServiceTable, shared_keys
from pagerduty_plugin.routing import routing_key_fault
from pagerduty_plugin.settings import InstallationSettings, ServiceSettings

if TYPE_CHECKING:
    from pagerduty_plugin.installation.discovery import ServiceDiscovery
    from pagerduty_plugin.installation.install_flow import PagerDutyInstallFlow


class PagerDuty(Provider[InstallationSettings]):
    """PagerDuty, reached with the integration keys of an account's services."""

    name = PROVIDER
    label = "PagerDuty"
    settings = InstallationSettings

    def destinations(
        self, installation: Installation[InstallationSettings]
    ) -> Sequence[Destination]:
        """Return the services of an account."""
        return [
            Destination(service.destination, service.name, _page(installation.settings, service))
            for service in installation.settings.services
        ]

    def check(self, installation: Installation[InstallationSettings]) -> Sequence[Fault]:
        """Return the integration keys, proxy and TLS files that cannot be read or used.

        It also imports requests, which the first page would wait for.
        """
        faults = []
        try:
            import_requests()
        except ImportError as error:
            faults.append(Fault("", f"cannot send: {error}; install pagerduty-plugin again"))
        settings = installation.settings
        for path, key in secrets(settings.services, "services"):
            try:
                reason = routing_key_fault(key.reveal())
            except SecretUnavailableError as error:
                reason = str(error)
            if reason:
                faults.append(Fault(path, reason))
        environment = NetworkEnvironment.read(os.environ)
        network = network_faults(settings.events_url, settings.network, environment)
        return [*faults, *(fault.below("network") for fault in network)]

    def notes(self, installations: Sequence[Installation[InstallationSettings]]) -> Sequence[str]:
        """Return a note for each integration key that several services share."""
        return [
            f"{' and '.join('/'.join(service) for service in services)} have the same "
            "integration key: a problem that is sent to both is one incident at PagerDuty, and "
            "the first resolve closes it"
            for services in shared_keys(installations)
        ]

    def table(self) -> ServiceTable:
        """Return the service table."""
        return ServiceTable()

    def install_flow(self) -> PagerDutyInstallFlow:
        """Return PagerDuty's Simple Install Flow."""
        # like the discovery of services, of no use to a host that only sends
        from pagerduty_plugin.installation.install_flow import PagerDutyInstallFlow  # noqa: PLC0415

        return PagerDutyInstallFlow()

    def discovery(self) -> ServiceDiscovery:
        """Return the discovery of services by PagerDuty's REST API."""
        from pagerduty_plugin.installation.discovery import ServiceDiscovery  # noqa: PLC0415

        return ServiceDiscovery()

    def demo(self) -> Demo:
        """Return a fake PagerDuty on loopback."""
        # its web server is of no use to a host that only sends
        from pagerduty_plugin.testing.demo import PagerDutyDemo  # noqa: PLC0415

        return PagerDutyDemo()


def _page(settings: InstallationSettings, service: ServiceSettings) -> str:
    """Return the page of a service; empty if account or id are unknown."""
    if not (settings.subdomain and service.pagerduty_id):
        return ""
    domain = f"{settings.subdomain.lower()}.{PAGE_DOMAINS[settings.region]}"
    return f"https://{domain}/service-directory/{quote(service.pagerduty_id, safe='')}"
